"""The output schema and the tools of releases, held against what models answer.

An answer's text must be JSON that the release's schema allows, and the arguments of every call of one of its tools
must fit that tool's parameters (JSON Schema 2020-12 or what `$schema` names; references to other documents are not
followed). A refusal is no violation, and neither is a text beside calls of tools.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, Clock, Unavailable
from tetrad.serving._body import Fields, append, read_fields
from tetrad.serving._dispatch import Dispatch, settle
from tetrad.serving._exchange import Exchange
from tetrad.serving._model import ReleaseRoute, RouteTable
from tetrad.serving._pumping import Put, pumped
from tetrad.serving._routing import Route
from tetrad.serving._said import Said, said
from tetrad.serving.errors import OutputViolated, error_event
from tetrad.serving.ports import Answer, ModelCall, Outcome

_MARKERS = {
    "chat": (b"data: [DONE]", b"data:[DONE]"),
    "responses": (b"event: response.completed", b"event: response.incomplete"),
    "messages": (b"event: message_stop",),
}
_MAX_TOLD = 300
_CUT = frozenset(("length", "max_tokens", "max_output_tokens", "incomplete"))
REPORTED = (b"x-tetrad-output", b"violated")


class Enforcing:
    """The layer (see `tetrad.serving.Layer`) that holds answers against their release."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def bind(self, table: RouteTable, following: Dispatch) -> Dispatch:
        rules = {
            (release.project, release.digest, release.step): Rules(release)
            for whole in table.releases.values()
            for release in (whole, *whole.steps)
            if release.output != "off" and ("response_format" in release.params or "tools" in release.params)
        }
        if not rules:
            return following

        def dispatch(exchange: Exchange, route: Route, call: ModelCall) -> Awaitable[Answer]:
            if route.release is None:
                return following(exchange, route, call)
            release = route.release.route
            rule = rules.get((release.project, release.digest, release.step))
            if rule is None or call.operation.name not in _MARKERS:
                return following(exchange, route, call)
            return self._dispatch(following, exchange, route, call, rule.without_format() if _own(exchange) else rule)

        return dispatch

    async def _dispatch(
        self, following: Dispatch, exchange: Exchange, route: Route, call: ModelCall, rules: Rules
    ) -> Answer:
        rules.compile()
        answer = await following(exchange, route, call)
        if answer.status >= 400:
            return answer
        if answer.stream:
            return _CheckedStream(answer, exchange, call, rules)
        body, why = await self._checked(answer, call, rules)
        if why and rules.repair:
            self._note(exchange, answer, why)
            answer.close()
            answer = await following(exchange, route, _repaired(call, answer.outcome(), why))
            if answer.status >= 400:
                return answer
            body, why = await self._checked(answer, call, rules)
        if not why:
            return _Checked(answer, body)
        if rules.reports:
            return _Checked(answer, body, REPORTED)
        self._note(exchange, answer, why)
        answer.close()
        raise violated(why)

    @staticmethod
    async def _checked(answer: Answer, call: ModelCall, rules: Rules) -> tuple[bytes, str]:
        try:
            body = await answer.read()
        except BaseException:
            answer.close()
            raise
        return body, rules.violation(call.operation.name, answer.outcome())

    def _note(self, exchange: Exchange, answer: Answer, why: str) -> None:
        """Settle the attempt, which was paid for, as one that failed."""
        if exchange.attempts:
            attempt = exchange.attempts[-1]
            attempt.error_type, attempt.error_message = OutputViolated.code, why
            known, exchange.error_type = exchange.error_type, OutputViolated.code
            settle(exchange, attempt, answer, self._clock.now_ns())
            exchange.error_type = known  # a second try may still save the exchange


_FORMATS = {"chat": ("response_format",), "responses": ("text", "format"), "messages": ("output_config", "format")}


