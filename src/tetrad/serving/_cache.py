"""The layer that answers from what was answered before."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tetrad.kernel import UNREADABLE, Clock, Usage
from tetrad.serving._cache_forms import without_usage
from tetrad.serving._cache_key import answer_key, may_be_cached, one_form, question
from tetrad.serving._cache_levels import QUESTIONS, Levels
from tetrad.serving._cache_store import CacheCounts, CachedAnswer, MemoryAnswers
from tetrad.serving._dispatch import Dispatch
from tetrad.serving._exchange import Attempt, Exchange
from tetrad.serving._model import CachePolicy, RouteTable
from tetrad.serving.errors import RequestRefused
from tetrad.serving.ports import Answer, ModelCall, Outcome, SharedAnswers, SimilarQuestions

if TYPE_CHECKING:
    from tetrad.serving._routing import Route

HEADER = b"x-tetrad-cache"
_MODES = ("on", "off", "refresh")
_BY_REQUEST = CachePolicy()
_WHOLE: Final = frozenset(("stop", "end_turn", "stop_sequence", "completed"))
_TOOLS: Final = frozenset(("tool_calls", "tool_use", "function_call"))
_PLAIN_ITEMS: Final = frozenset(("message", "reasoning"))
"""What a response holds that calls no tools."""
_PIECE = 16_384
_list = msgspec.json.Decoder(list[Any])


class Cache:
    """Answer equal calls, and where an app wants it similar questions, with the answer of an earlier one.

    Only whole, good answers are kept: status 200, received to their end, finished by the model itself (not cut by a
    limit or a filter), no larger than `entry_bytes`, given by the model that the route names; tool calls where the
    policy allows them. Equal calls that come while the first is under way wait for its answer, at most `wait_s`. What
    fails here (disk, server, index) costs a miss and never the answer. `shared` are asked in their order, and only for
    keys whose contents may be recorded.
    """

    def __init__(
        self,
        memory: MemoryAnswers,
        clock: Clock,
        *,
        shared: Sequence[SharedAnswers] = (),
        similar: SimilarQuestions | None = None,
        entry_bytes: int = 1024 * 1024,
        wait_s: float = 30.0,
    ) -> None:
        self.memory = memory
        self.counts = CacheCounts()
        self._levels = Levels(memory, shared, clock, self.counts)
        self._clock = clock
        self._similar = similar
        self._entry_bytes = entry_bytes
        self._wait_s = wait_s
        self._flights: dict[bytes, asyncio.Future[None]] = {}

    def bind(self, table: RouteTable, following: Dispatch) -> Dispatch:
        """Look at calls of apps with a policy, and at those that ask for the cache; see `Layer`."""
        policies = table.caches

        def dispatch(exchange: Exchange, route: Route, call: ModelCall) -> Awaitable[Answer]:
            asked = exchange.cache or exchange.headers.get(HEADER)
            if not policies and not asked:
                return following(exchange, route, call)
            project = exchange.key.project if exchange.key is not None else ""
            policy = policies.get(f"{project}/{route.app}") or policies.get(f"{project}/") or _BY_REQUEST
            mode = _mode(asked)
            if not mode:
                mode = "on" if policy.use == "always" else ""
            if not mode:
                return following(exchange, route, call)
            if mode == "off" or policy.use == "never" or exchange.goes_on or not may_be_cached(call):
                return self._plain(exchange, route, call, following)
            return self._answer(exchange, route, call, _Order(policy, mode == "refresh", following))

        return dispatch

    @property
    def similar_failures(self) -> int:
        """How often similar questions could not be looked for."""
        return self._similar.failures if self._similar is not None else 0

    async def close(self) -> None:
        """Let the writes under way end."""
        await self._levels.close()

    async def _plain(self, exchange: Exchange, route: Route, call: ModelCall, following: Dispatch) -> Answer:
        self.counts.results["off"] += 1
        answer = await following(exchange, route, call)
        answer.headers.append((HEADER, b"off"))
        return answer

    async def _answer(self, exchange: Exchange, route: Route, call: ModelCall, order: _Order) -> Answer:
        key = answer_key(exchange, route, call, order.policy)
        if key is None:
            return await self._plain(exchange, route, call, order.following)
        if order.refresh:
            return await self._call(exchange, route, call, order, key)
        shared = _may_share(exchange)
        found = await self._levels.find(key, call, shared=shared)
        if found is not None:
            return self._hit(exchange, route, call, *found, "hit")
        asked = question(exchange, route, call, order.policy) if self._similar is not None else None
        flight = self._flights.get(key)
        if flight is not None:
            await asyncio.wait((flight,), timeout=self._wait_s)
            found = await self._levels.find(key, call, shared=shared)
            if found is not None:
                return self._hit(exchange, route, call, *found, "joined")
            # the first call failed, or its answer could not be kept: everybody for themselves, else they would queue
            return await self._call(exchange, route, call, order, key, asked)
        landed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._flights[key] = landed

        def land(_exchange: Exchange | None = None) -> None:
            if not landed.done():
                self._flights.pop(key, None)
                landed.set_result(None)

        exchange.on_done.append(land)
        try:
            if asked is not None:
                near = await self._near(asked, call, order.policy, shared=shared)
                if near is not None:
                    land()
                    return self._hit(exchange, route, call, *near[0], "similar", near[1])
            return await self._call(exchange, route, call, order, key, asked, land)
        except BaseException:
            land()
            raise

    async def _call(
        self,
        exchange: Exchange,
        route: Route,
        call: ModelCall,
        order: _Order,
        key: bytes,
        asked: tuple[str, str] | None = None,
        land: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Make the call, and keep its answer when it is whole."""
        result = "refresh" if order.refresh else "miss"
        self.counts.results[result] += 1
        strip = False
        if call.stream and one_form(call) and not call.usage_asked:
            # usage is kept with the stream, for those who will ask for it; this client does not see it
            fields = {**call.fields, "stream_options": _with_usage(call.fields.get("stream_options"))}
            call, strip = msgspec.structs.replace(call, fields=fields, usage_asked=True), True
        started_ns = self._clock.now_ns()
        answer = await order.following(exchange, route, call)
        answer.headers.append((HEADER, result.encode()))
        if answer.status != 200:
            land()
            return answer

        def keep(pieces: list[bytes], outcome: Outcome) -> None:
            made = exchange.attempts[-1] if exchange.attempts else None
            if made is None or made.model != route.model.entry or not _is_whole(call, outcome, order.policy):
                return
            usage, now_ns = outcome.usage or Usage(), self._clock.now_ns()
            entry = CachedAnswer(
                key=key,
                stream=answer.stream,
                body=b"".join(pieces),
                made_ns=now_ns,
                expires_ns=now_ns + order.policy.ttl_s * 1_000_000_000,
                took_ns=now_ns - started_ns,
                content_type=next((v.decode("latin-1") for n, v in answer.headers if n == b"content-type"), ""),
                response_model=outcome.response_model,
                response_id=outcome.response_id,
                finish_reasons=outcome.finish_reasons,
                output=outcome.output,
                tokens_in=usage.input_total,
                tokens_out=usage.output_total,
                cost=made.pricer.cost(outcome.usage) if made.pricer and outcome.usage else None,
                currency=made.pricer.currency if made.pricer else "USD",
            )
            self._levels.keep(entry, shared=_may_share(exchange))
            if asked is not None and self._similar is not None:
                self._levels.later(QUESTIONS, partial(self._remember, asked, entry.key, order.policy.ttl_s))

        return _Watched(answer, keep, land, strip=strip, most=self._entry_bytes, result=result)

    # similar questions

    async def _near(
        self, asked: tuple[str, str], call: ModelCall, policy: CachePolicy, *, shared: bool
    ) -> tuple[tuple[CachedAnswer, str], float] | None:
        if self._similar is None:
            return None
        nearest = await self._similar.find(*asked, policy.threshold)
        if nearest is None:
            return None
        key, score = nearest
        found = await self._levels.find(key, call, shared=shared)
        return None if found is None else (found, score)

    async def _remember(self, asked: tuple[str, str], key: bytes, ttl_s: int) -> None:
        if self._similar is not None:
            await self._similar.add(*asked, key, ttl_s)

    # answers

    def _hit(
        self,
        exchange: Exchange,
        route: Route,
        call: ModelCall,
        found: CachedAnswer,
        level: str,
        how: str,
        score: float | None = None,
    ) -> Answer:
        self.counts.results[how] += 1
        self.counts.found[level] += 1
        self.counts.saved_tokens += found.tokens_in + found.tokens_out
        now_ns = self._clock.now_ns()
        model = route.model
        made = Attempt(model.entry, model.upstream, b"", now_ns)
        made.cost, made.currency = "0", found.currency
        exchange.attempts.append(made)
        exchange.status = made.status = 200
        return _Replayed(found, call, now_ns, level, how, score)


