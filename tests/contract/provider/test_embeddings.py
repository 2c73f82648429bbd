"""What every adapter that embeds promises: the vectors of all texts, in order, in however many calls it takes."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from support.fake_bedrock import FakeBedrock
from support.fake_gemini import FakeGemini
from support.fake_openai import FakeOpenAI
from support.spoken import SECRET, Spoken
from support.wait import async_wait_until
from tetrad.kernel import SystemClock, TetradError, Usage
from tetrad.kit.upstream import Client
from tetrad.serving import EMBEDDINGS, ProviderShelf, RequestRefused, Upstream
from tetrad.serving._failures import classify, classify_error
from tetrad.serving.ports import Answer, Endpoint, ModelCall

AWS = {"secret": f"AKIDEXAMPLE:{SECRET}", "options": {"region": "us-east-1"}}


@dataclass
class Case(Spoken):
    """A family of models, how many texts of one letter its calls take, and what its bodies hold."""

    batch: int
    texts: Callable[[dict[str, Any]], list[str]]
    size: Callable[[dict[str, Any]], Any]


CASES = {
    "titan": Case(
        "bedrock", FakeBedrock, 1, lambda body: [body["inputText"]], lambda body: body.get("dimensions"),
        prefix="amazon.titan-embed.", fields=AWS,
    ),
    "cohere": Case(
        "bedrock", FakeBedrock, 96, lambda body: body["texts"], lambda body: body.get("output_dimension"),
        prefix="cohere.embed.", fields=AWS,
    ),
    "gemini": Case(
        "gemini", FakeGemini, 100,
        lambda body: [each["content"]["parts"][0]["text"] for each in body["requests"]],
        lambda body: body["requests"][0].get("outputDimensionality"),
    ),
    "vertex": Case(
        "gemini", FakeGemini, 250, lambda body: [each["content"] for each in body["instances"]],
        lambda body: body["parameters"].get("outputDimensionality"), url="vertex_url", fields={"auth": "bearer"},
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


def call(case: Case, act: str, given: Any, **fields: Any) -> ModelCall:
    body = {"model": f"{case.prefix}{act}", "input": given, **fields}
    return ModelCall(EMBEDDINGS, {name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()})


async def whole(answer: Answer) -> dict[str, Any]:
    assert answer.done
    found: dict[str, Any] = json.loads(await answer.read())
    return found


async def test_a_text_has_a_vector_and_what_was_read_is_told(case: Case, endpoint: Endpoint) -> None:
    answer = await endpoint.call(call(case, "m1", "Hello"))
    assert await whole(answer) == {
        "object": "list",
        "model": f"{case.prefix}m1",
        "data": [{"object": "embedding", "index": 0, "embedding": [5.0, 0.25]}],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    assert answer.outcome().usage == Usage(input=5)


async def test_many_texts_are_asked_in_as_many_calls_as_it_takes_and_stay_in_order(
    case: Case, endpoint: Endpoint, upstream: FakeOpenAI
) -> None:
    texts = [f"{'x' * (number % 7 + 1)}" for number in range(260)]
    body = await whole(await endpoint.call(call(case, "m1", texts, dimensions=256)))
    assert [each["index"] for each in body["data"]] == list(range(260))
    assert [each["embedding"][0] for each in body["data"]] == [len(each) for each in texts]
    assert body["usage"]["prompt_tokens"] == sum(map(len, texts))
    sent = [each.body for each in upstream.requests]
    assert len(sent) == -(-260 // case.batch)
    assert max(len(case.texts(each)) for each in sent) == case.batch
    assert sorted(text for each in sent for text in case.texts(each)) == sorted(texts)
    assert {case.size(each) for each in sent} == {256}


async def test_numbers_come_packed_where_they_are_asked_for_so(case: Case, endpoint: Endpoint) -> None:
    body = await whole(await endpoint.call(call(case, "m1", ["ab"], encoding_format="base64")))
    assert struct.unpack("<2f", base64.b64decode(body["data"][0]["embedding"])) == (2.0, 0.25)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"given": []}, "input"), ({"given": [[1, 2]]}, "input"), ({"given": ["a"] * 2049}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"), ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "many"}, "dimensions"), ({"dimensions": True}, "dimensions"),
    ],
)  # fmt: skip
async def test_what_is_no_request_for_embeddings_is_refused_before_anything_is_sent(
    case: Case, endpoint: Endpoint, upstream: FakeOpenAI, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(RequestRefused) as caught:
        await endpoint.call(call(case, "m1", **{"given": "a", **fields}))
    assert caught.value.param == param
    assert not upstream.requests


@pytest.mark.parametrize(("status", "kind"), [(400, "caller"), (429, "rate_limit"), (500, "broken"), (404, "missing")])
async def test_one_refusal_ends_all_calls_and_is_told_in_the_clients_words(
    case: Case, endpoint: Endpoint, status: int, kind: str
) -> None:
    answer = await endpoint.call(call(case, f"error:{status}", ["a"] * 20))
    assert answer.status == status
    assert "as scripted" in (await whole(answer))["error"]["message"]
    outcome = answer.outcome()
    assert classify(status, outcome.error_type, outcome.error_message) == kind
    if status == 429:
        assert (b"retry-after", b"7") in answer.headers


@pytest.mark.parametrize(
    ("act", "code"),
    [
        ("error:401", "upstream_credential_refused"), ("garbage", "upstream_broken"), ("html", "upstream_broken"),
        ("fewer", "upstream_broken"), ("reset:0", "upstream_lost"), ("stall", "upstream_timeout"),
    ],
)  # fmt: skip
async def test_an_upstream_that_lies_breaks_or_stalls_is_an_error_of_ours(
    case: Case, endpoint: Endpoint, upstream: FakeOpenAI, act: str, code: str
) -> None:
    with pytest.raises(TetradError) as caught:
        await endpoint.call(call(case, act, ["a", "b"]))
    assert caught.value.code == code
    assert classify_error(caught.value) != "caller"
    assert SECRET not in caught.value.message
    if act == "stall":
        await async_wait_until(lambda: upstream.open_connections == 0)


async def test_who_leaves_ends_all_of_the_calls(case: Case, endpoint: Endpoint, upstream: FakeOpenAI) -> None:
    task = asyncio.create_task(endpoint.call(call(case, "stall", ["a"] * 300)))  # type: ignore[arg-type]
    await async_wait_until(lambda: len(upstream.requests) >= 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await async_wait_until(lambda: upstream.open_connections == 0)


async def test_what_is_lost_is_named_and_purposes_go_on(case: Case, endpoint: Endpoint, upstream: FakeOpenAI) -> None:
    purpose = "RETRIEVAL_QUERY" if case.adapter == "gemini" else "search_query"
    asked = call(case, "m1", "a", user="u", task_type=purpose, input_type=purpose)
    answer = await endpoint.call(asked)
    assert answer.dropped == ("user",)
    assert (case.batch == 1) is not (purpose in json.dumps(upstream.requests[-1].body))
    with pytest.raises(RequestRefused) as caught:
        await endpoint.call(msgspec.structs.replace(asked, strict=True))
    assert caught.value.param == "user"


async def test_a_model_of_no_known_family_is_refused_by_name() -> None:
    shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=1000, answer_bytes=1000)
    endpoint = shelf["bedrock"].endpoint(Upstream("up", "http://127.0.0.1:1", adapter="bedrock", **AWS))
    for model in ("twelvelabs.marengo", "anthropic.claude"):
        with pytest.raises(RequestRefused) as caught:
            await endpoint.call(call(Case("bedrock", FakeBedrock, 1, list, list), model, "a"))
        assert caught.value.code == "operation_not_served"
    await shelf.close()


async def test_answers_together_stay_under_the_limit_of_an_answer() -> None:
    with FakeBedrock() as fake:
        shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=1000, answer_bytes=2000)
        endpoint = shelf["bedrock"].endpoint(Upstream("up", fake.base_url, adapter="bedrock", **AWS))
        with pytest.raises(TetradError, match="larger than"):
            await endpoint.call(call(CASES["titan"], "m1", ["a"] * 100))
        await shelf.close()
