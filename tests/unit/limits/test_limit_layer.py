"""Calls through the pipeline with limits in force: who is counted, refused, and with which words."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support import gateway as g
from support.limited import Reply, Worker, keeper_of, running
from support.limits import LocalKeeper, rule
from tetrad.kernel import Usage, usage_of_parts
from tetrad.limits import LimitLayer
from tetrad.limits._media import STEP_BYTES
from tetrad.processes.gateway._metrics import Metrics
from tetrad.serving import (
    CHAT,
    COMPLETIONS,
    MESSAGES,
    RESPONSES,
    Exchange,
    KeyEntry,
    ModelRoute,
    Operation,
    Price,
    RouteTable,
    RouteTarget,
)


def left_in(folder: Path) -> list[Path]:
    return list(folder.glob("*.leases"))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - a condition of another module, which has no event
            await asyncio.sleep(0)


def spent(keeper: LocalKeeper) -> int:
    return sum(account.spent for account in keeper.store.book.values())


async def test_a_table_without_limits_costs_nothing(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of())
    following = object()
    layer = LimitLayer(None)  # type: ignore[arg-type] # nothing may ask it
    assert layer.bind(worker.pipeline.current().table, following) is following  # type: ignore[arg-type]


def with_route(table: RouteTable, *prices: Price | None) -> RouteTable:
    """Return the table with a route `smart` to models `local/t0`, `local/t1`, … of these prices."""
    entry = table.models["local/m1"]
    names = [f"local/t{number}" for number in range(len(prices))]
    models = {
        name: msgspec.structs.replace(entry, name=name, upstream_model=name, price=price)
        for name, price in zip(names, prices, strict=True)
    }
    route = ModelRoute(name="smart", project="default", targets=tuple(map(RouteTarget, names)))
    return msgspec.structs.replace(table, models={**table.models, **models}, routes={"default/smart": route})


async def test_what_a_route_may_cost_at_most_is_what_its_dearest_target_costs(tmp_path: Path) -> None:
    # the first target costs next to nothing, and a call may be answered by the second: 100 out at 60 USD a million
    keeper = keeper_of(rule("money", 0.01, subject="project"))
    cheap, dear = Price("0.001", "0.001"), Price("6", "60")
    worker = Worker(tmp_path, keeper, lambda table: with_route(table, cheap, dear))
    worker.upstream.going.clear()
    async with running(worker):
        calls = [asyncio.create_task(worker.ask("smart", max_tokens=100)) for _ in range(3)]
        await until(lambda: sum(call.done() for call in calls) == 2)
        worker.upstream.going.set()
        replies = await asyncio.gather(*calls)
    assert sorted((reply.status, reply.status == 429 and reply.code) for reply in replies) == [
        (200, False), (429, "insufficient_quota"), (429, "insufficient_quota"),
    ]  # fmt: skip


async def test_no_target_is_called_whose_price_a_budget_cannot_count(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1, subject="project"))
    known, foreign = Price("0.15", "0.6"), Price("15", "60", currency="EUR")
    worker = Worker(tmp_path, keeper, lambda table: with_route(table, None, foreign, known))
    only = Worker(tmp_path / "only", keeper, lambda table: with_route(table, None, foreign))
    async with running(worker, only):
        assert (await worker.ask("smart", max_tokens=100)).status == 200
        refused = await only.ask("smart", max_tokens=100)
    assert [made.model.name for made in worker.records[0].attempts] == ["local/t2"]
    assert (refused.status, refused.code) == (403, "price_unknown")
    assert only.upstream.calls == 0


def own_price(price: Price) -> Callable[[RouteTable], RouteTable]:
    """Return what lets an engine's model be free for all, and cost the project `default` something."""

    def change(table: RouteTable) -> RouteTable:
        entry = msgspec.structs.replace(table.models["local/m1"], price=Price("0", "0"))
        route = ModelRoute(name="smart", project="default", targets=(RouteTarget("local/m1"),))
        other = KeyEntry("key_other", "other", ("data",))
        return msgspec.structs.replace(
            table,
            models={**table.models, "local/m1": entry},
            prices={"default/local/m1": price},
            routes={"default/smart": route},
            keys={**table.keys, g.key_hash("of-another"): other},
        )

    return change


