"""The command line of the gateway process."""

from __future__ import annotations

import argparse
import gc
import socket
import sys
from collections.abc import Sequence

from tetrad.kernel import TetradError
from tetrad.kit.core_dumps import forbid_core_dumps
from tetrad.kit.home import GATEWAY_PORT, HOST, LOG_LEVEL
from tetrad.kit.logs import log_to_stderr

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_PARSER_HELP = """\
Serve /v1/chat/completions, /v1/embeddings and /v1/models.

With --fd a worker serves a listening socket that its parent made. Without, it binds --host and --port itself; with
--workers it then starts that many workers on the socket and starts again what dies.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit code."""
    options = _parser().parse_args(argv)
    forbid_core_dumps()
    from tetrad.processes._settings import gateway_settings

    try:
        settings = gateway_settings(host=options.host, gateway_port=options.port)
        log_to_stderr("gateway", settings.get(LOG_LEVEL))
        if options.fd is not None:
            listening = socket.socket(fileno=options.fd)
            listening.setblocking(False)
        else:
            from tetrad.processes.gateway._wire import listen

            host, port = settings.get(HOST), settings.get(GATEWAY_PORT)
            try:
                listening = listen(host, port)
            except OSError as error:
                raise TetradError(
                    f"cannot listen on {host}:{port}: {error.strerror}",
                    hint="stop what holds the port, or set TETRAD_GATEWAY_PORT",
                    code="port_taken",
                ) from None
            if options.workers > 1:
                from tetrad.processes.gateway._master import run_master

                return run_master(listening, options.workers)
        from tetrad.processes.gateway._worker import serve

        _give_memory_back()
        gc.collect()
        gc.freeze()  # what is imported stays; no collection has to walk it again
        serve(settings, listening, options.index)
    except TetradError as error:
        print(f"tetrad gateway: {error.message}" + (f"\n  {error.hint}" if error.hint else ""), file=sys.stderr)  # noqa: T201
        return 1
    return 0


def _give_memory_back() -> None:
    """Keep glibc from holding on to the memory of large bodies.

    Freeing a large block raises the size from which glibc maps blocks of their own, up to 32 MiB, and everything below
    stays in the heap; fixed thresholds turn that off (mallopt(3)). One 32 MiB body else costs a worker 36 MB for ever.
    """
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none, and does not need it
        mallopt(_M_MMAP_THRESHOLD, 256 * 1024)
        mallopt(_M_TRIM_THRESHOLD, 1024 * 1024)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tetrad.processes.gateway",
        description=_PARSER_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--fd", type=int, help="file descriptor of a listening socket")
    parser.add_argument("--index", type=int, default=0, help="number of this worker; names its spool folder")
    parser.add_argument("--host", help="address to bind (default: TETRAD_HOST)")
    parser.add_argument("--port", type=int, help="port to bind (default: TETRAD_GATEWAY_PORT)")
    parser.add_argument("--workers", type=int, default=1, help="workers to start and keep, one per core (without --fd)")
    return parser
