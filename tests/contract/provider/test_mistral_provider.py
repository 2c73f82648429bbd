"""What is special about Mistral: a strict dialect, short ids, thoughts among the parts of the content."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fake_mistral import FakeMistral
from tetrad.adapters.providers.mistral import MistralProvider
from tetrad.kernel import SystemClock
from tetrad.kit.upstream import Client
from tetrad.serving import CHAT, Upstream
from tetrad.serving.ports import Endpoint, ModelCall
from tetrad.serving.translation.chat_to_mistral import short_id


@pytest.fixture
def upstream() -> Iterator[FakeMistral]:
    with FakeMistral() as fake:
        yield fake


@pytest.fixture
async def endpoint(upstream: FakeMistral) -> AsyncIterator[Endpoint]:
    provider = MistralProvider(Client(), SystemClock())
    yield provider.endpoint(Upstream("up", upstream.base_url, adapter="mistral", secret="secret-0123456789"))
    await provider.close()


def chat(model: str, messages: list[dict[str, Any]], **fields: Any) -> ModelCall:
    body = {"model": model, "messages": messages, **fields}
    raw = {name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()}
    return ModelCall(CHAT, raw, bool(fields.get("stream")))


CALL = {"id": "call_0123456789", "type": "function", "function": {"name": "weather", "arguments": "{}"}}


async def test_what_openais_clients_send_is_taken(endpoint: Endpoint, upstream: FakeMistral) -> None:
    talk = [
        {"role": "developer", "content": "Be kind."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": CALL["id"], "content": "cold"},
    ]
    answer = await endpoint.call(
        chat(
            "m1", talk, max_completion_tokens=9, seed=3, stream=True, stream_options={"include_usage": True},
            store=False, user="u", tools=[{"type": "function", "function": {"name": "weather"}}],
            tool_choice="required",
        )
    )  # fmt: skip
    assert (answer.status, answer.dropped) == (200, ("user",))
    while not answer.done:
        await answer.read()
    body = upstream.requests[-1].body
    assert (body["max_tokens"], body["random_seed"], body["tool_choice"]) == (9, 3, "any")
    assert [each["role"] for each in body["messages"]] == ["system", "user", "assistant", "tool"]
    assert (
        body["messages"][2]["tool_calls"][0]["id"] == body["messages"][3]["tool_call_id"] == short_id(str(CALL["id"]))
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_thoughts_come_as_other_providers_say_them(endpoint: Endpoint, stream: bool) -> None:
    answer = await endpoint.call(chat("thinking", [{"role": "user", "content": "2+2?"}], stream=stream))
    data = await answer.read()
    while not answer.done:
        data += await answer.read()
    assert b'"thinking"' not in data
    assert b'"reasoning_content":"Two and two."' in data
    recorded = json.loads(answer.outcome().output)[0]
    assert (recorded["content"], recorded["reasoning_content"]) == ("4", "Two and two.")
    assert answer.outcome().usage is not None


@given(st.text(max_size=40))
def test_an_id_is_made_short_always_in_the_same_way(identity: str) -> None:
    short = short_id(identity)
    assert len(short) == 9
    assert short.isascii()
    assert short.isalnum()
    assert short_id(identity) == short == short_id(short)
