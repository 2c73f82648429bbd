"""A real gateway process over a hand-made, sealed route table."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Self, get_args

import msgspec

from support.wait import wait_until
from tetrad.kit.seal import load_keyring
from tetrad.serving import (
    ROUTE_TABLE_AAD,
    AppRoute,
    KeyEntry,
    Kind,
    MessageTemplate,
    ModelEntry,
    Price,
    ReleaseRoute,
    RouteTable,
    Upstream,
    Variable,
    encode_route_table,
)
from tetrad.traces import Span, read_frames

KEY = "tetrad_data_0123456789"
PIN_KEY = "tetrad_pin_0123456789"
REDACTED_KEY = "tetrad_redacted_0123456789"
OFF_KEY = "tetrad_off_0123456789"
OTHER_KEY = "tetrad_other_0123456789"
CONTROL_KEY = "tetrad_control_0123456789"
EXPIRED_KEY = "tetrad_expired_0123456789"
TOKEN = "tetrad_internal_0123456789"
SECRET = "upstream-secret-0123456789"
RELEASE = "sha256:" + "a" * 64
STATIC_RELEASE = "sha256:" + "b" * 64
BROKEN_RELEASE = "sha256:" + "d" * 64
CODE = "sha256:" + "c" * 64


def key_hash(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def make_table(base_url: str, *, version: int = 1, models: tuple[str, ...] = ("m1",), **upstream: Any) -> RouteTable:
    """Return a table with keys of every kind, an app, and a model `local/<name>` for each name in `models`.

    An upstream model such as `stall:3` is named `local/stall-3` for clients.
    """
    entries = {}
    for name in ("m1", *models):
        public = "local/" + name.replace(":", "-")
        price = Price("0.15", "0.6", cache_read="0.075")
        entries[public] = ModelEntry(public, "up", name, get_args(Kind), price, digest="sha256:" + "e" * 64)
    entries["local/chatonly"] = ModelEntry("local/chatonly", "up", "m1")
    entries["local/down"] = ModelEntry("local/down", "down", "m1")
    entries["local/unbound"] = ModelEntry("local/unbound", "nowhere", "m1")
    data = ("data",)
    return RouteTable(
        version=version,
        made_ns=time.time_ns(),
        keys={
            key_hash(KEY): KeyEntry("key_full", "default", data),
            key_hash(PIN_KEY): KeyEntry("key_pin", "default", ("data", "pin")),
            key_hash(REDACTED_KEY): KeyEntry("key_redacted", "default", data, content="redacted"),
            key_hash(OFF_KEY): KeyEntry("key_off", "default", data, content="off"),
            key_hash(OTHER_KEY): KeyEntry("key_other", "other", ("data", "pin")),
            key_hash(CONTROL_KEY): KeyEntry("key_control", "default", ("control",)),
            key_hash(EXPIRED_KEY): KeyEntry("key_expired", "default", data, expires_ns=1),
        },
        upstreams={
            "up": Upstream("up", base_url, secret=SECRET, provider="fake", **upstream),
            "down": Upstream("down", base_url, state="loading"),
        },
        models=entries,
        apps={
            "default/assistant": AppRoute(
                "default",
                "assistant",
                {
                    "production": RELEASE,
                    "static": STATIC_RELEASE,
                    "broken": BROKEN_RELEASE,
                    "lost": "sha256:" + "9" * 64,
                },
            )
        },
        releases={
            RELEASE: ReleaseRoute(
                RELEASE,
                "default",
                "assistant",
                "local/m1",
                prompt_name="assistant",
                prompt_version="1.2.0",
                messages=(MessageTemplate("system", "You help {{name}}."),),
                variables=(Variable("name", "string"),),
                examples=(MessageTemplate("user", "2+2?"), MessageTemplate("assistant", "4 {{kept}}")),
                params={
                    "temperature": msgspec.Raw(b"0.2"),
                    "seed": msgspec.Raw(b"7"),
                    "max_tokens": msgspec.Raw(b"99"),
                },
                fixed=("seed",),
                code_digest=CODE,
            ),
            STATIC_RELEASE: ReleaseRoute(
                STATIC_RELEASE,
                "default",
                "assistant",
                "local/m1",
                messages=(MessageTemplate("system", "Be brief."), MessageTemplate("user", "Begin.")),
                examples=(MessageTemplate("user", "a"), MessageTemplate("assistant", "b")),
            ),
            BROKEN_RELEASE: ReleaseRoute(
                BROKEN_RELEASE, "default", "assistant", "local/m1", messages=(MessageTemplate("system", "{{#open}}"),)
            ),
        },
    )


def prepare_home(home: Path, table: RouteTable | None) -> None:
    """Lay a home folder out as control would."""
    for name in ("run", "keys", "gateway", "spool"):
        (home / name).mkdir(parents=True, exist_ok=True, mode=0o700)
    (home / "keys" / "internal.token").write_text(TOKEN + "\n")
    keyring = load_keyring(home / "keys" / "seal.key")
    if table is not None:
        (home / "gateway" / "route-table.sealed").write_bytes(keyring.seal(encode_route_table(table), ROUTE_TABLE_AAD))


def sealed(home: Path, table: RouteTable) -> bytes:
    """Return a table as control would send it."""
    return load_keyring(home / "keys" / "seal.key").seal(encode_route_table(table), ROUTE_TABLE_AAD)


def spooled(home: Path) -> list[Span]:
    """Return every span that lies in the spool."""
    spans: list[Span] = []
    for path in sorted((home / "spool").glob("*/*.seg")):
        spans += read_frames(path.read_bytes()).spans
    return spans


class GatewayProcess:
    """A gateway worker on a socket of its own; `with` starts and ends it."""

    def __init__(
        self,
        home: Path,
        *,
        control_url: str = "http://127.0.0.1:1",
        wait: bool = True,
        index: int = 0,
        **settings: object,
    ) -> None:
        self.home = home
        self.index = index
        self._wait = wait
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TETRAD_")},
            "TETRAD_HOME": str(home),
            "TETRAD_CONTROL_URL": control_url,
            **{f"TETRAD_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen(256)
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._copier: threading.Thread | None = None

    def start(self) -> None:
        descriptor = self._socket.fileno()
        reader, writer = os.pipe()  # a pipe, so that tests may forbid the process to write files
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tetrad.processes.gateway", "--fd", str(descriptor), "--index", str(self.index)],
            pass_fds=(descriptor,),
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=writer,
            stderr=writer,
            cwd=self.home,
        )
        os.close(writer)
        self._copier = threading.Thread(target=self._copy_log, args=(reader,), daemon=True)
        self._copier.start()
        if self._wait:
            wait_until(
                lambda: self.alive() and self.get("/readyz", timeout_s=1)[0] == 200, what="the gateway", timeout_s=30
            )

    def _copy_log(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as lines, (self.home / "gateway.log").open("ab", buffering=0) as log:
            while piece := lines.read(65_536):
                log.write(piece)

    def alive(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.log()}")
        return True

    def get(self, path: str, key: str = "", timeout_s: float = 10) -> tuple[int, bytes]:
        request = urllib.request.Request(self.url + path, headers={"authorization": f"Bearer {key}"} if key else {})
        try:
            with urllib.request.urlopen(request, timeout=timeout_s) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()
        except OSError as error:
            return 0, str(error).encode()

    def post(
        self, path: str, body: Any, key: str = KEY, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(
            self.url + path,
            data=data,
            headers={
                "content-type": "application/json",
                **({"authorization": f"Bearer {key}"} if key else {}),
                **(headers or {}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

    def chat(self, model: str, **fields: Any) -> tuple[int, dict[str, str], bytes]:
        return self.post(
            "/v1/chat/completions", {"model": model, "messages": [{"role": "user", "content": "hi"}], **fields}
        )

    def log(self) -> str:
        return (self.home / "gateway.log").read_text("utf-8", "replace")

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples."""
        page = self.get("/metrics")[1].decode()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith((name + "{", name + " "))
        )

    def resident_bytes(self) -> int:
        assert self.process is not None
        pages = Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(30)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self._copier is not None:
            self._copier.join(5)
        self._socket.close()
