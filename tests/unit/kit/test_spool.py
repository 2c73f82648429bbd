"""The spool on disk: whole records only, whatever happens to the writer or the disk."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tetrad.kit.spool import SpoolFolder, SpoolWriter

RECORD = b"r" * 100


def folder_at(path: Path) -> SpoolFolder:
    folder = SpoolFolder.claim(path)
    assert folder is not None
    return folder


def content(folder: SpoolFolder) -> bytes:
    return b"".join(folder.read(name, 0, 1 << 20) for name in folder.segments())


def test_records_come_back_in_order_over_many_segments(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "0")
    writer = SpoolWriter(folder, segment_bytes=250)
    records = [bytes([65 + i]) * 100 for i in range(20)]
    assert all(writer.append(record) for record in records)
    assert content(folder) == b"".join(records)
    assert len(folder.segments()) > 5
    assert folder.bytes == 2000


def test_records_that_come_together_are_one_write_and_all_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = SpoolWriter(folder_at(tmp_path / "0"))
    writer.append(b"a")
    writes: list[int] = []
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: writes.append(len(data)) or real(fd, data))
    writer.extend([b"b", b"cc", b"ddd"])
    assert (content(writer.folder), writes, writer.appended) == (b"abccddd", [6], 4)


def test_of_records_that_do_not_fit_together_those_that_do_are_kept(tmp_path: Path) -> None:
    writer = SpoolWriter(folder_at(tmp_path / "0"), cap_bytes=250)
    writer.extend([b"a" * 300, b"b" * 100, b"c" * 100])
    assert content(writer.folder) == b"b" * 100 + b"c" * 100
    assert (writer.appended, writer.refused, writer.dropped_segments) == (2, 1, 0)


def test_one_process_at_a_time_holds_a_folder(tmp_path: Path) -> None:
    first = folder_at(tmp_path / "0")
    assert SpoolFolder.claim(tmp_path / "0") is None
    second = SpoolFolder.claim_own(tmp_path, "0")
    assert second.name == "0.1"
    first.close()
    assert SpoolFolder.claim_own(tmp_path, "0").name == "0"


def test_a_successor_finds_what_a_killed_writer_left(tmp_path: Path) -> None:
    code = (
        "import os,signal,sys;from pathlib import Path;from tetrad.kit.spool import *;"
        "w=SpoolWriter(SpoolFolder.claim(Path(sys.argv[1])));w.append(b'kept');os.kill(os.getpid(),signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "3")], check=False)
    assert done.returncode == -9
    [left] = SpoolFolder.claim_left(tmp_path)
    assert (left.name, content(left), left.bytes) == ("3", b"kept", 4)


def test_folders_of_living_workers_and_empty_ones_are_left_alone(tmp_path: Path) -> None:
    living = folder_at(tmp_path / "0")
    SpoolWriter(living).append(RECORD)
    folder_at(tmp_path / "1").close()
    (tmp_path / "stray").write_text("x")
    assert SpoolFolder.claim_left(tmp_path) == []
    assert SpoolFolder.claim_left(tmp_path / "absent") == []


def test_the_cursor_survives_and_belongs_to_one_segment(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "0")
    folder.advance("b", 77)
    folder.close()
    again = folder_at(tmp_path / "0")
    assert (again.cursor("b"), again.cursor("a")) == (77, 0)
    again.close()
    (tmp_path / "0" / "cursor").write_bytes(b"\xffgarbage")
    assert folder_at(tmp_path / "0").cursor("b") == 0


def test_past_its_cap_the_oldest_segment_goes_and_it_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_at(tmp_path / "0")
    writer = SpoolWriter(folder, cap_bytes=1000, segment_bytes=200)
    for i in range(30):
        assert writer.append(bytes([65 + i]) * 100)
    kept = content(folder)
    assert len(kept) <= 1000
    assert kept.endswith(bytes([65 + 29]) * 100)
    assert writer.dropped_segments > 5
    assert writer.dropped_bytes + len(kept) == 3000
    assert "oldest segment" in caplog.text
    assert folder.bytes == len(kept)


def test_a_record_larger_than_the_cap_is_refused_and_costs_nothing_else(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "0")
    writer = SpoolWriter(folder, cap_bytes=1000, segment_bytes=200)
    assert not writer.append(b"x" * 1001)
    assert writer.refused == 1
    assert writer.append(RECORD)


@pytest.mark.parametrize("torn", [0, 1, 60])
def test_a_full_disk_loses_counts_and_recovers_without_a_torn_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, torn: int
) -> None:
    folder = folder_at(tmp_path / "0")
    writer = SpoolWriter(folder)
    assert writer.append(b"a" * 100)
    real, state = os.write, {"left": torn}

    def full(descriptor: int, data: bytes) -> int:
        if state["left"]:
            count, state["left"] = state["left"], 0
            return real(descriptor, data[:count])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert not writer.append(b"b" * 100)
    assert not writer.append(b"c" * 100)
    assert writer.refused == 2
    assert "No space left" in caplog.text
    monkeypatch.setattr(os, "write", real)
    with caplog.at_level(logging.WARNING):
        assert writer.append(b"d" * 100)
    assert "takes records again; 2 were lost" in caplog.text
    assert content(folder) == b"a" * 100 + b"d" * 100
    assert folder.bytes == 200


def test_a_folder_that_vanishes_is_made_again_at_the_next_segment(tmp_path: Path) -> None:
    import shutil

    folder = folder_at(tmp_path / "0")
    writer = SpoolWriter(folder, segment_bytes=100)
    assert writer.append(RECORD)
    shutil.rmtree(tmp_path / "0")
    assert writer.append(RECORD)
    assert content(folder) == RECORD


def test_a_segment_grows_old_and_is_finished(tmp_path: Path) -> None:
    writer = SpoolWriter(folder_at(tmp_path / "0"), segment_age_s=-1.0)
    writer.append(RECORD)
    assert writer.active
    writer.roll_if_old()
    assert not writer.active


def test_dropped_and_discarded_segments_read_as_nothing(tmp_path: Path) -> None:
    folder = folder_at(tmp_path / "0")
    writer = SpoolWriter(folder)
    writer.append(RECORD)
    name = writer.active
    writer.roll()
    assert folder.discard(name) == 100
    assert folder.discard(name) == 0
    assert folder.read(name, 0, 10) == b""
    assert folder.bytes == 0