async def test_an_engine_costs_what_the_project_says_by_every_name_and_others_nothing(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1, subject="project"), rule("money", 1, subject="project", project="other"))
    worker = Worker(tmp_path, keeper, own_price(Price("1.5", "6")))
    async with running(worker):
        for name in ("local/m1", "smart", "app:assistant@static"):
            assert (await worker.ask(name, max_tokens=100)).status == 200
        assert (await worker.ask("local/m1", key="of-another", max_tokens=100)).status == 200
    assert [record.attempts[-1].cost for record in worker.records] == ["0.000135"] * 3 + ["0"]
    assert spent(keeper) == 3 * 135_000_000


async def test_others_have_their_turn_while_a_long_document_is_reckoned(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of(rule("tokens", 10**6)))
    document = b"%PDF-1.7\n1 0 obj << /Type /Pages /Count 9 >> endobj\n" + bytes(3_000_000)
    part = {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{base64.b64encode(document).decode()}"}}
    turns = 0
    async with running(worker):
        long = asyncio.create_task(worker.ask(messages=[{"role": "user", "content": [part]}], max_tokens=100))
        while not worker.upstream.calls and not long.done():
            turns += 1
            await asyncio.sleep(0)
        assert (await long).status == 200
    assert turns > len(document) // STEP_BYTES


async def test_what_is_free_is_free_in_the_currency_of_every_budget(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1, subject="project", currency="EUR"))
    worker = Worker(tmp_path, keeper, own_price(Price("0", "0")))
    async with running(worker):
        assert (await worker.ask("local/m1", max_tokens=100)).status == 200
        assert (await worker.ask("smart", max_tokens=100)).status == 200
    assert [(account.spent, account.unknown) for account in keeper.store.book.values()] in ([], [(0, 0)])


async def test_a_budget_that_counts_calls_of_unknown_price_lets_a_route_call_them(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1, subject="project", unknown="count"))
    worker = Worker(tmp_path, keeper, lambda table: with_route(table, None, Price("0.15", "0.6")))
    async with running(worker):
        assert (await worker.ask("smart", max_tokens=100)).status == 200
    assert [made.model.name for made in worker.records[0].attempts] == ["local/t0"]


async def test_a_burst_over_two_workers_lets_exactly_the_limit_through(tmp_path: Path) -> None:
    keeper = keeper_of(rule("requests", 10))
    workers = [Worker(tmp_path, keeper), Worker(tmp_path, keeper)]
    async with running(*workers):
        replies = await asyncio.gather(*(workers[number % 2].ask() for number in range(40)))
    assert sorted(reply.status for reply in replies) == [200] * 10 + [429] * 30
    refused = next(reply for reply in replies if reply.status == 429)
    assert refused.code == "rate_limit_exceeded"
    assert "the key 'key_full' may use 10 requests a minute" in refused.message
    assert 1 <= int(refused.headers["retry-after"]) <= 6
    assert (refused.headers["x-ratelimit-limit-requests"], refused.headers["x-ratelimit-remaining-requests"]) == (
        "10", "0",
    )  # fmt: skip


async def test_a_client_reads_its_own_limits_and_never_the_upstreams(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of(rule("requests", 10), rule("tokens", 10_000)))
    async with running(worker):
        reply = await worker.ask(max_tokens=50)
    assert reply.status == 200
    assert reply.headers["x-ratelimit-limit-requests"] == "10"
    assert reply.headers["x-ratelimit-remaining-requests"] == "9"
    assert reply.headers["x-ratelimit-limit-tokens"] == "10000"
    assert reply.headers["x-ratelimit-reset-requests"] == "6s"
    assert reply.headers["x-of-the-upstream"] == "abc"


