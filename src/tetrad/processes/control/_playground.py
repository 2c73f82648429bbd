"""Try a prompt on the model of an app before anybody else sees it: what is to be sent, and the call itself.

What is edited is rendered here by the code that gateways render with, so that both make the same messages of it. The
call goes through a gateway like any other: it is priced, limited and traced.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

import msgspec

from tetrad.identity import KeyGrant, hash_secret
from tetrad.identity._model import mint_secret
from tetrad.kernel import Clock, Overloaded, TetradError
from tetrad.kit.upstream import BrokenAnswer, Client, Response, TimedOut, Timeouts, parse_address
from tetrad.processes.control._compile import release_route
from tetrad.releases import ResolvedRelease
from tetrad.releases.ports import PromptVersion
from tetrad.serving import ReleaseRoute, RequestRefused
from tetrad.serving._prompting import CompiledRelease, house_compiler

KEY_ID: Final = "playground"
"""Under this id traces tell the calls of the playground from others: `key:playground`."""
APP: Final = "app:"
MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
_KEY_S: Final = 3600
_RENEW_S: Final = 600
_KNOWN_WITHIN_S: Final = 10.0
_ASK_AGAIN_S: Final = 0.1
_MAX_REFUSAL_BYTES: Final = 64 * 1024
_PARAMS: Final = frozenset({
    "frequency_penalty", "logit_bias", "max_completion_tokens", "max_tokens", "min_p", "presence_penalty",
    "reasoning_effort", "response_format", "seed", "stop", "temperature", "tool_choice", "tools", "top_k", "top_p",
})  # fmt: skip


class Asked(msgspec.Struct, frozen=True):
    """What a person wants to see answered: by `model` as gateways take it, with `text` as the prompt if there is one.

    `app:NAME` and `app:NAME@REF` bring the model, parameters and examples of the release that the ref points to.
    """

    model: str
    name: str = ""
    text: str | None = None
    variables: Mapping[str, Any] = {}
    messages: Sequence[Mapping[str, Any]] = ()
    params: Mapping[str, Any] = {}

    @property
    def pinned(self) -> bool:
        """Whether it names a release by its digest, which needs the scope `pin`."""
        return self.model.startswith("release:") or (self.model.startswith(APP) and "@sha256:" in self.model)


class Prepared(msgspec.Struct, frozen=True):
    """The body for the gateway, and what it says: whose model, which messages (None: the gateway renders them)."""

    body: bytes
    model: str
    messages: list[dict[str, Any]] | None = None
    unused: tuple[str, ...] = ()


class Playground:
    """Prepares and makes calls. Preparing reads the stores and belongs in a thread; `run` belongs to the event loop."""

    def __init__(
        self,
        *,
        gateway_url: str,
        clock: Clock,
        changed: Callable[[], None],
        release_at: Callable[[str, str, str], ResolvedRelease],
        pinned: Callable[[str, ResolvedRelease], PromptVersion | None],
        checked: Callable[[str, str, str], PromptVersion],
        max_runs: int = 16,
        timeout_s: float = 180.0,
    ) -> None:
        self._gateway = parse_address(f"{gateway_url.rstrip('/')}/v1")
        self._clock = clock
        self._changed = changed
        self._release_at = release_at
        self._pinned = pinned
        self._checked = checked
        self._max_runs = max_runs
        self._timeout_s = timeout_s
        self._client: Client | None = None
        self._running = 0
        self._lock = threading.Lock()
        self._keys: dict[str, tuple[str, KeyGrant]] = {}

    # -- what is sent -------------------------------------------------------------------------------------------

    def prepare(self, project: str, asked: Asked) -> Prepared:
        """Return the call to make, or raise `TetradError`: a prompt's faults come with `NAME.md:LINE:` as on commit."""
        unknown = set(asked.params) - _PARAMS
        if unknown:
            raise RequestRefused(
                f"{min(unknown)!r} is no parameter of a call", param="params", hint=f"{', '.join(sorted(_PARAMS))}"
            )
        fields: dict[str, msgspec.Raw] = {
            **{name: _raw(value) for name, value in asked.params.items()},
            "messages": _raw(list(asked.messages)),
        }
        if asked.text is None:
            extension = {"variables": dict(asked.variables)}
            return Prepared(_body(asked.model, {**fields, "tetrad": _raw(extension)}), asked.model)
        route = self._route(project, asked.model, self._checked(project, asked.name, asked.text))
        unused = CompiledRelease(route, house_compiler).apply(
            fields, bytes(_raw(dict(asked.variables))) if asked.variables else b""
        )
        messages = msgspec.json.decode(fields["messages"], type=list[dict[str, Any]])
        return Prepared(_body(route.model, fields), route.model, messages, unused)

    def _route(self, project: str, model: str, prompt: PromptVersion) -> ReleaseRoute:
        """Put an edited prompt in the place of the one that a release pins; a bare model has nothing but the prompt."""
        if model.startswith(APP):
            app, _, ref = model.removeprefix(APP).partition("@")
            release = self._release_at(project, app, ref)
            old = self._pinned(project, release)
            params = edited_params(release.params, old, prompt)
        else:
            release = ResolvedRelease("", project, "", model, "", "")  # type: ignore[arg-type] # no release, no digests
            params = {**prompt.request, **prompt.params}
        return release_route(
            msgspec.structs.replace(
                release, syntax=prompt.syntax, messages=prompt.messages, variables=prompt.variables, params=params
            )
        )

    # -- the key of its calls -----------------------------------------------------------------------------------

    def grants(self) -> Iterable[KeyGrant]:
        """Return the keys that gateways must know: of each project that played within the hour, one."""
        now_ns = self._clock.now_ns()
        with self._lock:
            self._keys = {project: kept for project, kept in self._keys.items() if kept[1].expires_ns > now_ns}
            return [grant for _, grant in self._keys.values()]

    def _secret(self, project: str) -> str:
        """Return a secret that lives for at most an hour, in memory only and for the one project only."""
        now_ns = self._clock.now_ns()
        with self._lock:
            kept = self._keys.get(project)
            if kept is not None and kept[1].expires_ns - now_ns > _RENEW_S * 1_000_000_000:
                return kept[0]
            secret = mint_secret("data")
            expires_ns = now_ns + _KEY_S * 1_000_000_000
            self._keys[project] = (
                secret,
                KeyGrant(hash_secret(secret), KEY_ID, project, ("data", "pin"), "full", expires_ns),
            )
        self._changed()
        return secret

    # -- the call -----------------------------------------------------------------------------------------------

    async def run(self, project: str, prepared: Prepared, *, user: str) -> AsyncGenerator[bytes]:
        """Yield server-sent events: `start`, the gateway's own chunks as they come, and `problem` where it fails.

        Closing the generator ends the call at the gateway, and with it the work of the model.
        """
        if self._running >= self._max_runs:
            yield _problem(_too_many(self._max_runs))
            return
        self._running += 1
        try:
            async with asyncio.timeout(self._timeout_s), aclosing(self._pieces(project, prepared, user)) as pieces:
                async for piece in pieces:
                    yield piece
        except TimeoutError:
            yield _problem(
                TimedOut(f"the call took more than {self._timeout_s:g} s", hint="ask for fewer tokens in `max_tokens`")
            )
        except TetradError as error:
            yield _problem(error)
        finally:
            self._running -= 1

    async def _pieces(self, project: str, prepared: Prepared, user: str) -> AsyncGenerator[bytes]:
        response = await self._ask(project, prepared.body, user)
        try:
            if response.status != 200:
                refusal = _refusal(response.status, await response.read_all(_MAX_REFUSAL_BYTES))
                trace_id = _text(response.header(b"x-tetrad-trace-id"))
                yield _event("problem", {**refusal, "trace_id": trace_id} if trace_id else refusal)
                return
            yield _event("start", {
                "trace_id": _text(response.header(b"x-tetrad-trace-id")),
                "release": _text(response.header(b"x-tetrad-release")),
                "model": prepared.model,
                "messages": prepared.messages,
                "unused_variables": list(prepared.unused),
            })  # fmt: skip
            size = 0
            while piece := await response.read():
                size += len(piece)
                if size > MAX_ANSWER_BYTES:
                    raise BrokenAnswer(f"the answer is longer than {MAX_ANSWER_BYTES:,} bytes", hint="ask for less")
                yield piece
        finally:
            response.close()

    async def _ask(self, project: str, body: bytes, user: str) -> Response:
        """Send the call; a key that is new takes gateways a moment to learn."""
        if self._client is None:
            self._client = Client()
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _KNOWN_WITHIN_S
        secret = await asyncio.to_thread(self._secret, project)
        request = self._client.prepare("POST", self._gateway, "/chat/completions", [
            ("authorization", f"Bearer {secret}"),
            ("content-type", "application/json"),
            ("x-tetrad-user", user.encode("ascii", "replace").decode()[:200]),
        ])  # fmt: skip
        timeouts = Timeouts(first_byte_s=self._timeout_s, total_s=self._timeout_s)
        while True:
            response = await self._client.send(request, body, timeouts=timeouts)
            if response.status != 401 or loop.time() > give_up_at:
                return response
            await response.read_all(_MAX_REFUSAL_BYTES)
            await asyncio.sleep(_ASK_AGAIN_S)

    async def close(self) -> None:
        """End all calls."""
        if self._client is not None:
            await self._client.close()


