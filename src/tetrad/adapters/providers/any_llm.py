"""Providers that any-llm knows and we do not: its SDKs make the calls, in a thread of their own.

any-llm (https://docs.mozilla.ai/any-llm/) is the extra `any-llm`. It is imported with the first call, never before.
"""

from __future__ import annotations

import asyncio
import importlib.util
import inspect
import ipaddress
import logging
import re
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import msgspec

from tetrad.adapters.providers._answers import MAX_EVENT, Whole, sane
from tetrad.adapters.providers._any_llm_wire import (
    CHAT_FIELDS,
    EMBEDDINGS_FIELDS,
    KEPT,
    Refusal,
    arguments,
    chunk,
    completion,
    decoded,
    embeddings,
    kinds_of,
    refusal_of,
)
from tetrad.adapters.providers._endpoint import PooledProvider, model_of
from tetrad.adapters.providers._own_loop import OwnLoop
from tetrad.adapters.providers.openai import OUTCOMES, ChatStream
from tetrad.kernel import UNREADABLE, Clock, InvalidInput, MissingExtra, TetradError
from tetrad.kit.egress import EgressRefused
from tetrad.kit.upstream import BrokenAnswer, Client, ConnectFailed, NotAllowed, TimedOut, UpstreamBusy, parse_address
from tetrad.serving import RequestRefused, StreamBroken, Upstream, reach_of, translated
from tetrad.serving.ports import Answer, Endpoint, ModelCall, Outcome

log = logging.getLogger(__name__)
T = TypeVar("T")
MAX_LOOPS = 64
"""So many of any-llm's providers have a thread at once in a process."""
MAX_CLIENTS = 64
"""So many clients, each with connections of its own, are kept of one of them."""
_SPOKEN = ("chat", "embeddings")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_NO_KEY = "none"
_DONE = b"data: [DONE]\n\n"


class AnyLLMProvider:
    """Makes calls through any-llm. Each of its providers has a thread: an SDK that blocks holds up only its own calls.

    Of a stream's events at most `keep_bytes` are kept for the record; an answer that is no stream may have
    `answer_bytes`. Raises `MissingExtra` where any-llm is not installed.
    """

    def __init__(self, client: Client, clock: Clock, *, keep_bytes: int, answer_bytes: int) -> None:
        if sys.modules.get("any_llm") is None and importlib.util.find_spec("any_llm") is None:
            raise MissingExtra("The provider 'any-llm'", "any-llm")
        self.pooled = PooledProvider(client, clock, keep_bytes=keep_bytes, answer_bytes=answer_bytes)
        self._loops: dict[str, Sdk] = {}

    def endpoint(self, upstream: Upstream) -> Endpoint:
        """Prepare calls to an upstream; see `tetrad.serving.ports.Provider`."""
        name = upstream.options.get("provider", "")
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"the upstream {upstream.name!r} does not say which of any-llm's providers it is",
                hint="the option provider=NAME, such as deepinfra",
                code="bad_option",
            )
        if upstream.auth not in ("", "bearer", "none"):
            raise InvalidInput(
                f"the upstream {upstream.name!r} is to log in by {upstream.auth!r}, which any-llm cannot",
                hint="any-llm takes an API key: leave `auth` out",
                code="bad_login",
            )
        if upstream.ca:
            raise InvalidInput(
                f"the upstream {upstream.name!r} has certificates of its own, which any-llm cannot be given",
                hint="use an adapter of ours, or the system's certificates",
                code="bad_ca",
            )
        sdk = self._loops.get(name)
        if sdk is None:
            if len(self._loops) >= MAX_LOOPS:
                raise InvalidInput(f"more than {MAX_LOOPS} of any-llm's providers are configured", hint="remove some")
            sdk = self._loops[name] = Sdk(name)
        return AnyLLMEndpoint(self.pooled, sdk, upstream)

    async def close(self) -> None:
        """End all calls and their threads."""
        self.pooled.drainer.close()
        for sdk in self._loops.values():
            await sdk.close()
        self._loops.clear()


