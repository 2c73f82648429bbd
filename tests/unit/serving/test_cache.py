"""Cached answers without a network: what is kept, who gets it, and what it must never do."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support import gateway as g
from support.caching import ANSWER, EVENTS, GOOD, OFF, ON, OPERATION, REFRESH, Bench
from tetrad.kernel import SystemClock, TetradError, Usage
from tetrad.serving import AppRoute, Cache, CachePolicy, Exchange, FileAnswers, MemoryAnswers, RouteTable
from tetrad.serving.ports import Outcome


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_an_equal_request_is_answered_from_the_cache_at_no_cost(bench: Bench) -> None:
    first, second = await bench.chat(), await bench.chat()
    assert (first.cache, second.cache) == ("miss", "hit")
    assert first.body == second.body
    assert second.headers[b"age"] == b"0"
    assert second.headers[b"content-type"] == b"application/json"
    assert len(bench.upstreams.calls) == 1
    paid, free = (record.attempts[-1] for record in bench.records)
    assert paid.cost == "0.0000048"
    assert (free.cost, free.outcome.usage) == ("0", Usage())
    assert free.outcome.attributes["cache_hit"] == "true"
    assert free.outcome.attributes["cache.saved_cost"] == "0.0000048 USD"
    assert free.outcome.attributes["cache.saved_tokens"] == "17"
    assert free.outcome.output == GOOD.output


async def test_without_a_policy_only_requests_that_ask_are_cached() -> None:
    bench = Bench(None)
    replies = [await bench.chat(), await bench.chat(headers=ON), await bench.chat(headers=ON), await bench.chat()]
    assert [reply.cache for reply in replies] == ["", "miss", "hit", ""]


async def test_a_request_may_ask_in_its_body_and_the_upstream_does_not_see_it() -> None:
    bench = Bench(None)
    replies = [await bench.chat(tetrad={"cache": "on"}) for _ in range(2)]
    assert [reply.cache for reply in replies] == ["miss", "hit"]
    assert "tetrad" not in bench.upstreams.calls[0].fields


async def test_refresh_asks_the_model_and_off_leaves_the_cache_alone(bench: Bench) -> None:
    await bench.chat()
    bench.upstreams.body = bench.upstreams.body.replace(b"Paris", b"Lyons")
    off = await bench.chat(headers=OFF)
    assert (off.cache, b"Lyons" in off.body) == ("off", True)
    assert b"Paris" in (await bench.chat()).body
    assert (await bench.chat(headers=REFRESH)).cache == "refresh"
    assert b"Lyons" in (await bench.chat()).body


async def test_an_app_that_must_not_be_cached_is_not_whoever_asks() -> None:
    bench = Bench(CachePolicy(use="never"))
    assert [(await bench.chat(headers=ON)).cache for _ in range(2)] == ["off", "off"]


async def test_an_unknown_wish_is_refused_by_name(bench: Bench) -> None:
    reply = await bench.chat(headers={b"x-tetrad-cache": b"maybe"})
    assert reply.status == 400
    assert json.loads(reply.body)["error"]["param"] == "x-tetrad-cache"


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0.5},
        {"seed": 1},
        {"text": "hi!"},
        {"max_tokens": 5},
        {"response_format": {"type": "json_object"}},
        {"key": g.OTHER_KEY},
        {"model": "local/chatonly"},
    ],
    ids=str,
)
async def test_anything_that_may_change_the_answer_is_another_key(bench: Bench, other: dict[str, Any]) -> None:
    bench.install(caches={"default/": CachePolicy(use="always"), "other/": CachePolicy(use="always")})
    await bench.chat()
    assert (await bench.chat(**other)).cache == "miss"


@pytest.mark.parametrize("other", [{"user": "ann"}, {"metadata": {"a": "b"}}, {"prompt_cache_key": "k"}], ids=str)
async def test_who_asks_and_how_it_is_billed_is_no_other_question(bench: Bench, other: dict[str, Any]) -> None:
    await bench.chat()
    assert (await bench.chat(**other)).cache == "hit"


async def test_another_tier_of_service_is_another_question_since_the_answer_says_which_it_was(bench: Bench) -> None:
    await bench.chat()
    assert (await bench.chat(service_tier="flex")).cache == "miss"


# responses


async def respond(bench: Bench, **given: Any) -> str:
    body = {"model": "local/m1", "input": "hi", "store": False, **given}
    return (
        await bench.ask({name: value for name, value in body.items() if value != "absent"}, operation="responses")
    ).cache


def responding(*items: dict[str, Any], tools: bool = False) -> Bench:
    bench = Bench(CachePolicy(use="always", tools=tools))
    output = json.dumps(items or [{"type": "message", "role": "assistant", "content": []}]).encode()
    bench.upstreams.outcome = msgspec.structs.replace(GOOD, finish_reasons=("completed",), output=output)
    return bench


@pytest.mark.parametrize(
    "other",
    [
        {"user": "bob"},
        {"metadata": {"who": "bob"}},
        {"safety_identifier": "bob"},
        {"prompt_cache_key": "bob"},
        {"prompt_cache_retention": "24h"},
        {"service_tier": "flex"},
        {"truncation": "auto"},
    ],
    ids=str,
)
async def test_a_response_repeats_its_request_so_every_field_of_it_is_part_of_the_question(
    other: dict[str, Any],
) -> None:
    bench = responding()
    assert [await respond(bench), await respond(bench)] == ["miss", "hit"]
    assert [await respond(bench, **other), await respond(bench)] == ["miss", "hit"]


@pytest.mark.parametrize("store", ["absent", None, True])
async def test_a_response_that_is_stored_is_another_one_each_time(store: object) -> None:
    bench = responding()
    assert [await respond(bench, store=store) for _ in range(2)] == ["off", "off"]


async def test_a_chat_answer_that_the_upstream_stores_is_made_each_time(bench: Bench) -> None:
    assert [(await bench.chat(store=True)).cache for _ in range(2)] == ["off", "off"]
    assert [(await bench.chat(store=False)).cache for _ in range(2)] == ["miss", "hit"]


@pytest.mark.parametrize(
    "kind",
    ["function_call", "custom_tool_call", "web_search_call", "file_search_call", "computer_call", "mcp_call",
     "code_interpreter_call", "image_generation_call", "local_shell_call", "mcp_approval_request", "mcp_list_tools",
     "something_new"],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_that_calls_tools_is_kept_only_where_the_policy_allows_it(kind: str, stream: bool) -> None:
    items: list[dict[str, Any]] = [{"type": "reasoning", "summary": []}, {"type": kind, "id": "x_1", "name": "a"}]
    bench = responding(*items)
    assert [await respond(bench, stream=stream) for _ in range(2)] == ["miss", "miss"]
    bench = responding(*items, tools=True)
    assert [await respond(bench, stream=stream) for _ in range(2)] == ["miss", "hit"]


async def test_a_response_of_which_nothing_can_be_read_may_call_tools() -> None:
    bench = responding()
    bench.upstreams.outcome = msgspec.structs.replace(bench.upstreams.outcome, output=b"")
    assert [await respond(bench) for _ in range(2)] == ["miss", "miss"]


async def test_a_new_release_is_never_answered_with_an_old_ones_words(bench: Bench) -> None:
    ask = {"model": "app:assistant", "tetrad": {"variables": {"name": "Ann"}}}
    assert [(await bench.chat(**ask)).cache for _ in range(2)] == ["miss", "hit"]
    old = bench.table.releases[g.RELEASE]
    new = msgspec.structs.replace(old, digest="sha256:" + "7" * 64)  # the same words, yet another release
    app = bench.table.apps["default/assistant"]
    refs = {**app.refs, "production": new.digest}
    bench.install(
        releases={**bench.table.releases, f"default/{new.digest}": new},
        apps={"default/assistant": AppRoute("default", "assistant", refs)},
    )
    assert (await bench.chat(**ask)).cache == "miss"


async def test_variables_of_a_prompt_are_part_of_the_question(bench: Bench) -> None:
    for name in ("Ann", "Bob"):
        reply = await bench.chat(model="app:assistant", tetrad={"variables": {"name": name}})
        assert reply.cache == "miss"


async def test_a_new_generation_makes_everything_unreachable(bench: Bench) -> None:
    await bench.chat()
    bench.install(caches={"default/": CachePolicy(use="always", generation=1)})
    assert (await bench.chat()).cache == "miss"


async def test_an_answer_ages_and_ends() -> None:
    class Later(SystemClock):
        plus_s = 0

        def now_ns(self) -> int:
            return super().now_ns() + self.plus_s * 1_000_000_000

    clock = Later()
    bench = Bench(CachePolicy(use="always", ttl_s=100), clock=clock)
    await bench.chat()
    clock.plus_s = 60
    assert int((await bench.chat()).headers[b"age"]) >= 60
    clock.plus_s = 101
    assert (await bench.chat()).cache == "miss"


# whole and good


@pytest.mark.parametrize(
    "outcome",
    [
        msgspec.structs.replace(GOOD, finish_reasons=("length",)),
        msgspec.structs.replace(GOOD, finish_reasons=("content_filter",)),
        msgspec.structs.replace(GOOD, finish_reasons=("stop", "length")),
        msgspec.structs.replace(GOOD, finish_reasons=()),
        msgspec.structs.replace(GOOD, finish_reasons=("tool_calls",)),
        msgspec.structs.replace(GOOD, error_type="upstream_error"),
        msgspec.structs.replace(GOOD, truncated=True),
        msgspec.structs.replace(GOOD, output=b'[{"role":"assistant","tool_calls":[{"id":"c"}]}]'),
        msgspec.structs.replace(GOOD, output=b'[{"role":"assistant","\\u0066unction_call":{"name":"f"}}]'),
        msgspec.structs.replace(GOOD, output=b'[{"role":"assistant","content":[{"type":"tool_use","id":"t"}]}]'),
        msgspec.structs.replace(GOOD, output=b'[{"role":"assistant","content":[{"type":"server_tool_use","id":"t"}]}]'),
    ],
    ids=lambda outcome: f"{outcome.finish_reasons}{outcome.error_type}",
)
@pytest.mark.parametrize("stream", [False, True])
async def test_what_is_cut_filtered_broken_or_calls_tools_is_not_kept(outcome: Outcome, stream: bool) -> None:
    bench = Bench()
    bench.upstreams.outcome = outcome
    assert [(await bench.chat(stream=stream)).cache for _ in range(2)] == ["miss", "miss"]
    assert len(bench.cache.memory) == 0


async def test_calls_of_tools_are_kept_where_the_policy_allows_it() -> None:
    bench = Bench(CachePolicy(use="always", tools=True))
    bench.upstreams.outcome = msgspec.structs.replace(GOOD, finish_reasons=("tool_calls",))
    assert [(await bench.chat()).cache for _ in range(2)] == ["miss", "hit"]


async def test_errors_are_not_kept(bench: Bench) -> None:
    bench.upstreams.status = 503
    assert (await bench.chat()).status == 503
    bench.upstreams.status, bench.upstreams.error = 200, TetradError("gone")
    assert (await bench.chat()).status == 500
    bench.upstreams.error = None
    assert (await bench.chat()).cache == "miss"


async def test_a_stream_whose_upstream_breaks_is_not_kept(bench: Bench) -> None:
    bench.upstreams.events = [EVENTS[0], TetradError("torn")]
    await bench.chat(stream=True)
    bench.upstreams.events = [*EVENTS]
    assert (await bench.chat(stream=True)).cache == "miss"


async def test_a_stream_whose_client_leaves_is_not_kept(bench: Bench) -> None:
    await bench.chat(stream=True, patience=1)
    assert len(bench.cache.memory) == 0
    assert (await bench.chat(stream=True)).cache == "miss"


async def test_an_answer_past_the_limit_is_passed_on_and_not_kept() -> None:
    bench = Bench(entry_bytes=100)
    first, second = await bench.chat(), await bench.chat()
    assert first.body == second.body == bench.upstreams.body
    assert (first.cache, second.cache) == ("miss", "miss")


async def test_calls_that_stand_on_others_or_leave_something_behind_are_not_cached(bench: Bench) -> None:
    assert [(await bench.chat(conversation="c1")).cache for _ in range(2)] == ["off", "off"]


# forms


def payloads(body: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: {")]


async def test_a_stream_is_replayed_as_it_came_to_its_end_marker(bench: Bench) -> None:
    first, second = await bench.chat(stream=True), await bench.chat(stream=True)
    assert second.cache == "hit"
    assert second.headers[b"content-type"].startswith(b"text/event-stream")
    assert first.body == second.body
    assert second.body.endswith(b"data: [DONE]\n\n")


async def test_usage_is_told_in_a_stream_to_those_who_ask_whoever_asked_first(bench: Bench) -> None:
    without = await bench.chat(stream=True)
    with_usage = await bench.chat(stream=True, stream_options={"include_usage": True})
    assert with_usage.cache == "hit"
    assert b'"usage"' not in without.body
    assert payloads(with_usage.body)[-1]["usage"]["prompt_tokens"] == 12


async def test_a_whole_answer_is_replayed_as_a_stream(bench: Bench) -> None:
    await bench.chat()
    reply = await bench.chat(stream=True)
    assert reply.cache == "hit"
    assert reply.headers[b"content-type"].startswith(b"text/event-stream")
    words = "".join(c["delta"].get("content") or "" for p in payloads(reply.body) for c in p["choices"])
    assert words == "Paris."
    assert reply.body.endswith(b"data: [DONE]\n\n")


async def test_a_stream_is_replayed_as_a_whole_answer(bench: Bench) -> None:
    await bench.chat(stream=True)
    reply = await bench.chat()
    assert reply.cache == "hit"
    answer = json.loads(reply.body)
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": "Paris."}
    assert answer["usage"] == {"prompt_tokens": 12, "completion_tokens": 5}
    assert reply.headers[b"content-type"] == b"application/json"


async def test_an_answer_with_unknown_parts_keeps_its_form(bench: Bench) -> None:
    bench.upstreams.body = json.dumps({**ANSWER, "citations": ["a"]}).encode()
    await bench.chat()
    assert (await bench.chat(stream=True)).cache == "miss"
    assert (await bench.chat()).cache == "hit"


async def test_a_long_stream_is_replayed_in_pieces_that_end_where_events_end(bench: Bench) -> None:
    words = [
        b'data: {"id":"c","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"%s"}}]}\n\n' % (b"x" * 900)
        for _ in range(100)
    ]
    bench.upstreams.events = [*words, *EVENTS[2:]]
    first, second = await bench.chat(stream=True), await bench.chat(stream=True)
    assert second.cache == "hit"
    assert b"".join(second.pieces) == first.body
    assert len(second.pieces) > 3
    assert all(piece.endswith(b"\n\n") for piece in second.pieces)


async def test_embeddings_are_cached(bench: Bench) -> None:
    bench.upstreams.outcome = Outcome(usage=Usage(input=3))
    body = {"model": "local/m1", "input": "hello"}
    assert [(await bench.ask(body, operation="embeddings")).cache for _ in range(2)] == ["miss", "hit"]


# at once


async def test_equal_calls_at_once_are_one_call(bench: Bench) -> None:
    bench.upstreams.gate.clear()
    tasks = [asyncio.create_task(bench.chat()) for _ in range(5)]
    await bench.upstreams.arrivals.get()
    bench.upstreams.gate.set()
    replies = await asyncio.gather(*tasks)
    assert len(bench.upstreams.calls) == 1
    assert sorted(reply.cache for reply in replies) == ["hit"] * 4 + ["miss"]
    assert bench.cache.counts.results["joined"] == 4


async def test_when_the_first_of_equal_calls_fails_the_others_make_their_own(bench: Bench) -> None:
    bench.upstreams.gate.clear()
    bench.upstreams.error = TetradError("broken")
    tasks = [asyncio.create_task(bench.chat()) for _ in range(3)]
    await bench.upstreams.arrivals.get()
    bench.upstreams.gate.set()
    assert [reply.status for reply in await asyncio.gather(*tasks)] == [500] * 3
    assert len(bench.upstreams.calls) == 3
    bench.upstreams.error = None
    assert (await bench.chat()).cache == "miss"


async def test_when_the_client_of_the_first_call_leaves_the_others_are_answered(bench: Bench) -> None:
    bench.upstreams.gate.clear()
    first = asyncio.create_task(bench.chat())
    await bench.upstreams.arrivals.get()
    second = asyncio.create_task(bench.chat())
    await asyncio.sleep(0)
    first.cancel()
    bench.upstreams.gate.set()
    await first
    assert (await second).status == 200
    assert len(bench.upstreams.calls) == 2


async def test_nobody_waits_longer_than_the_limit_for_an_equal_call() -> None:
    bench = Bench(wait_s=0.0)
    bench.upstreams.gate.clear()
    tasks = [asyncio.create_task(bench.chat()) for _ in range(2)]
    for _ in tasks:
        await bench.upstreams.arrivals.get()
    bench.upstreams.gate.set()
    assert [reply.cache for reply in await asyncio.gather(*tasks)] == ["miss", "miss"]


# whose


async def test_answers_shared_by_user_stay_with_the_user() -> None:
    bench = Bench(CachePolicy(use="always", shared_by="user"))
    ann, bob = {b"x-tetrad-user": b"ann"}, {b"x-tetrad-user": b"bob"}
    replies = [await bench.chat(headers=who) for who in (ann, ann, bob)]
    assert [reply.cache for reply in replies] == ["miss", "hit", "miss"]
    assert (await bench.chat()).cache == "off"  # nobody is named, so nobody's answer may be given


async def test_two_projects_share_nothing(bench: Bench) -> None:
    bench.install(caches={"default/": CachePolicy(use="always"), "other/": CachePolicy(use="always")})
    await bench.chat()
    assert (await bench.chat(key=g.OTHER_KEY)).cache == "miss"


# bounds and disk


async def test_memory_is_bounded_by_entries_and_bytes() -> None:
    bench = Bench(most_entries=3)
    for n in range(5):
        await bench.chat(f"question {n}")
    assert len(bench.cache.memory) == 3
    assert bench.cache.memory.evicted == 2
    assert (await bench.chat("question 0")).cache == "miss"
    small = Bench(most_bytes=2500)
    for n in range(5):
        await small.chat(f"question {n}")
    assert small.cache.memory.bytes <= 2500


async def test_workers_of_one_machine_share_answers_through_files(tmp_path: Path) -> None:
    one = Bench(shared=[FileAnswers(tmp_path / "cache", most_bytes=1_000_000)])
    two = Bench(shared=[FileAnswers(tmp_path / "cache", most_bytes=1_000_000)])
    await one.chat()
    await one.cache.close()
    reply = await two.chat()
    assert (reply.cache, two.upstreams.calls) == ("hit", [])
    assert [path.stat().st_mode & 0o777 for path in files(tmp_path)] == [0o600]


@pytest.mark.parametrize("key", [g.OFF_KEY, g.REDACTED_KEY])
async def test_contents_that_must_not_be_recorded_do_not_touch_the_disk(tmp_path: Path, key: str) -> None:
    bench = Bench(shared=[FileAnswers(tmp_path / "cache", most_bytes=1_000_000)])
    assert [(await bench.chat(key=key)).cache for _ in range(2)] == ["miss", "hit"]
    await bench.cache.close()
    assert not (tmp_path / "cache").exists()


async def test_a_damaged_file_is_a_miss(tmp_path: Path) -> None:
    one = Bench(shared=[FileAnswers(tmp_path, most_bytes=1_000_000)])
    await one.chat()
    await one.cache.close()
    (path,) = files(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    two = Bench(shared=[FileAnswers(tmp_path, most_bytes=1_000_000)])
    assert (await two.chat()).cache == "miss"


async def test_a_file_under_another_ones_name_is_a_miss(tmp_path: Path) -> None:
    one = Bench(shared=[FileAnswers(tmp_path, most_bytes=1_000_000)])
    await one.chat("a")
    await one.chat("b")
    await one.cache.close()
    first, second = files(tmp_path)
    first.write_bytes(second.read_bytes())
    two = Bench(shared=[FileAnswers(tmp_path, most_bytes=1_000_000)])
    assert sorted([(await two.chat("a")).cache, (await two.chat("b")).cache]) == ["hit", "miss"]


async def test_a_disk_that_takes_nothing_costs_no_answer(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    bench = Bench(shared=[FileAnswers(tmp_path / "cache", most_bytes=1_000_000)])
    assert (await bench.chat()).status == 200
    await bench.cache.close()
    assert bench.cache.counts.store_failures >= 1
    assert (await bench.chat()).cache == "hit"


async def test_the_folder_is_swept_to_its_limit_oldest_first(tmp_path: Path) -> None:
    store = FileAnswers(tmp_path, most_bytes=10_000)
    for n in range(30):
        await store.put(f"{n:02}abc.whole", b"x" * 1000, 60.0)
    store.sweep()
    left = [path.name for path in files(tmp_path)]
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 10_000
    assert left[-1].startswith("29")
    assert await store.get(["00abc.whole"]) == [None]


async def test_what_a_killed_writer_left_is_swept_and_what_is_being_written_is_not(tmp_path: Path) -> None:
    store = FileAnswers(tmp_path, most_bytes=10_000)
    await store.put("00abc.whole", b"x", 60.0)
    left, fresh = tmp_path / "00" / "00old.whole.1.tmp", tmp_path / "00" / "00new.whole.2.tmp"
    for path in (left, fresh):
        path.write_bytes(b"half")
    os.utime(left, (0, 0))
    store.sweep()
    assert [path.name for path in files(tmp_path)] == ["00abc.whole", "00new.whole.2.tmp"]


async def test_a_table_without_policies_leaves_the_call_to_what_follows() -> None:
    cache = Cache(MemoryAnswers(most_bytes=1, most_entries=1), SystemClock())
    exchange = Exchange(OPERATION["chat"], {}, 0)
    marker: Any = object()
    assert cache.bind(RouteTable(version=1, made_ns=0), lambda *_: marker)(exchange, marker, marker) is marker
