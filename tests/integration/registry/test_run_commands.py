"""Commands that start, log, show, compare and finish runs."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest

from support.identity import ADMIN, make_app, make_identity
from support.sync_app import SyncApp
from support.tetrads import wire
from tetrad.kernel import Conflict
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.processes.cli._app import run
from tetrad.registry.routes import run_router


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    tetrads, identity = wire(database), make_identity(database)
    with contextlib.suppress(Conflict):
        identity.projects.create(ADMIN, "default", "default")
    app = make_app(identity, run_router(tetrads.runs))
    key = identity.keys.create(ADMIN, "default", "ann", ["control"]).secret
    made = lambda *_: ApiClient("http://127.0.0.1:8401", key, transport=SyncApp(app))  # noqa: E731
    monkeypatch.setattr(ApiClient, "from_environment", made)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["run", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_a_run_is_started_logged_compared_and_finished(command: Any) -> None:
    ids = []
    for rate in ("0.1", "0.2"):
        code, out, _ = command(
            "start", "--kind", "finetune", "--experiment", "bot", "--param", f"lr={rate}", "--param", "epochs=3",
            "--tag", "by=ann", "--key", rate,
        )  # fmt: skip
        assert code == 0
        ids.append(out.strip())
    assert command("start", "--kind", "finetune", "--experiment", "bot", "--param", "lr=0.1", "--param", "epochs=3",
                   "--tag", "by=ann", "--key", "0.1")[1].strip() == ids[0]  # fmt: skip
    assert command("log", ids[0], "--step", "1", "loss=2.5", "acc=0.25")[0] == 0
    assert command("log", ids[0], "--step", "2", "loss=NaN")[0] == 0
    shown = command("show", ids[0])[1]
    for told in ("running", "by=ann", "0.25 at step 1", "NaN at step 2, between 2.5 and 2.5, 2 points"):
        assert told in shown
    lines = command("compare", *ids)[1].splitlines()
    assert any(line.split() == ["*", "lr", "0.1", "0.2"] for line in lines)
    assert any(line.split() == ["epochs", "3", "3"] for line in lines)
    assert any(line.split() == ["loss", "NaN"] for line in lines)
    assert len(json.loads(command("compare", *ids, "--json")[1])["runs"]) == 2
    assert command("finish", ids[0])[1] == f"{ids[0]} is done\n"
    assert command("finish", ids[1], "--error", "out of memory")[1] == f"{ids[1]} is failed\n"
    assert [each["state"] for each in json.loads(command("list", "--json")[1])] == ["failed", "done"]
    assert ids[0] in command("list", "--state", "done")[1]
    assert ids[1] not in command("list", "--state", "done")[1]


def test_what_is_no_run_is_said_without_a_traceback(command: Any) -> None:
    for arguments, why in (
        (["show", "act_none"], "has no run"),
        (["log", "act_none", "--step", "1", "loss=high"], "is no number"),
        (["log", "act_none", "--step", "1", "loss"], "NAME=VALUE"),
        (["start", "--kind", "guess"], "kind"),
        (["finish", "act_none"], "has no run"),
        (["compare", "act_none"], "has no run"),
    ):
        code, _, err = command(*arguments)
        assert code in (1, 2)
        assert why in err
        assert "Traceback" not in err
