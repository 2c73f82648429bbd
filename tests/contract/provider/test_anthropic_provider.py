"""What the provider for Anthropic's protocol promises (`tetrad.serving.ports.Provider`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest

from support.fake_anthropic import SIGNATURE, THOUGHTS, TOOLS, FakeAnthropic
from support.wait import async_wait_until
from tetrad.adapters.providers._endpoint import MAX_HEADS
from tetrad.adapters.providers.anthropic import AnthropicProvider
from tetrad.kernel import InvalidInput, SystemClock, TetradError, Usage
from tetrad.kit.upstream import Client
from tetrad.serving import CHAT, COUNT_TOKENS, EMBEDDINGS, MESSAGES, Upstream
from tetrad.serving.ports import Answer, Endpoint, ModelCall, Provider

SECRET = "secret-0123456789"
USAGE = Usage(input=10, cache_read=2, cache_write=4, output=4, reasoning=1, cache_write_1h=3)


@pytest.fixture
def upstream() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as fake:
        yield fake


@pytest.fixture
async def provider() -> AsyncIterator[AnthropicProvider]:
    provider = AnthropicProvider(Client(), SystemClock(), keep_bytes=2000)
    yield provider
    await provider.close()


@pytest.fixture
def endpoint(provider: AnthropicProvider, upstream: FakeAnthropic) -> Endpoint:
    return provider.endpoint(
        Upstream("up", upstream.base_url, adapter="anthropic", secret=SECRET, first_byte_timeout_s=1, idle_timeout_s=1)
    )


def ask(model: str, *, stream: bool = False, **more: object) -> ModelCall:
    body = {"model": model, "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}], "stream": stream}
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()}
    return ModelCall(more.pop("operation", MESSAGES), raw, stream, **more)  # type: ignore[arg-type]


async def read_all(answer: Answer) -> bytes:
    data = b""
    while not answer.done:
        data += await answer.read()
    return data


async def test_a_whole_answer_passes_byte_for_byte(endpoint: Endpoint, upstream: FakeAnthropic) -> None:
    answer = await endpoint.call(ask("m1"))
    assert (answer.status, answer.stream, answer.done, answer.dropped) == (200, False, True, ())
    wanted = {"type": "text", "text": "Hello world."}
    assert json.loads(await answer.read())["content"] == [wanted]
    outcome = answer.outcome()
    assert outcome.usage == USAGE
    assert (outcome.response_id, outcome.response_model, outcome.finish_reasons) == (
        "msg_1",
        "claude-2026",
        ("end_turn",),
    )
    assert json.loads(outcome.output) == [{"role": "assistant", "content": [wanted]}]
    assert (b"anthropic-ratelimit-requests-remaining", b"41") in answer.headers
    assert not any(name == b"anthropic-organization-id" for name, _ in answer.headers)
    answer.close()


@pytest.mark.parametrize("model", ["m1", "split"])
async def test_a_stream_is_done_with_its_last_event_and_tells_its_outcome(endpoint: Endpoint, model: str) -> None:
    answer = await endpoint.call(ask(model, stream=True))
    data = await read_all(answer)
    assert data.endswith(b'{"type": "message_stop"}\n\n')
    assert data.count(b"event: ping") == 1
    outcome = answer.outcome()
    assert outcome.usage == USAGE
    assert outcome.finish_reasons == ("end_turn",)
    assert json.loads(outcome.output)[0]["content"] == [{"type": "text", "text": "Hello world."}]
    assert not outcome.truncated
    answer.close()


async def test_thinking_and_tools_are_recorded_as_they_were_streamed(endpoint: Endpoint) -> None:
    answer = await endpoint.call(ask("thinking", stream=True))
    await read_all(answer)
    assert json.loads(answer.outcome().output)[0]["content"] == [
        {"type": "thinking", "thinking": "".join(THOUGHTS), "signature": SIGNATURE},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "4"},
    ]
    answer = await endpoint.call(ask("tools", stream=True))
    await read_all(answer)
    content = json.loads(answer.outcome().output)[0]["content"]
    assert [block["input"] for block in content] == [json.loads(given or "{}") for _, _, given in TOOLS]


async def test_a_text_that_names_the_end_does_not_end_the_stream(endpoint: Endpoint) -> None:
    from tetrad.adapters.providers._anthropic_wire import end_of_message

    named = b'event: content_block_delta\ndata: {"type":"content_block_delta","x":"\\"message_stop\\" \\"}"}\n\n'
    odd = b'data: {"type":"ping","note":["message_stop"]}\n\n'
    assert end_of_message(named + odd) is None
    last = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    assert end_of_message(named + odd + last + b": late\n\n") == len(named + odd + last)
    assert end_of_message(last.replace(b"\n", b"\r\n")) == len(last) + 3


async def test_connections_are_used_again_also_after_streams(endpoint: Endpoint, upstream: FakeAnthropic) -> None:
    for i in range(6):
        answer = await endpoint.call(ask("m1", stream=i % 2 == 0))
        await read_all(answer) if answer.stream else await answer.read()
        answer.close()
        await async_wait_until(lambda: not endpoint._provider.drainer._tasks)  # type: ignore[attr-defined]
    assert upstream.accepted == 1


async def test_cancelling_closes_the_upstream_at_once(endpoint: Endpoint, upstream: FakeAnthropic) -> None:
    task = asyncio.create_task(endpoint.call(ask("stall")))
    await async_wait_until(lambda: len(upstream.requests) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await async_wait_until(lambda: upstream.open_connections == 0, timeout_s=2)


@pytest.mark.parametrize("status", [400, 404, 413, 429, 500, 529])
async def test_an_upstreams_error_is_an_answer_with_its_status_and_words(endpoint: Endpoint, status: int) -> None:
    answer = await endpoint.call(ask(f"error:{status}"))
    assert answer.status == status
    assert json.loads(await answer.read())["error"]["message"] == "as scripted"
    assert (b"retry-after", b"7") in answer.headers
    assert answer.outcome().error_message == "as scripted"


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("error:401", "upstream_credential_refused"),
        ("error:403", "upstream_credential_refused"),
        ("error:302", "upstream_broken"),
        ("html", "upstream_broken"),
        ("garbage", "upstream_broken"),
        ("reset:0", "upstream_lost"),
        ("stall", "upstream_timeout"),
    ],
)
async def test_no_answer_to_pass_on_is_an_error_of_ours(endpoint: Endpoint, model: str, code: str) -> None:
    with pytest.raises(TetradError) as caught:
        await endpoint.call(ask(model))
    assert caught.value.code == code
    assert SECRET not in caught.value.message


async def test_a_secret_is_sent_and_never_shown(endpoint: Endpoint, upstream: FakeAnthropic) -> None:
    answer = await endpoint.call(ask("leak"))
    assert upstream.requests[0].headers["x-api-key"] == SECRET
    assert SECRET.encode() not in await answer.read()


async def test_an_error_in_the_stream_is_told_and_recorded(endpoint: Endpoint) -> None:
    answer = await endpoint.call(ask("overloaded", stream=True))
    assert b"event: error" in await read_all(answer)
    assert (answer.outcome().error_type, answer.outcome().error_message) == ("overloaded_error", "Overloaded")


async def test_tokens_are_counted(endpoint: Endpoint) -> None:
    answer = await endpoint.call(ask("m1", operation=COUNT_TOKENS))
    assert json.loads(await answer.read()) == {"input_tokens": 14}
    assert answer.outcome().usage == Usage()


async def test_only_what_can_be_translated_is_called(endpoint: Endpoint, upstream: FakeAnthropic) -> None:
    answer = await endpoint.call(ask("m1", operation=CHAT))
    assert json.loads(await answer.read())["choices"][0]["message"]["content"] == "Hello world."
    with pytest.raises(TetradError) as caught:
        await endpoint.call(ask("m1", operation=EMBEDDINGS))
    assert caught.value.code == "operation_not_served"
    assert len(upstream.requests) == 1


async def test_versions_and_betas_are_passed_and_their_heads_are_bounded(
    provider: AnthropicProvider, upstream: FakeAnthropic
) -> None:
    endpoint = provider.endpoint(Upstream("up", upstream.base_url, headers=(("anthropic-beta", "ours"),)))
    await endpoint.call(ask("m1", headers=((b"anthropic-version", b"2026-10-21"), (b"anthropic-beta", b"theirs"))))
    seen = upstream.requests[-1].headers
    assert (seen["anthropic-version"], seen["anthropic-beta"]) == ("2026-10-21", "ours")
    for number in range(MAX_HEADS + 10):
        endpoint._variant(ask("m1", headers=((b"anthropic-version", str(number).encode()),)))
    assert len(endpoint._heads) <= MAX_HEADS
    kept = len(endpoint._heads)
    endpoint._variant(ask("m1", headers=((b"anthropic-version", b"long" * 1000),)))
    assert len(endpoint._heads) == kept
    with pytest.raises(InvalidInput):
        await endpoint.call(ask("m1", headers=((b"anthropic-version", b"a\x01b"),)))


async def test_what_only_other_upstreams_understand_is_left_out_and_named_or_refused(
    endpoint: Endpoint, upstream: FakeAnthropic
) -> None:
    thought = {"type": "thinking", "thinking": "x", "signature": ""}
    said = [
        {"role": "assistant", "content": [thought, {"type": "text", "text": "a"}]},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": [thought]},
    ]
    call = ask("m1", unsaid={"seed": msgspec.Raw(b"1")})
    call.fields["messages"] = msgspec.Raw(json.dumps(said).encode())
    answer = await endpoint.call(call)
    assert answer.dropped == ("seed", "messages[0].content[0]", "messages[2].content[0]")
    assert upstream.requests[-1].body["messages"] == [
        {"role": "assistant", "content": [{"type": "text", "text": "a"}]},
        said[1],
    ]
    with pytest.raises(TetradError) as caught:
        await endpoint.call(msgspec.structs.replace(call, strict=True))
    assert caught.value.code == "cannot_translate"
    odd = ask("m1")
    odd.fields["messages"] = msgspec.Raw(b'[{"signature":""},"odd"]')
    await endpoint.call(odd)
    assert upstream.requests[-1].body["messages"] == [{"signature": ""}, "odd"]


@pytest.mark.parametrize("broken", [{"base_url": "ftp://x"}, {"secret": "a\r\nb: c"}, {"headers": (("x", "a\nb"),)}])
def test_an_upstream_that_cannot_be_is_refused_when_it_is_bound(provider: Provider, broken: dict) -> None:  # type: ignore[type-arg]
    with pytest.raises(InvalidInput) as caught:
        provider.endpoint(Upstream("up", **{"base_url": "http://h/v1", **broken}))
    assert "a\r\nb: c" not in caught.value.message