async def test_an_anthropic_client_reads_the_names_of_its_own_protocol(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of(rule("requests", 1)))
    messages = msgspec.structs.replace(CHAT, dialect="anthropic")
    async with running(worker):
        first, second = await worker.ask(operation=messages), await worker.ask(operation=messages)
    assert first.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert first.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert first.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert (second.status, json.loads(second.body)["error"]["type"]) == (429, "rate_limit_error")


async def test_tokens_are_set_aside_by_the_clients_bound_and_settled_by_what_was_used(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of(rule("tokens", 1000)))
    async with running(worker):
        assert (await worker.ask(max_tokens=2000)).status == 429
        assert worker.upstream.calls == 0
        for _ in range(8):
            assert (await worker.ask(max_tokens=500)).status == 200
        pocket = next(iter(worker.leases.pockets))
        assert (pocket.spent, pocket.reserved) == (8 * 30, 0)


async def test_calls_at_once_are_bounded_and_come_free_again(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of(rule("concurrency", 2)))
    worker.upstream.going.clear()
    async with running(worker):
        first = [asyncio.create_task(worker.ask()) for _ in range(2)]
        await until(lambda: worker.upstream.calls == 2)
        refused = await worker.ask()
        assert (refused.status, refused.code) == (429, "rate_limit_exceeded")
        worker.upstream.going.set()
        assert [reply.status for reply in await asyncio.gather(*first)] == [200, 200]
        assert (await worker.ask()).status == 200


async def test_a_budget_counts_the_exact_cost_and_says_insufficient_quota_when_it_is_spent(tmp_path: Path) -> None:
    # 10 tokens in at 0.15 and 20 out at 0.6 USD a million: 13.5 millionths; at most 10 in and 100 out are set aside
    keeper = keeper_of(rule("money", 0.0001, subject="project"))
    worker = Worker(tmp_path, keeper)
    async with running(worker):
        replies = [await worker.ask(max_tokens=100) for _ in range(6)]
    assert [reply.status for reply in replies] == [200, 200, 200, 429, 429, 429]
    assert replies[-1].code == "insufficient_quota"
    assert (
        "the budget of the project 'default' does not cover this call: of 0.0001 USD (a month)" in replies[-1].message
    )
    assert spent(keeper) == 3 * 13_500_000
    assert [exchange.attempts[-1].cost for exchange in worker.records[:3]] == ["0.0000135"] * 3


async def test_a_concurrent_burst_cannot_pass_a_budget(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 0.0003, subject="project"))
    workers = [Worker(tmp_path, keeper), Worker(tmp_path, keeper)]
    for worker in workers:
        worker.upstream.usage = Usage(input=20, output=100)
    async with running(*workers):
        replies = await asyncio.gather(*(workers[number % 2].ask(max_tokens=100) for number in range(60)))
    let_in = sum(reply.status == 200 for reply in replies)
    assert spent(keeper) == let_in * 63_000_000 <= 300_000_000
    assert let_in >= 3


async def test_a_stream_that_its_client_leaves_is_counted_and_its_span_says_estimated(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1))
    worker = Worker(tmp_path, keeper)
    worker.upstream.hangs = True
    async with running(worker):
        reply = Reply()
        task = asyncio.create_task(worker.serve(reply, "local/m1", stream=True))
        await reply.begun.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    made = worker.records[-1].attempts[-1]
    assert made.cost is not None
    assert made.outcome is not None
    assert made.outcome.attributes["tetrad.cost.estimated"] == "true"
    # 100 tokens of output for 300 bytes, and about 12 of input
    assert 60_000_000 < spent(keeper) < 70_000_000
    assert f"{spent(keeper) / 10**12:.12f}".rstrip("0") == made.cost


async def test_a_call_that_the_upstream_refused_costs_nothing(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1), rule("requests", 10))
    worker = Worker(tmp_path, keeper)
    worker.upstream.status, worker.upstream.usage = 400, None
    async with running(worker):
        assert (await worker.ask()).status == 400
    assert spent(keeper) == 0


