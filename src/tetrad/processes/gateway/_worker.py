"""One gateway worker: everything wired together, from start to drained."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from tetrad.kernel import Clock, SystemClock, TetradError, Unavailable
from tetrad.kit.home import Home, control_address
from tetrad.kit.logs import register_secret
from tetrad.kit.seal import Keyring
from tetrad.kit.settings import Settings
from tetrad.kit.spool import SpoolFolder, SpoolWriter
from tetrad.kit.upstream import Client, Limits, parse_address
from tetrad.limits import Gate, LimitLayer, ToolLimits
from tetrad.limits import _settings as limiting
from tetrad.processes.gateway import _settings as own
from tetrad.processes.gateway._app import GatewayApp
from tetrad.processes.gateway._cors import cors_of
from tetrad.processes.gateway._health import HealthTeller
from tetrad.processes.gateway._http1 import HttpServer
from tetrad.processes.gateway._limits import ControlKeeper, SharedLeases
from tetrad.processes.gateway._memory import ControlMemory
from tetrad.processes.gateway._metrics import Metrics, read_snapshots, render, write_snapshot
from tetrad.processes.gateway._recorder import Recorder
from tetrad.processes.gateway._relay import ControlRelay
from tetrad.processes.gateway._shipper import Shipper
from tetrad.processes.gateway._sightings import ToolSightings
from tetrad.processes.gateway._similar import InferenceSimilar
from tetrad.processes.gateway._table_client import TableClient
from tetrad.processes.gateway._turn import Turn
from tetrad.serving import (
    AnswersState,
    Cache,
    Chaining,
    Enforcing,
    FileAnswers,
    GatewayHealth,
    KeyUses,
    MemoryAnswers,
    Pipeline,
    ProviderShelf,
    Readiness,
    Remembering,
    RouteTable,
)
from tetrad.serving.ports import SharedAnswers
from tetrad.tools import Sessions, ToolProxy

if TYPE_CHECKING:
    from tetrad.processes.gateway._server import GatewayServer

log = logging.getLogger(__name__)
_HOUSEKEEPING_S = 2.0
_FLUSH_S = 5.0
_COLLECT_EVERY = 20_000


class Worker:
    """A worker of the data plane; `run` returns when it was told to stop and has drained."""

    def __init__(self, settings: Settings, index: int) -> None:
        self.settings = settings
        self.home = Home.of(settings)
        self.index = index
        self.metrics = Metrics(str(index))
        self._end_answers: Callable[[], None] = lambda: None

    async def run(self, listening: socket.socket) -> None:
        """Serve on a listening socket until SIGTERM or SIGINT."""
        settings, home = self.settings, self.home
        clock = SystemClock()
        client = Client(Limits(high_water_bytes=131_072), bounded=True)
        internal = Client(Limits(max_connections=4))
        folder = _claim(home, self.index)
        spool = SpoolWriter(
            folder, cap_bytes=settings.get(own.SPOOL_BYTES), segment_bytes=settings.get(own.SPOOL_SEGMENT_BYTES)
        )
        turn = Turn(spool)
        record_bytes = settings.get(own.RECORD_BYTES)
        cache = self._cache(clock, internal)
        largest = settings.get(own.MAX_ANSWER)
        providers = ProviderShelf(client, clock, keep_bytes=record_bytes, answer_bytes=largest)
        control = parse_address(control_address(settings))
        token = FileSecret(home)
        stored = Client(Limits(max_connections=settings.get(own.STORED_CONNECTIONS)))
        relaying = Client(Limits(max_connections=settings.get(own.RELAY_CONNECTIONS)))
        followers = settings.get(own.FOLLOWED_STREAMS)
        following = Client(Limits(max_connections=followers))
        memory = ControlMemory(stored, control, token, following=following, most_followers=followers)
        keeper = ControlKeeper(internal, control, token)
        leases = SharedLeases(home.root / "gateway" / "leases", keeper, settings.get(limiting.URL), clock)
        gate = Gate(
            leases.pockets,
            clock,
            wake=leases.wake,
            wait_s=settings.get(limiting.WAIT_S),
            assumed_output=settings.get(limiting.ASSUMED_OUTPUT),
            region=settings.get(own.REGION),
        )
        recorder = Recorder(turn, self.metrics, record_bytes=record_bytes)
        pipeline = Pipeline(
            providers,
            record=recorder,
            clock=clock,
            stages=(Readiness(),),
            layers=(
                Remembering(memory),
                LimitLayer(gate, rules_changed=leases.use),
                Chaining(clock),
                Enforcing(clock),
                *(() if cache is None else (cache,)),
            ),
            region=settings.get(own.REGION),
        )
        self.metrics.routes = partial(_health, pipeline)
        sightings = ToolSightings(internal, control, token)
        tools = ToolProxy(
            client,
            clock,
            current=pipeline.current,
            sessions=Sessions(partial(keyring_of, settings, home)),
            record=recorder.tool,
            limiter=ToolLimits(gate),
            sightings=sightings,
            bridge=str(home.run / "tools.sock"),
            origins=frozenset(
                each.strip().encode() for each in settings.get(own.TOOL_ORIGINS).split(",") if each.strip()
            ),
            answer_bytes=settings.get(own.TOOL_ANSWER_BYTES),
            streams_per_key=settings.get(own.TOOL_STREAMS),
            listing_s=settings.get(own.TOOL_LISTING_S),
        )
        self.metrics.tool_streams = lambda: tools.streams
        self.metrics.tool_absences = tools.absences
        self.metrics.tool_rests = tools.resting
        self.metrics.tasks = _count_tasks
        tables = TableClient(
            client=internal,
            control=control,
            token=token,
            keyring=partial(keyring_of, settings, home),
            sealed_path=home.route_table,
            install=partial(self._install, pipeline),
        )
        shipper = Shipper(spool, home.spool, client=internal, control=control, token=token, shipped=self._count_shipped)
        teller = HealthTeller(
            f"{socket.gethostname()}-{self.index}",
            partial(_told_health, pipeline, tools, self.metrics),
            uses=partial(_key_uses, pipeline),
            client=internal,
            control=control,
            token=token,
        )
        app = GatewayApp(
            pipeline,
            self.metrics,
            metrics_page=lambda: render(read_snapshots(home.run, self.metrics.snapshot(spool, client.counts()))),
            max_body=settings.get(own.MAX_BODY),
            body_timeout_s=settings.get(own.BODY_TIMEOUT_S),
            max_in_flight=settings.get(own.MAX_IN_FLIGHT),
            shed_lag_s=settings.get(own.SHED_LAG_S),
            memory=memory,
            relay=ControlRelay(relaying, control, token),
            tools=tools,
            turn=turn,
            cors=cors_of(settings.get(own.CORS_ORIGINS)),
        )
        server = self._server(app)
        tables.load()
        _spare_collections()
        background = [
            asyncio.create_task(tables.run(), name="route-tables"),
            asyncio.create_task(shipper.run(), name="shipper"),
            asyncio.create_task(leases.run(), name="leases"),
            asyncio.create_task(teller.run(), name="health"),
            asyncio.create_task(sightings.run(), name="tool-sightings"),
            asyncio.create_task(app.shedder.watch(), name="load"),
            asyncio.create_task(self._keep_house(tables, spool, client), name="housekeeping"),
        ]
        ended = partial(_tell, server.stop)
        for task in background:
            task.add_done_callback(ended)
        try:
            await server.serve(sockets=[listening])
        finally:
            for task in background:
                task.remove_done_callback(ended)
                task.cancel()
            await asyncio.gather(*background, return_exceptions=True)
            turn.flush()
            await leases.close(_FLUSH_S)
            await shipper.flush(_FLUSH_S)
            await teller.flush(_FLUSH_S)
            shipper.close()
            if cache is not None:
                await cache.close()
                self._end_answers()
            await providers.close()
            await client.close()
            await internal.close()
            await stored.close()
            await following.close()
            await relaying.close()
            (home.run / f"gateway-{self.index}.metrics").unlink(missing_ok=True)

    def _cache(self, clock: Clock, internal: Client) -> Cache | None:
        settings = self.settings
        most_bytes = settings.get(own.CACHE_BYTES)
        if not most_bytes:
            return None
        disk_bytes = settings.get(own.CACHE_DISK_BYTES)
        shared: list[SharedAnswers] = []
        if disk_bytes:
            shared.append(FileAnswers(self.home.cache, most_bytes=disk_bytes))
        if settings.get(own.CACHE_URL):
            from tetrad.adapters.answers_redis import RedisAnswers  # only where it is wanted

            server = RedisAnswers(
                settings.get(own.CACHE_URL),
                partial(keyring_of, settings, self.home),
                prefix=settings.get(own.CACHE_PREFIX),
                deadline_s=settings.get(own.CACHE_DEADLINE_S),
                entry_bytes=settings.get(own.CACHE_ENTRY_BYTES),
            )
            self.metrics.answers = lambda: _with_left_out(server.state, self.metrics.cache)
            self._end_answers = server.close
            shared.append(server)
        cache = Cache(
            MemoryAnswers(most_bytes=most_bytes, most_entries=settings.get(own.CACHE_ENTRIES)),
            clock,
            shared=shared,
            similar=InferenceSimilar(
                internal, self.home.run / "inference.sock", deadline_s=settings.get(own.SIMILAR_DEADLINE_S)
            ),
            entry_bytes=settings.get(own.CACHE_ENTRY_BYTES),
            wait_s=settings.get(own.CACHE_WAIT_S),
        )
        self.metrics.cache = cache
        return cache

    def _server(self, app: GatewayApp) -> HttpServer | GatewayServer:
        settings = self.settings
        timeouts = {
            "header_timeout_s": settings.get(own.HEADER_TIMEOUT_S),
            "keep_alive_s": settings.get(own.KEEP_ALIVE_S),
            "drain_s": settings.get(own.DRAIN_S),
        }
        if settings.get(own.SERVER) == "uvicorn":
            from tetrad.processes.gateway._server import make_server

            return make_server(app, **timeouts)
        return HttpServer(app, **timeouts)

    def _install(self, pipeline: Pipeline, table: RouteTable) -> None:
        register_secret(*table.secrets())
        compiled = pipeline.install(table)
        self.metrics.table_version = table.version
        log.info(
            "route table %d: %d models, %d releases, %d keys",
            table.version, len(table.models), len(table.releases), len(table.keys),
        )  # fmt: skip
        for what, why in compiled.problems.items():
            log.error("route table %d: %s cannot be served: %s", table.version, what, why)

    def _count_shipped(self, size: int) -> None:
        self.metrics.shipped_bytes += size

    async def _keep_house(self, tables: TableClient, spool: SpoolWriter, client: Client) -> None:
        while True:
            self.metrics.connected = tables.connected
            with contextlib.suppress(OSError):  # a full disk costs the siblings a look at our counters, nothing else
                # in a thread: some file systems take milliseconds to rename a file, in which nobody would be answered
                await asyncio.to_thread(write_snapshot, self.home.run, self.metrics.snapshot(spool, client.counts()))
            await asyncio.sleep(_HOUSEKEEPING_S)


def _spare_collections() -> None:
    """Let the collector of cycles look seldom, and at nothing that was there before the first request.

    Requests make no cycles, but while dozens are under way their number of living objects passes the usual 700 again
    and again: a fiftieth of all time went into looking at them, and each full look at the modules stalled everybody for
    tens of milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_EVERY, 20, 20)


