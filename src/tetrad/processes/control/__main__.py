"""`python -m tetrad.processes.control`: run the control plane."""

from __future__ import annotations

import argparse
import gc
import socket
import sys
from types import FrameType

import uvicorn

from tetrad import __version__
from tetrad.kernel import TetradError
from tetrad.kit.children import EX_CONFIG
from tetrad.kit.core_dumps import forbid_core_dumps
from tetrad.kit.home import CONTROL_PORT, HOST, LOG_LEVEL, MIN_FREE_DISK_MB, Home
from tetrad.kit.http_protocol import bounded
from tetrad.kit.http_settings import HEAD_TIMEOUT_S
from tetrad.kit.logs import log_to_stderr
from tetrad.processes._settings import product_settings
from tetrad.processes.control._app import build_app
from tetrad.processes.control._compose import build_services
from tetrad.processes.control._services import Services

_KEEP_ALIVE_S = 75
_GRACE_S = 2


class _Server(uvicorn.Server):
    """Lets streams end when the end comes; uvicorn itself would wait for them."""

    def __init__(self, config: uvicorn.Config, services: Services) -> None:
        super().__init__(config)
        self._services = services

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._services.publisher.leave()
        super().handle_exit(sig, frame)


def main(argv: list[str] | None = None) -> int:
    """Serve until a signal; return the exit code."""
    parser = argparse.ArgumentParser(prog="tetrad.processes.control", description=__doc__)
    parser.add_argument("--fd", type=int, help="a listening socket, inherited")
    options = parser.parse_args(argv)
    forbid_core_dumps()
    gc.disable()  # nearly all that a start makes stays: looking for garbage among it took a tenth of its time
    try:
        settings = product_settings()
        home = Home.of(settings)
        log_to_stderr("control", settings.get(LOG_LEVEL))
        home.prepare(__version__, min_free_mb=settings.get(MIN_FREE_DISK_MB))
        services = build_services(settings, home)
    except TetradError as error:
        return _told(error)
    try:
        try:
            services.start()
        except TetradError as error:
            return _told(error)
        sock = (
            socket.socket(fileno=options.fd)
            if options.fd is not None
            else socket.create_server((settings.get(HOST), settings.get(CONTROL_PORT)))
        )
        config = uvicorn.Config(
            build_app(services),
            loop="uvloop",
            http=bounded(settings.get(HEAD_TIMEOUT_S)),
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        server = _Server(config, services)
        gc.freeze()  # and no collection has to walk it again
        gc.enable()
        server.run(sockets=[sock])
    finally:
        services.close()
    return 0


def _told(error: TetradError) -> int:
    """Say why there is no start, in one line, as the supervisor quotes the last; return the exit code."""
    print(f"{error.message} (hint: {error.hint})" if error.hint else error.message, file=sys.stderr)  # noqa: T201
    return EX_CONFIG if error.status < 500 or error.code in _HOPELESS else 1


_HOPELESS = frozenset(
    {"home_unusable", "key_file_unusable", "database_damaged", "database_too_new", "telemetry_too_new"}
)

if __name__ == "__main__":
    sys.exit(main())
