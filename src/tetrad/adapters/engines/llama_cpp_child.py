"""The process in which llama.cpp serves one model: `python -m tetrad.adapters.engines.llama_cpp_child serve|calibrate`.

Its order comes as one JSON document on standard input (it holds the key), its answer goes as JSON lines to the file
descriptor that the order names. A native crash or hang stays in here. It never drops its `Server`: doing so with a
request in flight freezes the process, so the end is always `_exit`.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import urllib.request
from typing import Any, NoReturn

from tetrad.adapters.engines._llama_cpp_order import CalibrateOrder, ServeOrder, decode_order

EX_DATAERR = 65
EX_USAGE = 64
EX_UNAVAILABLE = 69
"""The exit code (sysexits.h) by which it says that the native library cannot be loaded."""
_WARNINGS = 2
_PROMPT = "Count the ways in which a river is like a road. " * 6


def _library() -> Any:
    """Return the native library, or end with why it cannot be loaded as last words."""
    try:
        return importlib.import_module("xllamacpp")
    except ImportError as error:
        _say(str(error))
        os._exit(EX_UNAVAILABLE)


def _params(order: ServeOrder | CalibrateOrder, threads: int, batch_threads: int) -> Any:
    params = _library().CommonParams()
    params.model.path = order.model_path
    params.port = 0
    params.ui = False
    params.use_color = False
    params.verbosity = _WARNINGS
    params.n_gpu_layers = 0
    params.offline = True
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = batch_threads
    params.endpoint_metrics = True
    params.endpoint_props = False
    params.endpoint_slots = False
    return params


def serve(order: ServeOrder) -> NoReturn:
    """Load the model, tell the address, serve until a signal."""
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    xllamacpp = _library()

    params = _params(order, order.threads, order.batch_threads)
    params.model_alias = {order.served_name}
    params.api_keys = [order.secret]
    params.n_ctx = order.ctx * order.slots
    params.n_parallel = order.slots
    params.kv_unified = False
    params.n_threads_http = order.slots + 4
    params.cache_ram_mib = order.prompt_cache_mib
    params.n_batch = params.n_ubatch = order.batch
    params.sleep_idle_seconds = order.sleep_s or -1
    params.embedding = order.embeddings
    params.warmup = True
    try:
        server = xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        _say(f"the model cannot be loaded: {error}")
        os._exit(EX_DATAERR)
    _tell(order.report_fd, {"url": server.listening_address})
    while True:  # the server lives in native threads; `server` must stay referenced
        signal.pause()


def calibrate(order: CalibrateOrder) -> NoReturn:
    """Measure tokens per second for each number of threads, telling each result as soon as it is known."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    xllamacpp = _library()

    kept = []  # dropping a server is what we avoid
    for threads in order.candidates:
        params = _params(order, threads, threads)
        params.n_ctx, params.n_parallel, params.cache_ram_mib, params.warmup = 512, 1, 0, True
        server = xllamacpp.Server(params)
        kept.append(server)
        read, written = _measure(server.listening_address, order.tokens, order.rounds)
        _tell(order.report_fd, {"threads": threads, "read_per_s": read, "written_per_s": written})
    os._exit(0)


def _measure(url: str, tokens: int, rounds: int) -> tuple[float, float]:
    """Return the best (read, written) tokens per second of some rounds: noise only ever slows down."""
    best_read = best_written = 0.0
    body = {"prompt": _PROMPT, "n_predict": tokens, "ignore_eos": True, "temperature": 0, "cache_prompt": False}
    for _ in range(rounds):
        request = urllib.request.Request(  # noqa: S310 - our own server on loopback
            url + "/completion", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=60) as answer:
            timings = json.load(answer)["timings"]
        best_read = max(best_read, float(timings["prompt_per_second"]))
        best_written = max(best_written, float(timings["predicted_per_second"]))
    return best_read, best_written


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _tell(fd: int, message: dict[str, Any]) -> None:
    os.write(fd, json.dumps(message).encode() + b"\n")


def main() -> NoReturn:
    """Read the order and obey."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    began = time.monotonic()
    order = decode_order(sys.stdin.buffer.read())
    if isinstance(order, CalibrateOrder):
        calibrate(order)
    _say(f"loading {order.served_name}, started in {time.monotonic() - began:.2f} s")
    serve(order)


if __name__ == "__main__":
    main()
