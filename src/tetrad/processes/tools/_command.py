"""Put the process of MCP servers together."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import socket
import sys
from functools import partial
from pathlib import Path

from tetrad.kernel import TetradError
from tetrad.kit.children import EX_CONFIG
from tetrad.kit.home import LOG_LEVEL, Home, control_address
from tetrad.kit.http_protocol import bounded
from tetrad.kit.logs import log_to_stderr
from tetrad.kit.settings import Settings
from tetrad.kit.upstream import Client, Limits, parse_address
from tetrad.processes._local_http import LocalServer, listen_on
from tetrad.processes._settings import product_settings
from tetrad.processes.gateway._table_client import TableClient
from tetrad.processes.gateway._worker import FileSecret, keyring_of
from tetrad.processes.tools._bridge import Bridge
from tetrad.processes.tools._settings import CALL_S, IDLE_S, LINE_BYTES, SESSIONS
from tetrad.tools._settings import COMMANDS

log = logging.getLogger(__name__)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code (78: settings are wrong)."""
    parser = argparse.ArgumentParser(prog="python -m tetrad.processes.tools", description="Programs as MCP servers.")
    parser.add_argument("--socket", type=Path, help="path of the Unix socket (default: run/tools.sock in the home)")
    given = parser.parse_args(arguments)
    try:
        settings = product_settings()
        log_to_stderr("tools", settings.get(LOG_LEVEL))
        home = Home.of(settings)
        with listen_on(given.socket or home.run / "tools.sock") as listener:
            asyncio.run(_serve(settings, home, listener))
    except TetradError as error:
        log.error("%s; %s", error.message, error.hint)  # noqa: TRY400 - the message says it all
        sys.stderr.flush()
        return EX_CONFIG if error.status in (400, 409) else 1
    return 0


async def _serve(settings: Settings, home: Home, listener: socket.socket) -> None:
    bridge = Bridge(
        commands=settings.get(COMMANDS),
        most_sessions=settings.get(SESSIONS),
        idle_s=settings.get(IDLE_S),
        call_s=settings.get(CALL_S),
        line_bytes=settings.get(LINE_BYTES),
        logs=home.logs,
    )
    client = Client(Limits(max_connections=2))
    tables = TableClient(
        client=client,
        control=parse_address(control_address(settings)),
        token=FileSecret(home),
        keyring=partial(keyring_of, settings, home),
        sealed_path=home.route_table,
        install=bridge.install,
    )
    tables.load()
    server = LocalServer(bridge, http=bounded(), drain_s=2)
    server.stop_on_signals()
    background = [asyncio.create_task(tables.run()), asyncio.create_task(bridge.sweep())]
    log.info("tools ready")
    try:
        await server.serve(listener)
    finally:
        for task in background:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await bridge.close()
        await client.close()
