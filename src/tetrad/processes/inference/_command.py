"""Put the inference process together."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tetrad.kernel import TetradError
from tetrad.kit.children import EX_CONFIG
from tetrad.kit.home import LOG_LEVEL, Home, cache_folder
from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.logs import log_to_stderr
from tetrad.kit.settings import Settings, load_settings
from tetrad.processes.inference._settings import (
    INFERENCE_DEADLINE_S,
    INFERENCE_IDLE_S,
    INFERENCE_MAX_BODY_KB,
    INFERENCE_MAX_INPUTS,
    INFERENCE_MAX_TOKENS,
    INFERENCE_QUEUE,
    INFERENCE_SIMILAR,
    INFERENCE_SIMILAR_EACH,
    INFERENCE_THREADS,
    SETTINGS,
)

if TYPE_CHECKING:
    from tetrad.processes.inference._embedder import Embedder

log = logging.getLogger(__name__)
_MAX_SOCKET_PATH = 100


class SocketUnusable(TetradError):
    """The socket cannot be made where it should be."""

    code = "socket_unusable"
    status = 409


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code (78: settings are wrong)."""
    parser = argparse.ArgumentParser(prog="python -m tetrad.processes.inference", description="Embeddings on a socket.")
    parser.add_argument("--socket", type=Path, help="path of the Unix socket (default: run/inference.sock in the home)")
    given = parser.parse_args(arguments)
    try:
        settings = load_settings([INSTALLATION, SETTINGS], partial=True)
        log_to_stderr("inference", settings.get(LOG_LEVEL))
        home = Home.of(settings)
        listener = listen_on(given.socket or home.run / "inference.sock")
        with listener:
            asyncio.run(_serve(settings, home, listener))
    except TetradError as error:
        log.error("%s; %s", error.message, error.hint)  # noqa: TRY400 - the message says it all
        sys.stderr.flush()
        return EX_CONFIG if error.status in (400, 409) else 1
    return 0


def listen_on(path: Path) -> socket.socket:
    """Listen on a socket that only its owner may use; a dead one of an earlier run is replaced."""
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise SocketUnusable(
            f"the path of the socket {str(path)!r} is longer than {_MAX_SOCKET_PATH} bytes",
            hint="set TETRAD_HOME to a shorter path",
        )
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
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


async def _serve(settings: Settings, home: Home, listener: socket.socket) -> None:
    import uvicorn

    from tetrad.processes.inference._app import InferenceApp
    from tetrad.processes.inference._similar import SimilarIndex

    name, embedder = _embedder(settings, home)
    app: Any = InferenceApp(
        embedder,
        name,
        max_inputs=settings.get(INFERENCE_MAX_INPUTS),
        max_body=settings.get(INFERENCE_MAX_BODY_KB) * 1000,
        similar=SimilarIndex(
            most_rows=settings.get(INFERENCE_SIMILAR_EACH), most_together=settings.get(INFERENCE_SIMILAR)
        ),
    )
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=120,
        timeout_graceful_shutdown=10,
    )
    server = uvicorn.Server(config)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    log.info("inference ready")
    try:
        await server._serve([listener])  # `serve` would put its own signal handlers over ours and raise at the end
    finally:
        await embedder.close()


def _embedder(settings: Settings, home: Home) -> tuple[str, Embedder]:
    from tetrad.adapters.engines.bundled import EMBEDDING_MODEL, EMBEDDING_NAME, EMBEDDING_TOKENIZER, model_finder
    from tetrad.processes.inference._embedder import Embedder

    embedder = Embedder(
        model_finder(home, cache_folder(settings)),
        EMBEDDING_MODEL.digest,
        EMBEDDING_TOKENIZER.digest,
        threads=settings.get(INFERENCE_THREADS),
        max_tokens=settings.get(INFERENCE_MAX_TOKENS),
        idle_s=settings.get(INFERENCE_IDLE_S),
        queue=settings.get(INFERENCE_QUEUE),
        deadline_s=settings.get(INFERENCE_DEADLINE_S),
        log_path=home.logs / "inference-model.log",
    )
    return EMBEDDING_NAME, embedder
