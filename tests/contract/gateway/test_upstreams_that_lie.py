"""What the real clients see of upstreams that fail under a good status, or tell what cannot be."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import httpx
import openai
import pytest

from support import gateway as g
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home, spooled

MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture(scope="module")
def lying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    with FakeOpenAI() as upstream:
        prepare_home(home, make_table(upstream.base_url, models=("cut", "hidden", "unstreamed", "boundless")))
        with GatewayProcess(home) as gateway:
            yield gateway


@pytest.fixture
def client(lying: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=lying.url + "/v1", api_key=g.KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(lying: GatewayProcess) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=lying.url, api_key=g.KEY, max_retries=0) as client:
        yield client


def test_an_error_under_200_is_raised_by_every_client(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    for stream in (False, True):
        with pytest.raises(openai.InternalServerError, match="too many at once") as caught:
            client.chat.completions.create(model="local/hidden", messages=MESSAGES, stream=stream)
        assert caught.value.status_code == 529
    with pytest.raises(openai.InternalServerError, match="too many at once"):
        client.responses.create(model="local/hidden", input="hi", store=False)
    with pytest.raises(anthropic.APIStatusError, match="too many at once") as refused:
        claude.messages.create(model="local/hidden", messages=MESSAGES, max_tokens=9)
    assert refused.value.status_code == 529


def test_a_stream_that_breaks_off_is_raised_by_every_client(client: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    said: list[str] = []
    chunks = client.chat.completions.create(model="local/cut", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError, match="ended before its answer did"):
        said.extend(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert "".join(said) == "Hello "
    with (
        pytest.raises(anthropic.APIStatusError, match="ended before its answer did"),
        claude.messages.stream(model="local/cut", messages=MESSAGES, max_tokens=9) as stream,
    ):
        stream.until_done()


def test_who_waits_for_a_stream_gets_one_also_where_the_upstream_has_none(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    chunks = list(client.chat.completions.create(model="local/unstreamed", messages=MESSAGES, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello world."
    assert chunks[-1].choices[0].finish_reason == "stop"
    with claude.messages.stream(model="local/unstreamed", messages=MESSAGES, max_tokens=9) as stream:
        assert stream.get_final_text() == "Hello world."


def test_a_usage_that_cannot_be_fails_no_answer_and_costs_no_fortune(lying: GatewayProcess) -> None:
    body = {"model": "local/boundless", "messages": MESSAGES}
    answer = httpx.post(
        lying.url + "/v1/chat/completions", json=body, headers={"authorization": f"Bearer {g.KEY}"}, trust_env=False
    )
    assert answer.status_code == 200
    trace = answer.headers["x-tetrad-trace-id"]
    (call,) = [span for span in spooled(lying.home) if span.trace_id == trace and span.kind == "CLIENT"]
    assert (call.usage, call.cost) == (None, None)
