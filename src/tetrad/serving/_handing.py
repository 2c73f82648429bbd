"""Lines of batches that a provider's own batch API does: what is to be sent of each, and what its answer cost.

A line passes the pipeline twice, both times asked by a worker with the batch's own key. First everything is done to it
that is done to a call, but it is not sent: its body is returned (`render`). When the provider has its answer the line
comes back with that, and is read, priced, counted and recorded as if it had been called (`settle`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence

import msgspec

from tetrad.kernel import TetradError
from tetrad.serving._body import Fields, read_fields
from tetrad.serving._dispatch import BoundModel
from tetrad.serving._exchange import Exchange, Reply
from tetrad.serving._model import ReleaseRoute
from tetrad.serving._operations import RESPONSES
from tetrad.serving._routing import CompiledTable, Route
from tetrad.serving._unit_pricing import batch_pricer_of
from tetrad.serving.errors import RequestRefused
from tetrad.serving.ports import Answer, ModelCall

STEP = b"x-tetrad-batch-step"
SETTLED = b"x-tetrad-batch-line"
"""A header of an answer that counts: whatever its status, it is the provider's, or is told in its place."""
SPENT = b"x-tetrad-batch-spent"
"""A header that says what a line cost of budgets (`Spending`), as JSON: control counts it once, with the answer."""
Holds = Sequence[tuple[str, str, int]]
Quote = Callable[[Exchange, Route, ModelCall], Holds]
_GOES_ON = ("previous_response_id", "conversation")


class LineFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a line was when it was handed over; by this it is recorded, whatever was released since."""

    model: str
    app: str = ""
    ref: str = ""
    binding: str = ""
    release: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    code_digest: str = ""


class RenderedLine(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be sent, or in `calls` why the line cannot be handed over.

    `holds` are what it may cost of budgets: rule, instance, and 10^-12 of the rule's currency. `insists` says that
    people want its provider's batches and nothing else.
    """

    calls: str = ""
    path: str = ""
    body: msgspec.Raw = msgspec.Raw(b"null")
    upstream: str = ""
    adapter: str = ""
    upstream_model: str = ""
    facts: LineFacts = LineFacts("")
    holds: list[tuple[str, str, int]] = []
    insists: bool = False


class AnsweredLine(msgspec.Struct, frozen=True):
    """A line with the answer of its provider: its number, the client's body, and what came."""

    batch: str
    number: int
    facts: LineFacts
    body: msgspec.Raw
    status: int
    answer: msgspec.Raw


_answered = msgspec.json.Decoder(AnsweredLine)


async def rendered(table: CompiledTable, exchange: Exchange, route: Route, call: ModelCall, quote: Quote) -> bytes:
    """Return a `RenderedLine` as JSON; raises `TetradError` as the call itself would before it is sent."""
    why = _only_calls(table, exchange, route, call)
    model = _at_batch_price(route.model)
    if why or model.lines is None:
        return msgspec.json.encode(RenderedLine(calls=why))
    release = route.release.route if route.release is not None else None
    holds = quote(exchange, route._replace(model=model), call)
    path, body = await model.lines.rendered(call.asking(model.entry.upstream_model))
    facts = LineFacts(model.entry.name, route.app, route.ref, route.binding)
    if release is not None:
        facts = msgspec.structs.replace(
            facts,
            release=release.digest,
            prompt_name=release.prompt_name,
            prompt_version=release.prompt_version,
            code_digest=release.code_digest,
        )
    upstream = model.upstream
    return msgspec.json.encode(
        RenderedLine(
            "",
            path,
            msgspec.Raw(body),
            upstream.name,
            upstream.adapter,
            model.entry.upstream_model,
            facts,
            [*holds],
            upstream.batches_only,
        )
    )


def settling(table: CompiledTable, exchange: Exchange) -> tuple[Route, ModelCall, Fields]:
    """Return where an answered line went, and its call, and note on the exchange what it was.

    Its ids follow from the batch and its number: told twice, it is the same span.
    """
    try:
        line = _answered.decode(exchange.body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RequestRefused(f"this is no answered line: {error}", code="bad_field") from None
    key, facts = exchange.key, line.facts
    if key is None or line.batch != key.batch:
        raise RequestRefused("the line is of another batch", code="bad_field")
    seed = hashlib.sha256(f"{line.batch}/{line.number}".encode()).hexdigest()
    exchange.trace_id, exchange.parent_id, exchange.span_id = seed[:32], "", seed[32:48]
    exchange.body = bytes(line.body)
    fields = read_fields(exchange.body)
    exchange.app, exchange.ref, exchange.binding = facts.app, facts.ref, facts.binding
    if facts.release:
        exchange.release = ReleaseRoute(
            facts.release, key.project, facts.app, facts.model, facts.prompt_name, facts.prompt_version,
            code_digest=facts.code_digest,
        )  # fmt: skip
    base = table.batch_model(key.project, facts.model)
    lines = base.lines

    async def given(call: ModelCall) -> Answer:
        exchange.attempts[-1].span_id = seed[48:64]
        if lines is None:
            raise TetradError("the provider takes no batches")
        return await lines.answered(call, line.status, bytes(line.answer))

    model = _at_batch_price(base)._replace(handler=given)
    route = Route(model, app=facts.app, ref=facts.ref, binding=facts.binding)
    return route, ModelCall(exchange.operation, fields, batch=True), fields


class LineReply:
    """A reply about a line: it says what that cost of budgets, and whether it is its answer or an error of ours."""

    def __init__(self, reply: Reply, exchange: Exchange, *, settled: bool = False) -> None:
        self._reply = reply
        self._exchange = exchange
        self._settled = settled

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        more = [(SETTLED, b"settled")] if self._settled else []
        if self._exchange.spending:
            spent = json.dumps(list(self._exchange.spending))  # names of users in ASCII, as headers are
            more.append((SPENT, spent.encode()))
        await self._reply.whole(status, [*headers, *more], body)

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        await self._reply.begin(status, headers)

    async def write(self, piece: bytes) -> None:
        await self._reply.write(piece)

    async def end(self, piece: bytes) -> None:
        await self._reply.end(piece)


def _at_batch_price(model: BoundModel) -> BoundModel:
    price = model.entry.price
    return model._replace(pricer=None if price is None else batch_pricer_of(price))


def _only_calls(table: CompiledTable, exchange: Exchange, route: Route, call: ModelCall) -> str:
    """Return why a line must be called; empty where its provider's batches can do it."""
    name, upstream = exchange.model[:200], route.model.upstream
    release = route.release.route if route.release is not None else None
    if route.plan is not None:
        return f"{name!r} is a route of its own, or its provider has several keys"
    if release is not None and release.steps:
        return f"{name!r} is a chain"
    if release is not None and release.output != "off" and {"response_format", "tools"} & set(release.params):
        return f"the answers of {name!r} are held against what its release promises"
    if not upstream.batches or route.model.lines is None:
        return f"the provider {upstream.name!r} is not known to have batches, or is set to `calls`"
    key = exchange.key
    if key is None or table.batch_model(key.project, route.model.entry.name) is not route.model:
        return f"the binding of {name!r} has a key or a limit of its own"
    if call.operation is RESPONSES and any(bytes(call.fields.get(each, b"null")) != b"null" for each in _GOES_ON):
        return "a line goes on from a conversation"
    return ""
