"""The datasets' API and commands, through the guard."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.identity import ADMIN, caller, make_app, make_identity
from support.routes import holes
from support.sync_app import SyncApp
from support.tetrads import wire
from tetrad.datasets import DATASET_FILES
from tetrad.datasets.routes import router
from tetrad.kernel import Conflict, FixedClock
from tetrad.kit.api_client import ApiClient
from tetrad.kit.db import Database
from tetrad.kit.http import GuardPolicy, Upload
from tetrad.processes.cli._app import run

D = "/api/v1/projects/default/datasets"
CLOCK = FixedClock()


@pytest.fixture
async def http(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    tetrads, identity = wire(database, clock=CLOCK), make_identity(database)
    for project in ("default", "other"):
        with contextlib.suppress(Conflict):
            identity.projects.create(ADMIN, project, project)
    app = make_app(identity, router(tetrads.datasets))
    key = identity.keys.create(ADMIN, "default", "ann", ["control"]).secret
    assert await holes(app, identity) == []
    async with caller(app, key) as client:
        yield client


def lines(*rows: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def test_a_file_goes_in_and_comes_out(http: httpx.AsyncClient) -> None:
    rows = [{"id": n, "q": f"ü{n}"} for n in range(450)]
    made = await http.post(f"{D}/d/versions", content=lines(*rows), params={"key": "id", "role": "train"})
    assert (made.status_code, made.json()["rows"], made.json()["role"]) == (201, 450, "train"), made.text
    out = await http.get(f"{D}/d/export")
    assert out.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in out.text.splitlines()] == rows
    table = await http.get(f"{D}/d/export", params={"format": "csv"})
    assert table.text.splitlines()[:2] == ["id,q", "0,ü0"]
    again = await http.post(f"{D}/d/versions", content=table.content, params={"format": "csv", "key": "id"})
    assert again.json()["digest"] == made.json()["digest"]
    rebuilt = await http.post(f"{D}/d/rebuild", content=lines(*rows), params={"version": "1.0.0"})
    assert (rebuilt.json()["verified"], rebuilt.json()["stored_sound"]) == (True, True), rebuilt.text
    assert (await http.post(f"{D}/d/rebuild", params={"version": "1.0.0"})).json()["code"] == "not_rebuildable"


async def test_what_is_wrong_with_a_file_is_told_by_line_and_field(http: httpx.AsyncClient) -> None:
    bad = b'{"id": 1}\n{"id": 1, "id": 2}\n{"id": 3, "x": NaN}\n{"q": 1}\n'
    answer = await http.post(f"{D}/d/versions", content=bad, params={"key": "id"})
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_rows")
    assert [error["loc"] for error in answer.json()["errors"]] == [["line 2"], ["line 3"], ["line 4", "/id"]]
    assert (await http.get(D)).json()["items"] == []


async def test_rows_are_pushed_once_and_strictly(http: httpx.AsyncClient) -> None:
    body = {"idempotency_key": "k", "rows": [{"key": "a", "value": {"q": 1}}, {"value": {"q": 2}}]}
    first = await http.post(f"{D}/d/rows", json=body)
    again = await http.post(f"{D}/d/rows", json=body)
    assert (first.status_code, first.json()) == (201, again.json())
    rows = (await http.get(f"{D}/d/rows")).json()["items"]
    assert [row["value"] for row in rows] == [{"q": 1}, {"q": 2}]
    assert rows[0]["key"] == "a"
    other = await http.post(f"{D}/d/rows", json={**body, "rows": []})
    assert other.status_code == 400
    clash = await http.post(f"{D}/d/rows", json={**body, "remove": ["a"]})
    assert (clash.status_code, clash.json()["code"]) == (409, "push_conflict")
    for text in ('{"idempotency_key": "x", "rows": [{"value": {"a": 1, "a": 2}}]}', '{"rows": []}', "[]", "{"):
        refused = await http.post(f"{D}/d/rows", content=text, headers={"content-type": "application/json"})
        assert refused.status_code in (400, 422), refused.text
        assert refused.json()["hint"] is not None


async def test_versions_are_made_split_scored_and_compared(http: httpx.AsyncClient) -> None:
    await http.post(f"{D}/d/versions", content=lines(*({"id": n, "x": n % 3} for n in range(60))), params={"key": "id"})
    step = {"op": "filter", "where": {"path": "/x", "gt": 0}}
    made = await http.post(f"{D}/some/derive", json={"source": "d", "steps": [step]})
    assert (made.status_code, made.json()["rows"]) == (201, 40), made.text
    parts = await http.post(f"{D}/d/split", json={"parts": {"train": 0.5, "eval": 0.5}})
    assert sum(part["rows"] for part in parts.json()) == 60
    assert [part["name"] for part in parts.json()] == ["d-train", "d-eval"]
    found = await http.get(f"{D}/d/diff", params={"from": "1.0.0", "to": "1.0.0", "of": "some", "limit": 5})
    assert (found.json()["removed"], len(found.json()["items"])) == (20, 5)
    changes = await http.get(f"{D}/d/changes", params={"from": "1.0.0", "to": "1.0.0", "of": "some"})
    assert len(changes.text.splitlines()) == 20
    scored = await http.put(f"{D}/d/columns/quality", json={"values": {"0": 0.5}})
    assert scored.json() == {"column": "quality", "rows": 1}
    assert (await http.get(f"{D}/d/rows", params={"limit": 1})).json()["items"][0]["columns"] == {"quality": 0.5}
    bad = await http.post(f"{D}/some/derive", json={"source": "d", "steps": [{"op": "eval"}]})
    assert (bad.status_code, bad.json()["code"]) == (422, "bad_step")
    assert (await http.get(f"{D}/d/changes", params={"from": "1.0.0", "to": "9.0.0"})).status_code == 404
    assert (await http.get(f"{D}/none/export")).status_code == 404


def test_a_file_may_be_larger_than_a_document() -> None:
    policy = GuardPolicy(max_body_bytes=10, uploads=(Upload(DATASET_FILES, 1000, "dataset_max_upload_bytes"),))
    assert policy.body_limit(f"{D}/d/versions") == policy.body_limit(f"{D}/d/rebuild") == 1000
    assert policy.body_limit(f"{D}/d/rows") == policy.body_limit("/api/v1/projects/a/b/datasets/d/versions") == 10


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any) -> Any:
    tetrads, identity = wire(database), make_identity(database)
    with contextlib.suppress(Conflict):  # the first project may be there from the start
        identity.projects.create(ADMIN, "default", "default")
    app = make_app(identity, router(tetrads.datasets))
    key = identity.keys.create(ADMIN, "default", "ann", ["control"]).secret
    made = lambda *_: ApiClient("http://127.0.0.1:8401", key, transport=SyncApp(app))  # noqa: E731
    monkeypatch.setattr(ApiClient, "from_environment", made)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["dataset", *arguments])
        told = capfdbinary.readouterr()
        return code, told.out.decode(), told.err.decode()

    return call


def test_data_goes_its_way_from_the_command_line(command: Any, tmp_path: Path) -> None:
    file, steps, out = tmp_path / "rows.jsonl", tmp_path / "steps.json", tmp_path / "out.jsonl"
    file.write_bytes(lines(*({"id": n, "x": n % 2} for n in range(10))))
    code, said, _ = command("import", "d", str(file), "--key", "id")
    assert (code, said.split(",")[0]) == (0, "d@1.0.0: 10 rows")
    assert command("export", "d", str(out))[0] == 0
    assert [json.loads(line) for line in out.read_text().splitlines()] == [{"id": n, "x": n % 2} for n in range(10)]
    assert command("export", "d", "-")[1] == out.read_text()
    code, said, _ = command("rebuild", "d@1.0.0", "--verify", "--source", str(file))
    assert (code, "the same" in said) == (0, True)
    steps.write_text('[{"op": "filter", "where": {"path": "/x", "eq": 1}}]')
    assert "odd@1.0.0: 5 rows" in command("derive", "odd", "--from", "d@1.0.0", "--steps", str(steps))[1]
    assert command("rebuild", "odd", "--verify")[0] == 0
    assert "10 rows" not in command("split", "d", "train=0.5", "eval=0.5")[1]
    more = tmp_path / "more.jsonl"
    more.write_bytes(lines({"id": 99}))
    assert "d@1.1.0: 11 rows" in command("push", "d", str(more))[1]
    assert "d@1.1.0: 11 rows" in command("push", "d", str(more))[1]
    code, said, _ = command("diff", "d", "1.0.0", "1.1.0")
    assert (code, said.splitlines()) == (0, ["1 added, 0 removed, 0 changed, 0 moved", "+ 99"])
    scores = tmp_path / "scores.json"
    scores.write_text('{"99": 1}')
    assert command("score", "d", "quality", str(scores))[1] == "quality: 1 rows\n"


def test_a_folder_of_tables_is_one_import(command: Any, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train-1.csv").write_text("id,q\n1,a\n2,b\n")
    (folder / "train-2.jsonl").write_text('{"id": 3, "q": "c"}')
    assert "d@1.0.0: 3 rows" in command("import", "d", str(folder), "--key", "id")[1]
    (folder / "train-3.json").write_text("[1")
    code, _, said = command("import", "d", str(folder))
    assert (code, "train-3.json" in said) == (1, True)


def test_bad_lines_are_listed_for_people(command: Any, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text('{"a": 1}\n[1]\n{"a": NaN}\n')
    code, _, said = command("import", "d", str(file))
    assert code == 1
    assert "line 2: a row is an object" in said
    assert "line 3: NaN" in said


async def test_the_list_is_filtered_sorted_and_paged_both_ways(http: httpx.AsyncClient) -> None:
    for name in ("pears", "apples", "grapes"):
        CLOCK.advance(60)
        assert (await http.post(f"{D}/{name}/versions", content=lines({"q": name}))).status_code == 201

    async def names(**params: str | int) -> list[str]:
        listed: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await http.get(D, params={**params, "limit": 1, "cursor": cursor})).json()
            listed += [item["name"] for item in page["items"]]
            cursor = page["next_cursor"]
        return listed

    assert await names() == ["apples", "grapes", "pears"]
    assert await names(sort="-name") == ["pears", "grapes", "apples"]
    assert await names(sort="created") == ["pears", "apples", "grapes"]
    assert await names(sort="-created") == ["grapes", "apples", "pears"]
    assert await names(q="AP", sort="-name") == ["grapes", "apples"]
    assert await names(q="ap", sort="created") == ["apples", "grapes"]
    assert await names(q="%") == []
    refused = await http.get(D, params={"sort": "colour"})
    assert (refused.status_code, refused.json()["hint"]) == (400, "one of created, name"), refused.text
    page = (await http.get(D, params={"limit": 1, "sort": "-created"})).json()
    elsewhere = await http.get(D, params={"sort": "created", "cursor": page["next_cursor"]})
    assert elsewhere.json()["code"] == "bad_cursor"


async def test_rows_are_searched_page_by_page(http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"id": n, "q": "Birne" if n % 1000 == 7 else "apple"} for n in range(2500)]
    assert (await http.post(f"{D}/d/versions", content=lines(*rows), params={"key": "id"})).status_code == 201

    async def search(text: str, limit: int) -> list[list[int]]:
        pages: list[list[int]] = []
        cursor: str | None = ""
        while cursor is not None:
            page = (await http.get(f"{D}/d/rows", params={"q": text, "limit": limit, "cursor": cursor})).json()
            pages.append([row["value"]["id"] for row in page["items"]])
            cursor = page["next_cursor"]
        return pages

    assert [n for page in await search("birne", 2) for n in page] == [7, 1007, 2007]
    assert await search("plum", 2) == [[]]
    for key, found in {"7": [7], "none": []}.items():
        page = (await http.get(f"{D}/d/rows", params={"key": key})).json()
        assert ([row["value"]["id"] for row in page["items"]], page["next_cursor"]) == (found, None)
    # Past the limit on what one page reads it goes on by its cursor, and misses nothing.
    monkeypatch.setattr("tetrad.datasets._reader.MAX_SEARCHED", 1000)
    assert await search("birne", 50) == [[7], [1007], [2007]]


async def test_a_diff_shows_rows_of_one_kind_and_counts_all(http: httpx.AsyncClient) -> None:
    for rows in ([{"id": 1, "q": "a"}, {"id": 2, "q": "b"}], [{"id": 1, "q": "A"}, {"id": 3, "q": "c"}]):
        assert (await http.post(f"{D}/d/versions", content=lines(*rows), params={"key": "id"})).status_code == 201
    versions = [item["semver"] for item in (await http.get(f"{D}/d/versions")).json()["items"]]
    place = {"from": versions[1], "to": versions[0]}
    for change, keys in {"added": ["3"], "removed": ["2"], "changed": ["1"], "moved": []}.items():
        diff = (await http.get(f"{D}/d/diff", params={**place, "change": change})).json()
        assert [item["key"] for item in diff["items"]] == keys
        assert [diff[kind] for kind in ("added", "removed", "changed", "moved")] == [1, 1, 1, 0]
    assert (await http.get(f"{D}/d/diff", params={**place, "change": "painted"})).status_code == 400
