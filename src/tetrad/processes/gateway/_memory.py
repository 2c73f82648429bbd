"""Stored responses, over control: kept, recalled, and shown to clients in OpenAI's protocol."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl, urlencode

import msgspec

from tetrad.kernel import TetradError, Unavailable
from tetrad.kit.upstream import Address, Client, Timeouts
from tetrad.processes.gateway._following import WAIT_S, EventFollower, Followers, starting_after
from tetrad.responses import BackgroundCall, BackgroundRequest, Conversation, KeptResponse
from tetrad.serving import RequestRefused
from tetrad.serving.ports import Deferred, Remembered, Turn

PREFIX = "/v1/responses/"
DROPPED = b"x-tetrad-dropped"
_JSON = (b"content-type", b"application/json")
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{7,127}")
_TIMEOUTS = Timeouts(connect_s=1.0, first_byte_s=3.0, idle_s=3.0, total_s=5.0)
_BEGINNING = Timeouts(connect_s=1.0, first_byte_s=30.0, idle_s=3.0, total_s=35.0)
"""Whoever gives up here may ask again, and have the same answered, and paid for, twice."""
_FOLLOWING = Timeouts(connect_s=1.0, first_byte_s=WAIT_S + 10.0, idle_s=10.0, total_s=WAIT_S + 30.0)
_FULL_S = 5.0
_PAUSE_S = 5.0
"""So long after control did not answer nothing is kept: every answer would wait for it in vain."""
_MOST_BYTES = 64 * 2**20
_LISTED = ("limit", "after", "order")

Page = tuple[int, list[tuple[bytes, bytes]], bytes]


class _Problem(msgspec.Struct, frozen=True):
    detail: str = ""
    title: str = ""
    hint: str = ""
    code: str = ""


class ControlMemory:
    """`tetrad.serving.ports.Memory` of control; every call ends within some seconds."""

    def __init__(
        self,
        client: Client,
        control: Address,
        token: Callable[[], str],
        *,
        following: Client | None = None,
        most_followers: int = 256,
    ) -> None:
        self._client = client
        self._following = following or client
        self._followers = Followers(self._events, most_followers)
        self._control = control
        self._token = token
        self._away_until = 0.0

    async def recall(self, project: str, response: str) -> Remembered:
        """Return what was said up to and with a response."""
        if not _ID.fullmatch(response):
            raise _no_previous(response, "")
        status, body = await self._ask("GET", f"responses/{response}/conversation", {"project": project})
        if status == 404:
            raise _no_previous(response, _problem(body).detail)
        if status != 200:
            problem = _problem(body)
            raise RequestRefused(
                problem.detail or f"the conversation of {response} cannot be had ({status})",
                param="previous_response_id",
                hint=problem.hint,
                code=problem.code or None,
                status=status if status < 500 else 503,
            )
        try:
            found = msgspec.json.decode(body, type=Conversation)
        except msgspec.MsgspecError as error:
            raise _unreadable(error) from None
        return Remembered(found.items, found.upstream, found.native)

    async def recall_kept(self, project: str, conversation: str) -> Remembered:
        """Return what a conversation holds."""
        if not _ID.fullmatch(conversation):
            raise _no_conversation(conversation, "")
        status, body = await self._ask("GET", f"conversations/{conversation}", {"project": project})
        if status != 200:
            raise _no_conversation(conversation, _problem(body).detail)
        try:
            return Remembered(msgspec.json.decode(body, type=Conversation).items)
        except msgspec.MsgspecError as error:
            raise _unreadable(error) from None

    async def extend(self, project: str, conversation: str, response: str, items: Sequence[msgspec.Raw]) -> None:
        """Add what a response added."""
        if not _ID.fullmatch(response):
            raise RequestRefused(f"{response[:80]!r} is no id to keep a response by")
        target = f"conversations/{conversation}/turns/{response}"
        status, answer = await self._ask("PUT", target, {"project": project}, msgspec.json.encode({"items": items}))
        if status != 204:
            problem = _problem(answer)
            raise Unavailable(
                problem.detail or f"control answered {status}", hint=problem.hint, code=problem.code or None
            )

    async def keep(self, turn: Turn, response: str, body: bytes) -> None:
        """Keep a response."""
        if asyncio.get_running_loop().time() < self._away_until:
            raise _away()
        if not _ID.fullmatch(response):
            raise RequestRefused(f"{response[:80]!r} is no id to keep a response by")
        kept = _kept(turn, response, body)
        status, answer = await self._ask("PUT", f"responses/{response}", {}, msgspec.json.encode(kept))
        if status != 204:
            problem = _problem(answer)
            raise Unavailable(
                problem.detail or f"control answered {status}", hint=problem.hint, code=problem.code or None
            )

    async def begin(self, asked: Deferred) -> bytes:
        """Have a request answered in the background."""
        call = BackgroundCall(
            asked.body, asked.headers, asked.release, asked.conversation, asked.stream, events=asked.events
        )
        wanted = BackgroundRequest(
            _kept(asked.turn, asked.id, asked.shown),
            call,
            asked.app,
            asked.model,
            asked.idempotency,
            asked.fingerprint,
        )
        status, answer = await self._ask("POST", "background", {}, msgspec.json.encode(wanted), _BEGINNING)
        if status == 200:
            return answer
        problem = _problem(answer)
        said = problem.detail or f"control answered {status}"
        if status >= 500:
            raise Unavailable(said, hint=problem.hint, code=problem.code or "state_unavailable", retry_after_s=2.0)
        refused = RequestRefused(said, param="background", hint=problem.hint, code=problem.code or None, status=status)
        if status == 429:
            refused.retry_after_s = _FULL_S
        raise refused

    def follow(self, project: str, response: str) -> EventFollower:
        """Return the events of a response."""
        return self._followers.follow(project, response)

    def followed(self, method: str, path: str, query: str, project: str) -> EventFollower | None:
        """Return the events that a client wants of a stored response; None where it asks for something else."""
        identity = path.removeprefix(PREFIX)
        if method != "GET" or not _ID.fullmatch(identity):
            return None
        after = starting_after(dict(parse_qsl(query)))
        return None if after is None else self._followers.follow(project, identity, after)

    def drain(self) -> None:
        """Let nobody follow any longer."""
        self._followers.drain()

    async def page(self, method: str, path: str, query: str, project: str, request_id: str) -> Page:
        """Answer what a client asks of a stored response; raises `TetradError`."""
        identity, _, what = path.removeprefix(PREFIX).partition("/")
        if not _ID.fullmatch(identity) or what not in ("", "input_items", "cancel"):
            raise RequestRefused(
                f"there is nothing at {path[:200]}",
                hint="a response is at /v1/responses/ID, what was said to it at /v1/responses/ID/input_items",
                status=404,
                code="unknown_url",
            )
        allowed = {"": ("GET", "DELETE"), "input_items": ("GET",), "cancel": ("POST",)}[what]
        if method not in allowed:
            raise RequestRefused(
                f"{method} is not allowed here",
                hint=f"use {' or '.join(allowed)}",
                status=405,
                code="method_not_allowed",
            )
        asked = {"project": project}
        if what == "input_items":
            asked |= {name: value for name, value in parse_qsl(query) if name in _LISTED}
        target = f"{identity}/{what}" if what else identity
        status, said, body = await self._asked(method, f"responses/{target}", asked, request_id=request_id)
        if status >= 400:
            problem = _problem(body)
            raise RequestRefused(
                problem.detail or f"the response {identity} cannot be had ({status})",
                hint=problem.hint,
                code=problem.code or None,
                status=status if status in (400, 404, 413, 422) else 503,
            )
        if method == "DELETE":
            body = msgspec.json.encode({"id": identity, "object": "response", "deleted": True})
        return 200, [_JSON, *((name, value) for name, value in said if name == DROPPED)], body

    async def _events(self, response: str, query: Mapping[str, str]) -> tuple[int, bytes]:
        target = f"responses/{response}/events"
        return await self._ask("GET", target, query, timeouts=_FOLLOWING, client=self._following)

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        timeouts: Timeouts = _TIMEOUTS,
        client: Client | None = None,
    ) -> tuple[int, bytes]:
        status, _, answer = await self._asked(method, path, query, body, timeouts, client)
        return status, answer

    async def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        timeouts: Timeouts = _TIMEOUTS,
        client: Client | None = None,
        request_id: str = "",
    ) -> tuple[int, Sequence[tuple[bytes, bytes]], bytes]:
        asking = client or self._client
        target = f"/internal/v1/{path}" + (f"?{urlencode(query)}" if query else "")
        try:
            headers = [("authorization", f"Bearer {self._token()}"), ("content-type", "application/json")]
            if request_id:
                headers.append(("x-request-id", request_id))
            request = asking.prepare(method, self._control, target, headers)
            response = await asking.send(request, body, timeouts=timeouts)
            answer = await response.read_all(_MOST_BYTES)
        except (TetradError, OSError):
            self._away_until = asyncio.get_running_loop().time() + _PAUSE_S
            raise _away() from None
        self._away_until = 0.0
        return response.status, response.headers, answer


def _kept(turn: Turn, response: str, body: bytes) -> KeptResponse:
    return KeptResponse(
        id=response,
        project=turn.project,
        created_s=int(time.time()),
        input=turn.input,
        response=msgspec.Raw(body),
        previous=turn.previous,
        key_id=turn.key_id,
        upstream=turn.upstream,
        native=turn.native,
    )


def _away() -> Unavailable:
    return Unavailable(
        "stored responses cannot be had now: the control plane does not answer",
        hint="try again in a moment, or send the whole conversation as `input`",
        code="state_unavailable",
        retry_after_s=2.0,
    )


def _no_previous(response: str, why: str) -> RequestRefused:
    return RequestRefused(
        why or f"there is no stored response {response[:80]!r}",
        param="previous_response_id",
        hint="it was deleted, has expired, or was made with store: false; send the whole conversation as `input`",
        code="previous_response_not_found",
    )


def _unreadable(error: Exception) -> Unavailable:
    return Unavailable(
        f"control's answer cannot be read: {error}",
        hint="do gateway and control have the same version? `tetrad logs control` tells more",
        code="state_unavailable",
    )


def _no_conversation(conversation: str, why: str) -> RequestRefused:
    return RequestRefused(
        why or f"there is no conversation {conversation[:80]!r}",
        param="conversation",
        hint="it was deleted, or has expired; make one with POST /v1/conversations",
        code="conversation_not_found",
        status=404,
    )


def _problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_Problem)
    except msgspec.MsgspecError:
        return _Problem()
