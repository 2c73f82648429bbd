"""`tetrad change`: what people type, what they read, what is refused and how."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from support.changes import CALMER, P, Site, wire_changes
from support.evidence import BEA, CAT
from support.identity import ADMIN, make_app, make_identity
from support.sync_app import SyncApp
from tetrad.changes.routes import router
from tetrad.kernel import Conflict
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.processes.cli._app import run

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    return wire_changes(database, tmp_path)


@pytest.fixture
def command(
    site: Site, database: Database, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    identity = make_identity(database)
    with contextlib.suppress(Conflict):  # the first project may be there from the start
        identity.projects.create(ADMIN, P, P)
    app = make_app(identity, router(site.changes))
    keys = {name: identity.keys.create(ADMIN, P, name, ["control"]).secret for name in ("ann", "ben")}

    def call(*arguments: str, by: str = "ann") -> tuple[int, str, str]:
        made = lambda *_: ApiClient("http://127.0.0.1:8401", keys[by], transport=SyncApp(app))  # noqa: E731
        monkeypatch.setattr(ApiClient, "from_environment", made)
        code = run(["change", *arguments])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out, told.err

    return call


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "calmer.md"
    path.write_text(CALMER, "utf-8")
    return path


def test_a_draft_is_edited_proposed_talked_about_and_closed(command: Command, file: Path) -> None:
    code, said, _ = command("open", "bot/production", "-t", "Calmer", "-f", f"prompt.system={file}", "--draft")
    assert (code, said.splitlines()[0]) == (0, "#1 Calmer (draft)")
    assert "prompt system bot-system: not judged" in said
    assert "calm" in command("diff", "1")[1]
    assert "prompt system" in command("diff", "1", "--summary")[1]
    code, said, _ = command("edit", "1", "--set", "sampling.temperature=0.1", "-t", "Calmer still", "--note", "more")
    assert (code, said.splitlines()[:2]) == (0, ["#1 Calmer still (draft)", "for bot/production, by ann, revision 2"])
    assert "  prompt.system = bot-system (text)" in said  # the part that was not named stays
    assert "  sampling.temperature = 0.1" in said
    assert command("propose", "1")[1].startswith("#1 Calmer still (open)")
    assert command("withdraw", "1")[1].startswith("#1 Calmer still (draft)")
    command("propose", "1")
    about = ("--part", "prompt.system", "--message", "1", "--line", "1")
    thread = json.loads(command("comment", "1", "why?", *about, "--json", by="ben")[1])["id"]
    command("comment", "1", "because", "--reply-to", thread)
    command("comment", "1", "why so?", "--edit", thread, by="ben")
    said = command("comments", "1")[1]
    assert "prompt.system message 1 line 1 (current): Be {{tone}} and calm." in said
    assert "ben" in said
    assert said.index("why so?") < said.index("because")
    assert "resolved" in command("resolve", "1", thread)[1]
    assert "open, about" in command("resolve", "1", thread, "--reopen")[1]
    assert command("close", "1", "-m", "another way")[1].startswith("#1 Calmer still (closed)")
    assert "closed" in command("log", "1")[1]
    assert "Calmer still" in command("list", "--state", "closed")[1]
    assert command("list", "--app", "other")[2].startswith("no change requests")


def test_a_change_is_judged_rebased_and_merged(command: Command, site: Site) -> None:
    assert command("open", "bot/production", "-t", "Cooler", "--set", "sampling.temperature=0.1")[0] == 0
    assert "changes requested" in command("reject", "1", "-m", "why?", by="ben")[1]
    code, _, wrong = command("merge", "1")
    assert (code, "was sent back" in wrong) == (1, True)
    code, said, _ = command("checks", "1")
    assert (code, "MISSING state: changes are asked for" in said) == (1, True)
    assert "approved by ben" in command("approve", "1", by="ben")[1]
    moved = site.move(sampling__temperature=0.9)
    code, _, wrong = command("merge", "1")
    assert (code, moved in wrong, "tetrad change rebase 1" in wrong) == (1, True, True)
    assert "conflict sampling.temperature: here 0.1, on the ref 0.9" in command("rebase", "1", "--plan")[1]
    code, _, wrong = command("rebase", "1")
    assert (code, "both changed sampling.temperature" in wrong) == (1, True)
    assert command("rebase", "1", "--set", "sampling.temperature=0.2")[0] == 0
    assert "already" in command("rebase", "1", "--plan")[1]
    code, said, _ = command("merge", "1", "-m", "go", by="ben")
    assert (code, said.splitlines()[0]) == (0, "#1 Cooler (merged)")
    assert site.gated.tetrads.releases.resolve(P, site.production()).params["temperature"] == 0.2


def test_glass_is_broken_by_those_whom_the_policy_names(command: Command, site: Site) -> None:
    policy = {"schema": "tetrad.gate/1", "suites": [{"suite": "smoke"}], "break_glass": {"any_of": ["scope:control"]}}
    site.gated.policies.set(P, "bot/production", policy, actor=CAT)
    command("open", "bot/production", "-t", "Cooler", "--set", "sampling.temperature=0.1")
    assert "smoke" in command("merge", "1")[2]
    shown = json.loads(command("merge", "1", "--break-glass", "the site is down", "--json")[1])
    assert (shown["merged"]["broke_glass"], shown["merged"]["reason"]) == (True, "the site is down")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("open", "bot", "-t", "x", "--set", "sampling.seed=1"), 2, "is no ref"),
        (("open", "bot/production", "-t", "x", "--set", "sampling.seed"), 2, "sets nothing"),
        (("open", "bot/production", "-t", "x", "--set", "sampling.seed=null"), 2, "--unset"),
        (("open", "bot/production", "-t", "x", "-f", "prompt.system=/nowhere.md"), 2, "cannot be read"),
        (("open", "bot/production", "-t", "x", "-f", "prompt.system"), 2, "names no file"),
        (("open", "bot/nothing", "-t", "x", "--set", "sampling.seed=1"), 1, "no ref 'bot/nothing'"),
        (("open", "bot/production", "-t", "x"), 2, "parts"),
        (("edit", "1"), 2, "nothing to change"),
        (("show", "1"), 1, "no change request #1"),
        (("comment", "1", "x", "--line", "1"), 2, "is of a part"),
    ],
)
def test_what_is_typed_wrong_is_told_with_a_hint(
    command: Command, arguments: tuple[str, ...], code: int, words: str
) -> None:
    got, _, told = command(*arguments)
    assert (got, words in told) == (code, True), told
    assert "hint:" in told


def test_a_file_that_is_no_text_or_too_long_is_refused(command: Command, tmp_path: Path) -> None:
    for content, words in ((b"\xff\xfe", "is not UTF-8"), (b"x" * (256 * 1024 + 1), "is too large")):
        (tmp_path / "bad.md").write_bytes(content)
        told = command("open", "bot/production", "-t", "x", "-f", f"prompt.system={tmp_path / 'bad.md'}")
        assert words in told[2]


def test_what_others_wrote_cannot_steer_a_terminal(command: Command, site: Site) -> None:
    site.open(title="Be calmer")
    site.changes.comments.add(P, 1, "\x1b[31mred\x07", actor=BEA)
    said = command("comments", "1")[1]
    assert "red" in said
    assert "\x1b" not in said
