"""A collector over the wired services, as the control process has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from support.tetrads import Tetrads
from tetrad.kernel import Digest
from tetrad.processes.control._served import DatasetContents, PushedBatches
from tetrad.registry import CollectLimits, Collector, Live
from tetrad.registry._collect_store import SqlCollectStore
from tetrad.registry._revocation_store import SqlRevocationStore
from tetrad.registry._store import SqlRegistryStore
from tetrad.registry.ports import Roots


@dataclass
class Holding:
    """Deployments, roots of an upper slice and blobs of nobody, as a test chooses them."""

    name: str = "change request"
    deployed: list[Live] = field(default_factory=list)
    held: list[Digest] = field(default_factory=list)
    kept: list[Digest] = field(default_factory=list)

    def live(self, project: str) -> Sequence[Live]:
        del project
        return self.deployed

    def roots(self, project: str) -> Sequence[Digest]:
        del project
        return self.held

    def blobs(self) -> Sequence[Digest]:
        return self.kept


def wire_collector(
    tetrads: Tetrads, holding: Holding | None = None, *, limits: CollectLimits | None = None, audit: Any = None,
    more_roots: Sequence[Roots] = (),
) -> Collector:  # fmt: skip
    """Wire a collector over all slices that keep something."""
    holds = holding or Holding()
    return Collector(
        SqlCollectStore(tetrads.database),
        SqlRegistryStore(tetrads.database),
        SqlRevocationStore(tetrads.database),
        tetrads.blobs,
        tetrads.clock,
        deployments=holds,
        roots=[holds, PushedBatches(tetrads.datasets), *more_roots],
        blob_roots=[holds],
        contents=[DatasetContents(tetrads.datasets)],
        audit=audit,
        limits=limits,
    )
