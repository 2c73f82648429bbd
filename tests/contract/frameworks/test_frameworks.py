"""Frameworks as people use them, over a real gateway: agents with tools, whole and streamed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import gateway as g
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
SAID = "It is cold in Oslo."
INSTALL_S = 300


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Make the environment of the frameworks; say loudly that they were not tested where it cannot be had."""
    uv = shutil.which("uv") or str(ROOT / ".bootstrap" / "uv" / "uv")
    folder = tmp_path_factory.mktemp("frameworks") / "env"
    program = str(folder / "bin" / "python")
    commands = (
        [uv, "venv", "-q", "--python", sys.executable, str(folder)],
        [uv, "pip", "install", "-q", "--python", program, "-r", str(HERE / "requirements.txt")],
    )
    for command in commands:
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
            problem = done.stderr if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        if problem:
            pytest.skip(f"NOT TESTED: the frameworks cannot be installed here: {problem[-500:]}")
    return program


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    with FakeOpenAI() as fake:
        prepare_home(home, make_table(fake.base_url, models=("agent",)))
        with GatewayProcess(home) as gateway:
            yield gateway


def run(python: str, gateway: GatewayProcess, name: str, tmp_path: Path) -> dict[str, Any]:
    quiet = {"HOME": str(tmp_path), "OPENAI_AGENTS_DISABLE_TRACING": "1", "LANGSMITH_TRACING": "false"}
    done = subprocess.run(
        [python, str(HERE / "clients.py"), name, f"{gateway.url}/v1", g.KEY],
        capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path, env={**os.environ, **quiet},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_openai_agents_run_a_tool_and_stream(python: str, gateway: GatewayProcess, tmp_path: Path) -> None:
    found = run(python, gateway, "agents", tmp_path)
    assert (found["whole"], found["streamed"]) == (SAID, SAID)
    assert {"response.created", "response.output_text.delta", "response.completed"} <= set(found["events"])


def test_langchain_speaks_responses_and_chat(python: str, gateway: GatewayProcess, tmp_path: Path) -> None:
    found = run(python, gateway, "langchain", tmp_path)
    assert found == dict.fromkeys(("responses", "responses streamed", "chat", "chat streamed"), SAID)


def test_llama_index_chats_and_completes(python: str, gateway: GatewayProcess, tmp_path: Path) -> None:
    found = run(python, gateway, "llama_index", tmp_path)
    assert found == dict.fromkeys(("whole", "streamed", "completed"), "Hello world.")


def test_pydantic_ai_runs_a_tool_and_streams(python: str, gateway: GatewayProcess, tmp_path: Path) -> None:
    found = run(python, gateway, "pydantic_ai", tmp_path)
    assert found == {"whole": SAID, "streamed": SAID}
