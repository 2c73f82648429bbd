"""The peers we measure beside us, each started the way its own manual says, on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadgen import Request, wait_port

ANSWER = (
    '{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"mock","choices":[{"index":0,'
    '"message":{"role":"assistant","content":"The quick brown fox jumps over the lazy dog, and then it does so once '
    'more, since one jump is never enough for a fox that is as quick and as brown as this one."},'
    '"finish_reason":"stop"}],"usage":{"prompt_tokens":42,"completion_tokens":40,"total_tokens":82}}'
)
BODY = (
    b'{"model":"%s","messages":[{"role":"system","content":"You answer briefly."},{"role":"user","content":"Tell me '
    b"about foxes: how quick they are, how brown, and how often they jump over dogs that are too lazy to move. Please "
    b'write two sentences and no more."}],"temperature":0.7,"max_tokens":128}'
)


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers chat completions, and the process to weigh."""

    name: str
    request: Request
    pid: int


def request(url: str, model: str, key: str = "") -> Request:
    """Return the one request of all runs, for a base URL that ends in /v1."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return Request(f"{url}/chat/completions", headers, BODY % model.encode())


def _nginx_binary() -> str:
    found = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    if found is None:
        raise SystemExit("nginx is missing: apt-get install nginx-light")
    return found


@contextmanager
def nginx(port: int, location: str, cpu: int, *, upstream: str = "") -> Iterator[int]:
    """Run nginx with one worker and one location; yield its pid."""
    folder = Path(tempfile.mkdtemp(prefix="bench-nginx-"))
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000; client_body_temp_path {folder}; proxy_temp_path {folder};
  fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {f"upstream mock {{ server {upstream}; keepalive 256; }}" if upstream else ""}
  server {{ listen 127.0.0.1:{port} backlog=4096; {location} }} }}
"""
    )
    process = subprocess.Popen(["taskset", "-c", str(cpu), _nginx_binary(), "-c", str(config), "-p", str(folder)])
    try:
        wait_port(f"http://127.0.0.1:{port}", 10, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mock_upstream(port: int, cpu: int) -> Iterator[str]:
    """Run the fastest upstream there is: nginx with a fixed answer."""
    location = f"location / {{ default_type application/json; return 200 '{ANSWER}'; }}"
    with nginx(port, location, cpu):
        yield f"http://127.0.0.1:{port}/v1"


@contextmanager
def nginx_proxy(port: int, upstream_port: int, cpu: int) -> Iterator[Target]:
    """Run nginx as a plain reverse proxy with keep-alive on both sides: the floor for any proxy."""
    location = (
        "location / { proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ''; "
        "proxy_buffering on; }"
    )
    with nginx(port, location, cpu, upstream=f"127.0.0.1:{upstream_port}") as pid:
        yield Target("nginx proxy", request(f"http://127.0.0.1:{port}/v1", "mock"), pid)


def litellm_python(root: Path) -> Path:
    """Install LiteLLM's proxy into an environment of its own, once; return its Python."""
    python = root / "bin" / "python"
    if not python.exists():
        uv = shutil.which("uv") or str(Path(sys.prefix) / "bin" / "uv")
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(root)], check=True)
        subprocess.run(
            [uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
            + ["litellm[proxy]", "opentelemetry-sdk", "opentelemetry-exporter-otlp"],
            check=True,
        )
    return python


@contextmanager
def litellm(port: int, upstream: str, cpu: int, root: Path) -> Iterator[Target]:
    """Run LiteLLM's proxy with one worker, a master key and nothing else."""
    python = litellm_python(root)
    folder = Path(tempfile.mkdtemp(prefix="bench-litellm-"))
    config = folder / "config.yaml"
    config.write_text(
        "model_list:\n  - model_name: mock\n    litellm_params:\n      model: openai/mock\n"
        f"      api_base: {upstream}\n      api_key: sk-none\n"
        "general_settings:\n  master_key: sk-bench\nlitellm_settings:\n  telemetry: false\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env |= {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
    log = (folder / "log").open("wb")
    process = subprocess.Popen(
        ["taskset", "-c", str(cpu), str(python), "-m", "litellm.proxy.proxy_cli", "--config", str(config)]
        + ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"],
        env=env,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    try:
        wait_port(f"http://127.0.0.1:{port}", 120, process)
        yield Target("LiteLLM proxy", request(f"http://127.0.0.1:{port}/v1", "mock", "sk-bench"), process.pid)
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        shutil.rmtree(folder, ignore_errors=True)