class _Order(msgspec.Struct, frozen=True):
    policy: CachePolicy
    refresh: bool
    following: Dispatch


class _Watched:
    """An answer on its way through, of which a copy is taken."""

    def __init__(
        self,
        inner: Answer,
        keep: Callable[[list[bytes], Outcome], None],
        land: Callable[[], None],
        *,
        strip: bool,
        most: int,
        result: str,
    ) -> None:
        self.status, self.headers, self.stream = inner.status, inner.headers, inner.stream
        self.received_ns, self.dropped = inner.received_ns, inner.dropped
        self.done = False
        self._inner = inner
        self._keep: Callable[[list[bytes], Outcome], None] | None = keep
        self._land = land
        self._strip = strip
        self._left = most
        self._pieces: list[bytes] = []
        self._outcome: Outcome | None = None
        self._result = result

    async def read(self) -> bytes:
        while True:
            piece = await self._inner.read()
            self._take(piece)
            if self._inner.done:
                self._finish()
            if self._strip:
                piece = without_usage(piece)
            if piece or self.done:
                return piece

    def outcome(self) -> Outcome:
        found = self._outcome or self._inner.outcome()
        return msgspec.structs.replace(found, attributes={**found.attributes, "tetrad.cache": self._result})

    def close(self) -> None:
        self._inner.close()
        self._land()

    def _take(self, piece: bytes) -> None:
        if self._keep is None:
            return
        self._left -= len(piece)
        if self._left < 0:
            self._keep = None
            self._pieces.clear()
            self._land()  # whoever waits for this answer would wait in vain
            return
        self._pieces.append(piece)

    def _finish(self) -> None:
        self.done = True
        self._outcome = self._inner.outcome()
        if self._keep is not None:
            self._keep(self._pieces, self._outcome)
        self._land()


