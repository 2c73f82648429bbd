"""What is held back until the loop turns: records first, then the ends of the answers that they are of."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tetrad.kit.spool import SpoolFolder, SpoolWriter
from tetrad.processes.gateway._turn import MAX_HELD_BYTES, Turn


@pytest.fixture
def spool(tmp_path: Path) -> SpoolWriter:
    folder = SpoolFolder.claim(tmp_path / "0")
    assert folder is not None
    return SpoolWriter(folder)


def written(spool: SpoolWriter) -> bytes:
    return b"".join(spool.folder.read(name, 0, 1 << 24) for name in spool.folder.segments())


class Line:
    """Remembers what was in the spool when it was written to."""

    def __init__(self, spool: SpoolWriter) -> None:
        self.spool = spool
        self.seen: list[tuple[bytes, bytes]] = []

    def put(self, data: bytes) -> None:
        self.seen.append((data, written(self.spool)))


async def test_no_answer_ends_before_the_records_of_its_turn_are_in_the_spool(spool: SpoolWriter) -> None:
    turn, line, other = Turn(spool), Line(spool), Line(spool)
    turn.append(b"one")
    turn.end(line, b"1")
    turn.append(b"two")
    turn.end(other, b"2")
    assert (written(spool), line.seen) == (b"", [])
    await asyncio.sleep(0)
    assert line.seen == [(b"1", b"onetwo")]
    assert other.seen == [(b"2", b"onetwo")]


async def test_a_line_gets_what_it_is_owed_in_order(spool: SpoolWriter) -> None:
    turn, line = Turn(spool), Line(spool)
    for number in range(5):
        turn.end(line, b"%d" % number)
    turn.flush()
    await asyncio.sleep(0)
    assert [data for data, _ in line.seen] == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_record_is_written_at_the_end_of_its_turn_though_nobody_waits_for_it(spool: SpoolWriter) -> None:
    turn = Turn(spool)
    turn.append(b"of a client that left")
    await asyncio.sleep(0)
    assert written(spool) == b"of a client that left"
    turn.append(b", and another")
    await asyncio.sleep(0)
    assert written(spool) == b"of a client that left, and another"


async def test_large_records_do_not_wait(spool: SpoolWriter) -> None:
    turn = Turn(spool)
    turn.append(b"small")
    turn.append(b"x" * MAX_HELD_BYTES)
    assert len(written(spool)) == MAX_HELD_BYTES + 5


def test_without_a_loop_a_record_is_written_at_once(spool: SpoolWriter) -> None:
    turn = Turn(spool)
    turn.append(b"one")
    turn.append(b"two")
    assert written(spool) == b"onetwo"
