"""Releases that are chains: several prompts one after the other, whose answers feed the variables of later ones.

The client's messages go to the first step, and to those later ones whose prompt has a place for them. What else the
client asks for (a stream, tools, a form, sampling) goes to the last step, whose answer is the answer. Each step is an
attempt of the exchange, with the step's name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, Clock, TetradError, Unavailable
from tetrad.serving._body import Fields, read_variables
from tetrad.serving._dispatch import Dispatch, settle
from tetrad.serving._exchange import Exchange
from tetrad.serving._messages_prompting import PLACEHOLDER
from tetrad.serving._model import ReleaseRoute, RouteTable
from tetrad.serving._operations import COUNT_TOKENS
from tetrad.serving._prompting import CompiledRelease, house_compiler
from tetrad.serving._routing import Route
from tetrad.serving._said import said
from tetrad.serving.errors import OutputViolated, RequestRefused
from tetrad.serving.ports import Answer, ModelCall, Outcome, PromptCompiler

_EVERYWHERE = ("model", "user", "metadata", "safety_identifier", "prompt_cache_key", "service_tier")
_STEP = b"x-tetrad-step"


class Chaining:
    """The layer (see `tetrad.serving.Layer`) that runs chains."""

    def __init__(self, clock: Clock, compiler: PromptCompiler = house_compiler) -> None:
        self._clock = clock
        self._compiler = compiler
        self._known: dict[tuple[str, str], Chain] = {}

    def bind(self, table: RouteTable, following: Dispatch) -> Dispatch:
        chains: dict[tuple[str, str], Chain] = {}
        for release in table.releases.values():
            if release.steps:
                name = release.project, release.digest
                known = self._known.get(name)
                chains[name] = known if known and known.route == release else Chain(release, self._compiler)
        self._known = chains
        if not chains:
            return following

        def dispatch(exchange: Exchange, route: Route, call: ModelCall) -> Awaitable[Answer]:
            release = route.release.route if route.release is not None else None
            if release is None or not release.steps:
                return following(exchange, route, call)
            return self._run(following, exchange, route, call, chains[release.project, release.digest])

        return dispatch

    async def _run(
        self, following: Dispatch, exchange: Exchange, route: Route, call: ModelCall, chain: Chain
    ) -> Answer:
        if call.operation is COUNT_TOKENS:
            raise RequestRefused(
                "the tokens of a chain cannot be counted before it runs", param="model", code="operation_not_served"
            )
        values, answers = chain.values(exchange.variables), dict[str, str]()
        for number, step in enumerate(chain.steps):
            last = number == len(chain.steps) - 1
            name = step.route.step
            fields = _fields(call, step.route, first=number == 0, last=last)
            given = chain.given(step.route, values, answers)
            _, unsaid = step.put(call.operation, fields, msgspec.json.encode(given))
            asked = msgspec.structs.replace(
                call, fields=fields, unsaid=unsaid, stream=call.stream and last, usage_asked=call.usage_asked and last
            )
            where = route.steps.get(name, route)._replace(release=step)
            answer = await self._step(following, exchange, where, asked, name)
            if last or answer.status >= 400:
                answer.headers.append((_STEP, name.encode()))
                return answer
            answers[name] = await self._text(exchange, answer, call, name)
        raise TetradError("a chain has no step")  # control makes none

    @staticmethod
    async def _step(following: Dispatch, exchange: Exchange, route: Route, call: ModelCall, name: str) -> Answer:
        before = len(exchange.attempts)
        try:
            return await following(exchange, route, call)
        except TetradError as error:
            error.message = f"the step {name!r}: {error.message}"
            raise
        finally:
            for attempt in exchange.attempts[before:]:
                attempt.step = name

    async def _text(self, exchange: Exchange, answer: Answer, call: ModelCall, name: str) -> str:
        """Read what a step said, and settle its attempt, however that ends."""
        attempt = exchange.attempts[-1] if exchange.attempts else None
        try:
            await answer.read()
            while answer.stream and not answer.done:  # an upstream that streams unasked
                await answer.read()
            outcome = answer.outcome()
        except TetradError as error:
            if attempt is not None:
                attempt.error_type, attempt.error_message = error.code, error.message
            error.message = f"the step {name!r}: {error.message}"
            raise
        except BaseException:
            if attempt is not None:
                attempt.error_type = "cancelled"
            raise
        finally:
            if attempt is not None:
                settle(exchange, attempt, answer, self._clock.now_ns())
            answer.close()
        return _said(call, outcome, name)


class Chain:
    """A chain made ready; a step that cannot be compiled breaks this release alone."""

    def __init__(self, route: ReleaseRoute, compiler: PromptCompiler) -> None:
        self.route = route
        self._problem = ""
        self._steps: tuple[CompiledRelease, ...] = ()
        try:
            self._steps = tuple(CompiledRelease(step, compiler) for step in route.steps)
        except TetradError as error:
            self._problem = error.message
        self._defaults = {
            variable.name: msgspec.json.decode(variable.default)
            for variable in route.variables
            if bytes(variable.default)
        }
        self._required = [variable.name for variable in route.variables if not bytes(variable.default)]

    @property
    def steps(self) -> tuple[CompiledRelease, ...]:
        """The steps in their order; raises `Unavailable` where one is broken."""
        if self._problem:
            raise Unavailable(
                f"the release {self.route.digest} cannot be served: {self._problem}",
                hint="make a release that is whole; `tetrad status` names those that are broken",
                code="release_unusable",
            )
        return self._steps

    def values(self, variables: bytes) -> dict[str, Any]:
        """Return the values of the chain's variables; their types are checked where a step takes them."""
        given = {**self._defaults, **read_variables(variables)}
        missing = [name for name in self._required if name not in given]
        if missing:
            raise RequestRefused(
                f"the variable {missing[0]!r} has no value",
                param="tetrad.variables",
                hint=f'send "tetrad": {{"variables": {{"{missing[0]}": …}}}}',
                code="prompt_variables",
            )
        return given

    @staticmethod
    def given(step: ReleaseRoute, values: Mapping[str, Any], answers: Mapping[str, str]) -> dict[str, Any]:
        """Return the values of a step's variables; raises `OutputViolated` where an earlier answer lacks one."""
        found = {}
        for name, source in step.inputs.items():
            origin, *path = source.split(".")
            if origin == "variables":
                if path[0] in values:
                    found[name] = values[path[0]]
            elif path[0] == "text":
                found[name] = answers[origin]
            else:
                found[name] = _field(answers[origin], path[1:], origin)
        return found