async def test_a_model_without_a_price_is_refused_by_a_budget_or_counted_as_unknown_never_as_nothing(
    tmp_path: Path,
) -> None:
    worker = Worker(tmp_path, keeper_of(rule("money", 1)))
    async with running(worker):
        refused = await worker.ask("local/chatonly")
    assert (refused.status, refused.code) == (403, "price_unknown")
    assert worker.upstream.calls == 0
    counting = keeper_of(rule("money", 1, unknown="count"))
    worker = Worker(tmp_path, counting)
    async with running(worker):
        assert (await worker.ask("local/chatonly")).status == 200
    assert [(account.spent, account.unknown) for account in counting.store.book.values()] == [(0, 1)]


async def test_calls_without_a_price_are_counted_by_model_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    worker, metrics = Worker(tmp_path, keeper_of()), Metrics("0")
    async with running(worker):
        for model in ("local/chatonly", "local/m1", "local/chatonly"):
            await worker.ask(model)
    for record in worker.records:
        metrics.finished(record)
    assert metrics.unpriced == {"local/chatonly": 2}
    assert caplog.text.count("the price of the model 'local/chatonly' is not known") == 1


async def test_a_soft_budget_refuses_nobody_and_counts_past_its_end(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 0.00002, hard=False))
    worker = Worker(tmp_path, keeper)
    async with running(worker):
        assert [(await worker.ask()).status for _ in range(4)] == [200] * 4
    assert spent(keeper) == 4 * 13_500_000


async def test_each_user_has_a_bucket_of_its_own(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of(rule("requests", 1, subject="user")))
    async with running(worker):
        asked = ["ada", "ada", "bob", "bob"]
        assert [(await worker.ask(user=user)).status for user in asked] == [200, 429, 200, 429]
        assert (await worker.ask()).status == 200


@pytest.mark.parametrize("user", ["a\x00b", "line\nbreak", "\u202e", "x" * 300])
async def test_a_user_of_any_name_has_a_bucket_that_a_database_can_hold(tmp_path: Path, user: str) -> None:
    keeper = keeper_of(rule("money", 1, subject="user"))
    worker = Worker(tmp_path, keeper)
    async with running(worker):
        assert (await worker.ask(user=user)).status == 200
    ((_, instance, _),) = keeper.store.book
    assert instance.isprintable()
    assert len(instance) <= 256


async def test_a_key_that_is_rotated_keeps_its_limits(tmp_path: Path) -> None:
    def rotated(table: Any) -> Any:
        old = table.keys[g.key_hash(g.KEY)]
        return msgspec.structs.replace(table, keys={**table.keys, g.key_hash("tetrad_data_new"): old})

    worker = Worker(tmp_path, keeper_of(rule("requests", 1)), rotated)
    async with running(worker):
        assert (await worker.ask()).status == 200
        assert (await worker.ask(key="tetrad_data_new")).status == 429


async def test_a_key_may_call_what_its_patterns_name(tmp_path: Path) -> None:
    def narrowed(table: Any) -> Any:
        key = KeyEntry("key_full", "default", ("data",), models=(("app:assistant", "local/m*"),))
        return msgspec.structs.replace(table, keys={**table.keys, g.key_hash(g.KEY): key})

    worker = Worker(tmp_path, keeper_of(), narrowed)
    async with running(worker):
        assert (await worker.ask("local/m1")).status == 200
        assert (await worker.ask("app:assistant@static")).status == 200
        refused = await worker.ask("local/chatonly")
    assert (refused.status, refused.code) == (403, "model_not_allowed")
    table = worker.pipeline.current()
    listed = [name for name, _, _ in table.names(table.table.keys[g.key_hash(g.KEY)])]
    assert listed == ["app:assistant", "local/m1"]


