"""The registry's process dies while it writes: what was acknowledged is there, and the rest is whole or absent."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from support.databases import SqliteTemplate, opened
from support.registry_child import CYCLE, KINDS, Child, open_child
from tetrad.kernel import digest_json
from tetrad.registry import ArtifactErased, ArtifactNotFound

KILLS = 3
ROUNDS = 8
_CHILD = "import sys\nsys.path[:0] = {path!r}\nfrom support.registry_child import run\nrun(sys.argv[1])\n"


def start(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(path=sys.path), str(folder)], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_registry_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    SqliteTemplate(tmp_path).copy(tmp_path / "tetrad.db")
    (tmp_path / "seal.key").write_bytes(os.urandom(32))
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    acknowledged: list[tuple[str, int, str]] = []
    for _ in range(KILLS):
        child = start(tmp_path)
        assert child.stdout is not None
        try:
            wanted = CYCLE * chance.randint(1, ROUNDS) + chance.randrange(CYCLE)
            for line in child.stdout:
                kind, number, said = line.split()
                acknowledged.append((kind, int(number), said))
                wanted -= 1
                if not wanted:
                    break
            time.sleep(chance.uniform(0, 0.01))  # anywhere between two acknowledgements
            child.send_signal(signal.SIGKILL)
            acknowledged += [(kind, int(number), said) for kind, number, said in map(str.split, whole(child))]
        finally:
            child.kill()
            child.wait(30)
            child.stdout.close()
        check(tmp_path, acknowledged, seed)
    assert {kind for kind, _, _ in acknowledged} == set(KINDS), seed


def whole(child: subprocess.Popen[str]) -> list[str]:
    """Return the lines that were written whole; the last may have been cut."""
    assert child.stdout is not None
    return [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]


def check(folder: Path, acknowledged: list[tuple[str, int, str]], seed: int) -> None:
    with opened(f"sqlite:///{folder / 'tetrad.db'}") as database:
        there = open_child(folder, database)
        seen: dict[str, set[str]] = {kind: set() for kind in KINDS}
        named = {number for kind, number, _ in acknowledged if kind == "version"}
        for kind, number, said in acknowledged:
            seen[kind].add(said)
            if kind == "artifact":
                assert said == digest_json({"number": number, "pad": "x" * 2000})
                assert is_whole(there, said, number, named=number in named), seed
        assert seen["version"] <= {each.semver for each in there.registry.versions("default", "note", "n", limit=9999)}
        assert seen["move"] <= {each.hash for each in there.registry.ref_log("default", limit=9999)}
        kept = there.evidence.find("default", limit=9999)
        assert seen["evidence"] <= {each.row.digest for each in kept}
        assert all(each.counts for each in kept), seed
        assert there.registry.verify_log("default").sound, seed
        versions = there.registry.versions("default", "note", "n", limit=9999)
        assert [each.seq for each in versions] == list(range(len(versions), 0, -1)), seed
        for version in versions:  # a version never names what is not there, whether it was acknowledged or not
            assert there.registry.artifact("default", version.digest).digest == version.digest
        ref = there.registry.find_ref("default", "bot/production")
        if ref is not None:
            newest = there.registry.ref_log("default", limit=1)[0]
            assert (newest.new, newest.seq) == (ref.digest, ref.revision), seed
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []


def is_whole(there: Child, digest: str, number: int, *, named: bool) -> bool:
    """Tell whether an artifact is there with its bytes, or a tombstone that a collection left as nothing named it."""
    try:
        return bool(json.loads(there.registry.read("default", digest))["number"] == number)
    except ArtifactErased:
        return there.registry.artifact("default", digest).collected and not named
    except ArtifactNotFound:
        return False
