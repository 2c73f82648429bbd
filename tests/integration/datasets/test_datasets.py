"""Datasets on both databases: what is imported, what is refused, what a version holds for ever."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from support.tetrads import ALICE, BOB, Tetrads, wire
from tetrad.datasets import BadKey, BadRows, DatasetLimits, DatasetNotFound, DatasetTooLarge, DatasetVersion
from tetrad.kernel import digest_json
from tetrad.kit.db import Database
from tetrad.registry import BadName


@pytest.fixture
def tetrads(database: Database) -> Tetrads:
    return wire(database)


def put(tetrads: Tetrads, rows: Iterable[Mapping[str, Any]], key: str | None = "id", name: str = "d") -> DatasetVersion:
    return tetrads.datasets.put("default", name, rows, actor=ALICE, key=key)


def values(tetrads: Tetrads, version: DatasetVersion) -> list[Any]:
    return [dict(row.value) for row in tetrads.datasets.all_rows(version, batch=3)]


def count(database: Database, table: str) -> int:
    with database.read() as connection:
        return int(connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_version_holds_its_rows_in_their_order_for_ever(tetrads: Tetrads) -> None:
    first = [{"id": n, "q": f"q{n}"} for n in (3, 1, 2)]
    second = [{"id": 2, "q": "q2"}, {"id": 4, "q": "new"}, {"id": 3, "q": "changed"}]
    third = [{"id": n, "q": f"q{n}"} for n in range(10)]
    versions = [put(tetrads, rows) for rows in (first, second, third)]
    assert [version.semver for version in versions] == ["1.0.0", "1.1.0", "1.2.0"]
    for version, rows in zip(versions, (first, second, third), strict=True):
        found = tetrads.datasets.version("default", "d", version.semver)
        assert found == version
        assert values(tetrads, found) == rows
        assert found.rows == len(rows)
        assert tetrads.datasets.by_digest("default", version.digest, version.order) == version
    rows = tetrads.datasets.rows(versions[0], limit=2)
    assert [row.key for row in rows] == ["3", "1"]
    assert rows[0].digest == digest_json({"id": 3, "q": "q3"})
    assert [row.key for row in tetrads.datasets.rows(versions[0], limit=2, after=rows[-1].position)] == ["2"]


def test_the_same_rows_are_the_version_that_is_there(tetrads: Tetrads, database: Database) -> None:
    rows = [{"id": 1, "q": "a"}, {"id": 2, "q": "b"}]
    first = put(tetrads, rows)
    put(tetrads, [{"id": 1, "q": "c"}])
    members = count(database, "dataset_members")
    again = tetrads.datasets.import_jsonl(
        "default", "d", "\n".join(map(json.dumps, rows)).encode(), actor=BOB, key="id", reason="again"
    )
    assert again == first
    assert count(database, "dataset_members") == members
    assert len(tetrads.datasets.versions("default", "d")) == 2


def test_the_same_rows_in_another_order_are_another_version(tetrads: Tetrads) -> None:
    first = put(tetrads, [{"id": 1}, {"id": 2}])
    turned = put(tetrads, [{"id": 2}, {"id": 1}])
    assert (first.digest, first.schema_digest) == (turned.digest, turned.schema_digest)
    assert first.order != turned.order
    assert [version.semver for version in (first, turned)] == ["1.0.0", "1.1.0"]
    assert values(tetrads, tetrads.datasets.version("default", "d", "1.0.0")) == [{"id": 1}, {"id": 2}]
    assert tetrads.datasets.by_digest("default", turned.digest, turned.order).semver == "1.1.0"
    moved = tetrads.datasets.diff("default", "d", "1.0.0", "1.1.0")
    assert (moved.moved, moved.added, moved.changed) == (1, 0, 0)


BAD_LINES = [
    ('{"id": 1', "malformed"),
    ("[1]", "a row is an object, not an array"),
    ("null", "not null"),
    ('{"id": 1, "id": 2}', "stands twice"),
    ('{"id": 1, "x": NaN}', "NaN"),
    ('{"id": 1, "x": 9007199254740993}', "beyond"),
    ('{"id": 1, "x": "\\ud800"}', "surrogate"),
    ('{"id": 1, "x": 1e999}', "too large"),
    ('{"q": 1}', "missing"),
    ('{"id": null}', "named by a text"),
    ('{"id": ""}', "1 to 256 bytes"),
    ('{"id": 0}', "already names the row of line 1"),
    ("{" + '"a":' + "[" * 300 + "]" * 300 + ',"id":5}', "deep"),
    ('{"id": 1, "x": {"$blob": "sha256:' + "0" * 64 + '"}}', "must name bytes that the project has"),
]


@pytest.mark.parametrize(("line", "says"), BAD_LINES, ids=[says for _, says in BAD_LINES])
def test_a_bad_line_is_named_and_nothing_is_imported(
    tetrads: Tetrads, database: Database, line: str, says: str
) -> None:
    text = f'{{"id": 0}}\n\n{line}\n{{"id": 99}}\n'
    with pytest.raises(BadRows) as caught:
        tetrads.datasets.import_jsonl("default", "d", text.encode(), actor=ALICE, key="id", where="rows.jsonl")
    assert caught.value.errors[0].line == 3
    assert says in caught.value.errors[0].reason
    assert caught.value.message.startswith("rows.jsonl: line 3")
    assert [count(database, table) for table in ("datasets", "dataset_rows", "dataset_members", "artifacts")] == [0] * 4


def test_many_bad_lines_are_told_up_to_a_limit(database: Database) -> None:
    tetrads = wire(database, dataset_limits=DatasetLimits(max_errors=5))
    with pytest.raises(BadRows) as caught:
        tetrads.datasets.import_jsonl("default", "d", b"{\n" * 50, actor=ALICE)
    assert (len(caught.value.errors), caught.value.more) == (5, True)
    assert "at least 4 more" in caught.value.message


def test_bytes_that_are_no_text_and_lines_without_end_are_refused(database: Database) -> None:
    tetrads = wire(database, dataset_limits=DatasetLimits(max_row_bytes=100, max_rows=3))
    for data, says in ((b'{"a": "\xff"}', "not UTF-8"), (b'{"a": "' + b"x" * 10_000, "longer than")):
        with pytest.raises(BadRows) as caught:
            tetrads.datasets.import_jsonl("default", "d", data, actor=ALICE)
        assert says in caught.value.errors[0].reason
    with pytest.raises(BadRows, match="longer than 100 bytes"):
        tetrads.datasets.import_jsonl("default", "d", json.dumps({"a": "x" * 120}).encode(), actor=ALICE)
    with pytest.raises(DatasetTooLarge):
        tetrads.datasets.import_jsonl("default", "d", b"{}\n" * 4, actor=ALICE)
    assert tetrads.datasets.import_jsonl("default", "d", b"\xef\xbb\xbf{}\r\n{}", actor=ALICE).rows == 2


def test_names_and_keys_are_checked(tetrads: Tetrads) -> None:
    with pytest.raises(BadName):
        put(tetrads, [{}], name="a/b", key=None)
    with pytest.raises(BadKey):
        put(tetrads, [{}], key="")


def test_a_difference_names_rows_and_fields(tetrads: Tetrads) -> None:
    put(tetrads, [{"id": n, "q": "x", "tags": {"a": 1}} for n in range(5)])
    put(
        tetrads,
        [*({"id": n, "q": "x", "tags": {"a": 1}} for n in (0, 1)), {"id": 3, "q": "y", "tags": {"a": 2}}, {"id": 9}],
    )
    found = tetrads.datasets.diff("default", "d", "1.0.0", "1.1.0")
    assert (found.added, found.removed, found.changed, found.moved) == (1, 2, 1, 0)
    by_key = {item.key: item for item in found.items}
    assert {key: item.change for key, item in by_key.items()} == {
        "2": "removed",
        "3": "changed",
        "4": "removed",
        "9": "added",
    }
    assert [(field.path, field.old, field.new) for field in by_key["3"].fields] == [("/q", "x", "y"), ("/tags/a", 1, 2)]
    back = tetrads.datasets.diff("default", "d", "1.1.0", "1.0.0")
    assert (back.added, back.removed, back.changed) == (2, 1, 1)
    assert {item.key: item.new for item in back.items}["2"] == {"id": 2, "q": "x", "tags": {"a": 1}}
    same = tetrads.datasets.diff("default", "d", "1.1.0", "1.1.0")
    assert (same.added, same.removed, same.changed, same.items) == (0, 0, 0, ())


def test_a_long_difference_comes_in_pages(tetrads: Tetrads) -> None:
    put(tetrads, [{"id": f"{n:03}"} for n in range(25)])
    put(tetrads, [{"id": f"{n:03}", "new": True} for n in range(25)])
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = tetrads.datasets.diff("default", "d", "1.0.0", "1.1.0", limit=10, after=after)
        assert page.changed == 25
        seen += [item.key for item in page.items]
        after = page.next_key
    assert seen == [f"{n:03}" for n in range(25)]


def test_scattered_edits_write_only_what_differs(tetrads: Tetrads, database: Database) -> None:
    order = random.Random(1)
    rows = [{"id": n, "messages": [{"role": "user", "content": "x" * 700}, {"n": n}]} for n in range(2000)]
    put(tetrads, rows)
    before = count(database, "dataset_members"), count(database, "dataset_rows")
    for n in order.sample(range(2000), 50):
        rows[n] = {**rows[n], "edited": True}
    del rows[order.randrange(2000)]
    rows.insert(order.randrange(1999), {"id": "new"})
    second = put(tetrads, rows)
    assert count(database, "dataset_rows") - before[1] <= 51
    assert count(database, "dataset_members") - before[0] <= 51
    assert values(tetrads, second) == rows


def test_a_dataset_is_invisible_to_another_project(tetrads: Tetrads) -> None:
    version = put(tetrads, [{"id": 1, "secret": "x"}])
    for ask in (
        lambda: tetrads.datasets.version("other", "d"),
        lambda: tetrads.datasets.by_digest("other", version.digest),
        lambda: tetrads.datasets.diff("other", "d", "1.0.0", "1.0.0"),
    ):
        with pytest.raises(DatasetNotFound):
            ask()
    assert tetrads.datasets.names("other") == []
    twin = tetrads.datasets.put("other", "d", [{"id": 1, "secret": "x"}], actor=BOB, key="id")
    assert (twin.digest, twin.author) == (version.digest, "key_bob")


def test_a_row_may_refer_to_media_that_the_project_has(tetrads: Tetrads) -> None:
    image = tetrads.registry.put_bytes("default", "media", b"png", actor=ALICE, media_type="image/png").digest
    version = put(tetrads, [{"id": 1, "image": {"$blob": image}}])
    assert tetrads.registry.parts("default", version.digest) == [(image, "media")]


def test_an_import_is_an_activity_that_names_its_source(tetrads: Tetrads) -> None:
    data = b'{"id": 1}\n'
    version = tetrads.datasets.import_jsonl("default", "d", io.BytesIO(data), actor=ALICE, key="id")
    (activity,) = tetrads.registry.lineage("default", version.digest).activities
    assert (activity.kind, activity.params["format"], activity.params["key"]) == ("import", "jsonl", "id")
    assert activity.params["source"].startswith("sha256:")


def test_a_stop_in_the_middle_leaves_nothing_visible_and_can_be_repeated(
    tetrads: Tetrads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    rows = [{"id": n} for n in range(5)]
    with monkeypatch.context() as patch:
        patch.setattr(tetrads.registry, "put_identity", stop)
        with pytest.raises(KeyboardInterrupt):
            put(tetrads, rows)
    with pytest.raises(DatasetNotFound):
        tetrads.datasets.version("default", "d")
    assert values(tetrads, put(tetrads, rows)) == rows
    assert [version.semver for version in tetrads.datasets.versions("default", "d")] == ["1.0.0"]


def test_forty_thousand_rows_grow_little_by_a_hundred_edits(
    tmp_path: Path, database_kind: str, database: Database
) -> None:
    if database_kind != "sqlite":
        return  # the file's size is SQLite's
    tetrads = wire(database)
    rows = [{"id": n, "messages": [{"role": "user", "content": f"question {n} " * 20}]} for n in range(40_000)]
    put(tetrads, rows)
    file = Path(str(database.engine.url.database))

    def size() -> int:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        return file.stat().st_size

    before = size()
    order = random.Random(2)
    for n in order.sample(range(40_000), 100):
        rows[n] = {**rows[n], "edited": n}
    put(tetrads, rows)
    assert size() - before <= 200_000
