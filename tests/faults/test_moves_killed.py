"""Merges, rollbacks, bindings and collections are killed anywhere: each happened whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from support.changes import P
from support.databases import SqliteTemplate, opened
from support.evidence import CAT
from support.moves_child import KINDS, bindings_of, collector_of, open_site, prepare
from tetrad.changes._model import ENDED
from tetrad.registry import ArtifactErased

KILLS = 4
_CHILD = "import sys\nsys.path[:0] = {path!r}\nfrom support.moves_child import run\nrun(sys.argv[1])\n"
Told = list[tuple[str, int, str]]


@pytest.mark.slow
def test_killed_moves_lose_nothing_that_was_acknowledged_and_leave_nothing_half_done(tmp_path: Path) -> None:
    SqliteTemplate(tmp_path).copy(tmp_path / "tetrad.db")
    (tmp_path / "seal.key").write_bytes(os.urandom(32))
    with opened(f"sqlite:///{tmp_path / 'tetrad.db'}") as database:
        prepare(tmp_path, database)
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    told: Told = []
    for number in range(KILLS):
        told += until_killed(tmp_path, wanted=2 * len(KINDS) if not number else chance.randint(1, 8), chance=chance)
        check(tmp_path, told, seed)
    assert {kind for kind, _, _ in told} == set(KINDS), seed


def until_killed(folder: Path, *, wanted: int, chance: random.Random) -> Told:
    """Let a process work until it has told as many things, kill it soon after, and return all that it told whole."""
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD.format(path=sys.path), str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    lines: list[str] = []
    try:
        for line in child.stdout:
            lines.append(line)
            if len(lines) >= wanted:
                break
        assert len(lines) == wanted, "the process ended by itself"
        time.sleep(chance.uniform(0, 0.1))  # anywhere in what comes next
        child.send_signal(signal.SIGKILL)
        lines += child.stdout.read().splitlines(keepends=True)
    finally:
        child.kill()
        child.wait(30)
        child.stdout.close()
    whole = [line.split() for line in lines if line.endswith("\n")]
    return [(kind, int(number), said) for kind, number, said in whole]


def check(folder: Path, told: Told, seed: int) -> None:
    with opened(f"sqlite:///{folder / 'tetrad.db'}") as database:
        site = open_site(folder, database)
        registry, releases = site.gated.tetrads.registry, site.gated.tetrads.releases
        assert registry.verify_log(P).sound, seed
        moves = registry.ref_log(P, "bot/production", limit=9999)[::-1]
        bound = registry.ref_log(P, "bindings/staging", limit=9999)[::-1]
        for kind, number, said in told:
            if kind == "merge":
                assert site.changes.get(P, number).state == "merged", seed
                assert [move.new for move in moves if move.change_request == f"#{number}"] == [said], seed
            elif kind == "rollback":
                assert (moves[number - 1].new, moves[number - 1].reason) == (said, "rollback"), seed
            elif kind == "binding":
                assert bound[number - 1].new == said, seed
        for request, _, _ in site.changes.find(P, limit=9999):  # those that were not acknowledged among them
            merged_by = [move for move in moves if move.change_request == f"#{request.number}"]
            assert len(merged_by) == (request.state == "merged"), seed
            if request.state not in ENDED:
                assert releases.resolve(P, request.candidate).digest == request.candidate
        # Every move went through its gate, and what is pointed to is whole, a collection or not.
        for before, move in zip([None, *moves], moves, strict=False):
            assert move.old == (before.new if before else None), seed
            approved = site.gated.evidence.find(P, subject=move.new, limit=50)
            assert any(each.counts for each in approved), seed
        ref = registry.ref(P, "bot/production")
        assert (ref.digest, ref.revision) == (moves[-1].new, len(moves)), seed
        assert releases.resolve(P, ref.digest).digest == ref.digest
        if bound:
            current = bindings_of(site).current(P, "staging")
            assert current.kept is not None
            assert (current.ref.digest, current.ref.revision) == (bound[-1].new, len(bound)), seed
        looked = collector_of(site).collect(P, actor=CAT, run=True)
        for digest in looked.digests:  # what a kill left half collected is collected now, and reads as gone
            with pytest.raises(ArtifactErased):
                registry.read(P, digest)
        assert releases.resolve(P, ref.digest).digest == ref.digest
        with database.read() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
            assert connection.exec_driver_sql("PRAGMA foreign_key_check").all() == []
