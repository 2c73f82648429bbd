"""Every router of the control plane."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fastapi import APIRouter

from tetrad.batches._record_routes import record_router as batch_record_router
from tetrad.batches.routes import all_routers as batch_routers
from tetrad.bindings.routes import router as bindings_router
from tetrad.changes.routes import router as changes_router
from tetrad.code.routes import router as code_router
from tetrad.datasets.routes import router as datasets_router
from tetrad.identity.routes import router as identity_router
from tetrad.kit.jobs.routes import router as jobs_router
from tetrad.limits.routes import router as limits_router
from tetrad.models.routes import router as models_router
from tetrad.processes.control._batch_cost import batch_cost_router
from tetrad.processes.control._playground_routes import playground_router
from tetrad.processes.control._sealing import sealing_router
from tetrad.processes.control._sightings import TracedCode
from tetrad.processes.control._status import status_router
from tetrad.processes.control._traffic import traffic_router
from tetrad.processes.control._usage import names_of_keys, usage_router
from tetrad.prompts.routes import router as prompts_router
from tetrad.registry.routes import evidence_router, revocation_router, run_router
from tetrad.registry.routes import router as registry_router
from tetrad.releases._reproduction_routes import reproduction_router
from tetrad.releases.routes import router as releases_router
from tetrad.releases.routes import staleness_router
from tetrad.responses.routes import background_router, conversation_router, record_router
from tetrad.responses.routes import router as responses_router
from tetrad.serving._route_api import gateway_health_router, route_router
from tetrad.serving.routes import cache_router, preset_router, provider_router
from tetrad.serving.routes import router as serving_router
from tetrad.tools.routes import router as tools_router
from tetrad.traces.routes import router as traces_router

if TYPE_CHECKING:
    from tetrad.processes.control._services import Services


def all_routers(services: Services) -> list[APIRouter]:
    """Return the routers of all slices, and control's own."""

    def project_of(upstream: str) -> str | None:
        return next((spec.project for spec in services.providers.all() if spec.name == upstream), None)

    return [
        status_router(services),
        identity_router(services.identity),
        traces_router(services.traces),
        releases_router(services.releases, TracedCode(services.traces)),
        changes_router(services.changes),
        staleness_router(services.stalenesses),
        reproduction_router(services.reproductions),
        registry_router(services.registry),
        run_router(services.runs),
        evidence_router(services.evidence, services.gates),
        bindings_router(services.bindings),
        revocation_router(services.revocations, services.collector),
        code_router(services.code),
        datasets_router(services.datasets),
        models_router(services.models),
        prompts_router(services.prompts),
        serving_router(services.engines, lambda: services.publisher.table, project_of),
        provider_router(services.providers, services.probe),
        preset_router(),
        responses_router(services.responses, services.background),
        background_router(services.background),
        record_router(services.response_records),
        conversation_router(services.responses),
        *batch_routers(services.batches),
        batch_record_router(services.batch_records),
        batch_cost_router(services.batches, services.traces),
        limits_router(services.limits, services.leases, partial(names_of_keys, services.identity)),
        usage_router(services.traces, services.identity),
        traffic_router(services.traces),
        route_router(services.routes, services.route_health),
        gateway_health_router(services.route_health, services.providers, services.identity.keys.note_use),
        cache_router(services.caches),
        tools_router(services.tools, services.route_health.rests),
        sealing_router(services.rotation),
        jobs_router(services.jobs),
        playground_router(services.playground),
    ]
