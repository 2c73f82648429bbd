"""`make bench`: how fast, how big and how quick to start we are, beside peers measured in the same run.

    python benchmarks/run.py [--quick] [NAME ...]     run the benchmarks, all by default, and write the results page
    python benchmarks/run.py --page                   write the page anew from what was measured last

Results are kept in bench-results/, one entry for each benchmark with its date and its machine, so that one may be
repeated alone. The page is docs/reference/benchmarks.md. Ratios count, absolute numbers belong to a machine. Measured
is with the distribution's Python where there is one; BENCH_PYTHON names another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import report
from interpreter import measured_python
from product import tetrad_up

RESULTS = Path(__file__).resolve().parents[1] / "bench-results"
KEPT = RESULTS / "results.json"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "benchmarks.md"
LIMIT_TOTAL_MB, LIMIT_WORKER_MB, LIMIT_START_S, LIMIT_IMPORT_S = 900, 90, 5.0, 0.4
STARTS = 9

SCRIPTS: dict[str, tuple[str, ...]] = {
    "gateway": ("--rounds", "1", "--seconds", "2"),
    "memory": ("--requests", "100000"),
    "translation": (),
    "datasets": ("--rows", "20000"),
    "registry": ("--rounds", "40"),
    "rollback": ("--rounds", "40", "--cli-rounds", "3"),
    "ingest": ("--spans", "20000"),
    "semantic_cache": ("--queries", "2000"),
}
"""Benchmarks that stand alone, and what makes each of them quick."""


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
    second_s, total, import_s = statistics.median(starts), sum(memory.values()), import_seconds()
    gateway = max(mb for name, mb in memory.items() if name.startswith("gateway"))
    print("\nIdle processes, MB (proportional set size), the model loaded")
    for name, mb in memory.items():
        print(f"  {name.split(' ')[0]:14}{mb:>6}")
    print(f"  {'together':14}{total:>6}   limit {LIMIT_TOTAL_MB} {_verdict(total <= LIMIT_TOTAL_MB)}")
    print(f"  {'gateway':14}{gateway:>6}   limit {LIMIT_WORKER_MB} {_verdict(gateway <= LIMIT_WORKER_MB)}")
    print("\nFrom the command to the first answer accepted, seconds")
    print(f"  first start   {first_s:6.1f}   (weights in the cache)")
    print(f"  second start  {second_s:6.1f}   limit {LIMIT_START_S:g} {_verdict(second_s <= LIMIT_START_S)}")
    print(
        f"  of it imports of a gateway {import_s:.2f}   limit {LIMIT_IMPORT_S:g} {_verdict(import_s <= LIMIT_IMPORT_S)}"
    )
    return {
        "memory_mb": memory, "together_mb": total, "first_start_s": first_s, "second_start_s": second_s,
        "gateway_mb": gateway, "import_s": import_s,
    }  # fmt: skip


def import_seconds() -> float:
    """Return the processor time in which a gateway worker has its settings and all of its modules, the best of nine."""
    code = (
        "import resource, tetrad.processes.gateway._command, uvloop; "
        "from tetrad.processes._settings import gateway_settings; gateway_settings(); "
        "import tetrad.processes.gateway._worker; spent = resource.getrusage(resource.RUSAGE_SELF); "
        "print(spent.ru_utime + spent.ru_stime)"
    )
    found = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(STARTS)
    ]
    return min(found)


def pss_mb_alone(pid: int) -> float:
    """Return the proportional memory of one process, in MB, without its children."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1000


def _verdict(good: bool) -> str:
    return "ok" if good else "MISSED"


def machine() -> str:
    """Say what is measured on."""
    processor = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{processor}, {os.cpu_count()} cores, {memory_gb:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}"
    )


def measure(name: str, *, quick: bool) -> dict[str, Any]:
    """Run one benchmark; return its entry."""
    began, load = time.monotonic(), os.getloadavg()[0]
    entry: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load_before": round(load, 1),
        "quick": quick,
        "failed": 0,
    }
    if name == "installation":
        entry["found"] = bench_installation()
    else:
        file = RESULTS / f"{name}.json"
        file.unlink(missing_ok=True)
        command = [sys.executable, str(Path(__file__).with_name(f"{name}.py")), "--json", str(file)]
        entry["failed"] = subprocess.run([*command, *(SCRIPTS[name] if quick else ())], check=False).returncode
        entry["found"] = json.loads(file.read_text()) if file.is_file() else None
    entry["took_s"] = round(time.monotonic() - began)
    return entry


def main() -> int:
    """Run the benchmarks that were named, or all; 1 where one of them failed or missed its limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ("installation", *SCRIPTS)
    parser.add_argument("only", nargs="*", metavar="NAME", help=f"which of {', '.join(known)}; all of them by default")
    parser.add_argument("--quick", action="store_true", help="short runs: to try it out, too noisy to go by")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    options = parser.parse_args()
    if wrong := set(options.only) - set(known):
        parser.error(f"there is no benchmark {min(wrong)!r}; there are {', '.join(known)}")
    RESULTS.mkdir(exist_ok=True)
    python = measured_python(RESULTS)
    if python != Path(sys.executable) and not options.page:
        return subprocess.run(
            [str(python), *sys.argv], check=False, env={**os.environ, "BENCH_PYTHON": str(python)}
        ).returncode
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.is_file() else {}
    failed = []
    for name in () if options.page else options.only or known:
        print(f"\n=== {name}" + (" (quick)" if options.quick else ""), flush=True)
        kept[name] = measure(name, quick=options.quick)
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        if kept[name]["failed"]:
            failed.append(name)
    PAGE.write_text(report.page(kept), "utf-8")
    print(f"\nkept in {KEPT}; the page is {PAGE}")
    if failed:
        print(f"failed or missed a limit: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