def _own(exchange: Exchange) -> bool:
    """Tell whether the client asked for a form of its own, which the release then let it have."""
    first, *rest = _FORMATS[exchange.operation.name]
    if first.encode() not in exchange.body:
        return False
    value: Any = msgspec.json.decode(read_fields(exchange.body).get(first, b"null"))
    for name in rest:
        value = value.get(name) if isinstance(value, dict) else None
    return value is not None


def violated(why: str) -> OutputViolated:
    """Return the error that tells a client."""
    return OutputViolated(
        f"the answer does not fit what the release promises: {why}",
        hint="try again; the trace holds the answer",
    )


class Rules:
    """What one release promises, compiled when it is first needed."""

    def __init__(self, release: ReleaseRoute) -> None:
        self._release = release
        self.repair = release.repair
        self.reports = release.output == "report"
        self._ready = False
        self._tools_only: Rules | None = None
        self._answer: Any = None
        self._tools: dict[str, Any] = {}

    def without_format(self) -> Rules:
        """Return the same rules for an answer whose form the client chose: only calls of tools are held."""
        if self._tools_only is None:
            self._tools_only = Rules(
                msgspec.structs.replace(
                    self._release,
                    params={name: raw for name, raw in self._release.params.items() if name == "tools"},
                )
            )
        return self._tools_only

    def compile(self) -> None:
        """Make the validators; raises `Unavailable` for a schema that is none."""
        if self._ready:
            return
        params = self._release.params
        form = _decoded(params, "response_format")
        schema = (form.get("json_schema") or {}).get("schema") if isinstance(form, dict) else None
        if isinstance(schema, dict):
            self._answer = self._validator(schema, "output schema")
        tools = _decoded(params, "tools")
        for tool in tools if isinstance(tools, list) else ():
            function = tool.get("function") if isinstance(tool, dict) else None
            if isinstance(function, dict) and isinstance(function.get("parameters"), dict):
                name = str(function.get("name"))
                self._tools[name] = self._validator(function["parameters"], f"tool {name!r}")
        self._ready = True

    def _validator(self, schema: dict[str, Any], what: str) -> Any:
        import jsonschema_rs

        try:
            return jsonschema_rs.validator_for(schema, retriever=_nothing_elsewhere)
        except (ValueError, TypeError, RecursionError) as error:
            raise Unavailable(
                f"the {what} of the release {self._release.digest} is no JSON Schema: {str(error)[:_MAX_TOLD]}",
                hint="correct the prompt and release it anew",
                code="release_unusable",
            ) from None

    def violation(self, operation: str, outcome: Outcome) -> str:
        """Say what of an answer does not fit; empty where all does."""
        cut = any(reason in _CUT for reason in outcome.finish_reasons)
        answers = said(operation, outcome.output)
        if not answers and self._answer is not None and not outcome.truncated:
            return "there is no answer"
        for each in answers:
            if why := self._wrong(each):
                return f"{why} (it was cut at the limit of its tokens)" if cut else why
        return ""

    def _wrong(self, answer: Said) -> str:
        for name, arguments in answer.calls:
            validator = self._tools.get(name)
            if validator is not None and (why := _mismatch(validator, arguments or "{}")):
                return f"the arguments for {name!r}: {why}"
        if self._answer is None or answer.refused or (answer.calls and not answer.text.strip()):
            return ""
        return "" if answer.calls else _mismatch(self._answer, answer.text)


def _mismatch(validator: Any, text: str) -> str:
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE as error:
        return f"it is no JSON: {str(error)[:_MAX_TOLD]}"
    try:
        found = next(iter(validator.iter_errors(value)), None)
    except ValueError as failed:  # a number that the validator cannot hold, a pattern that never ends
        return str(failed)[:_MAX_TOLD]
    if found is None:
        return ""
    place = "/".join(str(part) for part in found.instance_path)
    return f"{place or 'it'}: {found.message[:_MAX_TOLD]}"


