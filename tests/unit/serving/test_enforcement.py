"""Releases hold what they promise: output schema and tools, whole and streamed, with and without a second try."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import gateway as g
from support.pipeline import Bench, FakeAnswer, FakeProvider
from tetrad.kernel import SystemClock, Usage
from tetrad.serving import RESPONSES, Enforcing, Exchange, MessageTemplate, Pipeline, ReleaseRoute, RouteTable
from tetrad.serving._enforcement import Rules, _CheckedStream
from tetrad.serving._said import said
from tetrad.serving.ports import ModelCall, Outcome

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = {"type": "function", "function": {"name": "w", "parameters": SCHEMA}}
GOOD, BAD = '{"city": "Oslo"}', '{"city": 3}'


def table(**more: Any) -> RouteTable:
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": more.pop("schema", SCHEMA)}}
    params = {"response_format": msgspec.Raw(json.dumps(form).encode())}
    if more.pop("tools", False):
        params = {"tools": msgspec.Raw(json.dumps([TOOL]).encode())}
    release = ReleaseRoute(
        g.RELEASE,
        "default",
        "assistant",
        "local/m1",
        messages=(MessageTemplate("system", "Help."),),
        params=params,
        **more,
    )
    base = g.make_table("http://127.0.0.1:1/v1")
    return msgspec.structs.replace(base, releases={f"default/{g.RELEASE}": release})


class Scripted(FakeProvider):
    """Answers one text after the other."""

    def __init__(self, *outputs: dict[str, Any]) -> None:
        super().__init__()
        self.outputs = list(outputs)

    async def call(self, call: Any) -> Any:
        self.calls.append(call)
        message = self.outputs.pop(0)
        outcome = Outcome(
            usage=Usage(input=10, output=4), output=json.dumps([message]).encode(), finish_reasons=("stop",)
        )
        pieces: list[Any] = [b'{"whole": 1}']
        if call.stream:
            pieces = [b'data: {"a": 1}\n\n', b'data: {"b": 2}\n\ndata: [DONE]\n\n']
        self.answers.append(FakeAnswer(pieces, outcome, stream=call.stream))
        return self.answers[-1]


def bench(*outputs: dict[str, Any] | str, **release: Any) -> Bench:
    found = Bench()
    messages = [{"role": "assistant", "content": each} if isinstance(each, str) else each for each in outputs]
    found.provider = Scripted(*messages)
    clock = SystemClock()
    found.pipeline = Pipeline(
        {"openai": found.provider}, record=found.records.append, clock=clock, layers=(Enforcing(clock),)
    )
    found.pipeline.install(table(**release))
    return found


def calling(arguments: str) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "w", "arguments": arguments}}]}


async def test_an_answer_that_fits_passes_untouched() -> None:
    found = bench(GOOD)
    reply = await found.chat("app:assistant")
    assert (reply.status, reply.json) == (200, {"whole": 1})
    assert len(found.records[0].attempts) == 1


@pytest.mark.parametrize("answer", [BAD, "Oslo", "", "[]", GOOD + "x", "[" * 5000])
async def test_an_answer_that_does_not_fit_is_an_error_that_was_paid_for(answer: str) -> None:
    found = bench(answer)
    reply = await found.chat("app:assistant")
    assert (reply.status, reply.error["code"]) == (502, "output_schema_violated")
    (attempt,) = found.records[0].attempts
    assert attempt.error_type == "output_schema_violated"
    assert attempt.cost is not None
    assert found.records[0].error_type == "output_schema_violated"


async def test_a_second_try_is_told_what_was_wrong_and_both_are_recorded() -> None:
    found = bench(BAD, GOOD, repair=True)
    reply = await found.chat("app:assistant")
    assert reply.status == 200
    *_, first, told = found.provider.sent["messages"]
    assert first == {"role": "assistant", "content": BAD}
    assert "city" in told["content"]
    one, two = found.records[0].attempts
    assert (one.error_type, two.error_type, found.records[0].error_type) == ("output_schema_violated", "", "")
    assert one.cost == two.cost
    assert one.cost is not None


async def test_the_second_try_is_the_last() -> None:
    found = bench(BAD, BAD, GOOD, repair=True)
    reply = await found.chat("app:assistant")
    assert reply.error["code"] == "output_schema_violated"
    assert len(found.records[0].attempts) == 2


async def test_a_release_may_only_report() -> None:
    reply = await bench(BAD, output="report").chat("app:assistant")
    assert reply.status == 200
    assert reply.headers[b"x-tetrad-output"] == b"violated"
    assert b"x-tetrad-output" not in (await bench(BAD, output="off").chat("app:assistant")).headers


async def test_a_stream_tells_before_its_end_marker() -> None:
    found = bench(BAD)
    reply = await found.chat("app:assistant", stream=True)
    text = b"".join(reply.pieces)
    assert text.index(b'{"b": 2}') < text.index(b"output_schema_violated") < text.index(b"[DONE]")
    assert found.records[0].attempts[0].error_type == "output_schema_violated"
    assert b"".join((await bench(GOOD).chat("app:assistant", stream=True)).pieces).count(b"error") == 0


async def test_of_numbered_events_the_error_takes_the_number_of_the_last_which_is_told_after_it() -> None:
    def event(kind: str, number: int) -> bytes:
        return b"event: %s\ndata: %s\n\n" % (
            kind.encode(),
            msgspec.json.encode({"type": kind, "sequence_number": number}),
        )

    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": BAD}]}
    outcome = Outcome(output=msgspec.json.encode([item]), finish_reasons=("completed",), events=3)
    pieces = [event("response.created", 0), event("response.in_progress", 1) + event("response.completed", 2)]
    rules = Rules(table().releases[f"default/{g.RELEASE}"])
    rules.compile()
    call = ModelCall(RESPONSES, {}, stream=True)
    stream = _CheckedStream(FakeAnswer(pieces, outcome, stream=True), Exchange(RESPONSES, {}, 0), call, rules)
    told = await stream.read() + await stream.read()
    read = [json.loads(line[5:]) for line in told.splitlines() if line.startswith(b"data:")]
    assert [(each["type"], each["sequence_number"]) for each in read] == [
        ("response.created", 0), ("response.in_progress", 1), ("error", 2), ("response.completed", 3),
    ]  # fmt: skip


@pytest.mark.parametrize(("arguments", "status"), [(GOOD, 200), (BAD, 502), ("{", 502), ("", 502)])
async def test_arguments_for_the_releases_tools_must_fit(arguments: str, status: int) -> None:
    assert (await bench(calling(arguments), tools=True).chat("app:assistant")).status == status


async def test_a_refusal_and_a_form_of_the_clients_own_are_no_violation() -> None:
    assert (await bench({"role": "assistant", "content": None, "refusal": "No."}).chat("app:assistant")).status == 200
    assert (await bench("Oslo").chat("app:assistant", response_format={"type": "text"})).status == 200


async def test_the_clients_tools_stand_beside_the_releases() -> None:
    found = bench("Hi", "Hi", tools=True)
    mine = {"type": "function", "function": {"name": "mine", "parameters": {}}}
    assert (await found.chat("app:assistant", tools=[mine])).status == 200
    assert found.provider.sent["tools"] == [TOOL, mine]
    assert (await found.chat("app:assistant", tools=[TOOL])).error["code"] == "tool_taken"


@pytest.mark.parametrize("schema", [{"type": 3}, {"$ref": "http://127.0.0.1:9/x"}])
async def test_a_schema_that_is_none_breaks_its_release_alone(schema: Any) -> None:
    found = bench(GOOD, GOOD, schema=schema)
    reply = await found.chat("app:assistant")
    assert (reply.status, reply.error["code"]) == (503, "release_unusable")
    assert (await found.chat("local/m1")).status == 200


def test_tables_that_promise_nothing_cost_nothing() -> None:
    def following(*_: Any) -> Any:
        raise AssertionError

    assert Enforcing(SystemClock()).bind(g.make_table("http://127.0.0.1:1/v1"), following) is following


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["role", "content", "tool_calls", "function", "type", "text", "name", "arguments"]), inner,
        max_size=4,
    ),
    max_leaves=8,
)  # fmt: skip


@given(operation=st.sampled_from(["chat", "responses", "messages"]), output=json_values)
def test_whatever_was_recorded_can_be_read(operation: str, output: Any) -> None:
    for each in said(operation, json.dumps(output).encode()):
        assert isinstance(each.text, str)
