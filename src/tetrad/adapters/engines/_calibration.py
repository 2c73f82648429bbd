"""How many threads a model should have on this machine: measured once, kept, measured again when the machine changed.

More threads are often slower: cores are shared, and small models are bound by memory.
"""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from tetrad.kernel import digest_json
from tetrad.kit.home import write_private

log = logging.getLogger(__name__)
_GAIN = 1.05  # a thread more must be worth it
_MOST = 64


class Measurement(msgspec.Struct, frozen=True):
    """Tokens per second with a number of threads: of prompts read, of answers written."""

    threads: int
    read_per_s: float
    written_per_s: float


class Threads(msgspec.Struct, frozen=True):
    """The choice: threads for writing, and for reading prompts."""

    write: int
    read: int
    measured: tuple[Measurement, ...] = ()


def candidates(cores: int) -> tuple[int, ...]:
    """Return the numbers worth trying: 1, 2, 3, 4, then steps of half as many again, up to all cores."""
    found: list[int] = []
    step = 1
    while step < cores and len(found) < 12:
        found.append(step)
        step = step + 1 if step < 4 else step * 3 // 2
    return (*found, max(1, cores))


def choose(measured: Sequence[Measurement]) -> Threads:
    """Return the fewest threads that are within 5 % of the fastest, for writing and for reading."""
    if not measured:
        return Threads(1, 1)
    ordered = sorted(measured, key=lambda each: each.threads)
    fastest_write = max(each.written_per_s for each in ordered)
    fastest_read = max(each.read_per_s for each in ordered)
    write = next(each.threads for each in ordered if each.written_per_s * _GAIN >= fastest_write)
    read = next(each.threads for each in ordered if each.read_per_s * _GAIN >= fastest_read)
    return Threads(write, read, tuple(ordered))


def usable_cores() -> int:
    """Count the physical cores that this process may use: of the machine, its affinity and its control group."""
    physical = psutil.cpu_count(logical=False) or psutil.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else physical
    return max(1, min(physical, allowed, _quota(), _MOST))


def _quota() -> int:
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text("ascii").split()
        return max(1, round(int(limit) / int(period))) if limit != "max" else _MOST
    except (OSError, ValueError):
        return _MOST


def machine() -> dict[str, Any]:
    """Describe what a measurement depends on."""
    return {"cpu": _cpu_name(), "cores": usable_cores(), "arch": platform.machine(), "system": platform.system()}


def processor() -> tuple[str, str]:
    """Return the processor's name, and the digest of its sorted feature flags: kernels are chosen by them."""
    features = ""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            line = next((line for line in lines if line.startswith(("flags", "Features"))), "")
            features = digest_json(sorted(line.partition(":")[2].split())) if line else ""
    except OSError:
        pass  # no such file on this system: the name and the build say what is known
    return _cpu_name(), features or platform.machine()


def _cpu_name() -> str:
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    except OSError:
        return platform.processor()


class CalibrationFile:
    """Choices by machine, model and build; a damaged file is as good as none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @staticmethod
    def key(model: str, build: str) -> str:
        """Name a choice; another machine, model or build has another name."""
        return digest_json({"machine": machine(), "model": model, "build": build})

    def get(self, key: str) -> Threads | None:
        """Return a kept choice."""
        try:
            return msgspec.convert(self._read().get(key), Threads | None)
        except msgspec.ValidationError:
            return None

    def put(self, key: str, threads: Threads) -> None:
        """Keep a choice; a disk that refuses it only costs measuring again."""
        kept = {**self._read(), key: msgspec.to_builtins(threads)}
        try:
            write_private(self._path, json.dumps(kept, indent=1))
        except OSError as error:
            log.warning("the calibration was not kept: %s", error)

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}