class _Replayed:
    """An answer that was given before."""

    status = 200
    dropped: tuple[str, ...] = ()

    def __init__(
        self, found: CachedAnswer, call: ModelCall, now_ns: int, level: str, how: str, score: float | None
    ) -> None:
        age_s = max(0, now_ns - found.made_ns) // 1_000_000_000
        self.stream = found.stream
        self.received_ns = now_ns
        self.done = not found.stream
        self.headers = [(HEADER, b"hit"), (b"age", b"%d" % age_s)]
        if not found.stream:
            self.headers.insert(0, (b"content-type", found.content_type.encode("latin-1")))
        self._attributes = {
            "tetrad.cache": "hit",
            "cache_hit": "true",
            "cache.kind": "similar" if how == "similar" else "exact",
            "cache.level": level,
            "cache.age_s": str(age_s),
            "cache.saved_tokens": str(found.tokens_in + found.tokens_out),
            "cache.saved_ms": str(found.took_ns // 1_000_000),
        }
        if found.cost is not None:
            self._attributes["cache.saved_cost"] = f"{found.cost} {found.currency}"
        if score is not None:
            self.headers.append((b"x-tetrad-cache-similarity", b"%.4f" % score))
            self._attributes["cache.similarity"] = f"{score:.4f}"
        body = found.body
        if found.stream and one_form(call) and not call.usage_asked:
            body = without_usage(body)
        self._pieces = _pieces(body) if found.stream else iter((body,))
        self._next = next(self._pieces, b"")
        self._found = found

    async def read(self) -> bytes:
        piece = self._next
        self._next = next(self._pieces, b"")
        self.done = not self._next
        return piece

    def outcome(self) -> Outcome:
        found = self._found
        return Outcome(
            usage=Usage(),  # nothing was read or written by a model
            response_model=found.response_model,
            response_id=found.response_id,
            finish_reasons=found.finish_reasons,
            output=found.output,
            first_chunk_ns=self.received_ns if found.stream else 0,
            attributes=self._attributes,
        )

    def close(self) -> None:
        """Nothing is held."""


def _may_share(exchange: Exchange) -> bool:
    """Contents that their key does not let us record go nowhere but into memory."""
    return exchange.key is not None and exchange.key.content == "full"


def _mode(asked: str | bytes | None) -> str:
    """Return what a request says of the cache, `on`, `off` or `refresh`; nothing where it says nothing."""
    text = asked.decode("latin-1") if isinstance(asked, bytes) else asked or ""
    if text and text not in _MODES:
        raise RequestRefused(
            f"{text[:40]!r} is nothing that the cache can do", param="x-tetrad-cache", hint="on, off or refresh"
        )
    return text


def _is_whole(call: ModelCall, outcome: Outcome, policy: CachePolicy) -> bool:
    if outcome.error_type or outcome.truncated:
        return False
    if call.operation.kind != "chat":
        return True
    reasons = set(outcome.finish_reasons)
    tools = bool(reasons & _TOOLS) or _calls_tools(call, outcome.output)
    return bool(reasons) and reasons <= (_WHOLE | _TOOLS) and (policy.tools or not tools)


def _calls_tools(call: ModelCall, output: bytes) -> bool:
    """Tell whether an answer calls tools, whatever it gives as its reason to end; what cannot be read may."""
    responses = call.operation.name == "responses"
    if not output and not responses:
        return False
    try:
        said = _list.decode(output)
    except UNREADABLE:
        return True
    if responses:  # hosted tools have items of their own, and new ones come: web_search_call, mcp_approval_request, ...
        return any(not isinstance(item, dict) or item.get("type") not in _PLAIN_ITEMS for item in said)
    return any(isinstance(message, dict) and _message_calls(message) for message in said)


def _message_calls(message: dict[str, Any]) -> bool:
    if message.get("tool_calls") or message.get("function_call"):
        return True
    content = message.get("content")
    parts = content if isinstance(content, list) else ()
    return any(isinstance(part, dict) and str(part.get("type")).endswith("tool_use") for part in parts)


def _pieces(events: bytes) -> Iterator[bytes]:
    """Cut a stream where events end, into pieces that a slow client can take one by one."""
    start = 0
    while start < len(events):
        end = events.find(b"\n\n", min(start + _PIECE, len(events)))
        end = len(events) if end < 0 else end + 2
        yield events[start:end]
        start = end


def _with_usage(raw: msgspec.Raw | None) -> msgspec.Raw:
    options: dict[str, msgspec.Raw] = {}
    if raw is not None:
        options = msgspec.json.decode(raw, type=dict[str, msgspec.Raw] | None) or {}
    options["include_usage"] = msgspec.Raw(b"true")
    return msgspec.Raw(msgspec.json.encode(options))