def _health(pipeline: Pipeline) -> GatewayHealth:
    return pipeline.table.health() if pipeline.table is not None else GatewayHealth()


def _told_health(pipeline: Pipeline, tools: ToolProxy, metrics: Metrics) -> GatewayHealth:
    tools.follow()
    return msgspec.structs.replace(_health(pipeline), rests=tools.resting(), answers=metrics.answers())


def _with_left_out(state: AnswersState, cache: Cache | None) -> AnswersState:
    """Count what was not even put to the server, too, as left out."""
    left_out = cache.counts.dropped.get("server", 0) if cache is not None else 0
    counts = {**state.counts, "dropped": state.counts["dropped"] + left_out}
    return msgspec.structs.replace(state, counts=counts)


def _key_uses(pipeline: Pipeline) -> KeyUses:
    return pipeline.table.key_uses if pipeline.table is not None else KeyUses()


def _count_tasks() -> int:
    return len(asyncio.all_tasks())


class FileSecret:
    """The internal token, read again each time: it may be made, or change, after we started."""

    def __init__(self, home: Home) -> None:
        self._path = home.keys / "internal.token"

    def __call__(self) -> str:
        try:
            return self._path.read_text("ascii").strip()
        except UnicodeDecodeError as error:
            raise Unavailable(f"{str(self._path)!r} cannot be read: {error}", hint="correct it, or delete it") from None


def _claim(home: Home, index: int) -> SpoolFolder:
    try:
        return SpoolFolder.claim_own(home.spool, str(index))
    except OSError as error:
        raise TetradError(
            f"the spool under {str(home.spool)!r} cannot be used: {error.strerror or error}",
            hint="correct its owner and permissions, or free some disk",
            code="spool_unusable",
        ) from None


def keyring_of(settings: Settings, home: Home) -> Keyring:
    """Return the installation's sealing keys, which control makes; they follow their file."""
    return home.keyring(settings, create=False)


def _tell(stop: Callable[[], None], task: asyncio.Task[None]) -> None:
    """A background task that ends has met a fault of ours: stop, so that the supervisor starts a whole worker."""
    if not task.cancelled() and task.exception() is not None:
        log.critical("%s failed", task.get_name(), exc_info=task.exception())
        stop()


def serve(settings: Settings, listening: socket.socket, index: int) -> None:
    """Run a worker on uvloop until it is told to stop."""
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Worker(settings, index).run(listening))