async def test_while_control_is_away_a_worker_spends_what_it_holds_and_then_refuses(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1))
    worker = Worker(tmp_path, keeper)
    async with running(worker):
        for _ in range(30):
            assert (await worker.ask(max_tokens=100)).status == 200
        keeper.away = True
        held = next(iter(worker.leases.pockets))
        let_in = 0
        while (reply := await worker.ask(max_tokens=100)).status == 200:
            let_in += 1
        assert reply.status == 503
        assert reply.code == "limits_unavailable"
        assert held.spent + held.reserved <= held.granted
        keeper.away = False
        worker.leases.wake()
        await until(lambda: not worker.leases.down)
        assert (await worker.ask(max_tokens=100)).status == 200
    assert spent(keeper) == (31 + let_in) * 13_500_000


async def test_one_call_of_a_large_budget_holds_enough_for_a_restart_of_control(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1000))
    worker = Worker(tmp_path, keeper)
    async with running(worker):
        assert (await worker.ask(max_tokens=100)).status == 200
        keeper.away = True
        for _ in range(20):
            assert (await worker.ask(max_tokens=100)).status == 200
        keeper.away = False


async def test_from_the_last_fifth_of_a_budget_nothing_is_held_ahead_of_need(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 0.01))
    worker = Worker(tmp_path, keeper)
    async with running(worker):
        held = None
        while held is None or held.remaining * 5 > held.rule.amount:
            assert (await worker.ask(max_tokens=100)).status == 200
            held = next(iter(worker.leases.pockets))
        now = time.monotonic() + 1
        held.state(now)
        assert held.state(now + 1).want == held.used, "an idle second gives it all back"
        assert held.granted == held.used


async def test_while_control_is_away_rates_go_on_within_an_even_share(tmp_path: Path) -> None:
    keeper = keeper_of(rule("requests", 60_000))
    worker = Worker(tmp_path, keeper)
    async with running(worker):
        assert (await worker.ask()).status == 200
        keeper.away = True
        statuses = [(await worker.ask()).status for _ in range(50)]
        assert statuses.count(200) >= 1
        assert set(statuses) <= {200, 429}
        keeper.away = False


async def test_who_stops_waiting_takes_nothing_along(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1))
    worker = Worker(tmp_path, keeper)
    task = asyncio.create_task(worker.ask())
    await until(lambda: worker.leases.pockets.needy)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    async with running(worker):
        assert (await worker.ask()).status == 200
    assert spent(keeper) == 13_500_000


async def test_what_a_killed_worker_spent_is_told_by_the_next(tmp_path: Path) -> None:
    keeper = keeper_of(rule("money", 1))
    worker = Worker(tmp_path, keeper)
    run = asyncio.create_task(worker.leases.run())
    assert (await worker.ask(max_tokens=100)).status == 200
    keeper.away = True
    for _ in range(3):
        await worker.ask(max_tokens=100)
    run.cancel()
    await asyncio.gather(run, return_exceptions=True)
    worker.leases.journal.close(told=False)  # as the kernel would, of a process that was killed
    keeper.away = False
    heir = Worker(tmp_path, keeper)
    async with running(heir):
        assert (await heir.ask(max_tokens=100)).status == 200
    answered = sum(record.status == 200 for record in (*worker.records, *heir.records))
    assert spent(keeper) == answered * 13_500_000
    assert left_in(tmp_path) == []


async def test_a_journal_that_cannot_be_read_is_kept_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "slot_dead.leases").write_bytes(b"what a disk made of it")
    worker = Worker(tmp_path, keeper_of(rule("money", 1)))
    async with running(worker):
        assert (await worker.ask(max_tokens=100)).status == 200
    assert (tmp_path / "slot_dead.unreadable").read_bytes() == b"what a disk made of it"
    assert caplog.text.count("cannot be read") == 1
    assert left_in(tmp_path) == []