class Sdk:
    """One of any-llm's providers: its clients, and the thread that they run in."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = OwnLoop(f"any-llm-{name}")
        self._clients: dict[tuple[str, str], Any] = {}

    def client(self, secret: str, base_url: str) -> Any:
        """Return the client of a key and an address, making it once; called in the thread.

        Key and address are always given: where they are not, SDKs take them from this process's environment. Some of
        any-llm's providers have no word for the address, and leave it to their SDK all the same.
        """
        key = secret, base_url
        made = self._clients.get(key)
        if made is None:
            from any_llm import AnyLLM

            given = {"api_key": secret or _NO_KEY, "api_base": base_url, "unified_exceptions": True}
            try:  # the route says what is tried again, and how often
                made = AnyLLM.create(self.name, **given, max_retries=0)
            except Exception as error:
                if "UnsupportedParameterError" not in kinds_of(error):
                    raise
                made = AnyLLM.create(self.name, **given)
            if len(self._clients) >= MAX_CLIENTS:
                self._clients.pop(next(iter(self._clients)))  # calls that use it go on
            self._clients[key] = made
        return made

    async def close(self) -> None:
        """End the calls, the connections and the thread."""
        await self.loop.close(self._closed)

    async def _closed(self) -> None:
        for made in self._clients.values():
            await _quietly(getattr(made, "client", None))
        self._clients.clear()


class AnyLLMEndpoint:
    """One upstream that any-llm calls."""

    def __init__(self, provider: PooledProvider, sdk: Sdk, upstream: Upstream) -> None:
        self._address = parse_address(upstream.base_url, reach_of(upstream))
        self._provider = provider
        self._sdk = sdk
        self._upstream = upstream
        self._secret = upstream.secret if upstream.auth != "none" else ""
        self._covered = [text for text in (self._secret, *upstream.secrets) if text]
        self._under_way = 0

    async def call(self, call: ModelCall) -> Answer:
        """Send a call; see `tetrad.serving.ports.Endpoint`."""
        name = call.operation.name
        if name not in _SPOKEN:
            return await translated(call, _SPOKEN, self._upstream, self.call)
        given, lost = arguments(call, CHAT_FIELDS if name == "chat" else EMBEDDINGS_FIELDS)
        for each in lost:
            self._lose(call, each)
        if name == "embeddings":
            given["inputs"] = decoded(call, "input")
        else:
            given["messages"] = decoded(call, "messages")
            if call.stream:
                given["stream"] = True
                options = given.get("stream_options")
                given["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        self._enter()
        stream: _Pieces | None = None
        opened: list[AsyncIterator[Any]] = []
        try:
            await self._allowed()
            began = asyncio.get_running_loop().time()
            answer = await self._within(self._asked(call, given, lost, opened), self._upstream.first_byte_timeout_s)
            if isinstance(answer, Refusal):
                return self._refusal(answer)
            if isinstance(answer, bytes):
                return self._whole(name, answer, lost)
            pieces, first, ends = answer
            stream = _Pieces(self, pieces, first, ends, began + self._upstream.total_timeout_s)
        finally:
            if stream is None:
                self._leave()
                for left in opened:  # it came when nobody waited any more
                    self._sdk.loop.start(_quietly(left))
        return _Stream(self._provider, stream, strip=not call.usage_asked, dropped=tuple(lost))

    async def models(self) -> tuple[str, ...]:
        """Return the names of the models that the upstream lists."""
        await self._allowed()
        listed = await self._within(self._listed(), self._upstream.first_byte_timeout_s)
        if isinstance(listed, Refusal):
            raise TetradError(
                f"the upstream {self._upstream.name!r} lists no models ({listed.status}): {listed.message[:500]}",
                hint="name its models yourself",
                code="models_not_listed",
                status=502,
            )
        return listed

    # in the gateway's loop

    def _enter(self) -> None:
        if self._under_way >= self._upstream.max_connections:
            raise UpstreamBusy(
                f"the upstream {self._upstream.name!r} has {self._under_way} calls under way",
                hint="try again later, or raise the upstream's max_connections",
                retry_after_s=1.0,
            )
        self._under_way += 1

    def _leave(self) -> None:
        self._under_way -= 1

    def _lose(self, call: ModelCall, name: str) -> None:
        strict = call.strict if call.strict is not None else self._upstream.translation == "strict"
        if strict:
            raise RequestRefused(
                f"the upstream {self._upstream.name!r} cannot be told {name!r}",
                param=name,
                hint="leave it out, or send the header x-tetrad-translation: lossy",
                code="cannot_translate",
            )

    async def _allowed(self) -> None:
        """Look at where the base URL leads now. any-llm resolves it again: this is no wall, see ADR 0018."""
        reach, origin = self._address.reach, self._address.origin
        if reach is None or reach.own:
            return
        try:
            host = reach.check_host(origin.host)
            async with asyncio.timeout(self._upstream.connect_timeout_s):
                found = await asyncio.get_running_loop().getaddrinfo(host, origin.port, type=socket.SOCK_STREAM)
            for entry in found:
                reach.check_address(ipaddress.ip_address(str(entry[4][0])), origin.host)
        except EgressRefused as refusal:
            raise NotAllowed(self._without(refusal.message), hint=refusal.hint) from None
        except (OSError, TimeoutError):
            raise ConnectFailed(f"the name of the upstream {self._upstream.name!r} leads nowhere") from None

    async def _within(self, coroutine: Coroutine[Any, Any, T], seconds: float) -> T:
        try:
            async with asyncio.timeout(min(seconds, self._upstream.total_timeout_s)):
                return await self._sdk.loop.run(coroutine)
        except TimeoutError:
            raise TimedOut(f"the upstream {self._upstream.name!r} said nothing for {seconds:g} s") from None

    def _refusal(self, told: Refusal) -> Whole:
        headers = sane([(b"retry-after", told.retry_after.encode("latin-1", "ignore"))])
        outcome = Outcome(error_type=told.code, error_message=told.message)
        return Whole(told.status, told.body, outcome, self._provider.clock.now_ns(), headers)

    def _whole(self, name: str, body: bytes, lost: list[str]) -> Whole:
        received_ns = self._provider.clock.now_ns()
        try:
            outcome = OUTCOMES[name](body)
        except UNREADABLE as error:
            raise BrokenAnswer(f"the upstream {self._upstream.name!r} gave no {name} answer: {error}") from None
        return Whole(200, body, outcome, received_ns, [], tuple(lost))

    # in any-llm's thread

    async def _asked(
        self, call: ModelCall, given: dict[str, Any], lost: list[str], opened: list[AsyncIterator[Any]]
    ) -> Refusal | bytes | tuple[AsyncIterator[Any], bytes, bool]:
        """Return the answer, the refusal, or a stream with its first event: SDKs tell errors with either."""
        while True:
            try:
                return await self._tried(call, given, opened)
            except Exception as error:  # noqa: BLE001 - some forty SDKs raise what they like
                name = str(getattr(error, "parameter_name", ""))
                if "UnsupportedParameterError" in kinds_of(error) and name in given.keys() - KEPT - {"messages"}:
                    self._lose(call, name)
                    del given[name]
                    lost.append(name)
                    continue
                return self._told(error)

    async def _tried(
        self, call: ModelCall, given: dict[str, Any], opened: list[AsyncIterator[Any]]
    ) -> bytes | tuple[AsyncIterator[Any], bytes, bool]:
        client = self._client()
        if call.operation.name == "embeddings":
            encoding = decoded(call, "encoding_format") if "encoding_format" in call.fields else ""
            return self._encoded(embeddings(await client.aembedding(model_of(call), **given), encoding))
        if getattr(client, "TIMEOUT_SUPPORT", "unsupported") != "unsupported":
            # what runs in a thread of the SDK's ends by this alone
            given = {**given, "timeout": self._upstream.total_timeout_s}
        answer = await client.acompletion(model_of(call), **given)
        if not call.stream:
            return self._encoded(completion(answer))
        if not hasattr(answer, "__aiter__"):
            raise BrokenAnswer("any-llm returned no stream where one was asked for")
        pieces = aiter(answer)
        opened.append(pieces)
        return pieces, *await _next_of(pieces)

    async def _listed(self) -> tuple[str, ...] | Refusal:
        try:
            found = await self._client().alist_models()
            return tuple(sorted({each.id for each in found if isinstance(getattr(each, "id", None), str)}))
        except Exception as error:  # noqa: BLE001 - as above
            return self._told(error)

    def _client(self) -> Any:
        return self._sdk.client(self._secret, self._upstream.base_url)

    def _encoded(self, answer: dict[str, Any]) -> bytes:
        body = msgspec.json.encode(answer)
        for secret in self._covered:
            body = body.replace(secret.encode(), b"[secret]")
        if len(body) > self._provider.answer_bytes:
            raise BrokenAnswer(
                f"the answer is larger than {self._provider.answer_bytes:,} bytes", hint="ask for less in one call"
            )
        return body

    def _told(self, error: Exception) -> Refusal:
        """Return what the provider refused; raises `TetradError` without our secret and its address in it."""
        if not isinstance(error, TetradError):
            try:
                told = refusal_of(error, self._upstream.name)
            except TetradError as ours:
                error = ours
            else:
                return msgspec.structs.replace(told, message=self._without(told.message), code=told.code[:100])
        error.message = self._without(error.message)
        raise error from None

    def _without(self, text: str) -> str:
        for secret in self._covered:
            text = text.replace(secret, "[secret]")
        origin, named = self._address.origin, f"the upstream {self._upstream.name!r}"
        places = (self._upstream.base_url, str(origin), f"{origin.scheme}://{origin.host}", origin.host)
        for place in places:
            text = text.replace(place, named)
        return text


class _Pieces:
    """A stream of any-llm's as bytes: the next event is made when it is read; see `_answers.Coming`."""

    status = 200

    def __init__(
        self, endpoint: AnyLLMEndpoint, chunks: AsyncIterator[Any], first: bytes, ends: bool, until: float
    ) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.complete = False
        self._endpoint = endpoint
        self._chunks = chunks
        self._first: bytes | None = first
        self._ended = ends
        self._until = until
        self._closed = False

    async def read(self) -> bytes:
        if self.complete:
            return b""
        piece, self._first = self._first, None
        if piece is None:
            try:
                piece = await self._following()
            except BaseException:
                self.close()
                raise
        if not piece:
            self.close()
            self.complete = True
            if not self._ended:
                raise StreamBroken(
                    f"the stream of the upstream {self._endpoint._upstream.name!r} ended without a finish"
                )
            return _DONE
        return piece

    async def flow(self, listener: Callable[[bytes], bool]) -> None:
        while piece := await self.read():
            if not listener(piece):
                return

    async def read_all(self, limit: int) -> bytes:
        data = b""
        while piece := await self.read():
            data += piece
            if len(data) > limit:
                self.close()
                raise BrokenAnswer(f"the answer is larger than {limit:,} bytes")
        return data

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._endpoint._leave()
            self._endpoint._sdk.loop.start(_quietly(self._chunks))

    async def _following(self) -> bytes:
        endpoint = self._endpoint
        left = self._until - asyncio.get_running_loop().time()
        got = await endpoint._within(self._one(), max(0.0, min(left, endpoint._upstream.idle_timeout_s)))
        if isinstance(got, Refusal):
            raise TetradError(got.message, code=got.code, status=got.status)
        piece, ends = got
        self._ended = self._ended or ends
        if len(piece) > MAX_EVENT:
            raise BrokenAnswer(f"an event of the upstream is larger than {MAX_EVENT:,} bytes")
        return piece

    async def _one(self) -> tuple[bytes, bool] | Refusal:
        try:
            return await _next_of(self._chunks)
        except Exception as error:  # noqa: BLE001 - some forty SDKs raise what they like
            return self._endpoint._told(error)


class _Stream(ChatStream):
    """The events of a stream, as other adapters have them."""

    def __init__(self, provider: PooledProvider, pieces: _Pieces, *, strip: bool, dropped: tuple[str, ...]) -> None:
        super().__init__(provider, pieces, strip=strip)
        self.dropped = dropped


async def _next_of(chunks: AsyncIterator[Any]) -> tuple[bytes, bool]:
    """Return the next event, b"" at the end."""
    try:
        return chunk(await anext(chunks))
    except StopAsyncIteration:
        return b"", False


async def _quietly(chunks: Any) -> None:
    """Close a stream, which ends its connection; a failure is logged by its kind alone.

    The call is over, so nobody else is told, and what an SDK says may quote the key.
    """
    close = getattr(chunks, "aclose", None) or getattr(chunks, "close", None)
    if close is not None:
        try:
            ended = close()
            if inspect.isawaitable(ended):
                await ended
        except Exception as error:  # noqa: BLE001 - some forty SDKs raise what they like
            log.warning("a stream of any-llm's was not closed (%s): its connection may stay open", type(error).__name__)
