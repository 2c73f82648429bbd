"""The registry, the four members and releases, wired together on a database."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.blobs import MemoryBlobs
from tetrad.code import Code, CodeLimits
from tetrad.datasets import DatasetLimits, Datasets
from tetrad.datasets._store import SqlDatasetStore
from tetrad.kernel import FixedClock, Principal
from tetrad.kit.db import Database
from tetrad.models import Models, PublicPrices, read_weights
from tetrad.models._store import SqlModelStore
from tetrad.prompts import PromptPolicy, Prompts
from tetrad.registry import Evidence, Registry, RegistryLimits, RunLimits, Runs
from tetrad.registry._run_store import SqlRunStore
from tetrad.registry._store import SqlRegistryStore
from tetrad.registry.ports import Gates, RevocationCheck
from tetrad.releases import RegistryPrompts, Releases
from tetrad.releases._store import SqlAppStore

EXAMPLE = Path(__file__).parents[2] / "examples" / "assistant"
ALICE = Principal("key_alice", "key", "Alice", frozenset({"control"}))
BOB = Principal("key_bob", "key", "Bob", frozenset({"control"}))
SYSTEM = Principal("process_control", "process", "control", frozenset({"admin", "control", "internal"}))


@dataclass
class Tetrads:
    """All services of one installation."""

    database: Database
    blobs: MemoryBlobs
    clock: FixedClock
    registry: Registry
    code: Code
    datasets: Datasets
    models: Models
    releases: Releases
    prompts: Prompts
    runs: Runs

    def add_model(
        self, folder: Path, name: str = "local/smollm2-135m", content: bytes = b"weights", project: str = "default"
    ) -> str:
        """Register a small file as weights and return its digest."""
        path = folder / "model.onnx"
        path.write_bytes(content)
        return self.models.register_weights(project, name, path, actor=SYSTEM, licence="Apache-2.0").digest


def wire(
    database: Database,
    *,
    gates: Gates | None = None,
    registry_limits: RegistryLimits | None = None,
    code_limits: CodeLimits | None = None,
    dataset_limits: DatasetLimits | None = None,
    blobs: MemoryBlobs | None = None,
    clock: FixedClock | None = None,
    prompt_policy: PromptPolicy | None = None,
    audit: Any = None,
    run_limits: RunLimits | None = None,
    revocations: RevocationCheck | None = None,
    evidence: Evidence | None = None,
) -> Tetrads:
    """Wire the services as the control process does."""
    blobs, clock = blobs or MemoryBlobs(), clock or FixedClock()
    blobs.now = lambda: clock.now().timestamp()
    artifacts = SqlRegistryStore(database)
    registry = Registry(artifacts, blobs, clock, gates=gates, limits=registry_limits, revocations=revocations)
    code = Code(registry, limits=code_limits)
    datasets = Datasets(SqlDatasetStore(database), registry, clock, limits=dataset_limits)
    models = Models(SqlModelStore(database), registry, clock, reader=read_weights, price_list=PublicPrices())
    runs = Runs(SqlRunStore(database), artifacts, clock, limits=run_limits)
    prompts = Prompts(registry, policy=prompt_policy, audit=audit)
    stored = RegistryPrompts(registry, prompts)
    releases = Releases(SqlAppStore(database), registry, code, datasets, models, stored, clock, evidence=evidence)
    return Tetrads(database, blobs, clock, registry, code, datasets, models, releases, prompts, runs)