def with_batches(table: RouteTable) -> RouteTable:
    """Return the table with a key of a batch, whose provider does batches at half price."""
    local = table.models["local/m1"]
    assert local.price is not None
    half = msgspec.structs.replace(local, price=msgspec.structs.replace(local.price, batch="0.5"))
    return msgspec.structs.replace(
        table,
        keys={**table.keys, g.key_hash("of-a-batch"): KeyEntry("key_full", "default", ("data",), batch="batch_1")},
        upstreams={**table.upstreams, "up": msgspec.structs.replace(table.upstreams["up"], batches=True)},
        models={**table.models, "local/m1": half},
    )


@pytest.mark.parametrize(("answer", "settled"), [({}, True), ("torn", False)])
async def test_what_a_line_of_a_providers_batch_cost_is_told_and_never_counted_here(
    tmp_path: Path, answer: Any, settled: bool
) -> None:
    budget = rule("money", 1)
    keeper = keeper_of(budget, rule("requests", 1))
    worker = Worker(tmp_path, keeper, with_batches)
    line = {
        "batch": "batch_1", "number": 3, "facts": {"model": "local/m1"}, "status": 200, "answer": answer,
        "body": {"model": "local/m1", "messages": [{"role": "user", "content": "hi"}]},
    }  # fmt: skip
    async with running(worker):
        for _ in range(3):  # as often as somebody dies before it is kept
            reply = Reply()
            headers = {b"authorization": b"Bearer of-a-batch", b"x-tetrad-batch-step": b"settle"}
            exchange = Exchange(CHAT, headers, time.time_ns())
            worker.pipeline.authenticate(exchange)
            exchange.body = json.dumps(line).encode()
            await worker.pipeline.serve(exchange, reply)
            assert ("x-tetrad-batch-line" in reply.headers) is settled
            told = json.loads(reply.headers["x-tetrad-batch-spent"])
            assert told == [[budget.id, "key_full", 6_750_000 if settled else 0, 0]]
    assert spent(keeper) == 0
    assert len({(each.trace_id, each.span_id) for each in worker.records}) == 1


@pytest.mark.parametrize(
    "told",
    [
        Usage(input=10, output=-(10**9)),
        Usage(input=-(10**6), output=20),
        Usage(input=10, cache_read=-5, output=20),
        Usage(input=10, output=10**30),
    ],
)
async def test_an_upstream_that_tells_of_what_cannot_be_gives_nothing_back_and_spends_no_fortune(
    tmp_path: Path, told: Usage
) -> None:
    keeper = keeper_of(rule("money", 1, subject="project"))
    worker = Worker(tmp_path, keeper)
    worker.upstream.usage = told
    async with running(worker):
        replies = [await worker.ask(max_tokens=100) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200]
    assert 0 < spent(keeper) < 10**9  # an estimate, as of a call whose usage was not told
    made = worker.records[-1].attempts[-1]
    assert made.outcome is not None
    assert made.outcome.usage is None
    assert made.outcome.attributes["tetrad.usage.implausible"] == "true"
    assert made.outcome.attributes["tetrad.cost.estimated"] == "true"


LONG = "word " * 2000


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (CHAT, {"messages": [{"role": "system", "content": LONG}, {"role": "user", "content": "hi"}]}),
        (CHAT, {"tools": [{"type": "function", "function": {"name": "f", "description": LONG}}]}),
        (MESSAGES, {"system": LONG}),
        (MESSAGES, {"tools": [{"name": "f", "description": LONG, "input_schema": {"type": "object"}}]}),
        (RESPONSES, {"input": "hi", "instructions": LONG}),
    ],
)
async def test_all_that_a_model_is_to_read_is_reckoned_with_whatever_the_protocol_calls_it(
    tmp_path: Path, operation: Operation, fields: dict[str, Any]
) -> None:
    worker = Worker(tmp_path, keeper_of(rule("tokens", 2000)))
    async with running(worker):
        reply = await worker.ask(operation=operation, max_tokens=10, **fields)
    assert reply.status == 429
    assert not worker.upstream.calls


PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 500).decode()
SOUND = base64.b64encode(
    b"RIFF\x00\x00\x02\x00WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, 16_000, 32_000, 2, 16) + bytes(128_000)
).decode()  # four seconds
DATA_URL = f"data:image/png;base64,{PICTURE}"


