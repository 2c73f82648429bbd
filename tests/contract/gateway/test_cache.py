"""Cached answers with the real `openai` client: whole streams, workers that share, contents that stay off disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import openai
import pytest

from support import gateway as g
from support.background_place import client_of, running_place
from support.fake_openai import FakeOpenAI
from support.fake_responses import FakeResponses
from support.gateway import GatewayProcess, make_table, prepare_home, spooled
from support.wait import wait_until
from tetrad.serving import CachePolicy, ModelEntry, Upstream

ON = {"x-tetrad-cache": "on"}
DISK = 10_000_000
POLICIES = {
    "default/assistant": CachePolicy(use="always"),
    "other/": CachePolicy(use="always", semantic="any", tools=True),
}


@pytest.fixture(scope="module")
def alone() -> Iterator[FakeResponses]:
    with FakeResponses() as fake:
        yield fake


@pytest.fixture(scope="module")
def cached(
    upstream: FakeOpenAI, alone: FakeResponses, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    table = make_table(upstream.base_url, models=("tools", "agent", "nodone", "reset:2", "echo"))
    table.upstreams["gpt"] = Upstream("gpt", alone.base_url, provider="openai", operations=("responses",))
    for model in ("tools", "tools:custom", "tools:hosted"):
        public = f"gpt/{model.replace(':', '-')}"
        table.models[public] = ModelEntry(public, "gpt", model)
    prepare_home(home, msgspec.structs.replace(table, caches=POLICIES))
    with GatewayProcess(home, gateway_cache_disk_bytes=DISK) as gateway:
        yield gateway


@pytest.fixture
def client(cached: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=cached.url + "/v1", api_key=g.KEY, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, text: str, model: str = "local/m1", **more: Any) -> Any:
    return client.chat.completions.with_raw_response.create(
        model=model, messages=[{"role": "user", "content": text}], extra_headers=ON, **more
    )


def test_an_equal_call_makes_no_second_call_and_costs_nothing(
    client: openai.OpenAI, cached: GatewayProcess, upstream: FakeOpenAI
) -> None:
    first = ask(client, "one")
    before = len(upstream.requests)
    second = ask(client, "one")
    assert (first.headers["x-tetrad-cache"], second.headers["x-tetrad-cache"]) == ("miss", "hit")
    assert int(second.headers["age"]) >= 0
    assert len(upstream.requests) == before
    assert first.parse() == second.parse()
    root, child = [span for span in spooled(cached.home) if span.trace_id == second.headers["x-tetrad-trace-id"]]
    assert (child.cost, child.attributes["cache_hit"]) == ("0", "true")
    assert child.attributes["cache.saved_cost"] == "0.00000465 USD"
    assert root.finish_reasons == ("stop",)


@pytest.mark.parametrize("stored_by_stream", [True, False])
def test_a_cached_answer_is_a_whole_stream_whoever_stored_it(client: openai.OpenAI, stored_by_stream: bool) -> None:
    text = f"two {stored_by_stream}"
    stored = ask(client, text, stream=stored_by_stream).parse()
    if stored_by_stream:
        list(stored)
    raw = ask(client, text, stream=True, stream_options={"include_usage": True})
    chunks = list(raw.parse())
    assert raw.headers["x-tetrad-cache"] == "hit"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Hello world."
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].usage.total_tokens == 17
    whole = ask(client, text)
    assert whole.headers["x-tetrad-cache"] == "hit"
    assert whole.parse().choices[0].message.content == "Hello world."


@pytest.mark.parametrize("model", ["local/reset-2", "local/tools"])
def test_a_torn_stream_and_calls_of_tools_are_made_anew(
    client: openai.OpenAI, upstream: FakeOpenAI, model: str
) -> None:
    for _ in range(2):
        before = len(upstream.requests)
        raw = ask(client, "three", model, stream=True)
        if model == "local/tools":
            list(raw.parse())
        else:
            with pytest.raises(openai.APIError):
                list(raw.parse())
        assert raw.headers["x-tetrad-cache"] == "miss"
        assert len(upstream.requests) == before + 1


# responses


def respond(client: openai.OpenAI, text: str, model: str = "local/m1", **more: Any) -> Any:
    return client.responses.with_raw_response.create(model=model, input=text, extra_headers=ON, **more)


@pytest.mark.parametrize("model", ["local/m1", "local/native"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_response_is_cached_and_nobodys_data_is_told_to_another(
    client: openai.OpenAI, model: str, stream: bool
) -> None:
    found = []
    for who in ("ann", "ann", "bob"):
        raw = respond(client, f"r1 {stream}", model, user=who, metadata={"who": who}, store=False, stream=stream)
        told = raw.parse()
        parsed = [event for event in told if event.type == "response.completed"].pop().response if stream else told
        assert "".join(part.text for item in parsed.output for part in item.content) == "Hello world."
        if model == "local/m1":
            assert (parsed.user, parsed.metadata) == (who, {"who": who})
        found.append(raw.headers["x-tetrad-cache"])
    assert found == ["miss", "hit", "miss"]


@pytest.mark.parametrize("model", ["gpt/tools", "gpt/tools-custom", "gpt/tools-hosted", "local/agent"])
@pytest.mark.parametrize("stream", [False, True])
def test_responses_that_call_tools_are_made_anew_unless_the_policy_keeps_them(
    client: openai.OpenAI, model: str, stream: bool
) -> None:
    for key, wanted in ((g.KEY, ["miss", "miss"]), (g.OTHER_KEY, ["miss", "hit"])):
        own = client.with_options(api_key=key)
        found = []
        for _ in range(2):
            raw = respond(own, f"r2 {stream}", model, store=False, stream=stream)
            assert "_call" in raw.http_response.read().decode()
            found.append(raw.headers["x-tetrad-cache"])
        assert found == wanted


def test_a_stored_response_is_its_callers_own(tmp_path_factory: pytest.TempPathFactory, upstream: FakeOpenAI) -> None:
    with running_place(upstream, tmp_path_factory, "tetrad") as place, client_of(place) as client:
        ann, bob = (respond(client, "r3", metadata={"who": who}) for who in ("ann", "bob"))
        same = respond(client, "r3", metadata={"who": "bob"})
        assert [raw.headers["x-tetrad-cache"] for raw in (ann, bob, same)] == ["off"] * 3
        assert len({raw.parse().id for raw in (ann, bob, same)}) == 3
        client.responses.delete(bob.parse().id)
        assert client.responses.retrieve(ann.parse().id).metadata == {"who": "ann"}
        assert client.responses.retrieve(same.parse().id).metadata == {"who": "bob"}
        conversation = client.conversations.create()
        for more in ({"previous_response_id": ann.parse().id}, {"conversation": conversation.id}):
            found = [respond(client, "r3", store=False, **more).headers["x-tetrad-cache"] for _ in range(2)]
            assert found == ["off", "off"]


def test_an_app_whose_policy_says_so_is_cached_unasked(client: openai.OpenAI) -> None:
    variables = {"tetrad": {"variables": {"name": "Ann"}}}
    found = [
        client.chat.completions.with_raw_response.create(
            model="app:assistant", messages=[{"role": "user", "content": "hi"}], extra_body=variables
        ).headers["x-tetrad-cache"]
        for _ in range(2)
    ]
    assert found == ["miss", "hit"]


def test_hints_for_the_upstreams_own_cache_pass_untouched(client: openai.OpenAI, upstream: FakeOpenAI) -> None:
    part = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    client.chat.completions.create(
        model="app:assistant",
        messages=[{"role": "user", "content": [part]}],  # type: ignore[list-item,misc] # a field of another dialect
        prompt_cache_key="k1",
        extra_body={"tetrad": {"variables": {"name": "Ann"}}, "prompt_cache_retention": "24h"},
    )
    seen = upstream.requests[-1].body
    assert (seen["prompt_cache_key"], seen["prompt_cache_retention"]) == ("k1", "24h")
    assert seen["messages"][-1]["content"] == [part]


def test_workers_of_a_machine_share_answers_and_a_sensitive_keys_stay_in_memory(
    client: openai.OpenAI, cached: GatewayProcess, upstream: FakeOpenAI
) -> None:
    def files() -> list[Path]:
        return [path for path in (cached.home / "cache").rglob("*") if path.is_file()]

    known = len(files())
    for key in (g.OFF_KEY, g.REDACTED_KEY):
        ask(client.with_options(api_key=key), f"four {key}")
    ask(client, "five")
    wait_until(lambda: len(files()) > known, what="the answer on disk")
    assert len(files()) == known + 1
    before = len(upstream.requests)
    with GatewayProcess(cached.home, index=1, gateway_cache_disk_bytes=DISK) as other:
        through_other = client.with_options(base_url=other.url + "/v1")
        assert ask(through_other, "five").headers["x-tetrad-cache"] == "hit"
    assert len(upstream.requests) == before


def test_without_an_embedder_similar_questions_are_misses_and_equal_ones_hits(
    client: openai.OpenAI, cached: GatewayProcess
) -> None:
    other = client.with_options(api_key=g.OTHER_KEY)
    found = [ask(other, text).headers["x-tetrad-cache"] for text in ("How is it?", "How is that?", "How is it?")]
    assert found == ["miss", "miss", "hit"]
    assert cached.metric("tetrad_gateway_cache_similar_failures_total") >= 1


def test_what_the_cache_did_is_counted(client: openai.OpenAI, cached: GatewayProcess) -> None:
    before = cached.metric("tetrad_gateway_cache_requests_total")
    ask(client, "six")
    ask(client, "six")
    assert cached.metric("tetrad_gateway_cache_requests_total") == before + 2
    assert cached.metric("tetrad_gateway_cache_saved_tokens_total") >= 17
    assert cached.metric("tetrad_gateway_cache_bytes") > 0


def test_a_gateway_without_memory_for_a_cache_has_none(upstream: FakeOpenAI, tmp_path: Path) -> None:
    prepare_home(tmp_path, make_table(upstream.base_url))
    with GatewayProcess(tmp_path, gateway_cache_bytes=0) as gateway:
        status, headers, _ = gateway.chat("local/m1")
        assert (status, headers.get("x-tetrad-cache")) == (200, None)
        assert gateway.metric("tetrad_gateway_cache_bytes") == 0
