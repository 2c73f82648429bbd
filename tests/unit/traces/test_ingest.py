from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from support.spans import a_span, spool
from support.wait import wait_until
from tetrad.kernel import SystemClock, TetradError
from tetrad.kit.telemetry_db import TelemetryFailed, TelemetryUnavailable
from tetrad.traces import Quarantine
from tetrad.traces._ingest import Ingest, IngestLimits
from tetrad.traces._rows import Prepared
from tetrad.traces.errors import IngestBusy


class Store:
    """A store that does as it is told."""

    def __init__(self) -> None:
        self.added: list[list[bytes]] = []
        self.before: Callable[[Prepared], None] = lambda _: None

    def add(self, prepared: Prepared) -> None:
        self.before(prepared)
        self.added.append(list(prepared.rows))

    @property
    def rows(self) -> int:
        return sum(map(len, self.added))


class Bench:
    def __init__(self, folder: Path, limits: IngestLimits | None = None) -> None:
        self.store = Store()
        self.announced: list[tuple[str, str, int]] = []
        self.ingest = Ingest(
            self.store,  # type: ignore[arg-type]
            SystemClock(),
            Quarantine(folder, max_bytes=2000),
            self.hear,
            limits=limits,
        )
        self.ingest.start()

    def hear(self, entries: Sequence[tuple[str, str, int]]) -> None:
        self.announced += entries

    def send_later(self, segment: str, data: bytes) -> tuple[threading.Thread, list[object]]:
        outcome: list[object] = []

        def send() -> None:
            try:
                outcome.append(self.ingest.take("w", segment, 0, data))
            except TetradError as error:
                outcome.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        return thread, outcome


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path, IngestLimits(queue_bytes=20_000, answer_s=5))
    yield bench
    bench.ingest.stop()


def test_pieces_that_wait_are_stored_in_one_statement(bench: Bench) -> None:
    gate = threading.Event()
    bench.store.before = lambda _: gate.wait(10) and None
    waiting = [bench.send_later("first", spool([a_span()]))]
    wait_until(lambda: bench.ingest.queued_bytes and not bench.ingest.queued_pieces)
    waiting += [bench.send_later(f"s{number}", spool([a_span(), a_span()])) for number in range(5)]
    wait_until(lambda: bench.ingest.queued_pieces == 5)
    gate.set()
    for thread, _ in waiting:
        thread.join(10)
    assert [len(rows) for rows in bench.store.added] == [1, 10]
    assert len(bench.announced) == 11
    assert (bench.ingest.queued_bytes, bench.ingest.counters.shown()["spans"]) == (0, 11)


def test_a_full_queue_turns_senders_away_with_a_time_to_come_again(bench: Bench) -> None:
    gate = threading.Event()
    bench.store.before = lambda _: gate.wait(10) and None
    first, _ = bench.send_later("a", spool([a_span()]))
    wait_until(lambda: bench.ingest.queued_bytes and not bench.ingest.queued_pieces)
    second, _ = bench.send_later("b", spool([a_span(input=b"x" * 15_000)]))
    wait_until(lambda: bench.ingest.queued_pieces == 1)
    with pytest.raises(IngestBusy) as refused:
        bench.ingest.take("w", "c", 0, spool([a_span(input=b"y" * 15_000)]))
    assert (refused.value.status, refused.value.retry_after_s) == (503, 1)
    gate.set()
    first.join(10)
    second.join(10)
    assert bench.ingest.take("w", "c", 0, spool([a_span(input=b"y" * 15_000)])).spans == 1


def test_a_piece_larger_than_the_queue_is_taken_when_nothing_waits(bench: Bench) -> None:
    assert bench.ingest.take("w", "big", 0, spool([a_span(input=b"x" * 50_000)])).spans == 1


def test_nothing_is_acknowledged_while_the_store_is_away(bench: Bench) -> None:
    def away(_: Prepared) -> None:
        raise TelemetryUnavailable("no disk left")

    bench.store.before = away
    data = spool([a_span()])
    with pytest.raises(IngestBusy, match="no disk left") as refused:
        bench.ingest.take("w", "a", 0, data)
    assert refused.value.status == 503
    bench.store.before = lambda _: None
    receipt = bench.ingest.take("w", "a", 0, data)
    assert (receipt.spans, receipt.duplicate, bench.store.rows) == (1, False, 1)


