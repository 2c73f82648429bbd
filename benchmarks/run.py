"""`make bench`: how fast, how big and how quick to start we are, beside peers measured in the same run.

Ratios count, absolute numbers belong to this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from product import tetrad_up

RESULTS = Path(__file__).resolve().parents[1] / "bench-results"
LIMIT_TOTAL_MB, LIMIT_WORKER_MB, LIMIT_START_S = 900, 90, 5.0


def bench_installation() -> dict[str, object]:
    """Memory of every idle process, and the time of a first and a second start to the first answer accepted."""
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="bench-tetrad-"))
    try:
        with tetrad_up(folder / "home") as first:
            first_s = first.ready_s
        starts = []
        for _ in range(3):
            with tetrad_up(folder / "home") as again:
                starts.append(again.ready_s)
                memory = {name: round(pss_mb_alone(pid)) for name, pid in again.processes().items()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    second_s, total = statistics.median(starts), sum(memory.values())
    gateway = max(mb for name, mb in memory.items() if name.startswith("gateway"))
    print("\nIdle processes, MB (proportional set size), the model loaded")
    for name, mb in memory.items():
        print(f"  {name.split(' ')[0]:14}{mb:>6}")
    print(f"  {'together':14}{total:>6}   limit {LIMIT_TOTAL_MB} {_verdict(total <= LIMIT_TOTAL_MB)}")
    print(f"  {'gateway':14}{gateway:>6}   limit {LIMIT_WORKER_MB} {_verdict(gateway <= LIMIT_WORKER_MB)}")
    print("\nFrom the command to the first answer accepted, seconds")
    print(f"  first start   {first_s:6.1f}   (weights in the cache)")
    print(f"  second start  {second_s:6.1f}   limit {LIMIT_START_S:g} {_verdict(second_s <= LIMIT_START_S)}")
    return {"memory_mb": memory, "together_mb": total, "first_start_s": first_s, "second_start_s": second_s}


def pss_mb_alone(pid: int) -> float:
    """Return the proportional memory of one process, in MB, without its children."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1000


def _verdict(good: bool) -> str:
    return "ok" if good else "MISSED"


SCRIPTS = ("gateway", "translation", "datasets", "registry", "rollback", "ingest", "semantic_cache")
"""Benchmarks that stand alone."""


def main() -> None:
    """Run the benchmarks that were named, or all, and keep their results as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = ("installation", *SCRIPTS)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"which of {', '.join(known)}; all of them by default")
    options = parser.parse_args()
    if wrong := set(options.only) - set(known):
        parser.error(f"there is no benchmark {min(wrong)!r}; there are {', '.join(known)}")
    wanted = options.only or known
    RESULTS.mkdir(exist_ok=True)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    results: dict[str, object] = {"python": sys.version, "machine": platform.platform()}
    if "installation" in wanted:
        results["installation"] = bench_installation()
    for name in SCRIPTS:
        if name in wanted:
            subprocess.run([sys.executable, str(Path(__file__).with_name(f"{name}.py"))], check=True)
    (RESULTS / "results.json").write_text(json.dumps(results, indent=2))
    print(f"\nkept in {RESULTS / 'results.json'}")


if __name__ == "__main__":
    main()
