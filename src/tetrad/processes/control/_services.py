"""Everything that control's routes stand on, and the order in which it starts and stops."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from dataclasses import dataclass

from tetrad.batches import Batches, BatchRecords
from tetrad.bindings import Bindings
from tetrad.changes import Changes
from tetrad.code import Code
from tetrad.datasets import Datasets
from tetrad.identity import Identity
from tetrad.kit.db import Database
from tetrad.kit.home import Home
from tetrad.kit.jobs import JobClient
from tetrad.kit.settings import Settings
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._service import Limits
from tetrad.limits._settings import KEEP_DAYS
from tetrad.models import Models
from tetrad.processes.control._first_start import first_start
from tetrad.processes.control._playground import Playground
from tetrad.processes.control._publisher import RouteTablePublisher
from tetrad.processes.control._sealing import KeyRotation
from tetrad.prompts import Prompts
from tetrad.registry import Collector, Evidence, GatePolicies, Registry, Revocations, Runs
from tetrad.releases import Releases, Reproductions, Stalenesses
from tetrad.responses import Background, Records, Responses
from tetrad.serving import ProviderDirectory, ProviderProbe
from tetrad.serving._cache_policies import CachePolicies
from tetrad.serving._engine_directory import EngineDirectory
from tetrad.serving._route_directory import RouteDirectory, RouteHealth
from tetrad.tools._service import ToolServers
from tetrad.traces._service import Traces

log = logging.getLogger(__name__)


@dataclass
class Services:
    """Everything that control's routes stand on."""

    settings: Settings
    home: Home
    database: Database
    identity: Identity
    registry: Registry
    runs: Runs
    evidence: Evidence
    gates: GatePolicies
    bindings: Bindings
    revocations: Revocations
    collector: Collector
    code: Code
    datasets: Datasets
    models: Models
    prompts: Prompts
    releases: Releases
    changes: Changes
    stalenesses: Stalenesses
    reproductions: Reproductions
    traces: Traces
    engines: EngineDirectory
    providers: ProviderDirectory
    probe: ProviderProbe
    responses: Responses
    background: Background
    response_records: Records
    batches: Batches
    batch_records: BatchRecords
    limits: Limits
    leases: LeaseKeeper
    routes: RouteDirectory
    route_health: RouteHealth
    caches: CachePolicies
    tools: ToolServers
    rotation: KeyRotation
    jobs: JobClient
    playground: Playground
    publisher: RouteTablePublisher
    problems: list[str]
    _closers: ExitStack

    def start(self) -> None:
        """First start where it is one, then everything that runs in threads."""
        first_start(self)
        if swept := self.datasets.sweep():
            log.info("%d rows of imports that were stopped are gone", swept)
        if forgotten := self.limits.forget(self.settings.get(KEEP_DAYS)):
            log.info("%d accounts of ended budget periods are gone", forgotten)
        self.traces.start()
        self._closers.callback(self.traces.stop)
        self.publisher.start()
        self._closers.callback(self.publisher.stop)

    def close(self) -> None:
        """Stop what runs and give everything back, last first."""
        self._closers.close()