def test_a_broken_store_is_told_and_does_not_end_the_thread(bench: Bench) -> None:
    def broken(_: Prepared) -> None:
        raise RuntimeError("a bug")

    bench.store.before = broken
    with pytest.raises(IngestBusy):
        bench.ingest.take("w", "a", 0, spool([a_span()]))
    bench.store.before = lambda _: None
    assert bench.ingest.take("w", "b", 0, spool([a_span()])).spans == 1


def test_a_row_that_the_store_refuses_is_set_aside_and_blocks_nobody(bench: Bench, tmp_path: Path) -> None:
    def picky(prepared: Prepared) -> None:
        if any(b"poison" in row for row in prepared.rows):
            raise TelemetryFailed("cannot parse")

    bench.store.before = picky
    spans = [a_span(name="poison" if number == 5 else "fine") for number in range(16)]
    receipt = bench.ingest.take("w", "a", 0, spool(spans))
    assert (receipt.spans, receipt.refused, bench.store.rows) == (15, 1, 15)
    (aside,) = tmp_path.glob("*.refused.bad")
    assert b"poison" in aside.read_bytes()


def test_one_sender_with_a_bad_row_does_not_harm_another(bench: Bench) -> None:
    gate = threading.Event()

    def picky(prepared: Prepared) -> None:
        gate.wait(10)
        if any(b"poison" in row for row in prepared.rows):
            raise TelemetryFailed("cannot parse")

    bench.store.before = picky
    first = bench.send_later("first", spool([a_span()]))
    wait_until(lambda: bench.ingest.queued_bytes and not bench.ingest.queued_pieces)
    bad = bench.send_later("bad", spool([a_span(name="poison")]))
    good = bench.send_later("good", spool([a_span()]))
    wait_until(lambda: bench.ingest.queued_pieces == 2)
    gate.set()
    outcomes = []
    for thread, outcome in (first, bad, good):
        thread.join(10)
        outcomes.append((outcome[0].spans, outcome[0].refused))  # type: ignore[attr-defined]
    assert outcomes == [(1, 0), (0, 1), (1, 0)]


def test_a_sender_that_waits_too_long_is_told_to_send_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, IngestLimits(answer_s=0.05))
    gate = threading.Event()
    bench.store.before = lambda _: gate.wait(10) and None
    try:
        with pytest.raises(IngestBusy, match="longer"):
            bench.ingest.take("w", "a", 0, spool([a_span()]))
    finally:
        gate.set()
        wait_until(lambda: bench.store.rows == 1)
        bench.ingest.stop()


def test_stopping_stores_what_waits_and_turns_newcomers_away(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    gate = threading.Event()
    bench.store.before = lambda _: gate.wait(10) and None
    senders = [bench.send_later("a", spool([a_span()]))]
    wait_until(lambda: bench.ingest.queued_bytes and not bench.ingest.queued_pieces)
    senders += [bench.send_later(name, spool([a_span()])) for name in ("b", "c")]
    wait_until(lambda: bench.ingest.queued_pieces == 2)
    stopper = threading.Thread(target=bench.ingest.stop)
    stopper.start()
    wait_until(lambda: bench.ingest._stopping)
    with pytest.raises(IngestBusy, match="stopping"):
        bench.ingest.take("w", "late", 0, spool([a_span()]))
    gate.set()
    stopper.join(10)
    for thread, outcome in senders:
        thread.join(10)
        assert outcome[0].spans == 1  # type: ignore[attr-defined]
    assert bench.store.rows == 3


def test_quarantine_is_bounded_and_keeps_the_same_piece_once(tmp_path: Path) -> None:
    folder = tmp_path / "bad"
    quarantine = Quarantine(folder, max_bytes=100)
    assert quarantine.keep("w-s-0", "checksum", b"x" * 60) is True
    assert quarantine.keep("w-s-0", "checksum", b"x" * 60) is True
    assert quarantine.keep("w-s-60", "length", b"y" * 60) is False
    assert Quarantine(folder, max_bytes=100).keep("w-s-60", "length", b"y" * 60) is False
    assert [path.name for path in folder.iterdir()] == ["w-s-0.checksum.bad"]
