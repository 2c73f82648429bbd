"""Versions made of versions on both databases: steps, pushes, rebuilding, side columns, what killed imports leave."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from support.tetrads import ALICE, BOB, Tetrads, wire
from tetrad.datasets import (
    BadRows,
    BadSource,
    CsvForm,
    DatasetLimits,
    DatasetNotFound,
    DatasetTooLarge,
    DatasetVersion,
    ImportExpired,
    NotRebuildable,
    PushConflict,
    PushedRow,
    split_steps,
)
from tetrad.kernel import InvalidInput
from tetrad.kit.db import Database

TESTS = Path(__file__).parents[2]


@pytest.fixture
def tetrads(database: Database) -> Tetrads:
    return wire(database)


def put(tetrads: Tetrads, rows: list[dict[str, Any]], name: str = "d", key: str | None = "id") -> DatasetVersion:
    return tetrads.datasets.put("default", name, rows, actor=ALICE, key=key)


def push(tetrads: Tetrads, once: str, *values: dict[str, Any], **more: Any) -> DatasetVersion:
    rows = [PushedRow(value) for value in values]
    return tetrads.datasets.push("default", "d", rows, actor=BOB, idempotency_key=once, **more)


def values(tetrads: Tetrads, version: DatasetVersion) -> list[Any]:
    return [dict(row.value) for row in tetrads.datasets.all_rows(version)]


def count(database: Database, table: str) -> int:
    with database.read() as connection:
        return int(connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one())


def test_a_derived_version_names_its_steps_and_can_be_made_again(tetrads: Tetrads) -> None:
    source = put(tetrads, [{"id": n, "lang": "en" if n % 2 else "de", "q": f"Q{n // 4}"} for n in range(40)])
    steps = [
        {"op": "filter", "where": {"path": "/lang", "eq": "en"}},
        {"op": "dedupe", "by": ["/q"]},
        {"op": "map", "do": [{"lower": "/q"}, {"remove": "/lang"}]},
    ]
    made = tetrads.datasets.derive("default", source, "clean", steps, actor=ALICE, role="train")
    assert values(tetrads, made) == [{"id": 4 * n + 1, "q": f"q{n}"} for n in range(10)]
    assert made.role == "train"
    activity = next(
        each for each in tetrads.registry.lineage("default", made.digest).activities if each.params.get("steps")
    )
    assert (activity.kind, activity.params["steps"], activity.params["from"]["digest"]) == (
        "curate",
        steps,
        source.digest,
    )
    assert {(edge.digest, edge.direction, edge.policy) for edge in activity.edges} >= {(source.digest, "in", "rebuild")}
    put(tetrads, [{"id": 1, "lang": "en", "q": "the source goes on"}])
    again = tetrads.datasets.rebuild("default", "clean", made.semver)
    assert again.verified
    assert again.how == "curate of d@1.0.0"
    assert tetrads.datasets.derive("default", source, "clean", steps, actor=BOB, role="train") == made
    assert tetrads.datasets.diff("default", "d", "1.0.0", "1.0.0", of="clean").removed == 30


def test_a_split_gives_every_row_to_one_part(tetrads: Tetrads) -> None:
    source = put(tetrads, [{"id": n} for n in range(300)])
    parts = {
        name: tetrads.datasets.derive("default", source, f"d-{name}", [step], actor=ALICE)
        for name, step in split_steps({"train": 0.7, "eval": 0.3}, salt="1").items()
    }
    ids = {name: {row["id"] for row in values(tetrads, part)} for name, part in parts.items()}
    assert ids["train"] | ids["eval"] == set(range(300))
    assert not ids["train"] & ids["eval"]
    assert all(tetrads.datasets.rebuild("default", f"d-{name}").verified for name in parts)


def test_what_was_tampered_with_is_not_verified(tetrads: Tetrads, database: Database) -> None:
    source = put(tetrads, [{"id": n, "q": "x" * n} for n in range(9)])
    made = tetrads.datasets.derive("default", source, "e", [{"op": "dedupe"}], actor=ALICE)
    assert tetrads.datasets.verify(made)
    with database.write() as connection:
        connection.execute(
            sa.text(
                "UPDATE dataset_members SET position = -position WHERE key = '3' AND dataset IN "
                "(SELECT id FROM datasets WHERE name = 'd')"
            )
        )
        connection.execute(sa.text("UPDATE dataset_members SET position = 9999999999 WHERE position < 0"))
    assert not tetrads.datasets.verify(source)
    assert not tetrads.datasets.rebuild("default", "e").verified


def test_an_import_is_made_again_from_its_file_only(tetrads: Tetrads) -> None:
    data = b"id;n\n1;007\n2;8\n"
    form = CsvForm(types={"n": "text"})
    made = tetrads.datasets.import_file("default", "d", data, form="csv", csv=form, actor=ALICE, key="id")
    assert values(tetrads, made) == [{"id": 1, "n": "007"}, {"id": 2, "n": "8"}]
    assert tetrads.datasets.rebuild("default", "d", source=io.BytesIO(data)).verified
    with pytest.raises(NotRebuildable, match="not kept"):
        tetrads.datasets.rebuild("default", "d")
    with pytest.raises(BadSource):
        tetrads.datasets.rebuild("default", "d", source=io.BytesIO(data + b"3;9\n"))
    put(tetrads, [{"a": 1}], "rows", None)
    with pytest.raises(NotRebuildable, match="without a file"):
        tetrads.datasets.rebuild("default", "rows")


def test_every_format_gives_the_same_version(tetrads: Tetrads) -> None:
    rows = [{"id": n, "text": f"t{n}"} for n in range(50)]
    files = {
        "jsonl": "\n".join(map(json.dumps, rows)), "json": json.dumps(rows, indent=1),
        "csv": "id,text\n" + "".join(f"{row['id']},{row['text']}\n" for row in rows),
    }  # fmt: skip
    made = [
        tetrads.datasets.import_file("default", "d", text.encode(), form=form, actor=ALICE, key="id")
        for form, text in files.items()
    ]
    assert made[0] == made[1] == made[2]


def test_origins_are_kept_in_the_lineage(tetrads: Tetrads) -> None:
    origin = {"hf": {"repo": "org/name", "commit": "0" * 40}}
    made = tetrads.datasets.import_file(
        "default", "d", b"{}\n", form="jsonl", actor=ALICE, provenance=origin, role="eval"
    )
    (activity,) = tetrads.registry.lineage("default", made.digest).activities
    assert activity.params["provenance"] == origin
    assert made.role == "eval"
    with pytest.raises(InvalidInput, match="no role"):
        tetrads.datasets.import_file("default", "d", b"{}\n", form="jsonl", actor=ALICE, role="other")


def test_a_declared_schema_holds_for_imports_and_pushes(tetrads: Tetrads, database: Database) -> None:
    schema = {"type": "object", "required": ["q"], "properties": {"q": {"type": "string"}}}
    bad = b'{"q": "a"}\n{"q": 1}\n{}\n'
    with pytest.raises(BadRows) as caught:
        tetrads.datasets.import_file("default", "d", bad, form="jsonl", schema=schema, actor=ALICE)
    assert [(error.line, error.field) for error in caught.value.errors] == [(2, "/q"), (3, "/q")]
    assert count(database, "dataset_rows") == 0
    made = tetrads.datasets.import_file("default", "d", b'{"q": "a"}\n', form="jsonl", schema=schema, actor=ALICE)
    assert tetrads.registry.document("default", made.declared) == schema
    with pytest.raises(BadRows):
        push(tetrads, "1", {"q": 2})
    assert push(tetrads, "2", {"q": "b"}).declared == made.declared


def test_pushes_append_replace_and_remove(tetrads: Tetrads) -> None:
    first = push(tetrads, "a", {"id": 1, "q": "x"})
    assert (first.semver, first.rows) == ("1.0.0", 1)
    put(tetrads, [{"id": 1, "q": "x"}, {"id": 2, "q": "y"}])
    second = push(tetrads, "b", {"id": 3, "q": "z"})
    third = push(tetrads, "c", {"id": 2, "q": "new"}, {"id": 4, "n": 1}, remove=["1"])
    assert values(tetrads, second) == [{"id": 1, "q": "x"}, {"id": 2, "q": "y"}, {"id": 3, "q": "z"}]
    assert values(tetrads, third) == [{"id": 2, "q": "new"}, {"id": 3, "q": "z"}, {"id": 4, "n": 1}]
    same = put(tetrads, values(tetrads, third), "other")
    assert (same.digest, same.order, same.schema_digest, same.size) == (
        third.digest, third.order, third.schema_digest, third.size,
    )  # fmt: skip
    for version in (second, third):
        assert tetrads.datasets.rebuild("default", "d", version.semver).verified
    found = tetrads.datasets.diff("default", "d", second.semver, third.semver)
    assert (found.added, found.removed, found.changed) == (1, 1, 1)


def test_a_push_happens_once(tetrads: Tetrads) -> None:
    put(tetrads, [{"id": 0}])
    first = push(tetrads, "k", {"id": 1})
    push(tetrads, "l", {"id": 2})
    assert push(tetrads, "k", {"id": 1}) == first
    with pytest.raises(PushConflict):
        push(tetrads, "k", {"id": 9})
    assert len(tetrads.datasets.versions("default", "d")) == 3


@pytest.mark.parametrize(
    ("rows", "more", "says"),
    [
        ([{"id": 1}, {"id": 1}], {}, "twice in one batch"),
        ([{"q": 1}], {}, "missing"),
        ([{"id": 5, "x": float("nan")}], {}, "nan"),
        ([{"id": 5, "x": 2**60}], {}, "beyond"),
        ([{"id": 5, "x": "\ud800"}], {}, "surrogate"),
        ([], {"remove": ["none"]}, "no row has the key"),
    ],
    ids=str,
)
def test_a_bad_push_leaves_nothing(
    tetrads: Tetrads, database: Database, rows: list[dict[str, Any]], more: dict[str, Any], says: str
) -> None:
    put(tetrads, [{"id": 0}])
    with pytest.raises(InvalidInput, match=says):
        push(tetrads, "k", *rows, **more)
    assert (count(database, "dataset_rows"), count(database, "dataset_versions")) == (1, 1)


def test_pushes_are_bounded(database: Database) -> None:
    tetrads = wire(database, dataset_limits=DatasetLimits(max_push_rows=2))
    with pytest.raises(DatasetTooLarge):
        push(tetrads, "k", {"id": 1}, {"id": 2}, {"id": 3})
    with pytest.raises(InvalidInput, match="idempotency"):
        push(tetrads, "", {"id": 1})


def test_of_pushes_that_meet_none_is_lost(tetrads: Tetrads) -> None:
    put(tetrads, [{"id": "start"}])
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for n in range(3):
                push(tetrads, f"{number}-{n}", {"id": f"{number}-{n}"})
        except BaseException as error:  # noqa: BLE001 - the test's own thread must see it
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    newest = tetrads.datasets.version("default", "d")
    assert {row["id"] for row in values(tetrads, newest)} == {
        "start",
        *(f"{i}-{n}" for i in range(3) for n in range(3)),
    }


def test_side_columns_stand_beside_rows_and_change_no_digest(tetrads: Tetrads) -> None:
    first = put(tetrads, [{"id": 1, "q": "a"}, {"id": 2, "q": "b"}])
    assert tetrads.datasets.set_column(first, "quality", {"1": 0.5, "2": {"label": "good"}}, actor=BOB) == 2
    tetrads.datasets.set_column(first, "quality", {"1": 0.9}, actor=BOB)
    second = put(tetrads, [{"id": 2, "q": "b"}, {"id": 1, "q": "edited"}])
    rows = tetrads.datasets.rows(second)
    said = tetrads.datasets.columns("default", rows)
    assert [said.get(row.digest) for row in rows] == [{"quality": {"label": "good"}}, None]
    assert tetrads.datasets.columns("default", tetrads.datasets.rows(first))[rows[0].digest] == said[rows[0].digest]
    assert tetrads.datasets.columns("other", rows) == {}
    with pytest.raises(BadRows, match="no row has the key"):
        tetrads.datasets.set_column(first, "quality", {"1": 0, "9": 1}, actor=BOB)
    assert tetrads.datasets.columns("default", tetrads.datasets.rows(first, limit=1)) == {
        tetrads.datasets.rows(first)[0].digest: {"quality": 0.9}
    }


def test_many_differences_are_read_in_the_order_of_keys(tetrads: Tetrads, monkeypatch: pytest.MonkeyPatch) -> None:
    from tetrad.datasets import _store

    put(tetrads, [{"id": f"k{n:04}é"} for n in range(1000)])
    put(tetrads, [{"id": f"k{n:04}é", "x": 1} for n in range(500, 1500)])
    few = list(tetrads.datasets.all_changes("default", "d", "1.0.0", "1.1.0"))
    monkeypatch.setattr(_store, "_SORTED_HERE", 10)
    monkeypatch.setattr(_store, "_PAGE", 7)
    many = list(tetrads.datasets.all_changes("default", "d", "1.0.0", "1.1.0"))
    assert many == few
    assert [change.key for change in many] == [f"k{n:04}é" for n in range(1500)]
    assert {change.change for change in many[:500]} == {"removed"}
    page = tetrads.datasets.diff("default", "d", "1.0.0", "1.1.0", limit=3, after="k0998é")
    assert [item.key for item in page.items] == ["k0999é", "k1000é", "k1001é"]


def test_a_failed_import_leaves_no_row(tetrads: Tetrads, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tetrads, [{"id": "old"}])
    with monkeypatch.context() as patch:
        patch.setattr(tetrads.datasets._store, "publish", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            put(tetrads, [{"id": n} for n in range(50)])
    assert count(database, "dataset_rows") == 1
    assert count(database, "dataset_imports WHERE beat_at IS NOT NULL") == 0


def test_an_import_that_was_given_up_cannot_publish(tetrads: Tetrads, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tetrads.datasets._store
    put_rows = store.put_rows

    def slow(project: str, rows: Any, beat: Any) -> None:
        put_rows(project, rows, lambda: None)
        tetrads.clock.advance(3600)
        assert tetrads.datasets.sweep() == 5

    monkeypatch.setattr(store, "put_rows", slow)
    with pytest.raises(ImportExpired):
        put(tetrads, [{"id": n} for n in range(5)])
    with pytest.raises(DatasetNotFound):
        tetrads.datasets.version("default", "d")


_KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[2])
from support.tetrads import ALICE, wire
from tetrad.kit.db import open_database
tetrads = wire(open_database(sys.argv[1]))
store = tetrads.datasets._store
if sys.argv[3] == "rows":
    store.publish = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
else:
    from tetrad.datasets import _store
    inner = _store._write_members
    def write(*args):
        inner(*args)
        os.kill(os.getpid(), signal.SIGKILL)
    _store._write_members = write
tetrads.datasets.put("default", "d", [{"id": n} for n in range(700)], actor=ALICE, key="id")
"""


@pytest.mark.parametrize("where", ["rows", "members"])
def test_a_killed_import_leaves_only_what_is_swept(database: Database, database_url: str, where: str) -> None:
    tetrads = wire(database)
    before = put(tetrads, [{"id": 1}, {"id": "kept"}])
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, database_url, str(TESTS), where], env=dict(os.environ), check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    assert tetrads.datasets.version("default", "d") == before
    assert count(database, "dataset_rows") == 701
    tetrads.clock.advance(timedelta(days=3650).total_seconds())
    assert tetrads.datasets.sweep() == 699
    assert tetrads.datasets.sweep() == 0
    assert tetrads.datasets.verify(before)
    after = put(tetrads, [{"id": n} for n in range(700)])
    assert (after.semver, after.rows) == ("1.1.0", 700)
