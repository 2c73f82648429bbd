"""Put control together: open its stores and make the services that stand on them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from tetrad.batches import Batches, BatchRecords
from tetrad.batches import limits_from as batch_limits
from tetrad.batches._store import SqlBatchStore
from tetrad.bindings import Bindings
from tetrad.changes import Changes
from tetrad.changes import limits_from as change_limits
from tetrad.changes._store import SqlChangeStore
from tetrad.code import Code
from tetrad.code import limits_from as code_limits
from tetrad.datasets import Datasets
from tetrad.datasets import limits_from as dataset_limits
from tetrad.datasets._store import SqlDatasetStore
from tetrad.identity import Identity, IdentityPolicy, machine_keys
from tetrad.identity._store import SqlIdentityStore
from tetrad.kernel import SystemClock, TetradError
from tetrad.kit.blobs import installed_blobs, open_blobs
from tetrad.kit.db import DatabaseDamaged, open_database
from tetrad.kit.db.migrate import migrate
from tetrad.kit.egress import EGRESS_ALLOW, parse_egress
from tetrad.kit.home import BLOBS_URL, GATEWAY_PORT, Home, reachable_host
from tetrad.kit.jobs import JobClient
from tetrad.kit.seal import Keyring
from tetrad.kit.settings import Settings
from tetrad.kit.telemetry_db import open_telemetry
from tetrad.limits._keeper import LeaseKeeper
from tetrad.limits._service import Limits
from tetrad.limits._settings import MAX_ACCOUNTS, MAX_RULES
from tetrad.limits._store import SqlLimitStore
from tetrad.models import Models, PublicPrices
from tetrad.models._settings import limits_from as model_limits
from tetrad.models._store import SqlModelStore
from tetrad.models._weights import read_weights
from tetrad.processes.control._background import AnsweringWork, CallGrants
from tetrad.processes.control._batching import BatchWork, BudgetHolds, LineGrants
from tetrad.processes.control._bindings import InstalledHere
from tetrad.processes.control._compile import Sources, compile_table
from tetrad.processes.control._embedder import embedder, has_embedder
from tetrad.processes.control._playground import Playground
from tetrad.processes.control._publisher import RouteTablePublisher
from tetrad.processes.control._reproducing import GatewayRendering, ReproducingJobs, TracedTraffic
from tetrad.processes.control._sealing import KeyRotation, opened_keyring
from tetrad.processes.control._served import DatasetContents, HeldModels, OpenChanges, PushedBatches, ServedReleases
from tetrad.processes.control._services import Services
from tetrad.processes.control._settings import GATEWAY_URL, PLAYGROUND_RUNS, PLAYGROUND_TIMEOUT_S
from tetrad.processes.worker._jobs import jobs_url, known_jobs
from tetrad.prompts import Prompts, policy_from
from tetrad.registry import (
    GATE,
    Collector,
    Evidence,
    EvidenceGate,
    GatePolicies,
    Registry,
    Revocations,
    Runs,
    collect_limits_from,
    evidence_limits_from,
    run_limits_from,
)
from tetrad.registry import limits_from as registry_limits
from tetrad.registry._collect_store import SqlCollectStore
from tetrad.registry._evidence_store import SqlEvidenceStore
from tetrad.registry._revocation_store import SqlRevocationStore
from tetrad.registry._run_store import SqlRunStore
from tetrad.registry._store import SqlRegistryStore
from tetrad.releases import (
    Refetch,
    RegistryPrompts,
    Releases,
    Reproductions,
    ResolvedRelease,
    Stalenesses,
    known_rebuilders,
    reproduction_limits_from,
    staleness_limits_from,
)
from tetrad.releases import limits_from as release_limits
from tetrad.releases._store import SqlAppStore, SqlReproductionStore
from tetrad.responses import Background, Records, Responses
from tetrad.responses import limits_from as response_limits
from tetrad.responses._background_store import SqlBackgroundStore
from tetrad.responses._record_store import SqlRecordStore
from tetrad.responses._store import SqlResponseStore
from tetrad.serving import (
    ROUTE_TABLE_AAD,
    ProviderDirectory,
    ProviderProbe,
    RouteTable,
    decode_route_table,
    provider_names,
)
from tetrad.serving._cache_policies import CachePolicies
from tetrad.serving._engine_directory import EngineDirectory
from tetrad.serving._route_directory import RouteDirectory, RouteHealth
from tetrad.serving._store import SqlCachePolicyStore, SqlEngineStore, SqlProviderStore, SqlRouteStore
from tetrad.tools._listing import HttpLister
from tetrad.tools._service import ToolServers
from tetrad.tools._settings import COMMANDS, LIST_S
from tetrad.tools._store import SqlToolServerStore
from tetrad.traces._quarantine import Quarantine
from tetrad.traces._service import Traces
from tetrad.traces._settings import limits_from as trace_limits
from tetrad.traces._settings import telemetry_limits, telemetry_url
from tetrad.traces._store import ColumnStore

log = logging.getLogger(__name__)
MIGRATIONS = Path(__file__).with_name("migrations")
RELEASES_PER_APP = 50


def refuse_lost_database(home: Home, url: str) -> None:
    """Refuse to make an empty database in a home that had one: its projects, keys and releases would be lost unsaid."""
    path = home.root / "tetrad.db"
    if url != f"sqlite:///{path}" or (path.exists() and path.stat().st_size):
        return
    if home.route_table.exists() or (home.telemetry.is_dir() and any(home.telemetry.iterdir())):
        raise DatabaseDamaged(
            f"{str(path)!r} is {'empty' if path.exists() else 'gone'}, and this home has been used before",
            hint="put the file back from a copy; to begin anew, move the whole home folder away",
        )


def build_services(settings: Settings, home: Home) -> Services:
    """Open the stores, bring them to this version's schema, and make the services; nothing runs yet."""
    clock = SystemClock()
    with ExitStack() as stack:
        url = home.database_url(settings)
        refuse_lost_database(home, url)
        database = open_database(url)
        stack.callback(database.close)
        done = migrate(database, MIGRATIONS)
        if done.applied:
            log.info("database migrated from %s to %s", done.before or "nothing", done.after)
        identity_store, evidence_store = SqlIdentityStore(database), SqlEvidenceStore(database)
        keys = machine_keys(home.keys, opened_keyring(settings, home, identity_store, evidence_store))
        telemetry = open_telemetry(telemetry_url(settings, home), telemetry_limits(settings))
        stack.callback(telemetry.close)
        columns = ColumnStore(telemetry)
        columns.migrate()
        traces = Traces(columns, clock, Quarantine(home.root / "quarantine"), trace_limits(settings))
        identity = Identity(
            identity_store,
            keys.keyring,
            internal_token=keys.internal_token,
            policy=IdentityPolicy.from_settings(settings),
            clock=clock,
        )
        stack.callback(identity.close)
        blobs = open_blobs(settings.get(BLOBS_URL), default=home.blobs, adapter=installed_blobs)
        artifacts = SqlRegistryStore(database)
        evidence = Evidence(
            evidence_store,
            artifacts,
            blobs,
            keys.keyring,
            clock,
            audit=identity.audit.record,
            audit_log=identity.audit,
            limits=evidence_limits_from(settings),
        )
        revocations = Revocations(SqlRevocationStore(database), artifacts, evidence, clock, audit=identity.audit.record)
        gate = EvidenceGate(evidence, blobs, clock, revocations=revocations)
        registry = Registry(
            artifacts,
            blobs,
            clock,
            gates={GATE: gate},
            limits=registry_limits(settings),
            revocations=revocations,
        )
        registry.on_refusal(gate.note_refusal)
        runs = Runs(SqlRunStore(database), artifacts, clock, limits=run_limits_from(settings))
        gates = GatePolicies(registry, evidence, gate, clock, audit=identity.audit.record)
        code = Code(registry, limits=code_limits(settings))
        datasets = Datasets(SqlDatasetStore(database), registry, clock, limits=dataset_limits(settings))
        listeners: list[Callable[[], None]] = []

        def changed(*_: object) -> None:
            for listener in listeners:
                listener()

        models = Models(
            SqlModelStore(database),
            registry,
            clock,
            reader=read_weights,
            price_list=PublicPrices(),
            limits=model_limits(settings),
            audit=identity.audit.record,
            prices_changed=changed,
        )
        prompts = Prompts(registry, policy=policy_from(settings), audit=identity.audit)
        pinned_prompts = RegistryPrompts(registry, prompts)
        releases = Releases(
            SqlAppStore(database),
            registry,
            code,
            datasets,
            models,
            pinned_prompts,
            clock,
            limits=release_limits(settings),
            evidence=evidence,
        )
        stalenesses = Stalenesses(
            releases,
            registry,
            clock,
            evidence=evidence,
            revoked=lambda project: {digest: each.reason for digest, each in revocations.standing(project).items()},
            rebuilders=known_rebuilders(datasets, prompts, releases),
            limits=staleness_limits_from(settings),
        )
        changes = Changes(
            SqlChangeStore(database, registry.hold),
            releases,
            prompts,
            datasets,
            registry,
            evidence,
            gates,
            clock,
            audit=identity.audit.record,
            limits=change_limits(settings),
        )
        changes.on_change(changed)

        engines = EngineDirectory(
            SqlEngineStore(database), clock, on_change=changed, fixed=[embedder(home)] if has_embedder(home) else []
        )
        engines.restore(_last_table(home, keys.keyring))
        egress = parse_egress(settings.get(EGRESS_ALLOW))
        providers = ProviderDirectory(
            SqlProviderStore(database, clock), on_change=changed, egress=egress, adapters=provider_names, clock=clock
        )
        limit_store = SqlLimitStore(database)
        leases = LeaseKeeper(limit_store, clock, most_accounts=settings.get(MAX_ACCOUNTS))

        def limits_changed() -> None:
            leases.reload()
            changed()

        limits = Limits(
            limit_store,
            clock,
            max_rules=settings.get(MAX_RULES),
            audit=identity.audit.record,
            changed=limits_changed,
        )
        routes = RouteDirectory(SqlRouteStore(database, clock), on_change=changed)
        caches = CachePolicies(
            SqlCachePolicyStore(database, clock), clock, on_change=changed, refuse_unknown_app=releases.app
        )
        tools = ToolServers(
            SqlToolServerStore(database, clock),
            clock,
            lister=lambda route_of: HttpLister(
                route_of, bridge=str(home.run / "tools.sock"), deadline_s=settings.get(LIST_S)
            ),
            reveal=identity.secrets.reveal,
            commands=settings.get(COMMANDS),
            egress=parse_egress(settings.get(EGRESS_ALLOW)),
            audit=identity.audit.record,
            on_change=changed,
        )
        bindings = Bindings(registry, InstalledHere(providers, engines, tools, identity.secrets))
        jobs = JobClient(known_jobs(settings), jobs_url(settings, home))
        stack.callback(jobs.close)
        batch_store = SqlBatchStore(database)
        line_grants = LineGrants(keys.keyring.primary, batch_store.open, identity.key_entries, clock, changed)
        batches = Batches(
            batch_store,
            blobs,
            BatchWork(jobs),
            line_grants,
            clock,
            scratch=home.root / "uploads",
            limits=batch_limits(settings),
            holds=BudgetHolds(partial(leases.sync, works=False)),
        )
        responses = Responses(SqlResponseStore(database), clock, response_limits(settings))
        background_store = SqlBackgroundStore(database)
        call_grants = CallGrants(keys.keyring.primary, background_store.keys, identity.key_entries, clock, changed)
        reproductions = Reproductions(
            SqlReproductionStore(database),
            registry,
            releases,
            models,
            evidence,
            Refetch(registry, code, datasets, models, pinned_prompts, evidence),
            GatewayRendering(),
            ReproducingJobs(jobs),
            clock,
            traffic=TracedTraffic(traces),
            limits=reproduction_limits_from(settings),
        )
        playground = Playground(
            gateway_url=settings.get(GATEWAY_URL) or f"http://{reachable_host(settings)}:{settings.get(GATEWAY_PORT)}",
            clock=clock,
            changed=changed,
            release_at=lambda project, app, ref: _release_at(releases, project, app, ref),
            pinned=lambda project, release: (
                pinned_prompts.get(project, release.prompt_digest, release.prompt_name)
                if release.prompt_digest
                else None
            ),
            checked=lambda project, name, text: pinned_prompts.check(
                project, name, text.encode("utf-8", "replace"), where=f"{name}.md"
            ),
            max_runs=settings.get(PLAYGROUND_RUNS),
            timeout_s=settings.get(PLAYGROUND_TIMEOUT_S),
        )
        sources = Sources(
            grants=lambda: [
                *identity.key_entries(),
                *playground.grants(),
                *line_grants.grants(),
                *call_grants.grants(),
            ],
            upstreams=engines.upstreams,
            models=engines.models,
            providers=providers.all,
            secret=identity.secrets.reveal,
            price=lambda project, name, provider, model: models.price(
                project, name, provider=provider, provider_model=model
            ),
            own_prices=models.own_prices,
            apps=releases.every_app,
            history=lambda project, app: [
                version.digest for version in releases.releases(project, app, limit=RELEASES_PER_APP)
            ],
            resolve=releases.resolve,
            bindings=bindings.set_of,
            routes=routes.all,
            candidates=changes.candidates,
            resolve_candidate=changes.resolve,
            limits=limits.every_rule,
            caches=caches.all,
            tool_servers=lambda: [tools.route(each) for each in tools.registered()],
            egress=egress.text,
        )
        publisher = RouteTablePublisher(
            lambda version: compile_table(sources, version=version, made_ns=clock.now_ns()),
            keys.keyring,
            clock,
            due=models.next_price_change,
        )
        listeners.append(publisher.changed)
        served = ServedReleases(lambda: publisher.table)
        revocations.serve_from(served)
        collector = Collector(
            SqlCollectStore(database),
            artifacts,
            SqlRevocationStore(database),
            blobs,
            clock,
            deployments=served,
            roots=[PushedBatches(datasets), OpenChanges(changes)],
            blob_roots=[HeldModels(), batches],
            contents=[DatasetContents(datasets)],
            audit=identity.audit.record,
            limits=collect_limits_from(settings),
        )

        def gone(project: str, _digests: object) -> None:
            releases.forget_resolved(project)
            changed()

        collector.subscribe(gone)
        identity.on_change(changed)
        registry.subscribe(changed)
        background = Background(responses, background_store, AnsweringWork(jobs), call_grants, clock)
        return Services(
            settings=settings,
            home=home,
            database=database,
            identity=identity,
            registry=registry,
            runs=runs,
            evidence=evidence,
            gates=gates,
            bindings=bindings,
            revocations=revocations,
            collector=collector,
            code=code,
            datasets=datasets,
            models=models,
            prompts=prompts,
            releases=releases,
            changes=changes,
            stalenesses=stalenesses,
            reproductions=reproductions,
            traces=traces,
            engines=engines,
            providers=providers,
            probe=ProviderProbe(identity.secrets.reveal, clock, egress=egress.text),
            responses=responses,
            background=background,
            response_records=Records(SqlRecordStore(database), responses, background, identity.audit.record),
            batches=batches,
            batch_records=BatchRecords(batch_store, batches, identity.audit.record, clock),
            limits=limits,
            leases=leases,
            routes=routes,
            route_health=RouteHealth(clock),
            caches=caches,
            tools=tools,
            rotation=KeyRotation(
                keys.keyring,
                [(identity.secrets, identity.secrets.reseal), (evidence, lambda _actor: evidence.reseal())],
                route_table=home.route_table,
                changed=changed,
                audit=identity.audit.record,
            ),
            jobs=jobs,
            playground=playground,
            publisher=publisher,
            problems=sources.problems,
            _closers=stack.pop_all(),
        )


def _release_at(releases: Releases, project: str, app: str, ref: str) -> ResolvedRelease:
    digest = releases.ref(project, app, ref or releases.app(project, app).default_ref).digest
    return releases.resolve(project, digest)


def _last_table(home: Home, keyring: Keyring) -> RouteTable:
    """Return the table that gateways of this machine route by; an empty one where there is none to be read."""
    try:
        return decode_route_table(keyring.unseal(home.route_table.read_bytes(), ROUTE_TABLE_AAD))
    except (OSError, TetradError):
        return RouteTable(version=0, made_ns=0)
