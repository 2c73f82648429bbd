"""The journal of leases outlives its worker, whatever the worker was doing and however full the disk is."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.limits import LeaseState
from tetrad.processes.gateway import _journal
from tetrad.processes.gateway._journal import DamagedJournal, LeaseJournal, left, read_journal

AMOUNTS = st.integers(0, 10**27)


def told(folder: Path) -> dict[int, tuple[str, str, int, int, int]]:
    """Return what is found in a folder of dead workers, by lease."""
    states = [state for _, data in left(folder) for state in read_journal(data)]
    assert all(state.final for state in states)
    assert len({state.id for state in states}) == len(states)
    return {s.id: (s.rule, s.instance, s.spent, s.reserved, s.unknown) for s in states}


@given(
    st.lists(
        st.tuples(
            st.integers(1, 12), st.booleans(), AMOUNTS, AMOUNTS, st.integers(0, 9), st.text(max_size=256)
        ),
        max_size=60,
    )
)  # fmt: skip
def test_the_newest_state_of_every_lease_is_found_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    journal, expected = LeaseJournal(folder, "slot_1"), dict[int, Any]()
    names = dict[int, str]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_journal, "_FIRST_BYTES", 512)  # so that it grows and is shortened
        for lease, goes, spent, reserved, unknown, name in steps:
            if goes:
                journal.forget(lease)
                expected.pop(lease, None)
                names.pop(lease, None)
            else:
                instance = names.setdefault(lease, name)
                journal.note(lease, f"rule_{lease}", instance, spent, reserved, unknown)
                expected[lease] = (f"rule_{lease}", instance, spent, reserved, unknown)
    assert told(folder) == {}, "it is held"
    journal.close(told=False)
    assert told(folder) == expected
    assert journal.lost == 0


def test_leases_that_come_and_go_do_not_let_it_grow(tmp_path: Path) -> None:
    journal = LeaseJournal(tmp_path, "slot_1")
    for lease in range(20_000):
        journal.note(lease, "rule_abc", f"user-{lease}", 1, 2, 0)
        if lease >= 10:
            journal.forget(lease - 10)
    journal.close(told=False)
    assert (tmp_path / "slot_1.leases").stat().st_size <= 256 * 1024
    assert sorted(told(tmp_path)) == list(range(19_990, 20_000))


def test_what_was_told_goes_with_its_file(tmp_path: Path) -> None:
    journal = LeaseJournal(tmp_path, "slot_1")
    journal.note(1, "rule_abc", "", 1, 0, 0)
    journal.close(told=True)
    assert list(tmp_path.iterdir()) == []


WRITES_UNTIL_KILLED = """
import sys
from pathlib import Path
from tetrad.processes.gateway._journal import LeaseJournal
journal = LeaseJournal(Path(sys.argv[1]), "slot_1")
count = 0
while True:
    count += 1
    journal.note(1, "rule_abc", "", count, 2 * count, 3 * count)
    if count == 1000:
        print("writes", flush=True)
"""


def test_killed_at_any_moment_it_holds_one_whole_state(tmp_path: Path) -> None:
    for number in range(5):
        folder = tmp_path / str(number)
        with subprocess.Popen(
            [sys.executable, "-c", WRITES_UNTIL_KILLED, str(folder)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writes\n"
            process.send_signal(signal.SIGKILL)
        (_, _, spent, reserved, unknown) = told(folder)[1]
        assert spent >= 1000
        assert (reserved, unknown) == (2 * spent, 3 * spent)


def test_a_full_disk_is_told_and_made_up_for_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    journal = LeaseJournal(tmp_path, "slot_1")
    write = os.pwrite

    def full(file: int, data: bytes, at: int) -> int:
        return write(file, data[:1000], at)

    monkeypatch.setattr(os, "pwrite", full)
    for _ in range(3):
        journal.note(1, "rule_abc", "", 5, 0, 0)
    assert journal.lost == 3
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text
    monkeypatch.setattr(os, "pwrite", write)
    journal.note(1, "rule_abc", "", 6, 1, 0)
    journal.close(told=False)
    assert told(tmp_path) == {1: ("rule_abc", "", 6, 1, 0)}


def test_a_worker_that_died_before_its_first_lease_has_nothing_to_tell(tmp_path: Path) -> None:
    LeaseJournal(tmp_path, "slot_1").close(told=False)
    assert told(tmp_path) == {}


@given(st.binary(max_size=400), st.integers(0, 300), st.booleans())
def test_no_bytes_are_more_than_damage(noise: bytes, at: int, whole: bool) -> None:
    good = _journal._MAGIC + _journal._record(1, "rule_abc", "someone", (1, 2, 3)) * 2
    data = good[:at] + noise + good[at + len(noise) :] if whole else good[:at] + noise
    with contextlib.suppress(DamagedJournal):
        assert all(isinstance(state, LeaseState) for state in read_journal(data))
