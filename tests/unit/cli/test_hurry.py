"""`tetrad rollback` is read without Typer, and means the same as with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tetrad.processes.cli import _hurry
from tetrad.processes.cli._hurry import Wanted, read_arguments


@pytest.mark.parametrize(
    ("typed", "wanted"),
    [
        ("bot/production", Wanted("bot/production")),
        ("bot/production --to bot/production@3 -m slow", Wanted("bot/production", "bot/production@3", "slow")),
        ("--force --reason=bad bot/p --json -p team", Wanted("bot/p", "", "bad", True, "team", True)),
        ("bot/p --to=abcd", Wanted("bot/p", "abcd")),
        ("", None),
        ("--help", None),
        ("bot/p --to", None),
        ("bot/p --to --force", None),
        ("bot/p other", None),
        ("bot/p --unknown", None),
        ("bot/p -mwhy", None),
    ],
)
def test_what_is_plainly_a_rollback_is_read_and_nothing_else(typed: str, wanted: Wanted | None) -> None:
    assert read_arguments(typed.split()) == wanted


@pytest.mark.parametrize(
    "typed",
    ["bot/p", "bot/p --to x -m why --force -p team --json", "--reason=why bot/p --to=x --project team"],
)
def test_it_means_what_the_declared_command_means(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from tetrad.processes.cli import _rollback
    from tetrad.processes.cli._app import run

    meant: list[Wanted] = []
    monkeypatch.setattr(_rollback, "roll_back", meant.append)
    assert run(["rollback", *typed.split()]) == 0
    assert meant == [read_arguments(typed.split())]


def test_the_project_of_the_environment_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TETRAD_PROJECT", "team")
    assert read_arguments(["bot/p"]) == Wanted("bot/p", project="team")
    assert read_arguments(["bot/p", "-p", "mine"]) == Wanted("bot/p", project="mine")


def test_an_error_is_told_as_everywhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TETRAD_API_KEY", "k")
    assert _hurry.run(["nonsense"]) == 2
    assert "is no ref" in capsys.readouterr().err
    monkeypatch.setenv("TETRAD_CONTROL_URL", "http://127.0.0.1:1")
    assert _hurry.run(["bot/production"]) == 1
    assert "control does not answer" in capsys.readouterr().err


def test_a_hurry_imports_nothing_heavy() -> None:
    program = "import sys, tetrad.processes.cli._hurry; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"typer", "click", "rich", "httpx", "pydantic", "psutil", "asyncio"} & set(done.stdout.split())
