"""HTTP on a Unix socket between processes of one machine, until a signal says that it is enough."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path
from typing import Any

from tetrad.kernel import TetradError

_MAX_SOCKET_PATH = 107  # unix(7): 108 with the zero at its end


class SocketUnusable(TetradError):
    """The socket cannot be made where it should be."""

    code = "socket_unusable"
    status = 409


def check_socket_path(path: Path) -> None:
    """Refuse with `SocketUnusable` a path that is longer than the system takes."""
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise SocketUnusable(
            f"the path of the socket {str(path)!r} is longer than {_MAX_SOCKET_PATH} bytes",
            hint="set TETRAD_HOME to a shorter path",
        )


def listen_on(path: Path) -> socket.socket:
    """Listen on a socket that only its owner may use; a dead one of an earlier run is replaced."""
    check_socket_path(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{os.getpid()}")  # shorter than the names of sockets, which may take all there is
        temporary.unlink(missing_ok=True)
        listener.bind(str(temporary))
        temporary.chmod(0o600)
        listener.listen(128)
        temporary.replace(path)
    except OSError as error:
        listener.close()
        raise SocketUnusable(
            f"cannot listen on {str(path)!r}: {error.strerror}", hint="check the folder's permissions"
        ) from None
    listener.setblocking(False)
    return listener


class LocalServer:
    """uvicorn before an ASGI app on a listening socket. `http` is its protocol; `drain_s` is for calls at the end."""

    def __init__(self, app: Any, *, http: Any, drain_s: int) -> None:
        import uvicorn

        config = uvicorn.Config(
            app,
            http=http,
            ws="none",
            loop="asyncio",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=drain_s,
        )
        self._server = uvicorn.Server(config)

    def stop_on_signals(self) -> None:
        """End at SIGTERM or SIGINT, from now on."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)

    def _stop(self) -> None:
        self._server.should_exit = True

    async def serve(self, listener: socket.socket) -> None:
        """Serve until it is to end and calls are done."""
        await self._server._serve([listener])  # `serve` would put its own signal handlers over ours and raise
