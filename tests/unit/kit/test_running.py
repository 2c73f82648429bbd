"""What runs in a home is found where it answers, whatever ports it was started with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tetrad.kit.api_client import ApiClient
from tetrad.kit.home import SETTINGS, Home
from tetrad.kit.light_client import LightClient
from tetrad.kit.process_identity import ProcessIdentity
from tetrad.kit.running import running_control, running_gateway, running_state
from tetrad.kit.settings import Settings, load_settings
from tetrad.processes.cli._app import run

GATEWAY, CONTROL = "http://127.0.0.1:9400", "http://127.0.0.1:9401"


def settings_of(home: Path, **more: str) -> Settings:
    return load_settings([SETTINGS], environ={"TETRAD_HOME": str(home), **more}, partial=True)


def runs(home: Path, **changed: Any) -> None:
    """Write what a supervisor that lives writes: this process stands for it."""
    own = ProcessIdentity.of(os.getpid())
    assert own is not None
    state = {"pid": own.pid, "started_ticks": own.started, "gateway_url": GATEWAY, "control_url": CONTROL, **changed}
    (home / "run").mkdir(parents=True, exist_ok=True)
    (home / "run" / "state.json").write_text(json.dumps(state))


def test_where_nothing_runs_the_settings_say_where_it_would(tmp_path: Path) -> None:
    chosen = settings_of(tmp_path, TETRAD_GATEWAY_PORT="9100", TETRAD_CONTROL_PORT="9101")
    assert (running_gateway(chosen), running_control(chosen)) == ("http://127.0.0.1:9100", "http://127.0.0.1:9101")


def test_what_runs_says_where_even_if_the_settings_say_otherwise(tmp_path: Path) -> None:
    runs(tmp_path)
    chosen = settings_of(tmp_path, TETRAD_GATEWAY_PORT="9100")
    assert (running_gateway(chosen), running_control(chosen)) == (GATEWAY, CONTROL)


def test_another_control_plane_that_is_named_is_the_one(tmp_path: Path) -> None:
    runs(tmp_path)
    assert running_control(settings_of(tmp_path, TETRAD_CONTROL_URL="https://far.example")) == "https://far.example"


@pytest.mark.parametrize(
    "changed", [{"started_ticks": 1}, {"pid": 2**22 + 1}, {"pid": "x"}, {"pid": None}, {"control_url": 7}]
)
def test_what_an_ended_supervisor_or_somebody_else_left_says_nothing(tmp_path: Path, changed: dict[str, Any]) -> None:
    runs(tmp_path, **changed)
    assert running_control(settings_of(tmp_path, TETRAD_CONTROL_PORT="9101")) == "http://127.0.0.1:9101"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "\0"])
def test_a_damaged_state_says_nothing(tmp_path: Path, text: str) -> None:
    runs(tmp_path)
    (tmp_path / "run" / "state.json").write_text(text)
    assert running_state(Home.of(settings_of(tmp_path))) is None


def test_commands_and_clients_find_what_was_started_on_other_ports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in os.environ if name.startswith("TETRAD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TETRAD_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    runs(tmp_path)
    (tmp_path / "keys").mkdir()
    for name in ("app", "admin"):
        (tmp_path / "keys" / f"{name}.key").write_text(f"tetrad_{name}\n")
    assert run(["env"]) == 0
    told = capsys.readouterr().out
    assert f"OPENAI_BASE_URL={GATEWAY}/v1\n" in told
    assert f"TETRAD_CONTROL_URL={CONTROL}\n" in told
    assert ApiClient.from_environment().base_url == CONTROL
    assert LightClient.from_environment().base_url == CONTROL