def said(*content: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(content)}]


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (CHAT, {"messages": said({"type": "image_url", "image_url": {"url": DATA_URL}})}),
        (
            MESSAGES,
            {
                "messages": said(
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PICTURE}}
                )
            },
        ),
        (RESPONSES, {"input": said({"type": "input_image", "image_url": DATA_URL})}),
    ],
)
async def test_a_picture_is_not_reckoned_by_its_bytes(
    tmp_path: Path, operation: Operation, fields: dict[str, Any]
) -> None:
    for limit, status in ((8000, 200), (1000, 429)):
        worker = Worker(tmp_path / str(limit), keeper_of(rule("tokens", limit)))
        async with running(worker):
            assert (await worker.ask(operation=operation, max_tokens=10, **fields)).status == status


async def test_a_sound_is_reckoned_by_its_seconds(tmp_path: Path) -> None:
    sound = {"type": "input_audio", "input_audio": {"data": SOUND, "format": "wav"}}
    for limit, status in ((300, 200), (130, 429)):
        worker = Worker(tmp_path / str(limit), keeper_of(rule("tokens", limit)))
        async with running(worker):
            assert (await worker.ask(messages=said(sound), max_tokens=10)).status == status


async def test_text_is_reckoned_by_its_bytes_wherever_it_stands(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of(rule("tokens", 8000)))
    posing = {"type": "text", "text": f'"url":"{DATA_URL}"'}
    async with running(worker):
        for part in (
            {"type": "text", "text": PICTURE},
            {"type": "text", "text": DATA_URL},
            posing,
            {"type": "text", "text": "x", "data": "word " * 20_000},
        ):
            assert (await worker.ask(messages=said(part), max_tokens=10)).status == 429
    assert worker.upstream.calls == 0


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        (CHAT, {"max_completion_tokens": 1, "max_tokens": 5000}),
        (CHAT, {"max_tokens": 500, "n": 10}),
        (COMPLETIONS, {"prompt": "hi", "max_tokens": 500, "best_of": 10}),
        (COMPLETIONS, {"prompt": ["hi"] * 10, "max_tokens": 500}),
        (COMPLETIONS, {"prompt": [[1, 2]] * 10, "max_tokens": 500}),
    ],
)
async def test_a_call_is_reckoned_by_the_most_that_it_lets_the_model_write(
    tmp_path: Path, operation: Operation, fields: dict[str, Any]
) -> None:
    worker = Worker(tmp_path, keeper_of(rule("tokens", 4000)))
    async with running(worker):
        reply = await worker.ask(operation=operation, **fields)
        tokens = await worker.ask(operation=COMPLETIONS, prompt=[1, 2, 3] * 100, max_tokens=500)
    assert reply.status == 429
    assert tokens.status == 200  # the tokens of one prompt


async def test_counts_that_contradict_each_other_cost_no_less_and_the_span_says_so(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of(rule("money", 1, subject="project")))
    worker.upstream.usage = usage_of_parts(1000, 20, cached=1001)
    async with running(worker):
        assert (await worker.ask(max_tokens=100)).status == 200
    made = worker.records[0].attempts[0]
    assert made.outcome is not None
    assert made.outcome.attributes == {"tetrad.usage.contradictory": "true"}
    # 1000 read at 0.15, 1001 of the cache at 0.075 and 20 written at 0.6 USD a million
    assert made.cost == "0.000237075"


async def test_who_asks_again_at_once_hears_the_same_pause(tmp_path: Path) -> None:
    worker = Worker(tmp_path, keeper_of(rule("money", 0.0001, subject="project")))
    async with running(worker):
        replies = [await worker.ask(max_tokens=10_000) for _ in range(3)]
    assert [reply.status for reply in replies] == [429] * 3
    pauses = [int(reply.headers["retry-after"]) for reply in replies]
    assert pauses[0] - pauses[-1] <= 2
    assert worker.upstream.calls == 0
