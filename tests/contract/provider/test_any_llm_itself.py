"""any-llm itself, where it is installed: its calls of an OpenAI-compatible upstream, through the adapter."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest

from support.fake_openai import FakeOpenAI
from support.wait import async_wait_until
from tetrad.kernel import SystemClock, TetradError, Usage
from tetrad.kit.upstream import Client
from tetrad.serving import CHAT, EMBEDDINGS, ProviderShelf, Upstream
from tetrad.serving.ports import Answer, Endpoint, ModelCall

pytest.importorskip("any_llm", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("default")  # of its SDKs
SECRET = "secret-0123456789"
USAGE = Usage(input=10, cache_read=2, output=4, reasoning=1)


@pytest.fixture
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def endpoint(upstream: FakeOpenAI) -> AsyncIterator[Endpoint]:
    shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=100_000, answer_bytes=1_000_000)
    yield shelf["any-llm"].endpoint(
        Upstream(
            "up", upstream.base_url, adapter="any-llm", secret=SECRET, idle_timeout_s=1,
            options={"provider": "deepinfra"},
        )
    )  # fmt: skip
    await shelf.close()


def ask(model: str, *, stream: bool = False, operation: Any = CHAT, **more: Any) -> ModelCall:
    said = {"input": ["a", "b"]} if operation is EMBEDDINGS else {"messages": [{"role": "user", "content": "hi"}]}
    body = {"model": model, **said, **({"stream": True} if stream else {}), **more}
    return ModelCall(
        operation, {name: msgspec.Raw(json.dumps(each).encode()) for name, each in body.items()}, stream, True
    )


async def read_all(answer: Answer) -> bytes:
    data = await answer.read()
    while not answer.done:
        data += await answer.read()
    answer.close()
    return data


async def test_answers_streams_and_embeddings_come_as_from_the_upstream(
    endpoint: Endpoint, upstream: FakeOpenAI
) -> None:
    answer = await endpoint.call(ask("m1", prompt_cache_key="k"))
    assert json.loads(await answer.read())["choices"][0]["message"]["content"] == "Hello world."
    assert (answer.outcome().usage, answer.dropped) == (USAGE, ("prompt_cache_key",))
    assert upstream.requests[-1].headers["authorization"] == f"Bearer {SECRET}"
    answer = await endpoint.call(ask("m1", stream=True))
    assert (await read_all(answer)).endswith(b"data: [DONE]\n\n")
    assert (answer.outcome().usage, answer.outcome().finish_reasons) == (USAGE, ("stop",))
    answer = await endpoint.call(ask("e1", operation=EMBEDDINGS))
    assert [each["embedding"] for each in json.loads(await answer.read())["data"]] == [[0.1, 0.2]] * 2


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_a_refusal_keeps_its_status_its_words_and_is_not_tried_again(
    endpoint: Endpoint, upstream: FakeOpenAI, status: int
) -> None:
    answer = await endpoint.call(ask(f"error:{status}"))
    assert (answer.status, json.loads(await answer.read())["error"]["message"]) == (status, "as scripted")
    assert (b"retry-after", b"7") in answer.headers
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("act", "stream", "code"),
    [
        ("error:401", False, "upstream_credential_refused"),
        ("reset:0", False, "upstream_unreachable"),
        ("html", False, "upstream_broken"),
        ("stallmid", True, "upstream_timeout"),
        ("reset:2", True, "upstream_unreachable"),
    ],
)
async def test_no_whole_answer_is_an_error_of_ours(
    endpoint: Endpoint, upstream: FakeOpenAI, act: str, stream: bool, code: str
) -> None:
    with pytest.raises(TetradError) as caught:
        await read_all(await endpoint.call(ask(act, stream=stream)))
    assert caught.value.code == code
    assert SECRET not in caught.value.message
    assert str(upstream.port) not in caught.value.message


async def test_a_stream_that_is_given_up_ends_its_connection(endpoint: Endpoint, upstream: FakeOpenAI) -> None:
    answer = await endpoint.call(ask("endless", stream=True))
    await answer.read()
    answer.close()
    await async_wait_until(lambda: upstream.open_connections == 0, timeout_s=5)
