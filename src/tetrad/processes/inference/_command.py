"""Put the inference process together."""

from __future__ import annotations

import argparse
import asyncio
import logging
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
from tetrad.processes._local_http import LocalServer, listen_on
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


async def _serve(settings: Settings, home: Home, listener: socket.socket) -> None:
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
    server = LocalServer(app, http="httptools", drain_s=10)
    server.stop_on_signals()
    log.info("inference ready")
    try:
        await server.serve(listener)
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
