"""The results page says what was claimed, what was measured, and where we missed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("report")


def entry(found: Any, **more: Any) -> dict[str, Any]:
    told = {"date": "2026-11-30", "machine": "a machine, 2 cores", "load_before": 0.1, "quick": False, "failed": 0}
    return {**told, "found": found, **more}


def row(target: str, per_s: int, **more: float) -> dict[str, Any]:
    numbers = {
        "cpu_us": 100.0, "added_p50_ms": 0.3, "added_p99_ms": 0.7, "events_per_s": 40_000, "chunk_us": 20.0,
        "first_p50_ms": 0.4, "long_per_s": 3_000, "errors": 0, "mb": 50,
    }  # fmt: skip
    return {"target": target, "requests_per_s": per_s, **numbers, **more}


def gateway(**ours: float) -> dict[str, Any]:
    return entry(
        {
            "rows": [
                row("Tetrad", 9_000, **ours),
                row("nginx proxy", 18_000),
                row("TensorZero", 6_000, long_per_s=900),
            ],
            "sweep": {"per_s": 9_500.0, "p99_ms": 8.0},
            "held": {"streams": 2_000, "added_mb": 20.0, "together_mb": 80.0},
            "versions": {"nginx proxy": "1.22.1", "TensorZero": "2026.6.0"},
            "method": {"rounds": 3, "seconds": 5},
        }
    )


def test_a_claim_that_holds_is_met_and_one_that_does_not_is_called_missed(report: Any) -> None:
    page = report.page({"gateway": gateway(added_p99_ms=10.1)})
    assert "| requests per second, beside nginx proxy | 0.50 times | at least 0.45 times | met |" in page
    assert "| requests per second, beside TensorZero | 1.50 times | at least 3 times | **missed** |" in page
    assert "| added by the gateway at 200 requests/s, p99 | 10.10 ms | at most 0.8 ms | **missed** |" in page
    assert "Of 11 claims 9 were met and 2 were missed" in page
    assert "beside nginx proxy 1.22.1, TensorZero 2026.6.0" in page
    assert "2026-11-30, a machine, 2 cores" in page


def test_what_was_not_measured_or_failed_is_told(report: Any) -> None:
    page = report.page({"memory": entry(None, failed=1)})
    assert page.count("Not measured in this run.") == len(report.SECTIONS) - 1
    assert "The benchmark gave no result (exit code 1)." in page


def test_a_short_run_is_called_one(report: Any) -> None:
    assert "a short run, too noisy to go by" in report.page({"gateway": {**gateway(), "quick": True}})


def test_a_result_that_grew_too_much_is_missed_in_either_direction(report: Any) -> None:
    found = {"requests": 10, "errors": 0, "idle_mb": 1.0, "warm_mb": 2.0, "most_mb": 2.0, "end_mb": 1.8, "growth": -0.1}
    assert "| -10.0% | +-5 % | **missed** |" in report.page({"memory": entry(found)})
