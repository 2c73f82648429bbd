"""A process that writes to a registry until it is killed, telling what is done: one line for each write."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from support.collecting import Holding
from support.evidence import CAT
from tetrad.kernel import Digest, SystemClock
from tetrad.kit.blobs import LocalBlobs
from tetrad.kit.db import Database, open_database
from tetrad.kit.seal import Keyring
from tetrad.registry import CollectLimits, Collector, Evidence, Registry, Revocations
from tetrad.registry._collect_store import SqlCollectStore
from tetrad.registry._evidence_store import SqlEvidenceStore
from tetrad.registry._revocation_store import SqlRevocationStore
from tetrad.registry._store import SqlRegistryStore

KINDS = ("artifact", "version", "move", "evidence", "collected")
CYCLE = 4
"""Of as many artifacts the last is named by nothing, so that collections take it."""


@dataclass
class Child:
    """A registry on files."""

    registry: Registry
    evidence: Evidence
    collector: Collector


def open_child(folder: Path, database: Database) -> Child:
    """Open the registry in a folder that holds `tetrad.db` and `seal.key`."""
    clock, blobs = SystemClock(), LocalBlobs(folder / "blobs")
    store, edges = SqlRegistryStore(database), SqlRevocationStore(database)
    keyring = Keyring((folder / "seal.key").read_bytes())
    evidence = Evidence(SqlEvidenceStore(database), store, blobs, keyring, clock)
    evidence.first_start(CAT)
    registry = Registry(store, blobs, clock, revocations=Revocations(edges, store, evidence, clock))
    collector = Collector(
        SqlCollectStore(database), store, edges, blobs, clock, deployments=Holding(),
        limits=CollectLimits(grace=timedelta(seconds=-60), kept_moves=10_000),
    )  # fmt: skip
    return Child(registry, evidence, collector)


def run(folder: str) -> None:
    """Write without end."""
    child = open_child(Path(folder), open_database(f"sqlite:///{Path(folder) / 'tetrad.db'}"))
    registry = child.registry
    known = registry.versions("default", "note", "n", limit=1)
    first = registry.read("default", known[0].digest) if known else b""
    for number in itertools.count(_number(first) + CYCLE):
        content = {"number": number, "pad": "x" * 2000}
        digest: Digest = registry.put_document("default", "note", content, actor=CAT).digest
        _tell("artifact", number, digest)
        if number % CYCLE == CYCLE - 1:
            child.collector.collect_all(actor=CAT, run=True)
            _tell("collected", number, digest)
            continue
        version = registry.add_version("default", "note", "n", digest, actor=CAT)
        _tell("version", number, version.semver)
        registry.move_ref("default", "bot/production", digest, expected=None, actor=CAT)
        _tell("move", number, registry.ref_log("default", limit=1)[0].hash)
        _tell("evidence", number, child.evidence.approve("default", digest, actor=CAT).row.digest)


def _number(content: bytes) -> int:
    import json

    return int(json.loads(content)["number"]) if content else -CYCLE


def _tell(kind: str, number: int, said: str) -> None:
    sys.stdout.write(f"{kind} {number} {said}\n")
    sys.stdout.flush()
