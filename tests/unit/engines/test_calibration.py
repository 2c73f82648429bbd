"""Choosing threads from measurements, and keeping the choice."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.adapters.engines import _calibration
from tetrad.adapters.engines._calibration import CalibrationFile, Measurement, Threads, candidates, choose

speeds = st.lists(st.tuples(st.floats(0.1, 1e4), st.floats(0.1, 1e4)), min_size=1, max_size=12)


@given(speeds)
def test_the_choice_is_nearly_the_fastest_and_no_smaller_number_is(found: list[tuple[float, float]]) -> None:
    measured = [Measurement(n, read, write) for n, (read, write) in enumerate(found, 1)]
    choice = choose(measured)
    fastest = max(each.written_per_s for each in measured)
    by_threads = {each.threads: each.written_per_s for each in measured}
    assert by_threads[choice.write] * 1.05 >= fastest
    assert all(speed * 1.05 < fastest for threads, speed in by_threads.items() if threads < choice.write)


def test_shared_cores_where_one_thread_is_fastest_get_one() -> None:
    assert choose([Measurement(1, 180, 70), Measurement(2, 210, 10)]) == Threads(
        1, 2, (Measurement(1, 180, 70), Measurement(2, 210, 10))
    )
    assert choose([]) == Threads(1, 1)


@given(st.integers(1, 512))
def test_few_numbers_are_tried_and_all_cores_are_among_them(cores: int) -> None:
    found = candidates(cores)
    assert found[-1] == cores
    assert found == tuple(sorted(set(found)))
    assert len(found) <= 13


def test_a_choice_is_kept_by_machine_model_and_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = CalibrationFile(tmp_path / "engines" / "calibration.json")
    key = file.key("sha256:a", "build 1")
    assert file.get(key) is None
    file.put(key, Threads(1, 2, (Measurement(1, 2, 3),)))
    assert CalibrationFile(tmp_path / "engines" / "calibration.json").get(key) == Threads(1, 2, (Measurement(1, 2, 3),))
    assert file.key("sha256:b", "build 1") != key
    assert file.key("sha256:a", "build 2") != key
    monkeypatch.setattr(_calibration, "machine", lambda: {"cpu": "another"})
    assert file.key("sha256:a", "build 1") != key


@pytest.mark.parametrize("content", ["", "[]", "{", '{"k": {"write": "x"}}', '{"k": 5}'])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "calibration.json"
    path.write_text(content)
    file = CalibrationFile(path)
    assert file.get("k") is None
    file.put("k", Threads(1, 1))
    assert file.get("k") == Threads(1, 1)
