"""Batches as operators see them, on both databases: found, paged, looked at, cancelled."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fastapi import FastAPI

from support.batching import InternalOnly, NoJobs, OneKey, make_batches
from support.gateway import CONTROL_KEY
from support.identity import caller
from support.sync_app import SyncApp
from tetrad.batches import Batch, Batches, BatchNotFound, BatchOver, BatchRecords, BatchSearch, Carriage, LineAnswer
from tetrad.batches._record_routes import record_router
from tetrad.batches._store import SqlBatchStore
from tetrad.kernel import Principal, SystemClock, Unavailable
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.kit.http import PROBLEM_RESPONSES, GuardPolicy, guard
from tetrad.processes.cli._app import run

P = "default"
ADA = Principal("key_ada", "key", "Ada", frozenset(("control",)))


class Ticking(SystemClock):
    """A clock that is a second later each time that it is looked at."""

    at = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(seconds=1)
        return self.at


class Place:
    """What operators ask, and what they ask it of."""

    def __init__(self, database: Database, folder: Path) -> None:
        clock = Ticking()
        self.clock = clock
        self.batches: Batches = make_batches(database, folder, NoJobs(), OneKey(), clock=clock)
        self.records = BatchRecords(SqlBatchStore(database), self.batches, self.audit, clock)
        self.audited: list[tuple[Any, ...]] = []
        self.audit_full = False

    def audit(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        if self.audit_full:
            raise Unavailable("the audit log cannot be written")
        self.audited.append((actor.id, action, target, project, detail))

    def begin(self, *models: Any, key: str = "key_1", project: str = P, read: bool = True, keep_s: int = 7200) -> Batch:
        calls = [
            {"custom_id": f"c{n}", "method": "POST", "url": "/v1/embeddings", "body": {"model": model}}
            for n, model in enumerate(models)
        ]
        with self.batches.draft() as draft:
            draft.write("\n".join(map(json.dumps, calls)).encode())
            file = self.batches.keep_file(project, "questions.jsonl", "batch", draft, keep_s=keep_s)
        batch = self.batches.create(project, key, file.id, "/v1/embeddings", "24h")
        if read:
            self.batches.validate(batch.id)
        return self.batches.batch(project, batch.id)

    def claude(self, model: str) -> Batch:
        params = msgspec.Raw(json.dumps({"model": model, "messages": []}).encode())
        batch = self.batches.create_messages(P, "key_2", [("one", params)])
        self.batches.validate(batch.id)
        return batch

    def end(self, batch: Batch, status: int = 200) -> Batch:
        self.batches.answer(batch.id, [LineAnswer(0, status, "trace", msgspec.Raw(b'{"said":"yes"}'))])
        return self.batches.finish(batch.id)

    def found(self, **search: Any) -> list[str]:
        return [each.id for each in self.records.search(P, BatchSearch(**search), None, 50)]


@pytest.fixture
def place(database: Database, tmp_path: Path) -> Place:
    return Place(database, tmp_path)


def test_they_are_found_by_state_model_key_and_by_what_they_hold(place: Place) -> None:
    first, second = place.begin("openai/gpt-5", "app:bot", "openai/gpt-5"), place.begin("gpt-5", key="key_2")
    third, unread = place.claude("claude_x"), place.begin("gpt-5", read=False)
    place.begin("gpt-5", project="other")
    assert first.models == ("openai/gpt-5", "app:bot")
    assert place.found() == [unread.id, third.id, second.id, first.id], "by age, whatever protocol made them"
    assert place.found(oldest_first=True) == [first.id, second.id, third.id, unread.id]
    assert place.end(second).status == "completed"
    assert place.found(status="completed") == [second.id]
    assert place.found(status="open") == [unread.id, third.id, first.id]
    assert place.found(status="validating") == [unread.id]
    assert place.found(model="gpt-5") == [second.id], "the whole name"
    assert place.found(model="openai/gpt-5") == [first.id]
    assert place.found(key_id="key_2", status="open") == [third.id]
    assert place.found(contains="GPT-5") == [second.id, first.id]
    assert place.found(contains="claude_x") == [third.id]
    assert place.found(contains="e_x", model="gpt-5") == []
    assert place.found(contains="_gpt") == [], "no wildcard"
    assert place.found(contains=first.id) == [first.id]
    place.batches.carry(first.id, Carriage(way="native", provider="Openai-eu", batch="batch_up", model="m"))
    assert place.found(contains="openai-EU") == place.found(contains="batch_up") == [first.id]


@pytest.mark.parametrize(
    "model",
    ['a"b', "a\\b", "ä/模型", "%", "_", "/", "it's [1]", '"', ",", "]", "[]", '","', "\\", "\\u0000", "null", "7", " "],
)
def test_a_model_of_any_name_is_found_whole_and_in_part(place: Place, model: str) -> None:
    mine = place.begin(model)
    others = [f'{model}"', f"{model}2", f'x"{model}', f"x,{model}", f'"{model}', f"[{model}]", f"{model},"]
    other = place.begin("x", *others, f"x{model}", "a,", ",b")
    place.begin("x", "y")
    assert place.found(model=model) == [mine.id]
    assert place.found(contains=model)[-2:] == [other.id, mine.id]


def test_a_model_is_looked_for_as_it_is_written_and_a_part_in_both_cases_of_a_to_z(place: Place) -> None:
    upper, lower, other = place.begin("GPT-4"), place.begin("gpt-4"), place.begin("Ä", 'x"y', "gpt-4o")
    assert (place.found(model="gpt-4"), place.found(model="GPT-4"), place.found(model="y")) == (
        [lower.id],
        [upper.id],
        [],
    )
    assert place.found(contains="Gpt-4") == [other.id, lower.id, upper.id]
    assert place.found(contains="Ä") == [other.id]
    assert place.found(contains="ä") == [], "alike on all databases"


@pytest.mark.parametrize(
    "text", ["[", "]", ",", '"', "{", "}", ":", "\\", '","', '["', "way", "facts", "null", "acme", "%", "_a"]
)
def test_what_is_kept_around_names_is_not_searched(place: Place, text: str) -> None:
    batch = place.begin("one", "two")
    facts = {"m": msgspec.Raw(b'{"provider":"acme","batch":"acme"}')}
    why = "\0 \\u0000 " + '"provider":"acme"'
    told = Carriage(way="native", why=why, provider="there", batch="up_1", facts=facts, key={"provider": "acme"})
    place.batches.carry(batch.id, told)
    assert place.found(contains=text) == []
    assert place.found(contains="THERE") == place.found(contains="up_") == [batch.id]
    assert place.found(contains="here") == [], "what is done elsewhere is found by how its names begin"


def test_pages_of_what_is_searched_are_full_and_go_on_where_they_ended(place: Place) -> None:
    made = [place.begin(('x"y' if n % 3 else "y"), f"m{n}").id for n in range(12)][::3]
    for search in (BatchSearch(model="y"), BatchSearch(model="y", contains="Y")):
        seen: list[list[str]] = []
        after = None
        while found := place.records.search(P, search, after, 2):
            seen.append([each.id for each in found])
            after = found[-1].created_s, found[-1].id
        assert seen == [made[:1:-1], made[1::-1]]


def test_what_is_no_name_of_a_model_is_not_told_and_of_many_the_first(place: Place) -> None:
    assert place.begin(7, None, "m" * 400, "bell\x07", "good").models == ("good",)
    assert place.begin(*(f"m{n}" for n in range(60))).models == tuple(f"m{n}" for n in range(50))


@pytest.mark.parametrize("oldest_first", [True, False])
def test_a_page_goes_on_where_the_last_one_ended(place: Place, oldest_first: bool) -> None:
    made = [place.begin("m").id if n % 2 else place.claude("m").id for n in range(5)]
    seen: list[str] = []
    after = None
    while found := place.records.search(P, BatchSearch(oldest_first=oldest_first), after, 2):
        seen += [each.id for each in found]
        after = found[-1].created_s, found[-1].id
    assert seen == (made if oldest_first else made[::-1])


def test_a_look_tells_of_files_and_of_those_that_are_gone(place: Place) -> None:
    batch = place.end(place.begin("m", "m", keep_s=3600))
    _, files = place.records.get(P, batch.id)
    assert [(each.role, each.name) for each in files] == [
        ("input", "questions.jsonl"), ("output", f"{batch.id}_output.jsonl"), ("errors", f"{batch.id}_error.jsonl"),
    ]  # fmt: skip
    assert all(each.size and each.expires_s for each in files)
    place.batches.drop_file(P, batch.output_file)
    place.clock.at += timedelta(hours=2)
    _, files = place.records.get(P, batch.id)
    assert [(each.role, each.name, each.size) for each in files][:2] == [("input", None, None), ("output", None, None)]
    _, files = place.records.get(P, place.end(place.claude("m")).id)
    assert [(each.role, bool(each.size)) for each in files] == [("output", True)], "Anthropic's results too"
    with pytest.raises(BatchNotFound):
        place.records.get("other", batch.id)


def test_a_cancellation_is_in_the_audit_log_before_it_happens_and_once(place: Place) -> None:
    batch, done = place.begin("m", "m", key="key_7"), place.end(place.begin("m"))
    place.audit_full = True
    with pytest.raises(Unavailable):
        place.records.cancel(ADA, P, batch.id)
    assert place.found(status="in_progress") == [batch.id]
    place.audit_full = False
    for _ in range(2):
        assert place.records.cancel(ADA, P, batch.id)[0].status == "cancelling"
    with pytest.raises(BatchOver):
        place.records.cancel(ADA, P, done.id)
    with pytest.raises(BatchNotFound):
        place.records.cancel(ADA, "other", batch.id)
    detail = {"status": "in_progress", "key": "key_7", "total": 2, "left": 2}
    assert place.audited == [("key_ada", "batch.cancelled", batch.id, P, detail)]


def make_app(place: Place) -> FastAPI:
    """Return the API of batches, without what their lines cost."""
    app = FastAPI(responses=PROBLEM_RESPONSES, docs_url=None, redoc_url=None)
    app.include_router(record_router(place.records))
    guard(app, InternalOnly(), GuardPolicy())
    return app


async def test_the_api_lists_shows_and_cancels_and_a_cursor_is_of_its_own_list(place: Place) -> None:
    app = make_app(place)
    made = [place.begin("m").id for _ in range(3)]
    base = f"/api/v1/projects/{P}/batches"
    async with caller(app, CONTROL_KEY) as http:
        first = (await http.get(base, params={"limit": 2, "status": "open"})).json()
        rest = (await http.get(base, params={"status": "open", "cursor": first["next_cursor"]})).json()
        assert [each["id"] for each in first["items"] + rest["items"]] == made[::-1]
        assert rest["next_cursor"] is None
        for other in ({"status": "failed"}, {"q": "m"}, {"key": "key_1"}, {"model": "m"}, {"sort": "created"}):
            refused = await http.get(base, params={"status": "open", **other, "cursor": first["next_cursor"]})
            assert (refused.status_code, refused.json()["code"]) == (400, "bad_cursor")
        shown = (await http.get(f"{base}/{made[0]}")).json()
        assert (shown["models"], shown["window"], shown["files"][0]["name"]) == (["m"], "24h", "questions.jsonl")
        assert (await http.post(f"{base}/{made[0]}/cancel")).json()["status"] == "cancelling"
        gone = await http.get(f"{base}/batch_nowhere")
        assert (gone.status_code, gone.json()["code"]) == (404, "batch_not_found")


@pytest.mark.parametrize("asked", ["q", "key", "model", "status", "cursor"])
async def test_a_nul_in_what_is_looked_for_is_refused_on_both_databases(place: Place, asked: str) -> None:
    place.begin("m")
    async with caller(make_app(place), CONTROL_KEY) as http:
        refused = await http.get(f"/api/v1/projects/{P}/batches", params={asked: "a\0b"})
    assert (refused.status_code, refused.json()["code"]) == (400, "bad_address")
    assert refused.json()["hint"]


def test_commands_find_show_and_cancel_and_tell_of_a_batch_where_its_cost_cannot_be_told(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    control = SyncApp(make_app(place))
    made = lambda *_: ApiClient("http://127.0.0.1:8401", CONTROL_KEY, transport=control)  # noqa: E731
    monkeypatch.setattr(ApiClient, "from_environment", made)

    def command(*arguments: str) -> tuple[int, str, str]:
        code = run(["batch", *arguments])
        told = capsys.readouterr()
        assert "Traceback" not in told.err
        return code, told.out, told.err

    first, second = place.end(place.begin("gpt-5")), place.begin(*(f"m{n}" for n in range(5)), key="key_2")
    assert [each["id"] for each in json.loads(command("list", "--json")[1])] == [second.id, first.id]
    for asked in (("--status", "open"), ("--key", "key_2"), ("--model", "m3"), ("--find", "M4")):
        assert [each["id"] for each in json.loads(command("list", "--json", *asked)[1])] == [second.id]
    assert [each["id"] for each in json.loads(command("list", "--json", "--oldest-first", "-n", "1")[1])] == [first.id]
    assert "m0, m1, m2 +2" in command("list")[1]
    assert command("list", "--find", "nobody") == (0, "", "no such batches\n")
    code, out, err = command("show", first.id)
    assert code == 0
    assert "what it cost cannot be told" in err
    for part in ("completed", "1/1", "models     gpt-5", "questions.jsonl, 90 B", f"{first.id}_output.jsonl"):
        assert part in out, part
    assert command("cancel", second.id)[1].startswith(f"{second.id}  cancelling")
    code, _, err = command("cancel", first.id)
    assert (code, "only one under way" in err) == (1, True)
    assert command("show", "batch_nowhere")[0] == 1
