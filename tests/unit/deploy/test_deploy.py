"""Deployment files: they parse, they are hardened, and every command and setting that they name exists."""

from __future__ import annotations

import configparser
import importlib.util
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tetrad.kit.plain_yaml import parse_yaml

ROOT = Path(__file__).parents[3]
SYSTEMD = ROOT / "deploy/systemd"
CONTAINERS = ROOT / "deploy/containers"
PROCESSES = ("control", "inference", "worker", "gateway")
CONTAINERFILE = (CONTAINERS / "Containerfile").read_text("utf-8")


def compose() -> dict[str, Any]:
    text = (CONTAINERS / "compose.yaml").read_text("utf-8")
    value: dict[str, Any] = parse_yaml(text, where="compose.yaml").value
    return value


def unit(name: str) -> configparser.RawConfigParser:
    class Repeated(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            if key in self and isinstance(value, list) and isinstance(self[key], list):
                self[key].extend(value)
            else:
                super().__setitem__(key, value)

    parser = configparser.RawConfigParser(dict_type=Repeated, strict=False, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string((SYSTEMD / name).read_text("utf-8"))
    return parser


def known_variables() -> set[str]:
    from tetrad.processes._settings import all_tables

    return {setting.variable for table in all_tables() for setting in table.settings}


def test_every_setting_that_a_deployment_file_names_exists() -> None:
    files = [path for path in (ROOT / "deploy").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    pages = [
        ROOT / "docs/how-to" / name for name in ("run-as-a-service.md", "run-in-containers.md", "change-settings.md")
    ]
    named = {
        found for path in (*files, *pages) for found in re.findall(r"TETRAD_[A-Z_]+[A-Z]", path.read_text("utf-8"))
    }
    assert named - known_variables() == {"TETRAD_CONFIG"}


def test_every_command_that_a_deployment_file_runs_exists() -> None:
    from tetrad.processes.cli import _app, _commands

    assert unit("tetrad.service")["Service"]["ExecStart"].split()[1:] == ["up"]
    assert 'ENTRYPOINT ["tetrad"]\nCMD ["up"]' in CONTAINERFILE
    assert callable(_commands.up)
    assert callable(_app.run)
    assert unit("tetrad@.service")["Service"]["ExecStart"].split()[1:] == ["-m", "tetrad.processes.%i"]
    wanted = unit("tetrad.target")["Unit"]["Wants"].split()
    assert wanted == [f"tetrad@{name}.service" for name in PROCESSES]
    for name in PROCESSES:
        assert importlib.util.find_spec(f"tetrad.processes.{name}.__main__") is not None


@pytest.mark.parametrize("name", ["tetrad.service", "tetrad@.service"])
def test_units_give_up_every_right_that_is_not_needed(name: str) -> None:
    service = unit(name)["Service"]
    assert service["ProtectSystem"] == "strict"
    assert service["CapabilityBoundingSet"] == ""
    assert service["StateDirectoryMode"] == "0700"
    for right in (
        "NoNewPrivileges",
        "ProtectHome",
        "PrivateTmp",
        "PrivateDevices",
        "RestrictNamespaces",
        "LockPersonality",
    ):
        assert service[right] == "yes", right


def units_for_this_machine(folder: Path) -> list[Path]:
    """Copy the units with a program that is there, so that only the units themselves are judged."""
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    found = []
    for path in SYSTEMD.iterdir():
        if path.suffix in (".service", ".target"):
            text = re.sub(r"/opt/tetrad/\.venv/bin/\w+", str(program), path.read_text("utf-8"))
            (folder / path.name).write_text(text)
            found.append(folder / path.name)
    return found


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_reads_the_units_without_a_complaint(tmp_path: Path) -> None:
    files = units_for_this_machine(tmp_path)
    names = [str(path) if "@" not in path.name else str(path).replace("@", "@gateway") for path in files]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *names],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    said = [line for line in (done.stdout + done.stderr).splitlines() if "tetrad" in line]
    assert said == []


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_rates_the_service_as_little_exposed(tmp_path: Path) -> None:
    units_for_this_machine(tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=25", str(tmp_path / "tetrad.service")],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr


def test_the_image_is_built_in_stages_and_runs_without_rights() -> None:
    stages = re.findall(r"^FROM \$\{\w+\}(?: AS (\w+))?$", CONTAINERFILE, re.MULTILINE)
    assert stages == ["console", "product", ""]
    last = CONTAINERFILE.rsplit("\nFROM ", 1)[1]
    for needed in ("USER tetrad", "VOLUME /var/lib/tetrad", "HEALTHCHECK ", "STOPSIGNAL SIGTERM"):
        assert needed in last
    assert last.index("USER tetrad") < last.index("ENTRYPOINT")


def test_the_image_copies_only_what_the_repository_has() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", CONTAINERFILE, re.MULTILINE):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source


def test_compose_waits_for_health_opens_loopback_only_and_keeps_no_password() -> None:
    value = compose()
    services = value["services"]
    assert services["tetrad"]["depends_on"]["postgres"]["condition"] == "service_healthy"
    assert "healthcheck" in services["postgres"]
    assert all(port.startswith("127.0.0.1:") for port in services["tetrad"]["ports"])
    assert "ports" not in services["postgres"]
    assert "${POSTGRES_PASSWORD:?" in services["postgres"]["environment"]["POSTGRES_PASSWORD"]
    assert "${POSTGRES_PASSWORD:?" in services["tetrad"]["environment"]["TETRAD_DATABASE_URL"]
    named = {mount.split(":")[0] for service in services.values() for mount in service["volumes"]}
    assert named == set(value["volumes"])
    build = services["tetrad"]["build"]
    assert (CONTAINERS / build["context"] / build["dockerfile"]).is_file()


@pytest.fixture
def healthcheck() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tetrad_healthcheck", CONTAINERS / "healthcheck.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def answering() -> Iterator[dict[str, Any]]:
    """Serve `/readyz` with a status that the test sets."""
    said: dict[str, Any] = {"status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(said["status"] if self.path == "/readyz" else 404)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    said["port"] = str(server.server_port)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield said
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_the_health_check_needs_both_to_be_ready(
    healthcheck: ModuleType,
    answering: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TETRAD_GATEWAY_PORT", answering["port"])
    monkeypatch.setenv("TETRAD_CONTROL_PORT", answering["port"])
    assert healthcheck.main() == 0
    answering["status"] = 503
    assert healthcheck.main() == 1
    assert "503" in capsys.readouterr().err