def _nothing_elsewhere(uri: str) -> Any:
    raise ValueError(f"references to other documents are not followed: {uri[:200]}")


def _decoded(params: Mapping[str, msgspec.Raw], name: str) -> Any:
    raw = params.get(name)
    return None if raw is None else msgspec.json.decode(raw)


def _repaired(call: ModelCall, outcome: Outcome, why: str) -> ModelCall:
    """Return the call with the answer that did not fit behind it, and what was wrong with it."""
    operation = call.operation
    told = f"That answer cannot be used: {why}. Answer again, with nothing but JSON that fits the schema."
    (first, *_) = said(operation.name, outcome.output) or [Said("", ())]
    turns: list[dict[str, Any]] = [{"role": "user", "content": told}]
    if first.text:
        turns.insert(0, {"role": "assistant", "content": first.text})
    array = bytes(call.fields[operation.input])
    fields: Fields = {
        **call.fields,
        operation.input: msgspec.Raw(append(array, msgspec.json.encode(turns)[1:-1])),
    }
    return msgspec.structs.replace(call, fields=fields)


def _renumbered(last: bytes, number: int) -> bytes:
    """Return the last event of a stream with another number, where it has one."""
    name, _, data = last.partition(b"data:")
    if b'"sequence_number"' not in data:
        return last
    said = msgspec.json.decode(data.strip(), type=dict[str, msgspec.Raw])
    if "sequence_number" not in said:
        return last
    return name + b"data: " + msgspec.json.encode({**said, "sequence_number": number}) + b"\n\n"


class _Checked:
    """A whole answer that was read already."""

    stream = False

    def __init__(self, answer: Answer, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self.status = answer.status
        self.headers = [*answer.headers, *headers]
        self.received_ns = answer.received_ns
        self.dropped = answer.dropped
        self.done = True
        self._answer = answer
        self._body = body

    async def read(self) -> bytes:
        return self._body

    def outcome(self) -> Outcome:
        return self._answer.outcome()

    def close(self) -> None:
        self._answer.close()


class _CheckedStream:
    """A stream that is checked at its end: what does not fit is told before the end marker."""

    stream = True

    def __init__(self, answer: Answer, exchange: Exchange, call: ModelCall, rules: Rules) -> None:
        self.status = answer.status
        self.headers = answer.headers
        self.received_ns = answer.received_ns
        self.dropped = answer.dropped
        self._answer = answer
        self._exchange = exchange
        self._operation = call.operation
        self._rules = rules
        self._why = ""
        self.done = answer.done

    async def read(self) -> bytes:
        piece = await self._answer.read()
        self.done = self._answer.done
        if not self.done:
            return piece
        outcome = self._answer.outcome()
        if outcome.error_type or outcome.truncated:
            return piece
        self._why = self._rules.violation(self._operation.name, outcome)
        if not self._why or self._rules.reports:
            return piece
        place = max((piece.rfind(marker) for marker in _MARKERS[self._operation.name]), default=-1)
        # it takes the number of the marker, which comes after it
        number = max(outcome.events - 1, 0) if place >= 0 else outcome.events
        event = error_event(violated(self._why), self._operation.dialect, number=number)
        if place < 0:
            return piece + event
        return piece[:place] + event + _renumbered(piece[place:], number + 1)

    async def pump(self, put: Put) -> None:
        """Hand on all pieces but the last, which `read` checks; see `pumped`."""
        await pumped(self._answer, put)

    def outcome(self) -> Outcome:
        outcome = self._answer.outcome()
        if not self._why:
            return outcome
        attributes = {**outcome.attributes, "output.violation": self._why}
        if self._rules.reports:
            return msgspec.structs.replace(outcome, attributes=attributes)
        return msgspec.structs.replace(
            outcome, error_type=OutputViolated.code, error_message=self._why, attributes=attributes
        )

    def close(self) -> None:
        self._answer.close()
