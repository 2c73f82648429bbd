"""What every adapter promises, in one body: a client of any protocol cannot tell which provider answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from support.fake_anthropic import FakeAnthropic, FakeVertexAnthropic
from support.fake_bedrock import FakeBedrock
from support.fake_gemini import FakeGemini
from support.fake_mistral import FakeMistral
from support.fake_openai import FakeOpenAI
from support.fake_paths import FakePaths
from support.fake_responses import FakeResponses
from support.spoken import SECRET, Spoken
from support.wait import async_wait_until
from tetrad.adapters.providers import _answers
from tetrad.kernel import TetradError, Usage
from tetrad.serving import CHAT, COUNT_TOKENS, MESSAGES
from tetrad.serving._failures import classify, classify_error
from tetrad.serving.ports import Answer, Endpoint, ModelCall, Outcome

AWS = json.dumps({"access_key_id": "AKIDEXAMPLE", "secret_access_key": SECRET, "session_token": f"{SECRET}-session"})
OPENAI = Usage(input=10, cache_read=2, output=4, reasoning=1)
ANTHROPIC = Usage(input=10, cache_read=2, cache_write=4, output=4, reasoning=1, cache_write_1h=3)
CONVERSE = Usage(input=10, cache_read=2, cache_write=4, output=5, cache_write_1h=3)
TOOL = {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}


@dataclass
class Case(Spoken):
    """An adapter, the fake that speaks its protocol, and what is special about it."""

    usage: Usage
    acts: frozenset[str] = frozenset()


EVERYTHING = frozenset(("tools_whole", "context", "split", "nodone"))
CASES = {
    "openai": Case("openai", FakeOpenAI, OPENAI),
    "openai with a key in the query": Case("openai", FakeOpenAI, OPENAI, fields={"auth": "query"}),
    "openai with a header of its own": Case(
        "openai", FakeOpenAI, OPENAI, fields={"auth": "header", "options": {"header": "api-key"}}
    ),
    "openai, Responses alone": Case(
        "openai", FakeResponses, OPENAI, fields={"operations": ("responses",)},
        acts=frozenset(("tools_whole", "split", "nodone", "midway")),
    ),
    "anthropic": Case("anthropic", FakeAnthropic, ANTHROPIC, acts=frozenset(("tools_whole",))),
    "azure": Case("azure", FakePaths, OPENAI),
    "databricks": Case("invocations", FakePaths, OPENAI),
    "sagemaker": Case(
        "invocations", FakePaths, OPENAI,
        fields={"auth": "sigv4", "secret": AWS, "options": {"region": "eu-west-1"}},
    ),
    "mistral": Case("mistral", FakeMistral, OPENAI),
    "gemini": Case("gemini", FakeGemini, OPENAI, acts=EVERYTHING | {"blocked", "midway"}),
    "vertex": Case(
        "gemini", FakeGemini, OPENAI, url="vertex_url", fields={"auth": "bearer"}, acts=EVERYTHING | {"blocked"}
    ),
    "vertex, Anthropic's models": Case(
        "vertex-anthropic", FakeVertexAnthropic, ANTHROPIC, fields={"auth": "bearer"}, acts=frozenset(("tools_whole",))
    ),
    "bedrock": Case(
        "bedrock", FakeBedrock, CONVERSE, acts=EVERYTHING | {"midway"},
        fields={"secret": AWS, "options": {"region": "us-east-1"}},
    ),
    "bedrock with an API key": Case("bedrock", FakeBedrock, CONVERSE, fields={"auth": "bearer"}, acts=EVERYTHING),
    "bedrock, Anthropic's models": Case(
        "bedrock", FakeBedrock, ANTHROPIC, prefix="anthropic.", acts=frozenset(("tools_whole", "context")),
        fields={"secret": AWS, "options": {"region": "us-east-1"}},
    ),
}  # fmt: skip


@pytest.fixture(params=CASES, scope="module")
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture
def upstream(case: Case) -> Iterator[FakeOpenAI]:
    with case.fake() as fake:
        yield fake


@pytest.fixture
async def endpoint(case: Case, upstream: FakeOpenAI) -> AsyncIterator[Endpoint]:
    async with case.endpoint(upstream) as bound:
        yield bound


def call(case: Case, act: str, *, stream: bool = False, operation: Any = CHAT, **fields: Any) -> ModelCall:
    body = {"model": f"{case.prefix}{act}", "messages": [{"role": "user", "content": "hi"}], **fields}
    if operation is MESSAGES:
        body.setdefault("max_tokens", 64)
    if stream:
        body["stream"] = True
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()}
    return ModelCall(operation, raw, stream, usage_asked=True)


async def read_all(answer: Answer) -> bytes:
    data = await answer.read()
    while not answer.done:
        data += await answer.read()
    answer.close()
    return data


def chunks_of(data: bytes) -> list[dict[str, Any]]:
    found = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ") and line != b"data: [DONE]"]
    return [json.loads(each) for each in found]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(
        choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"] if "delta" in choice
    )


def those(fit: Callable[[Case], bool]) -> pytest.MarkDecorator:
    """Run a test for those cases that it says something about."""
    return pytest.mark.parametrize("case", [name for name, case in CASES.items() if fit(case)], indirect=True)


def able(act: str) -> pytest.MarkDecorator:
    """Run a test for the upstreams whose fake can act so."""
    return those(lambda case: act in case.acts)


async def test_a_whole_answer_and_its_exact_usage(case: Case, endpoint: Endpoint) -> None:
    answer = await endpoint.call(call(case, "m1"))
    body = json.loads(await answer.read())
    assert (answer.status, answer.stream, answer.done) == (200, False, True)
    assert body["choices"][0]["message"]["content"] == "Hello world."
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["prompt_tokens"] == case.usage.input_total
    assert body["usage"]["completion_tokens"] == case.usage.output_total
    outcome = answer.outcome()
    assert (outcome.usage, outcome.finish_reasons) == (case.usage, ("stop",))
    assert json.loads(outcome.output)[0]["content"] == "Hello world."


async def test_a_stream_ends_with_its_marker_and_says_the_same(case: Case, endpoint: Endpoint) -> None:
    answer = await endpoint.call(call(case, "m1", stream=True, stream_options={"include_usage": True}))
    data = await read_all(answer)
    chunks = chunks_of(data)
    assert data.endswith(b"data: [DONE]\n\n")
    assert text_of(chunks) == "Hello world."
    assert [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]] == [
        "stop"
    ]
    assert chunks[-1]["usage"]["total_tokens"] == case.usage.total
    outcome = answer.outcome()
    assert (outcome.usage, outcome.finish_reasons, outcome.error_type) == (case.usage, ("stop",), "")
    assert json.loads(outcome.output)[0]["content"] == "Hello world."


@able("split")
async def test_bytes_torn_anywhere_change_nothing(case: Case, endpoint: Endpoint) -> None:
    answer = await endpoint.call(call(case, "split", stream=True))
    assert text_of(chunks_of(await read_all(answer))) == "Hello world."
    assert answer.outcome().usage == case.usage


async def test_a_client_of_messages_gets_the_same_answer(case: Case, endpoint: Endpoint) -> None:
    answer = await endpoint.call(call(case, "m1", operation=MESSAGES))
    body = json.loads(await answer.read())
    assert body["content"] == [{"type": "text", "text": "Hello world."}]
    assert body["stop_reason"] == "end_turn"
    assert body["usage"]["input_tokens"] == case.usage.input
    answer = await endpoint.call(call(case, "m1", stream=True, operation=MESSAGES))
    data = await read_all(answer)
    assert data.count(b"event: message_start\n") == data.count(b"event: message_stop\n") == 1
    texts = [each["delta"].get("text", "") for each in chunks_of(data) if each["type"] == "content_block_delta"]
    assert "".join(texts) == "Hello world."
    assert answer.outcome().usage == case.usage


@pytest.mark.parametrize(
    ("case", "stream"),
    [
        (name, stream)
        for name, case in CASES.items()
        for stream in (False, True)
        if stream or "tools_whole" in case.acts
    ],
    indirect=["case"],
)
async def test_calls_of_tools_come_whole(case: Case, endpoint: Endpoint, stream: bool) -> None:
    answer = await endpoint.call(call(case, "tools", stream=stream, tools=[{"type": "function", "function": TOOL}]))
    data = await read_all(answer)
    assert answer.outcome().finish_reasons == ("tool_calls",)
    recorded = json.loads(answer.outcome().output)[0]["tool_calls"]
    assert json.loads(recorded[0]["function"]["arguments"] or "{}") in ({"city": "Oslo"}, {"c": "Oslo"})
    if not stream:
        calls = json.loads(data)["choices"][0]["message"]["tool_calls"]
        assert json.loads(calls[0]["function"]["arguments"]) == {"city": "Oslo"}
        return
    pieces: dict[int, str] = {}
    for chunk in chunks_of(data):
        for choice in chunk["choices"]:
            for each in choice["delta"].get("tool_calls") or ():
                pieces[each["index"]] = pieces.get(each["index"], "") + (each["function"].get("arguments") or "")
    assert json.loads(next(iter(pieces.values()))) in ({"city": "Oslo"}, {"c": "Oslo"})
    assert len({each["id"] for each in recorded}) == len(recorded)


async def test_tokens_are_counted_or_said_to_be_estimated(case: Case, endpoint: Endpoint) -> None:
    answer = await endpoint.call(call(case, "m1", operation=COUNT_TOKENS))
    counted = json.loads(await answer.read())["input_tokens"]
    native = case.adapter in ("anthropic", "gemini", "bedrock", "vertex-anthropic")
    assert counted == 14 if native else 1 <= counted < 30
    assert any(name == b"x-tetrad-estimated" for name, _ in answer.headers) is not native
    assert answer.outcome().usage == Usage()


@pytest.mark.parametrize(("status", "kind"), [(400, "caller"), (429, "rate_limit"), (500, "broken"), (404, "missing")])
async def test_an_error_has_its_status_and_words_in_the_clients_protocol(
    case: Case, endpoint: Endpoint, status: int, kind: str
) -> None:
    answer = await endpoint.call(call(case, f"error:{status}"))
    assert (answer.status, answer.done) == (status, True)
    assert "as scripted" in json.loads(await answer.read())["error"]["message"]
    outcome = answer.outcome()
    assert classify(status, outcome.error_type, outcome.error_message) == kind
    if status == 429:
        assert (b"retry-after", b"7") in answer.headers
    answer = await endpoint.call(call(case, f"error:{status}", operation=MESSAGES))
    told = json.loads(await answer.read())
    assert (told["type"], told["error"]["message"]) == ("error", "as scripted")


@able("context")
async def test_a_request_that_is_too_long_is_known_as_that(case: Case, endpoint: Endpoint) -> None:
    answer = await endpoint.call(call(case, "context"))
    outcome = answer.outcome()
    assert classify(answer.status, outcome.error_type, outcome.error_message) == "context_window"


@those(  # of the others it is passed on as it comes
    lambda case: case.adapter not in ("openai", "azure", "invocations", "mistral") and case.usage is not ANTHROPIC
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_a_filter_stopped_is_said_to_be_that(case: Case, endpoint: Endpoint, stream: bool) -> None:
    answer = await endpoint.call(call(case, "refusal", stream=stream))
    data = await read_all(answer)
    assert b'"content_filter"' in data
    assert answer.outcome().finish_reasons == ("content_filter",)


@pytest.mark.parametrize(
    ("act", "code", "kind"),
    [
        ("error:401", "upstream_credential_refused", "credential"),
        ("error:403", "upstream_credential_refused", "credential"),
        ("error:302", "upstream_broken", "broken"),
        ("html", "upstream_broken", "broken"),
        ("garbage", "upstream_broken", "broken"),
        ("reset:0", "upstream_lost", "unavailable"),
        ("stall", "upstream_timeout", "timeout"),
    ],
)
async def test_no_answer_to_pass_on_is_an_error_of_ours(
    case: Case, endpoint: Endpoint, upstream: FakeOpenAI, act: str, code: str, kind: str
) -> None:
    with pytest.raises(TetradError) as caught:
        await endpoint.call(call(case, act))
    assert (caught.value.code, classify_error(caught.value)) == (code, kind)
    assert SECRET not in caught.value.message
    assert str(upstream.port) not in caught.value.message


@able("nodone")
async def test_a_stream_that_breaks_off_is_no_whole_answer(case: Case, endpoint: Endpoint) -> None:
    answer = await endpoint.call(call(case, "nodone", stream=True))
    with pytest.raises(TetradError) as caught:
        await read_all(answer)
    assert caught.value.code == "stream_truncated"


async def test_a_stream_that_stalls_is_given_up(case: Case, endpoint: Endpoint, upstream: FakeOpenAI) -> None:
    answer = await endpoint.call(call(case, "stallmid", stream=True))
    with pytest.raises(TetradError) as caught:
        await read_all(answer)
    assert caught.value.code == "upstream_timeout"
    answer.close()
    await async_wait_until(lambda: upstream.open_connections == 0, timeout_s=2)


@able("midway")
async def test_an_error_in_the_middle_of_a_stream_reaches_the_client(case: Case, endpoint: Endpoint) -> None:
    answer = await endpoint.call(call(case, "midway", stream=True))
    if case.adapter == "bedrock":  # told outside of the events, so that nothing can be passed on
        with pytest.raises(TetradError) as caught:
            await read_all(answer)
        assert (caught.value.code, classify_error(caught.value)) == ("throttlingexception", "rate_limit")
        return
    data = await read_all(answer)
    assert b'"error"' in data
    assert b"overloaded" in data
    assert answer.outcome().error_type == "unavailable"


@pytest.mark.parametrize("stream", [False, True])
async def test_cancelling_closes_the_upstream_at_once(
    case: Case, endpoint: Endpoint, upstream: FakeOpenAI, stream: bool
) -> None:
    async def ask() -> None:
        await read_all(await endpoint.call(call(case, "endless" if stream else "stall", stream=stream)))

    task = asyncio.create_task(ask())
    await async_wait_until(lambda: len(upstream.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await async_wait_until(lambda: upstream.open_connections == 0, timeout_s=2)


async def test_a_secret_reaches_the_upstream_and_no_client(
    case: Case, endpoint: Endpoint, upstream: FakeOpenAI
) -> None:
    answer = await endpoint.call(call(case, "leak"))
    seen = upstream.requests[-1]
    sent = " ".join((seen.target, *seen.headers.values()))
    assert SECRET in sent
    assert SECRET.encode() not in await answer.read()
    outcome: Outcome = answer.outcome()
    assert SECRET not in outcome.error_message


async def test_connections_are_used_again_also_after_streams(
    case: Case, endpoint: Endpoint, upstream: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_answers, "DRAIN_S", 30.0)  # a busy machine may need more than usual
    for number in range(4):
        await read_all(await endpoint.call(call(case, "m1", stream=number % 2 == 0)))
        await async_wait_until(lambda: not endpoint._provider.drainer._tasks)  # type: ignore[attr-defined]
    assert upstream.accepted == 1


@those(lambda case: case.adapter not in ("openai", "azure", "invocations"))  # these speak the client's protocol
async def test_what_a_strict_call_says_and_the_upstream_cannot_is_refused_and_named(
    case: Case, endpoint: Endpoint, upstream: FakeOpenAI
) -> None:
    asked = call(case, "m1", logit_bias={"50256": -100})
    assert (await endpoint.call(asked)).dropped == ("logit_bias",)
    with pytest.raises(TetradError) as caught:
        await endpoint.call(msgspec.structs.replace(asked, strict=True))
    assert (caught.value.code, caught.value.param) == ("cannot_translate", "logit_bias")  # type: ignore[attr-defined]
    assert len(upstream.requests) == 1
