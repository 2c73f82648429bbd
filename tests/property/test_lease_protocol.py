"""Leases of limits, with workers that die and messages that get lost, come twice, or come late."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from support.limits import MemoryStore, NoJournal, rule
from tetrad.kernel import FixedClock
from tetrad.limits import LAST_SEQ, Flow, LeaseState, Pocket, Pockets, Refused, Sync
from tetrad.limits._keeper import LeaseKeeper
from tetrad.serving import LimitRule

AMOUNT = 1000


@dataclass
class _Worker:
    slot: str
    journal: NoJournal = field(default_factory=NoJournal)
    calls: list[tuple[Pocket, int]] = field(default_factory=list)
    pockets: Pockets = field(init=False)

    def __post_init__(self) -> None:
        self.pockets = Pockets(self.slot, self.journal)


class _World:
    """Workers, a keeper, and what really happened; `exact` holds when no call uses more than was set aside."""

    def __init__(self, limit: LimitRule, workers: int) -> None:
        self.rule = limit
        self.clock = FixedClock()
        self.store = MemoryStore(limit)
        self.keeper = LeaseKeeper(self.store, self.clock)
        self.workers = [_Worker(f"slot-{number}") for number in range(workers)]
        self.lives = workers
        self.late: list[Sync] = []
        self.spent = self.cut_off = 0

    def call(self, number: int, amount: int) -> None:
        worker, now = self.workers[number], self.clock.monotonic()
        pocket = worker.pockets.of(self.rule, "key_a", now)
        try:
            if worker.pockets.try_take(pocket, amount, now, self.clock.now_ns()):
                worker.calls.append((pocket, amount))
                return
        except Refused:
            return
        waiting = worker.pockets.wait(pocket, amount)

        def admitted(done: asyncio.Future[None]) -> None:
            if not done.cancelled() and done.exception() is None:
                worker.calls.append((pocket, amount))

        waiting.add_done_callback(admitted)

    def finish(self, number: int, share: float) -> None:
        worker = self.workers[number]
        if worker.calls:
            pocket, amount = worker.calls.pop(0)
            used = int(amount * share)
            self.spent += used
            worker.pockets.give_back(pocket, amount, used, self.clock.monotonic())

    def sync(self, number: int, fate: str) -> None:
        worker = self.workers[number]
        message = worker.pockets.message(self.clock.monotonic())
        if message is None:
            return
        if fate != "request lost":
            reply = self.keeper.sync(message)
            if fate == "repeated":
                self.keeper.sync(message)
        if fate == "late":
            self.late.append(message)
        if fate in ("request lost", "reply lost"):
            worker.pockets.failed(self.clock.monotonic(), self.clock.now_ns())
            self.late.append(message)
            return
        worker.pockets.accept(reply, self.clock.monotonic())

    def stray(self) -> None:
        if self.late:
            self.keeper.sync(self.late.pop(0))

    def crash(self, number: int) -> None:
        """Kill a worker; its successor reads the journal, perhaps twice."""
        worker = self.workers[number]
        self.cut_off += sum(amount for _, amount in worker.calls)
        leases = tuple(
            LeaseState(lease, of, whose, spent=spent, reserved=reserved, unknown=unknown, final=True)
            for lease, (of, whose, spent, reserved, unknown) in worker.journal.kept.items()
        )
        last = Sync(worker.slot, LAST_SEQ, leases, ends=True)
        self.keeper.sync(last)
        self.late.append(last)
        self.workers[number] = _Worker(f"slot-{self.lives}")
        self.lives += 1

    @property
    def under_way(self) -> int:
        return sum(amount for worker in self.workers for _, amount in worker.calls)


_FATES = st.sampled_from(["well", "well", "well", "request lost", "reply lost", "repeated", "late"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.integers(0, 2), st.integers(0, 300)),
        st.tuples(st.just("ask"), st.integers(0, 2), st.integers(50, 300)),
        st.tuples(st.just("finish"), st.integers(0, 2), st.sampled_from([0.0, 0.3, 1.0])),
        st.tuples(st.just("sync"), st.integers(0, 2), _FATES),
        st.tuples(st.just("crash"), st.integers(0, 2), st.none()),
        st.tuples(st.just("stray"), st.just(0), st.none()),
        st.tuples(st.just("wait"), st.just(0), st.sampled_from([0.5, 3.0, 6.0])),
    ),
    min_size=10,
    max_size=60,
)


@given(_STEPS)
def test_no_history_of_crashes_and_lost_messages_spends_more_than_a_budget_or_loses_a_cent_of_it(steps) -> None:
    limit = rule("money", AMOUNT / 10**12, period="total")
    limit = LimitRule(**{**{name: getattr(limit, name) for name in limit.__struct_fields__}, "amount": AMOUNT})

    async def history() -> None:
        world = _World(limit, 3)
        for what, number, how in steps:
            if what in ("call", "ask"):
                world.call(number, how)
                if what == "ask":
                    world.sync(number, "well")
            elif what == "finish":
                world.finish(number, how)
            elif what == "sync":
                world.sync(number, how)
            elif what == "crash":
                world.crash(number)
            elif what == "stray":
                world.stray()
            else:
                world.clock.advance(how)
            await asyncio.sleep(0)  # those who were let in go on
            assert world.spent + world.cut_off + world.under_way <= AMOUNT
            book = world.store.book.get((limit.id, "key_a", "total"))
            assert book is None or book.spent + book.uncertain <= AMOUNT
        for number, worker in enumerate(world.workers):
            while worker.calls:
                world.finish(number, 1.0)
        for worker in world.workers:
            message = worker.pockets.message(world.clock.monotonic(), ends=True)
            assert message is not None
            world.keeper.sync(message)
        while world.late:
            world.stray()
        book = world.store.book.get((limit.id, "key_a", "total"))
        assert (book.spent if book else 0, book.uncertain if book else 0) == (world.spent, world.cut_off)
        assert all(held.closed for *_, held in world.store.open.values())

    asyncio.run(history())


@given(_STEPS)
def test_no_more_calls_are_under_way_at_once_than_the_limit_while_control_answers(steps) -> None:
    limit = rule("concurrency", 3)

    async def history() -> None:
        world = _World(limit, 3)
        for what, number, how in steps:
            if what in ("call", "ask"):
                world.call(number, 1)
                world.sync(number, "well" if what == "ask" else "repeated")
            elif what == "finish":
                world.finish(number, 0.0)
            elif what == "sync":
                world.sync(number, "repeated" if how in ("request lost", "reply lost") else how)
            elif what == "crash":
                world.crash(number)
            elif what == "stray":
                world.stray()
            await asyncio.sleep(0)
            assert world.under_way <= 3

    asyncio.run(history())


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("take"), st.integers(1, 30)),
            st.tuples(st.just("use"), st.integers(0, 100)),
            st.tuples(st.just("give"), st.integers(0, 100)),
            st.tuples(st.just("wait"), st.integers(0, 40)),
        ),
        max_size=60,
    )
)
def test_in_no_minute_is_more_used_of_a_flow_than_one_minutes_worth_at_once_and_what_flows_in(steps) -> None:
    amount, now_s, held = 60, 0, 0
    flow, used = Flow(amount, 0), []
    for what, number in steps:
        now_ns = now_s * 10**9
        if what == "take":
            taken = min(number, flow.free(now_ns))
            if taken > 0:
                flow.take(taken, now_ns)
                held += taken
        elif what in ("use", "give"):
            count = min(number, held)
            held -= count
            if what == "use":
                flow.use(count, now_ns)
                used += [now_s] * count
            else:
                flow.give(count, now_ns)
        else:
            now_s += number
        assert flow.free(now_ns) + held <= amount
    for begin in set(used):
        for end in set(used):
            if end >= begin:
                inside = sum(begin <= at <= end for at in used)
                assert inside <= amount + (end - begin) * amount // 60
