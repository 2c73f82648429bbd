"""How fast datasets are imported, compared and exported, in how much memory, and what an edit adds to the disk.

python benchmarks/datasets.py [--rows 1000000] [--no-edit] [--json FILE]     prints one line for each

Rows are chat messages made here, of about 400 bytes. Memory is the peak of a process of its own for each phase, less
nothing: the interpreter and the libraries count.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tetrad.datasets import DatasetLimits, Datasets
from tetrad.datasets._store import SqlDatasetStore
from tetrad.kernel import Principal, SystemClock
from tetrad.kit.blobs import open_blobs
from tetrad.kit.db import open_database
from tetrad.kit.db.migrate import migrate
from tetrad.processes import control
from tetrad.registry import Registry
from tetrad.registry._store import SqlRegistryStore

ACTOR = Principal("bench", "process", "bench", frozenset({"control"}))
MIGRATIONS = Path(control.__file__).parent / "migrations"
WORDS = ["refund", "order", "parcel", "invoice", "login", "card", "account", "delay", "address", "support", "thanks"]
EDITS, EDITED_ROWS = 100, 40_000


def chat_rows(count: int, *, edited: frozenset[int] = frozenset()) -> Iterator[dict[str, Any]]:
    """Yield chats that differ as people's do: the same words in ever other orders."""
    order = random.Random(7)
    for number in range(count):
        said = [" ".join(order.choices(WORDS, k=18)) for _ in range(2)]
        if number in edited:
            said[1] += " (edited)"
        roles = ("user", "assistant")
        messages = [{"role": role, "content": text} for role, text in zip(roles, said, strict=True)]
        yield {"id": number, "lang": "en", "messages": messages}


def opened(folder: Path) -> Datasets:
    """Open datasets on SQLite in a folder."""
    database = open_database(f"sqlite:///{folder / 'tetrad.db'}")
    migrate(database, MIGRATIONS)
    blobs = open_blobs("", default=folder / "blobs", adapter=None)  # type: ignore[arg-type]
    registry = Registry(SqlRegistryStore(database), blobs, SystemClock())
    limits = DatasetLimits(max_rows=10_000_000, max_bytes=1 << 40)
    return Datasets(SqlDatasetStore(database), registry, SystemClock(), limits=limits)


def import_file(folder: Path, file: Path) -> int:
    """Import a file."""
    with file.open("rb") as data:
        return opened(folder).import_file("default", "chats", data, form="jsonl", actor=ACTOR, key="id").rows


def diff_all(folder: Path, _: Path) -> int:
    """Read every difference between the two versions."""
    return sum(1 for _ in opened(folder).all_changes("default", "chats", "1.0.0", "1.1.0"))


def export_all(folder: Path, file: Path) -> int:
    """Write a version to a file."""
    datasets = opened(folder)
    count = 0
    with file.with_suffix(".out").open("wb") as out:
        for line in datasets.all_lines(datasets.version("default", "chats", "1.0.0")):
            out.write(line + b"\n")
            count += 1
    return count


def _phase(work: Callable[[Path, Path], int], folder: Path, file: Path, send: Any) -> None:
    began = time.perf_counter()
    rows = work(folder, file)
    send.send((rows, time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measured(what: str, work: Callable[[Path, Path], int], folder: Path, file: Path) -> dict[str, Any]:
    """Do one phase in a process of its own, and say how long and how big it was."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    child = context.Process(target=_phase, args=(work, folder, file, send))
    child.start()
    send.close()
    rows, seconds, peak_mb = receive.recv()
    child.join()
    return {"what": what, "rows": rows, "seconds": round(seconds, 1), "rows_per_s": round(rows / seconds),
            "peak_rss_mb": round(peak_mb)}  # fmt: skip


def write(file: Path, rows: Iterator[dict[str, Any]]) -> Path:
    """Write rows as JSON Lines."""
    with file.open("w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row) + "\n")
    return file


def bench_rows(rows: int, folder: Path) -> list[dict[str, Any]]:
    """Import, import again with a tenth of the rows edited, compare, export."""
    edited = frozenset(range(0, rows, 10))
    file = write(folder / "first.jsonl", chat_rows(rows))
    again = write(folder / "again.jsonl", chat_rows(rows, edited=edited))
    return [
        measured(f"import {rows:,} rows", import_file, folder, file),
        measured(f"import {rows:,} rows, {len(edited):,} edited", import_file, folder, again),
        measured(f"diff with {len(edited):,} changes", diff_all, folder, file),
        measured(f"export {rows:,} rows", export_all, folder, file),
    ]


def bench_edit(folder: Path) -> dict[str, Any]:
    """Return how many bytes 100 scattered edits in 40,000 rows add to the database."""
    edited = frozenset(random.Random(3).sample(range(EDITED_ROWS), EDITS))
    import_file(folder, write(folder / "a.jsonl", chat_rows(EDITED_ROWS)))
    before = _size(folder)
    import_file(folder, write(folder / "b.jsonl", chat_rows(EDITED_ROWS, edited=edited)))
    return {"what": f"{EDITS} edits in {EDITED_ROWS:,} rows", "bytes_added": _size(folder) - before}


def _size(folder: Path) -> int:
    database = open_database(f"sqlite:///{folder / 'tetrad.db'}")
    with database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return (folder / "tetrad.db").stat().st_size


def main() -> None:
    """Print what was measured."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--rows", type=int, default=100_000)
    asked.add_argument("--no-edit", action="store_true")
    asked.add_argument("--json", type=Path)
    given = asked.parse_args()
    with tempfile.TemporaryDirectory(prefix="tetrad-bench-") as folder:
        found = bench_rows(given.rows, Path(folder))
        if not given.no_edit:
            edit = Path(folder) / "edit"
            edit.mkdir()
            found.append(bench_edit(edit))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1) + "\n")
    for each in found:
        print("  ".join(f"{name} {value:,}" if name != "what" else value for name, value in each.items()))


if __name__ == "__main__":
    main()