def edited_params(params: Mapping[str, Any], old: PromptVersion | None, new: PromptVersion) -> dict[str, Any]:
    """Take from a release's parameters what its prompt brought, keep what the app set, add what the new one brings."""
    brought = {**old.request, **old.params} if old else {}
    own = {name: value for name, value in params.items() if name not in brought or brought[name] != value}
    return {**new.request, **new.params, **own}


def _body(model: str, fields: Mapping[str, msgspec.Raw]) -> bytes:
    return msgspec.json.encode({
        **fields, "model": model, "stream": True, "stream_options": {"include_usage": True},
    })  # fmt: skip


def _raw(value: object) -> msgspec.Raw:
    try:
        return msgspec.Raw(msgspec.json.encode(value))
    except (UnicodeEncodeError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else "it has a lone surrogate"
        raise RequestRefused(
            f"the call cannot be sent: {why}", hint="send whole characters, a few levels deep"
        ) from None


def _event(name: str, data: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(data) + b"\n\n"


def _problem(error: TetradError) -> bytes:
    return _event("problem", {"status": error.status, "code": error.code, "detail": error.message, "hint": error.hint})


def _too_many(most: int) -> TetradError:
    return Overloaded(
        f"{most} calls of playgrounds are under way", hint="try again in a moment, or raise playground_runs"
    )


def _refusal(status: int, body: bytes) -> dict[str, Any]:
    """Read an error of the gateway (in the words of the OpenAI protocol) as a problem."""
    try:
        error = msgspec.json.decode(body, type=dict[str, Any]).get("error")
    except msgspec.MsgspecError:
        error = None
    told = error if isinstance(error, dict) else {}
    message = str(told.get("message") or f"the gateway answered with status {status}")
    return {
        "status": status,
        "code": str(told.get("code") or "gateway_refused"),
        "detail": message,
        "hint": str(told.get("hint") or ""),
    }


def _text(value: bytes | None) -> str:
    return (value or b"").decode("latin-1")
