"""The API and the command of staleness: what is shown, what is refused, how a run goes on until nothing is left."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.identity import ADMIN, caller, make_app, make_identity
from support.staleness import Aging, wire_aging
from tetrad.kernel import Conflict
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.processes.cli import _stale
from tetrad.processes.cli._app import run
from tetrad.releases.routes import staleness_router

S = "/api/v1/projects/default/staleness"


@pytest.fixture
def aging(database: Database) -> Aging:
    aging = wire_aging(database)
    aging.prompt("tone", "Be kind.")
    aging.prompt("loose", "{{> tone}} Now.")
    aging.prompt("outer", "{{> loose}} Really.")
    return aging


@pytest.fixture
async def http(database: Database, aging: Aging) -> AsyncIterator[httpx.AsyncClient]:
    identity = make_identity(database)
    with contextlib.suppress(Conflict):
        identity.projects.create(ADMIN, "default", "default")
    app = make_app(identity, staleness_router(aging.stalenesses))
    async with caller(app, identity.keys.create(ADMIN, "default", "ann", ["control"]).secret) as http:
        yield http


async def test_an_artifact_is_shown_with_causes_roots_and_a_plan_that_can_be_run_to_its_end(
    http: httpx.AsyncClient, aging: Aging
) -> None:
    outer = aging.digest_of("prompt", "outer")
    assert (await http.get(S, params={"artifact": outer})).json()["fresh"] is True
    aging.prompt("tone", "Be brief.")
    found = (await http.get(S, params={"artifact": outer})).json()
    (item,) = found["items"]
    assert item["state"] == "STALE"
    assert [cause["what"] for cause in item["causes"]] == ["pending"]
    assert [cause["said"] for cause in item["roots"]] == [
        "prompt tone 1.0.1 is newer than 1.0.0 that prompt loose 1.0.0 pins"
    ]
    assert [(step["label"], step["executor"], step["after"]) for step in found["plan"]] == [
        ("prompt loose 1.0.0", "prompt.compose", []), ("prompt outer 1.0.0", "prompt.compose", [0]),
    ]  # fmt: skip
    first = (await http.post(f"{S}/run", json={"artifact": outer, "seconds": 0})).json()
    assert ([each["outcome"] for each in first["steps"]], first["left"]) == (["made", "left"], 1)
    second = (await http.post(f"{S}/run", json={"artifact": outer})).json()
    assert ([each["outcome"] for each in second["steps"]], second["left"]) == (["made"], 0)
    assert (await http.post(f"{S}/run", json={"artifact": outer})).json() == {"steps": [], "left": 0}
    newest = aging.digest_of("prompt", "outer")
    assert (await http.get(S, params={"artifact": newest})).json()["fresh"] is True


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"ref": "production"}, 400),
        ({"artifact": "sha256:12"}, 400),
        ({"artifact": "sha256:" + "0" * 64, "app": "bot"}, 400),
        ({"artifact": "sha256:" + "0" * 64}, 404),
        ({"app": "nobody"}, 404),
    ],
)
async def test_what_names_nothing_is_refused_for_looking_and_for_running(
    http: httpx.AsyncClient, query: dict[str, str], status: int
) -> None:
    for answer in (await http.get(S, params=query), await http.post(f"{S}/run", json=query)):
        assert answer.status_code == status
        assert answer.json()["detail"]


async def test_a_project_without_refs_has_nothing_to_show(http: httpx.AsyncClient) -> None:
    found = (await http.get(S)).json()
    assert (found["fresh"], found["items"], found["plan"]) == (True, [], [])


# -- the command


class Answers:
    """Stands in for control: the service itself, without a network between."""

    def __init__(self, aging: Aging) -> None:
        from tetrad.releases._stale_views import StalenessRunView, StalenessView

        self._aging, self._run, self._view = aging, StalenessRunView, StalenessView

    def get(self, _path: str, **query: str) -> Any:
        query = {"digest" if name == "artifact" else name: value for name, value in query.items()}
        return self._view.of(self._aging.look(**query)).model_dump(mode="json")

    def post(self, _path: str, body: dict[str, Any]) -> Any:
        from support.tetrads import ALICE

        done = self._aging.stalenesses.run(
            "default", actor=ALICE, app=body.get("app", ""), digest=body.get("artifact", ""), skip=body["skip"],
            seconds=0,
        )  # fmt: skip
        return self._run.of(done).model_dump(mode="json")


@pytest.fixture
def command(aging: Aging, monkeypatch: pytest.MonkeyPatch) -> Aging:
    monkeypatch.setattr(ApiClient, "from_environment", classmethod(lambda _: Answers(aging)))
    return aging


def test_the_command_shows_causes_and_plan_and_ends_well(command: Aging, capsys: pytest.CaptureFixture[str]) -> None:
    command.prompt("tone", "Be brief.")
    assert run(["stale", command.digest_of("prompt", "outer")]) == 0
    shown = capsys.readouterr().out
    assert "root: prompt tone 1.0.1 is newer than 1.0.0 that prompt loose 1.0.0 pins" in shown
    assert "prompt.compose" in shown


def test_the_command_runs_until_nothing_is_left_and_says_so_by_its_exit_code(
    command: Aging, capsys: pytest.CaptureFixture[str]
) -> None:
    command.prompt("tone", "Be brief.")
    outer = command.digest_of("prompt", "outer")
    assert run(["stale", outer, "--run"]) == 0
    assert capsys.readouterr().out.count("made") == 2
    assert run(["stale", outer, "--run"]) == 0
    assert "nothing to make" in capsys.readouterr().err
    command.prompt("tone", "# system\n\nBe kind.", type_="chat")
    assert run(["stale", outer, "--run"]) == _stale.STEP_FAILED
    assert "failed" in capsys.readouterr().out


def test_what_nothing_can_do_is_named_and_ends_with_4(
    command: Aging, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.rows("faq", {"q": "1"})
    tuned = command.trained(tmp_path, "tuned", "faq", b"one")
    command.rows("faq", {"q": "1"}, {"q": "2"})
    assert run(["stale", tuned, "--run"]) == _stale.NOT_ALL_MENDED == 4
    assert "no executor: rebuild model tuned 1.0.0: nothing is installed that does model.finetune" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize("what", ["a/b/c", "/x", "app/", "sha256:12"])
def test_what_is_no_app_ref_or_digest_is_refused(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["stale", what]) == 2
    assert "hint" in capsys.readouterr().err
