"""A process that merges, rolls back, binds and collects until it is killed, telling what is done: one line for each."""

from __future__ import annotations

import itertools
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from support.apps import write_app
from support.bindings import document, make_bindings
from support.changes import ONE_PERSON, P, Site, site_of
from support.collecting import wire_collector
from support.evidence import ADA, BEA, CAT, wire_gated
from tetrad.bindings import Bindings
from tetrad.changes import PartPatch
from tetrad.kernel import Digest, SystemClock
from tetrad.kit.blobs import LocalBlobs
from tetrad.kit.db import Database, open_database
from tetrad.kit.seal import Keyring
from tetrad.processes.control._served import OpenChanges
from tetrad.registry import CollectLimits, Collector, new_key

KINDS = ("merge", "rollback", "binding", "collected")


def open_site(folder: Path, database: Database) -> Site:
    """Open what is in a folder that holds `tetrad.db` and `seal.key`; `first` is there once `prepare` has run."""
    clock: Any = SystemClock()
    gated = wire_gated(
        database, clock=clock, blobs=LocalBlobs(folder / "blobs"), ci=new_key(P, "ci", at=clock.now(), by="ci"),
        keyring=Keyring((folder / "seal.key").read_bytes()),
    )  # fmt: skip
    log = gated.tetrads.registry.ref_log(P, "bot/production", limit=9999)
    return site_of(gated, log[-1].new if log and log[-1].new else Digest(""))


def prepare(folder: Path, database: Database) -> None:
    """Make an app whose ref `production` asks for an approval, and has a release that got it."""
    gated = open_site(folder, database).gated
    gated.tetrads.add_model(folder)
    made = gated.tetrads.releases.compose_folder(P, write_app(folder / "app"), actor=CAT)
    gated.policies.set(P, "*/production", ONE_PERSON, actor=CAT)
    gated.evidence.approve(P, made.digest, actor=BEA)
    gated.tetrads.releases.move_ref(P, "bot", "production", made.digest, expected=None, create=True, actor=CAT)


def collector_of(site: Site) -> Collector:
    """Return a collector for which everything is old."""
    return wire_collector(
        site.gated.tetrads, more_roots=[OpenChanges(site.changes)],
        limits=CollectLimits(grace=timedelta(seconds=-60), kept_moves=10_000),
    )  # fmt: skip


def bindings_of(site: Site) -> Bindings:
    """Return the bindings of the site."""
    return make_bindings(site.gated.tetrads.registry)


def run(folder: str) -> None:
    """Go on without end."""
    site = open_site(Path(folder), open_database(f"sqlite:///{Path(folder) / 'tetrad.db'}"))
    tetrads, bindings, collector = site.gated.tetrads, bindings_of(site), collector_of(site)
    start = len(tetrads.registry.ref_log(P, limit=9999))
    for number in itertools.count(start):
        text = f"# system\n\nBe kind, and calm as number {number} is.\n"
        made = site.open(PartPatch("prompt.system", content=text), title=f"Be calm {number}")
        site.changes.review(P, made.number, "approve", actor=BEA, revision=1)
        site.changes.merge(P, made.number, actor=ADA, expected_candidate=made.candidate)
        _tell("merge", made.number, made.candidate)
        if number % 2:
            back = tetrads.releases.rollbacks.roll_back(P, "bot", "production", actor=ADA)
            _tell("rollback", back.ref.revision, back.new)
        ref = tetrads.registry.find_ref(P, "bindings/staging")
        bound = bindings.put(
            P, "staging", document("us", max_concurrency=number + 1), actor=ADA,
            expected=ref.digest if ref else None, create=ref is None,
        ).bound  # fmt: skip
        _tell("binding", bound.ref.revision, bound.ref.digest)
        tetrads.registry.put_document(P, "note", {"number": number}, actor=ADA)  # that nothing needs
        collector.collect_all(actor=CAT, run=True)
        _tell("collected", number, made.candidate)


def _tell(kind: str, number: int, said: str) -> None:
    sys.stdout.write(f"{kind} {number} {said}\n")
    sys.stdout.flush()