def _field(text: str, path: list[str], step: str) -> Any:
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE as error:
        raise OutputViolated(
            f"the step {step!r} did not answer in JSON: {error}", hint="try again; the trace holds the answer"
        ) from None
    for part in path:
        if not isinstance(value, dict) or part not in value:
            raise OutputViolated(
                f"the answer of the step {step!r} has no field {'.'.join(path)!r}",
                hint="try again; the trace holds the answer",
            )
        value = value[part]
    return value


def _fields(call: ModelCall, step: ReleaseRoute, *, first: bool, last: bool) -> Fields:
    operation = call.operation
    fields = dict(call.fields)
    if not last:
        kept = {*_EVERYWHERE, operation.input, operation.system or "instructions", "max_tokens"}
        fields = {name: raw for name, raw in fields.items() if name in kept}
        if operation.name == "responses":
            fields["store"] = msgspec.Raw(b"false")
    if not first and not any(each.role == PLACEHOLDER and each.text == "messages" for each in step.messages):
        fields[operation.input] = msgspec.Raw(b"[]")
        fields.pop(operation.system or "instructions", None)
    return fields


def _said(call: ModelCall, outcome: Outcome, name: str) -> str:
    found = said(call.operation.name, outcome.output)
    text = found[0].text if found else ""
    if not text:
        why = "refused" if found and found[0].refused else "said nothing"
        raise OutputViolated(
            f"the step {name!r} {why}, so the chain cannot go on", hint="try again", code="step_failed"
        )
    return text
