"""Start everything, restart what dies, stop everything in order."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tetrad import __version__
from tetrad.kernel import TetradError
from tetrad.kit.children import ChildSpec, ChildStatus, RestartPolicy, Supervised
from tetrad.kit.home import CONTROL_PORT, GATEWAY_PORT, HOST, Home, reachable_host, write_private
from tetrad.kit.process_identity import ProcessIdentity
from tetrad.kit.settings import Setting, Settings
from tetrad.processes.standalone._probe import answers, get_json, ready_probe
from tetrad.processes.standalone._settings import GATEWAY_WORKERS, LIVENESS_S, READY_TIMEOUT_S, STOP_TIMEOUT_S
from tetrad.tools._settings import COMMANDS

_BACKLOG = 4096
_POLICY = RestartPolicy(give_up_after=0)
_PROBES = 6
"""Into how many steps the time to notice a hang is cut: half of them are pauses, half are questions."""


class PortTaken(TetradError):
    """Another program listens where we want to."""

    code = "port_taken"
    status = 409


@dataclass(frozen=True, slots=True)
class Ports:
    """Listening sockets. The supervisor holds them, so that connections wait, unrefused, while a process restarts."""

    gateway: socket.socket
    control: socket.socket


@contextmanager
def bind_ports(settings: Settings) -> Iterator[Ports]:
    """Listen on both ports, or raise `PortTaken` naming the port and the setting that moves it."""
    with _listen(settings, GATEWAY_PORT) as gateway, _listen(settings, CONTROL_PORT) as control:
        yield Ports(gateway, control)


def _listen(settings: Settings, port: Setting[int]) -> socket.socket:
    host, number = settings.get(HOST), settings.get(port)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, number), family=family, backlog=_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(
                f"port {number} on {host} is taken by {_owner(number)}",
                hint=f"stop that program, or choose another port with {port.variable}=…",
            ) from None
        raise TetradError(
            f"cannot listen on {host}:{number}: {error.strerror}",
            code="cannot_listen",
            hint=f"check {HOST.variable} and {port.variable}; ports below 1024 need privileges",
        ) from None


def _owner(port: int) -> str:
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return f"process {connection.pid} ({psutil.Process(connection.pid).name()})"
    except psutil.Error:
        pass  # another user's processes are none of our business
    return "another program"


@dataclass
class Supervisor:
    """Runs control, inference, worker and the gateways; tells every change to `on_change`.

    `run` returns after `stop` was called and everything has ended. The state is kept in `run/state.json` for
    `tetrad status`.
    """

    settings: Settings
    home: Home
    ports: Ports
    on_change: Callable[[ChildStatus], None] = lambda _status: None
    _children: list[Supervised] = field(default_factory=list)
    _watches: list[asyncio.Task[None]] = field(default_factory=list)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _ready: bool = False
    _started_at: float = field(default_factory=time.time)

    def stop(self) -> None:
        """Ask for the end; safe to call twice."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        """Whether the end was asked for."""
        return self._stopping.is_set()

    @property
    def children(self) -> list[ChildStatus]:
        """What is known of each process."""
        return [child.status for child in self._children]

    async def start(self) -> None:
        """Start everything at once and return when all of it is ready; raise the first failure."""
        self._children = self._plan()
        self._note()
        for child in self._children:
            child.start()
        timeout_s = self.settings.get(READY_TIMEOUT_S)
        waits = [asyncio.create_task(child.wait_ready(timeout_s)) for child in self._children]
        stopped = asyncio.create_task(self._stopping.wait())
        try:
            pending: set[asyncio.Task[Any]] = set(waits)
            while pending:
                done, _ = await asyncio.wait({*pending, stopped}, return_when=asyncio.FIRST_COMPLETED)
                if stopped in done:
                    return
                for task in done:
                    task.result()
                pending -= done
        finally:
            for task in (*waits, stopped):
                task.cancel()
            await asyncio.gather(*waits, stopped, return_exceptions=True)
        self._ready = True
        self._note()
        self._watches = [asyncio.create_task(self._watch(*watched)) for watched in self._watched()]

    def _watched(self) -> Iterator[tuple[Supervised, tuple[str, int] | str]]:
        """Name the processes that can be asked, and where. Several gateways share a socket: none can be asked alone."""
        if not self.settings.get(LIVENESS_S):
            return
        host = reachable_host(self.settings).strip("[]")
        places: dict[str, tuple[str, int] | str] = {
            "control": (host, self.settings.get(CONTROL_PORT)),
            "inference": str(self.home.run / "inference.sock"),
            "tools": str(self.home.run / "tools.sock"),
        }
        if self.settings.get(GATEWAY_WORKERS) == 1:
            places["gateway-0"] = (host, self.settings.get(GATEWAY_PORT))
        for child in self._children:
            if child.name in places:
                yield child, places[child.name]

    async def _watch(self, child: Supervised, address: tuple[str, int] | str) -> None:
        """Replace a process that lives but answers nothing: a hang would else last for ever.

        Failures in a row are counted, not time, so that a machine that slept is not taken for one that hangs.
        """
        step_s = self.settings.get(LIVENESS_S) / _PROBES
        failures = 0
        while True:
            await asyncio.sleep(step_s)
            if child.status.state != "ready" or await answers(address, step_s):
                failures = 0
                continue
            failures += 1
            if failures >= _PROBES // 2 and child.status.state == "ready":
                failures = 0
                await child.restart(f"gave no answer for {self.settings.get(LIVENESS_S):g} s")

    async def wait_engines(self, token: str) -> list[dict[str, Any]]:
        """Wait until every engine that should run is ready or has failed; return what control knows of them."""
        deadline = time.monotonic() + self.settings.get(READY_TIMEOUT_S)
        address = (reachable_host(self.settings).strip("[]"), self.settings.get(CONTROL_PORT))
        engines: list[dict[str, Any]] | None = None
        while time.monotonic() < deadline and not self._stopping.is_set():
            try:
                engines = (await get_json(address, "/internal/v1/status", token=token))["engines"]
            except (OSError, TimeoutError, ValueError, KeyError):
                engines = None
            if engines is not None and all(engine["state"] in ("ready", "failed") for engine in engines):
                return engines
            await asyncio.sleep(0.1)
        return engines or []

    async def wait_stopped(self) -> None:
        """Return when somebody called `stop`."""
        await self._stopping.wait()

    async def end(self) -> None:
        """Stop all: gateways drain first, control goes last, so that every span still finds its store."""
        self._ready = False
        for watch in self._watches:
            watch.cancel()
        await asyncio.gather(*self._watches, return_exceptions=True)
        timeout_s = self.settings.get(STOP_TIMEOUT_S)
        gateways = [child for child in self._children if child.name.startswith("gateway")]
        others = [child for child in self._children if child not in gateways and child.name != "control"]
        control = [child for child in self._children if child.name == "control"]
        for batch in (gateways, others, control):
            await asyncio.gather(*(child.stop(timeout_s) for child in batch))
        (self.home.run / "state.json").unlink(missing_ok=True)

    def _plan(self) -> list[Supervised]:
        control_port = self.settings.get(CONTROL_PORT)
        probe_host = reachable_host(self.settings).strip("[]")
        gateway_port = self.settings.get(GATEWAY_PORT)
        control_fd, gateway_fd = self.ports.control.fileno(), self.ports.gateway.fileno()
        children = [
            self._child(
                "control", ("--fd", str(control_fd)), fds=(control_fd,), probe=ready_probe((probe_host, control_port))
            ),
            self._child("inference", (), probe=ready_probe(str(self.home.run / "inference.sock"), "/healthz")),
            self._child("worker", ()),
        ]
        if self.settings.get(COMMANDS):
            children.append(self._child("tools", (), probe=ready_probe(str(self.home.run / "tools.sock"), "/healthz")))
        children.extend(
            self._child(
                f"gateway-{index}",
                ("--fd", str(gateway_fd), "--index", str(index)),
                fds=(gateway_fd,),
                probe=ready_probe((probe_host, gateway_port)),
            )
            for index in range(self.settings.get(GATEWAY_WORKERS))
        )
        return children

    def _child(
        self, name: str, arguments: tuple[str, ...], *, fds: tuple[int, ...] = (), probe: Any = None
    ) -> Supervised:
        module = f"tetrad.processes.{name.split('-', maxsplit=1)[0]}"
        spec = ChildSpec(
            name=name,
            argv=(sys.executable, "-m", module, *arguments),
            env=self._environment(),
            pass_fds=fds,
            log_path=self.home.logs / f"{name}.log",
            stop_s=self.settings.get(STOP_TIMEOUT_S),
        )
        return Supervised(
            name,
            lambda: spec,
            probe=probe,
            ready_s=self.settings.get(READY_TIMEOUT_S),
            policy=_POLICY,
            on_change=self._changed,
        )

    def _environment(self) -> dict[str, str]:
        given = {
            setting.variable: str(self.settings[setting.name])
            for table in self.settings.tables
            for setting in table.settings
            if self.settings.sources[setting.name] == "command line"
        }
        return {**given, "TETRAD_HOME": str(self.home.root), "PYTHONUNBUFFERED": "1"}

    def _changed(self, status: ChildStatus) -> None:
        self._note()
        self.on_change(status)

    def _note(self) -> None:
        own = ProcessIdentity.of(os.getpid())
        write_private(
            self.home.run / "state.json",
            json.dumps(
                {
                    "pid": os.getpid(),
                    "started_ticks": own.started if own else 0,
                    "version": __version__,
                    "home": str(self.home.root),
                    "started_at": self._started_at,
                    "ready": self._ready,
                    "gateway_url": f"http://{reachable_host(self.settings)}:{self.settings.get(GATEWAY_PORT)}",
                    "control_url": f"http://{reachable_host(self.settings)}:{self.settings.get(CONTROL_PORT)}",
                    "processes": [
                        {
                            "name": status.name,
                            "state": status.state,
                            "pid": status.pid,
                            "reason": status.reason,
                            "restarts": status.restarts,
                        }
                        for status in self.children
                    ],
                }
            ),
        )
