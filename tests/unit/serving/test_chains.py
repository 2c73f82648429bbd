"""Chains: steps in their order, answers that feed variables, one stream, and what goes wrong in the middle."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from support import gateway as g
from support.pipeline import Bench, FakeAnswer, FakeProvider
from tetrad.kernel import SystemClock, Unavailable, Usage
from tetrad.serving import Chaining, Enforcing, MessageTemplate, Pipeline, ReleaseRoute, RouteTable, Variable
from tetrad.serving.ports import Outcome

FACTS = {
    "type": "object",
    "properties": {"facts": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}},
    "required": ["facts"],
}
FORM = msgspec.Raw(json.dumps({"type": "json_schema", "json_schema": {"name": "a", "schema": FACTS}}).encode())


def step(
    name: str, text: str, inputs: dict[str, str], *, types: dict[str, str] | None = None, **more: Any
) -> ReleaseRoute:
    kinds: Any = types or {}
    return ReleaseRoute(
        g.RELEASE, "default", "assistant", "local/m1",
        messages=(MessageTemplate("system", text), *more.pop("after", ())),
        variables=tuple(Variable(each, kinds.get(each, "string")) for each in inputs), step=name, inputs=inputs, **more,
    )  # fmt: skip


STEPS = (
    step("gather", "Gather on {{topic}}.", {"topic": "variables.topic"}, params={"response_format": FORM}),
    step("draft", "Draft from {{n}}.", {"n": "gather.output.facts.n"}, types={"n": "integer"}),
    step("polish", "Polish {{text}} in {{tone}}.", {"text": "draft.text", "tone": "variables.tone"},
         params={"temperature": msgspec.Raw(b"0.1")}),
)  # fmt: skip


def table(steps: tuple[ReleaseRoute, ...] = STEPS) -> RouteTable:
    variables = (Variable("topic"), Variable("tone", default=msgspec.Raw(b'"calm"')))
    release = ReleaseRoute(g.RELEASE, "default", "assistant", "local/m1", variables=variables, steps=steps)
    base = g.make_table("http://127.0.0.1:1/v1")
    return msgspec.structs.replace(base, releases={f"default/{g.RELEASE}": release})


class Script(FakeProvider):
    """Says one text after the other; an exception is raised."""

    def __init__(self, *texts: Any) -> None:
        super().__init__()
        self.texts = list(texts)

    async def call(self, call: Any) -> Any:
        self.calls.append(call)
        text = self.texts.pop(0)
        if isinstance(text, Exception):
            raise text
        if callable(text):
            return await text()
        message = {"role": "assistant", "content": text}
        outcome = Outcome(usage=Usage(input=10, output=4), output=json.dumps([message]).encode())
        pieces: list[Any] = [b'data: {"a": 1}\n\n', b"data: [DONE]\n\n"] if call.stream else [b'{"last": 1}']
        self.answers.append(FakeAnswer(pieces, outcome, stream=call.stream, status=400 if text == "400" else 200))
        return self.answers[-1]

    def asked(self, number: int) -> dict[str, Any]:
        return {name: json.loads(bytes(raw)) for name, raw in self.calls[number].fields.items()}


class Chained(Bench):
    def __init__(self, *texts: Any, steps: tuple[ReleaseRoute, ...] = STEPS) -> None:
        super().__init__()
        self.script = self.provider = Script(*texts)
        clock = SystemClock()
        self.pipeline = Pipeline(
            {"openai": self.provider}, record=self.records.append, clock=clock,
            layers=(Chaining(clock), Enforcing(clock)),
        )  # fmt: skip
        self.pipeline.install(table(steps))

    async def run(self, messages: Any = None, **fields: Any) -> Any:
        fields.setdefault("tetrad", {"variables": {"topic": "rain"}})
        return await self.chat("app:assistant", messages, **fields)


GOOD = '{"facts": {"n": 3}}'


async def test_steps_run_in_order_and_each_answer_feeds_the_next() -> None:
    found = Chained(GOOD, "A draft.", "Done.")
    reply = await found.run(temperature=0.9, tools=[{"type": "function", "function": {"name": "t"}}])
    assert (reply.status, reply.json, reply.headers[b"x-tetrad-step"]) == (200, {"last": 1}, b"polish")
    first, second, third = (found.script.asked(number) for number in range(3))
    assert [each["content"] for each in first["messages"]] == ["Gather on rain.", "hi"]
    assert [each["content"] for each in second["messages"]] == ["Draft from 3."]
    assert [each["content"] for each in third["messages"]] == ["Polish A draft. in calm."]
    assert ("tools" in first, "temperature" in second, "tools" in third, third["temperature"]) == (
        False,
        False,
        True,
        0.9,
    )
    record = found.records[0]
    assert [attempt.step for attempt in record.attempts] == ["gather", "draft", "polish"]
    assert all(attempt.cost is not None and attempt.end_ns for attempt in record.attempts)
    assert record.error_type == ""
    assert all(answer.closed for answer in found.script.answers)


async def test_only_the_last_step_streams() -> None:
    found = Chained(GOOD, "A draft.", "Done.")
    reply = await found.run(stream=True)
    assert b"".join(reply.pieces).endswith(b"[DONE]\n\n")
    assert [call.stream for call in found.script.calls] == [False, False, True]


async def test_a_later_step_sees_the_clients_messages_where_its_prompt_has_a_place_for_them() -> None:
    second = step("b", "Then {{text}}:", {"text": "a.text"}, after=(MessageTemplate("placeholder", "messages"),))
    found = Chained("one", "two", steps=(step("a", "First.", {}), second))
    await found.run()
    assert [each["content"] for each in found.script.asked(1)["messages"]] == ["Then one:", "hi"]


async def test_it_needs_no_message_of_the_client() -> None:
    found = Chained(GOOD, "A draft.", "Done.")
    reply = await found.ask({"model": "app:assistant", "tetrad": {"variables": {"topic": "rain"}}})
    assert reply.status == 200


@pytest.mark.parametrize(
    ("texts", "code", "steps"),
    [
        ((Unavailable("away", code="gone"),), "gone", ["gather"]),
        ((GOOD, Unavailable("away", code="gone")), "gone", ["gather", "draft"]),
        (("no JSON",), "output_schema_violated", ["gather"]),
        (('{"facts": {}}',), "output_schema_violated", ["gather"]),
        ((GOOD, ""), "step_failed", ["gather", "draft"]),
    ],
)
async def test_a_step_that_fails_ends_the_chain_and_is_named(texts: Any, code: str, steps: list[str]) -> None:
    found = Chained(*texts)
    reply = await found.run()
    assert reply.status >= 500
    assert reply.error["code"] == code
    assert repr(steps[-1]) in reply.error["message"]
    assert [attempt.step for attempt in found.records[0].attempts] == steps
    assert all(attempt.end_ns for attempt in found.records[0].attempts)


async def test_an_upstreams_refusal_of_a_step_is_passed_on() -> None:
    found = Chained(GOOD, "400")
    reply = await found.run(stream=True)
    assert (reply.status, reply.headers[b"x-tetrad-step"]) == (400, b"draft")


@pytest.mark.parametrize("variables", [{}, {"topic": 3}])
async def test_wrong_variables_are_refused_before_any_call(variables: dict[str, Any]) -> None:
    found = Chained(GOOD)
    reply = await found.run(tetrad={"variables": variables})
    assert reply.status == 400
    assert found.script.calls == []


async def test_leaving_in_the_middle_ends_the_step_that_runs() -> None:
    begun = asyncio.Event()

    async def forever() -> Any:
        begun.set()
        await asyncio.Event().wait()

    found = Chained(GOOD, forever)
    task = asyncio.create_task(found.run())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(each.step, each.error_type) for each in found.records[0].attempts] == [
        ("gather", ""),
        ("draft", "cancelled"),
    ]


async def test_a_step_that_cannot_be_compiled_breaks_its_release_alone() -> None:
    found = Chained("x", steps=(step("a", "{{#open}}", {}), step("b", "B", {})))
    reply = await found.run()
    assert (reply.status, reply.error["code"]) == (503, "release_unusable")
    assert (await found.chat("local/m1")).status == 200


async def test_a_chain_is_asked_in_responses_too() -> None:
    output = [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "one"}]}]

    async def item() -> Any:
        return FakeAnswer([b"{}"], Outcome(output=json.dumps(output).encode()), stream=False)

    found = Chained(item, item, steps=(step("a", "First.", {}), step("b", "Then {{t}}.", {"t": "a.text"})))
    reply = await found.ask(
        {"model": "app:assistant", "input": "hi", "tetrad": {"variables": {"topic": "x"}}}, kind="responses"
    )
    assert reply.status == 200
    assert [each["content"] for each in found.script.asked(0)["input"]] == ["First.", "hi"]
    assert found.script.asked(0)["store"] is False
    assert [each["content"] for each in found.script.asked(1)["input"]] == ["Then one."]


def test_a_chain_travels_in_the_route_table() -> None:
    from tetrad.serving import decode_route_table, encode_route_table

    found = decode_route_table(encode_route_table(table())).releases[f"default/{g.RELEASE}"]
    assert [each.step for each in found.steps] == ["gather", "draft", "polish"]
    assert found.steps[1].inputs == {"n": "gather.output.facts.n"}
