"""What the adapter for any-llm promises, with a module in any-llm's place that does as it is told."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from support.fake_any_llm import USAGE, WORDS, FakeAnyLLM
from support.fake_any_llm import any_llm as any_llm  # noqa: PLC0414 - a fixture
from support.wait import async_wait_until
from tetrad.adapters.providers import any_llm as module
from tetrad.kernel import InvalidInput, MissingExtra, SystemClock, TetradError, Usage
from tetrad.kit.upstream import Client
from tetrad.serving import CHAT, EMBEDDINGS, MESSAGES, RESPONSES, ProviderShelf, Upstream
from tetrad.serving._failures import classify, classify_error
from tetrad.serving.ports import Answer, Endpoint, ModelCall

SECRET = "secret-0123456789"
URL = "https://api.example.com/v1/openai"
COUNTED = Usage(input=10, cache_read=2, output=4, reasoning=1)


@pytest.fixture
async def shelf(any_llm: FakeAnyLLM) -> AsyncIterator[ProviderShelf]:
    shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=100_000, answer_bytes=10_000)
    yield shelf
    await shelf.close()


def upstream(**more: Any) -> Upstream:
    given = {"secret": SECRET, "first_byte_timeout_s": 1.0, "idle_timeout_s": 1.0, "options": {"provider": "acme"}}
    return Upstream("up", URL, adapter="any-llm", **{**given, **more})


@pytest.fixture
def endpoint(shelf: ProviderShelf) -> Endpoint:
    return shelf["any-llm"].endpoint(upstream())


def ask(model: str, *, stream: bool = False, operation: Any = CHAT, usage_asked: bool = True, **more: Any) -> ModelCall:
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    if operation is EMBEDDINGS:
        body = {"model": model, "input": ["a", "b"]}
    if operation is RESPONSES:
        body = {"model": model, "input": "hi"}
    if operation is MESSAGES:
        body["max_tokens"] = 9
    if stream:
        body["stream"] = True
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in {**body, **more}.items()}
    return ModelCall(operation, raw, stream, usage_asked)


async def read_all(answer: Answer) -> bytes:
    data = await answer.read()
    while not answer.done:
        data += await answer.read()
    answer.close()
    return data


def chunks_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in data.split(b"\n") if line.startswith(b"data: {")]


async def test_a_whole_answer_its_usage_and_its_thoughts(endpoint: Endpoint, any_llm: FakeAnyLLM) -> None:
    answer = await endpoint.call(ask("m1", temperature=0.5, user=None))
    body = json.loads(await answer.read())
    assert (answer.status, answer.stream, answer.done, answer.dropped) == (200, False, True, ())
    assert body["choices"][0]["message"] == {
        "role": "assistant", "content": "Hello world.", "reasoning_content": "because",
    }  # fmt: skip
    outcome = answer.outcome()
    assert (outcome.usage, outcome.finish_reasons, outcome.response_model) == (COUNTED, ("stop",), "m-2026")
    assert any_llm.made == [
        {"provider": "acme", "api_key": SECRET, "api_base": URL, "unified_exceptions": True, "max_retries": 0}
    ]
    assert any_llm.calls == [
        {"model": "m1", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.5, "timeout": 600.0}
    ]
    assert any_llm.threads == {"any-llm-acme"}


async def test_one_client_serves_all_calls_of_a_key_and_is_closed(shelf: ProviderShelf, any_llm: FakeAnyLLM) -> None:
    for _ in range(3):
        await shelf["any-llm"].endpoint(upstream()).call(ask("m1"))
    await shelf["any-llm"].endpoint(upstream(secret="another-key")).call(ask("m1"))
    assert [each["api_key"] for each in any_llm.made] == [SECRET, "another-key"]
    await shelf.close()
    assert any_llm.closed_clients == 2


async def test_clients_are_bounded(shelf: ProviderShelf, any_llm: FakeAnyLLM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CLIENTS", 2)
    for number in (1, 2, 3, 3, 1):
        await shelf["any-llm"].endpoint(upstream(secret=f"key-{number}")).call(ask("m1"))
    assert [each["api_key"] for each in any_llm.made] == ["key-1", "key-2", "key-3", "key-1"]
    monkeypatch.setattr(module, "MAX_LOOPS", 1)
    with pytest.raises(InvalidInput, match="more than 1"):
        shelf["any-llm"].endpoint(upstream(options={"provider": "other"}))


async def test_the_environment_never_says_the_key(shelf: ProviderShelf, any_llm: FakeAnyLLM) -> None:
    await shelf["any-llm"].endpoint(upstream(secret="")).call(ask("m1"))
    await shelf["any-llm"].endpoint(upstream(auth="none", options={"provider": "x"})).call(ask("m1"))
    assert [each["api_key"] for each in any_llm.made] == ["none", "none"]


async def test_an_sdk_that_has_no_word_for_retries_is_made_without(endpoint: Endpoint, any_llm: FakeAnyLLM) -> None:
    any_llm.retries = False
    await endpoint.call(ask("m1"))
    assert "max_retries" not in any_llm.made[0]


async def test_a_stream_ends_with_its_marker_and_is_counted(endpoint: Endpoint, any_llm: FakeAnyLLM) -> None:
    answer = await endpoint.call(ask("m1", stream=True))
    data = await read_all(answer)
    chunks = chunks_of(data)
    assert data.endswith(b"data: [DONE]\n\n")
    assert "".join(c["delta"].get("content", "") for each in chunks for c in each["choices"]) == "Hello world."
    assert [c["finish_reason"] for each in chunks for c in each["choices"]] == [None] * 5 + ["stop"]
    assert chunks[-1]["usage"] == USAGE
    outcome = answer.outcome()
    assert (outcome.usage, outcome.finish_reasons, outcome.error_type) == (COUNTED, ("stop",), "")
    assert json.loads(outcome.output) == [{"role": "assistant", "content": "Hello world."}]
    assert outcome.first_chunk_ns > 0
    assert any_llm.calls[0]["stream_options"] == {"include_usage": True}


async def test_usage_that_nobody_asked_for_is_counted_and_not_shown(endpoint: Endpoint) -> None:
    answer = await endpoint.call(ask("m1", stream=True, usage_asked=False))
    assert b"usage" not in await read_all(answer)
    assert answer.outcome().usage == COUNTED


async def test_a_stream_can_be_pumped(endpoint: Endpoint) -> None:
    answer = await endpoint.call(ask("m1", stream=True))
    got: list[bytes] = []
    await answer.pump(lambda piece: got.append(piece) or True)  # type: ignore[attr-defined]
    while not answer.done:
        got.append(await answer.read())
    got.append(await answer.read())
    assert b"".join(got).endswith(b"data: [DONE]\n\n")
    assert answer.outcome().usage == COUNTED


async def test_clients_of_other_protocols_get_the_same(endpoint: Endpoint) -> None:
    answer = await endpoint.call(ask("m1", operation=MESSAGES))
    content = json.loads(await answer.read())["content"]
    assert content[-1] == {"type": "text", "text": "Hello world."}
    assert answer.outcome().usage == COUNTED
    answer = await endpoint.call(ask("m1", operation=MESSAGES, stream=True))
    assert (await read_all(answer)).count(b"event: message_stop\n") == 1
    answer = await endpoint.call(ask("m1", operation=RESPONSES))
    assert json.loads(await answer.read())["status"] == "completed"


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_embeddings_come_as_they_were_asked_for(endpoint: Endpoint, any_llm: FakeAnyLLM, encoding: str) -> None:
    answer = await endpoint.call(ask("e1", operation=EMBEDDINGS, encoding_format=encoding, dimensions=2))
    found = json.loads(await answer.read())["data"][1]["embedding"]
    if encoding == "base64":
        found = list(struct.unpack("<2f", base64.b64decode(found)))
    assert found == [0.5, -1.0]
    assert answer.outcome().usage == Usage(input=3)
    assert any_llm.calls == [{"model": "e1", "inputs": ["a", "b"], "dimensions": 2}]


async def test_a_body_cannot_name_keys_addresses_or_arguments_of_sdks(endpoint: Endpoint, any_llm: FakeAnyLLM) -> None:
    hostile = {
        "api_key": "mine", "api_base": "http://evil", "client_args": {"base_url": "http://evil"}, "provider": "openai",
        "extra_headers": {"x": "y"}, "timeout": 1e9, "base_url": "http://evil", "allow_running_loop": True,
    }  # fmt: skip
    answer = await endpoint.call(ask("m1", **hostile))
    assert set(answer.dropped) == set(hostile)
    assert set(any_llm.calls[0]) == {"model", "messages", "timeout"}
    assert any_llm.calls[0]["timeout"] == 600.0
    with pytest.raises(TetradError) as caught:
        await endpoint.call(msgspec.structs.replace(ask("m1", api_base="x"), strict=True))
    assert caught.value.code == "cannot_translate"
    assert len(any_llm.calls) == 1


async def test_what_a_provider_has_no_word_for_is_left_out_and_named_or_refused(
    endpoint: Endpoint, any_llm: FakeAnyLLM
) -> None:
    any_llm.unknown = {"seed": "is unknown", "user": "is unknown"}
    answer = await endpoint.call(ask("m1", seed=1, user="u", temperature=1))
    assert (answer.status, answer.dropped) == (200, ("seed", "user"))
    with pytest.raises(TetradError) as caught:
        await endpoint.call(msgspec.structs.replace(ask("m1", seed=1), strict=True))
    assert caught.value.code == "cannot_translate"
    any_llm.unknown = {"tools": "are unknown"}
    answer = await endpoint.call(ask("m1", tools=[{"type": "function", "function": {"name": "w"}}]))
    assert answer.status == 400
    assert json.loads(await answer.read())["error"]["param"] == "tools"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("act", "status", "kind"),
    [
        ("ContextLengthExceededError/400", 400, "context_window"),
        ("ContextLengthExceededError", 400, "context_window"),
        ("ContentFilterError/400", 400, "content_policy"),
        ("InsufficientFundsError/402", 402, "quota"),
        ("InvalidRequestError/422", 422, "caller"),
        ("AuthenticationError/400", 400, "caller"),
        ("ModelNotFoundError/404", 404, "missing"),
        ("RateLimitError/429", 429, "rate_limit"),
        ("RateLimitError", 429, "rate_limit"),
        ("ProviderError/500", 500, "broken"),
        ("ProviderError/503", 503, "overloaded"),
        ("UpstreamProviderError/502", 502, "broken"),
        ("GatewayTimeoutError/504", 504, "timeout"),
    ],
)
async def test_a_refusal_is_an_answer_of_its_kind(
    endpoint: Endpoint, act: str, status: int, kind: str, stream: bool
) -> None:
    answer = await endpoint.call(ask(f"error:{act}", stream=stream))
    assert (answer.status, answer.done, answer.stream) == (status, True, False)
    told = json.loads(await answer.read())["error"]
    assert told["message"] == "as scripted for [secret] at the upstream 'up'"
    outcome = answer.outcome()
    assert classify(status, outcome.error_type, outcome.error_message) == kind
    assert (b"retry-after", b"7") in answer.headers


@pytest.mark.parametrize(
    ("act", "code", "kind"),
    [
        ("error:AuthenticationError/401", "upstream_credential_refused", "credential"),
        ("error:AuthenticationError/403", "upstream_credential_refused", "credential"),
        ("error:AuthenticationError", "upstream_credential_refused", "credential"),
        ("error:MissingApiKeyError", "upstream_credential_refused", "credential"),
        ("error:ProviderError/302", "upstream_broken", "broken"),
        ("error:ProviderError/200", "upstream_broken", "broken"),
        ("raises:APITimeoutError", "upstream_timeout", "timeout"),
        ("raises:APIConnectionError", "upstream_unreachable", "unavailable"),
        ("raises:Strange", "upstream_broken", "broken"),
        ("odd", "upstream_broken", "broken"),
        ("text", "upstream_broken", "broken"),
        ("list", "upstream_broken", "broken"),
        ("large", "upstream_broken", "broken"),
        ("stall", "upstream_timeout", "timeout"),
    ],
)
async def test_no_answer_to_pass_on_is_an_error_of_ours(endpoint: Endpoint, act: str, code: str, kind: str) -> None:
    with pytest.raises(TetradError) as caught:
        await endpoint.call(ask(act))
    assert (caught.value.code, classify_error(caught.value)) == (code, kind)
    assert SECRET not in caught.value.message
    assert "api.example.com" not in caught.value.message


@pytest.mark.parametrize("act", ["text", "list", "stall"])
async def test_what_is_no_stream_is_told_when_one_was_asked_for(endpoint: Endpoint, act: str) -> None:
    with pytest.raises(TetradError):
        await endpoint.call(ask(act, stream=True))
    assert endpoint._under_way == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("act", "code"),
    [("nodone", "stream_truncated"), ("stallmid", "upstream_timeout"), ("breaks:2", "rate_limit_exceeded")],
)
async def test_a_stream_that_breaks_is_no_whole_answer(
    endpoint: Endpoint, any_llm: FakeAnyLLM, act: str, code: str
) -> None:
    answer = await endpoint.call(ask(act, stream=True))
    with pytest.raises(TetradError) as caught:
        await read_all(answer)
    assert caught.value.code == code
    answer.close()
    await async_wait_until(lambda: any_llm.closed_streams == 1)
    assert endpoint._under_way == 0  # type: ignore[attr-defined]


async def test_an_error_before_the_first_event_has_its_status(endpoint: Endpoint) -> None:
    answer = await endpoint.call(ask("breaks:0", stream=True))
    assert (answer.status, answer.stream) == (429, False)


async def test_cancelling_ends_the_call_in_its_thread(endpoint: Endpoint, any_llm: FakeAnyLLM) -> None:
    task = asyncio.create_task(endpoint.call(ask("stall")))
    await async_wait_until(lambda: len(any_llm.calls) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await async_wait_until(lambda: any_llm.given_up == 1)
    assert endpoint._under_way == 0  # type: ignore[attr-defined]


async def test_cancelling_a_read_ends_the_stream(endpoint: Endpoint, any_llm: FakeAnyLLM) -> None:
    answer = await endpoint.call(ask("stallmid", stream=True))
    got: list[bytes] = []

    async def read() -> None:
        while not answer.done:
            got.append(await answer.read())

    task = asyncio.create_task(read())
    await async_wait_until(lambda: len(got) == len(WORDS))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await async_wait_until(lambda: any_llm.closed_streams == 1)
    assert endpoint._under_way == 0  # type: ignore[attr-defined]


async def test_an_answer_that_nobody_reads_to_its_end_ends_its_stream(endpoint: Endpoint, any_llm: FakeAnyLLM) -> None:
    answer = await endpoint.call(ask("m1", stream=True))
    await answer.read()
    answer.close()
    answer.close()
    await async_wait_until(lambda: any_llm.closed_streams == 1)
    assert endpoint._under_way == 0  # type: ignore[attr-defined]


async def test_an_sdk_that_blocks_holds_up_nobody_else(shelf: ProviderShelf, any_llm: FakeAnyLLM) -> None:
    blocked = asyncio.create_task(shelf["any-llm"].endpoint(upstream()).call(ask("block")))
    await async_wait_until(lambda: len(any_llm.calls) == 1)
    other = shelf["any-llm"].endpoint(upstream(options={"provider": "other"}))
    assert (await other.call(ask("m1"))).status == 200
    assert not blocked.done()
    any_llm.gate.set()
    assert (await blocked).status == 200


async def test_calls_beyond_the_limit_are_refused(shelf: ProviderShelf, any_llm: FakeAnyLLM) -> None:
    endpoint = shelf["any-llm"].endpoint(upstream(max_connections=1))
    held = await endpoint.call(ask("m1", stream=True))
    with pytest.raises(TetradError) as caught:
        await endpoint.call(ask("m1"))
    assert caught.value.code == "upstream_busy"
    held.close()
    assert (await endpoint.call(ask("m1"))).status == 200


async def test_a_secret_in_an_answer_is_covered(endpoint: Endpoint) -> None:
    answer = await endpoint.call(ask("leak"))
    assert b"your key is [secret]" in await answer.read()


async def test_models_are_listed(endpoint: Endpoint) -> None:
    assert await endpoint.models() == ("a", "b")  # type: ignore[attr-defined]


async def test_a_package_that_any_llm_lacks_is_named(shelf: ProviderShelf) -> None:
    endpoint = shelf["any-llm"].endpoint(upstream(options={"provider": "lacking"}))
    with pytest.raises(TetradError) as caught:
        await endpoint.call(ask("m1"))
    assert caught.value.code == "missing_extra"
    assert "pip install any-llm-sdk[lacking]" in caught.value.message


async def test_a_provider_that_any_llm_does_not_know_is_said(shelf: ProviderShelf) -> None:
    answer = await shelf["any-llm"].endpoint(upstream(options={"provider": "unheard"})).call(ask("m1"))
    assert (answer.status, answer.outcome().error_type) == (501, "unsupported_provider")


async def test_the_address_is_looked_at_before_every_call(shelf: ProviderShelf, any_llm: FakeAnyLLM) -> None:
    # the name resolves to the loopback: a provider that looked public and is not
    named = msgspec.structs.replace(upstream(egress="public"), base_url="https://models.example/v1")
    endpoint = shelf["any-llm"].endpoint(named)
    loop = asyncio.get_running_loop()

    async def resolved(*_: Any, **__: Any) -> list[Any]:
        return [(2, 1, 6, "", ("127.0.0.1", 443))]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(loop), "getaddrinfo", resolved)
        with pytest.raises(TetradError) as caught:
            await endpoint.call(ask("m1"))
        assert caught.value.code == "egress_refused"
        allowed = shelf["any-llm"].endpoint(msgspec.structs.replace(named, internal=True))
        assert (await allowed.call(ask("m1"))).status == 200
    assert len(any_llm.calls) == 1
    with pytest.raises(TetradError):
        shelf["any-llm"].endpoint(msgspec.structs.replace(named, base_url="http://169.254.169.254/v1"))


@pytest.mark.parametrize(
    "broken",
    [{"options": {}}, {"options": {"provider": "../x"}}, {"auth": "sigv4"}, {"ca": "pem"}, {"base_url": "ftp://x"}],
)
async def test_an_upstream_that_cannot_be_is_refused_when_it_is_bound(shelf: ProviderShelf, broken: Any) -> None:
    with pytest.raises(InvalidInput):
        shelf["any-llm"].endpoint(msgspec.structs.replace(upstream(), **broken))


async def test_without_the_package_the_adapter_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "any_llm", raising=False)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda _: None)
    shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=1, answer_bytes=1)
    with pytest.raises(MissingExtra) as caught:
        shelf["any-llm"]
    assert "tetrad[any-llm]" in str(caught.value.hint)
    await shelf.close()


async def test_a_stream_that_cannot_be_closed_is_told_without_what_its_sdk_says(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Stuck:
        async def aclose(self) -> None:
            raise RuntimeError("with the key sk-secret")

    await module._quietly(Stuck())
    assert "RuntimeError" in caplog.text
    assert "sk-secret" not in caplog.text
