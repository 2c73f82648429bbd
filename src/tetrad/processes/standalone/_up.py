"""`tetrad up`: from nothing to an answer, with progress on the way."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from tetrad import __version__
from tetrad.adapters.engines.bundled import ensure_bundled_models
from tetrad.kernel import TetradError
from tetrad.kit.children import ChildStatus
from tetrad.kit.home import MIN_FREE_DISK_MB, Home, cache_folder, read_state
from tetrad.kit.process_identity import ProcessIdentity
from tetrad.kit.settings import Settings
from tetrad.processes._local_http import check_socket_path
from tetrad.processes.standalone._supervisor import Supervisor, bind_ports

_console = Console(highlight=False, soft_wrap=True)


def run_foreground(settings: Settings) -> int:
    """Run the product until a signal ends it; return the exit code."""
    home = _prepared(settings)
    with home.lock(), bind_ports(settings) as ports:
        _console.print(f"[bold]Tetrad {__version__}[/]  home {home.root}")
        with _step("models"), _download_bar() as progress:
            ensure_bundled_models(settings, home, cache_folder(settings), progress)
        supervisor = Supervisor(settings, home, ports, on_change=_Reporter())
        return asyncio.run(_run(supervisor, home))


def _prepared(settings: Settings) -> Home:
    home = Home.of(settings)
    for name in ("inference.sock", "tools.sock"):
        check_socket_path(home.run / name)
    home.prepare(__version__, min_free_mb=settings.get(MIN_FREE_DISK_MB))
    return home


async def _run(supervisor: Supervisor, home: Home) -> int:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, supervisor.stop)
    try:
        began = time.monotonic()
        with _step("processes"):
            await supervisor.start()
        token = (home.keys / "internal.token").read_text("utf-8").strip()
        with _step("engines"):
            engines = await supervisor.wait_engines(token)
        for engine in engines:
            if engine["state"] != "ready":
                told = escape(f"engine {engine['name']} is {engine['state']}: {engine['reason']}")
                _console.print(f"[yellow]![/] {told}", soft_wrap=True)  # a command in it stays in one piece
        if not supervisor.stopping:
            _welcome(supervisor, time.monotonic() - began, answers=any(each["state"] == "ready" for each in engines))
            await supervisor.wait_stopped()
        _console.print("stopping …")
    finally:
        await supervisor.end()
    _console.print("stopped")
    return 0


def _welcome(supervisor: Supervisor, took_s: float, *, answers: bool) -> None:
    from tetrad.kit.api_client import ApiClient

    state = read_state(supervisor.home) or {}
    try:
        link = ApiClient.from_environment(supervisor.settings).post("/api/v1/sign-in-links")["url"]
    except TetradError as error:
        link = f"{state['control_url']}  (no sign-in link: {error.message}; try `tetrad login`)"
    then = 'call model "app:assistant"' if answers else "`tetrad provider set --help`: no model is served yet"
    tetrad = own_command()
    said = f"""
  console   {link}
  gateway   {state["gateway_url"]}/v1   (OpenAI protocol)

  In another shell:  eval "$({tetrad} env)"   then {then}
  Admin key:         keys/admin.key in the home folder; `{tetrad} login` prints a new link
  Stop with {"Ctrl-C" if sys.stdin.isatty() else f"`{tetrad} down`"}
"""
    # All at once: who waits for `ready after` in a file wants the link that comes with it.
    _console.print(f"[green]✓[/] ready after {took_s:.1f} s\n{escape(said)}")


def own_command() -> str:
    """Return what a shell in this folder finds this program by: a checkout's is not on the path."""
    if shutil.which("tetrad"):
        return "tetrad"
    own = Path(sys.executable).with_name("tetrad")
    if not own.is_file():
        return f"{shlex.quote(sys.executable)} -m tetrad"
    return shlex.quote(str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own))


def run_detached(settings: Settings, arguments: list[str]) -> int:
    """Start `tetrad up` in the background, wait until it is ready, and say where it is."""
    home = _prepared(settings)
    with home.lock(), bind_ports(settings):
        pass  # taken ports and a running supervisor are told here, in this terminal
    kept = [argument for argument in arguments if argument not in ("--detach", "-d")]
    log_path = home.logs / "up.log"
    with log_path.open("ab") as log:
        start = log.tell()
        child = subprocess.Popen(
            [sys.executable, "-m", "tetrad", *kept],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "TETRAD_HOME": str(home.root)},
        )
    identity = ProcessIdentity.of(child.pid)
    try:
        with _console.status("starting …"):
            while child.poll() is None and b"ready after" not in log_path.read_bytes()[start:]:
                time.sleep(0.1)
    except BaseException:
        child.terminate()  # whoever stops waiting does not want it to go on unseen
        raise
    _console.print(log_path.read_bytes()[start:].decode("utf-8", "replace").rstrip(), markup=False)
    if child.poll() is not None:
        return child.returncode or 1
    _console.print(f"\nrunning as process {identity.pid if identity else child.pid}; `{own_command()} down` stops it")
    child.returncode = 0  # it outlives us on purpose
    return 0


@contextmanager
def _step(name: str) -> Iterator[None]:
    began = time.monotonic()
    yield
    _console.print(f"[green]✓[/] {name:<10} {time.monotonic() - began:.1f} s")


@contextmanager
def _download_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """Show a bar per download; hand out `progress(name, done_bytes, total_bytes)`."""
    columns = (TextColumn("  {task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=_console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def progress(name: str, done: int, total: int | None) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        yield progress


class _Reporter:
    """Tell what dies and what comes back; the first start is told by its steps."""

    def __init__(self) -> None:
        self._fallen: set[str] = set()

    def __call__(self, status: ChildStatus) -> None:
        if status.state in ("backing_off", "failed"):
            self._fallen.add(status.name)
            again = f", again in {status.retry_in_s:g} s" if status.retry_in_s else ""
            _console.print(f"[red]✗[/] {status.name} {status.reason}{again}")
        elif status.state == "ready" and status.name in self._fallen:
            self._fallen.discard(status.name)
            _console.print(f"[green]✓[/] {status.name} is back (restart {status.restarts})")
