"""Files and batches on both databases: bounded, kept apart by project, answered once, ended once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from support.batching import NoJobs, OneKey, make_batches
from tetrad.batches import (
    BadBatch,
    BadFile,
    Batch,
    BatchError,
    Batches,
    BatchKeyGone,
    BatchLimits,
    BatchNotFound,
    BatchOver,
    FileNotThere,
    FileTooLarge,
    LineAnswer,
    TooManyBatches,
    TooManyFiles,
)
from tetrad.kernel import FixedClock, Unavailable
from tetrad.kit.db import Database

P = "default"
LIMITS = BatchLimits(
    file_bytes=4000, project_bytes=10_000, project_files=8, batch_bytes=3500, batch_lines=10, line_bytes=1000,
    answers_bytes=400, open_batches=3, batch_keep_days=10, file_keep_days=5,
)  # fmt: skip
Make = Callable[..., Batches]


class Clock(FixedClock):
    """A clock that tests turn."""


@pytest.fixture
def clock() -> Clock:
    return Clock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def jobs() -> NoJobs:
    return NoJobs()


@pytest.fixture
def keys() -> OneKey:
    return OneKey()


@pytest.fixture
def batches(database: Database, tmp_path: Path, clock: Clock, jobs: NoJobs, keys: OneKey) -> Batches:
    return make_batches(database, tmp_path, jobs, keys, clock=clock, limits=LIMITS)


def put(batches: Batches, content: bytes, project: str = P, purpose: str = "batch", **more: Any) -> Any:
    with batches.draft() as draft:
        draft.write(content)
        return batches.keep_file(project, "in.jsonl", purpose, draft, key_id="key_1", **more)


def lines(count: int) -> bytes:
    return b"".join(
        json.dumps(
            {"custom_id": f"c{n}", "method": "POST", "url": "/v1/embeddings", "body": {"model": "m", "input": f"t{n}"}}
        ).encode()
        + b"\n"
        for n in range(count)
    )


def begun(batches: Batches, count: int = 3, project: str = P, **more: Any) -> Batch:
    file = put(batches, lines(count), project)
    return batches.create(project, "key_1", file.id, "/v1/embeddings", "24h", **more)


def answered(number: int, status: int = 200, text: str = "yes") -> LineAnswer:
    return LineAnswer(number, status, f"trace{number}", msgspec.Raw(json.dumps({"said": text}).encode()))


def read(batches: Batches, file: str) -> list[dict[str, Any]]:
    with batches.content(batches.file(P, file)) as source:
        return [json.loads(line) for line in source]


def test_a_batch_goes_from_its_input_to_its_results(batches: Batches, jobs: NoJobs, keys: OneKey) -> None:
    batch = begun(batches, metadata={"a": "b"}, output_keep_s=7200)
    assert jobs.started == [batch.id]
    work = batches.validate(batch.id)
    assert (work.status, work.total, work.left, work.secret) == ("in_progress", 3, 3, keys.given)
    found = batches.lines(batch.id, -1, 2)
    assert [(line.number, json.loads(bytes(line.body))["input"]) for line in found] == [(0, "t0"), (1, "t1")]
    assert batches.answer(batch.id, [answered(1), answered(0, 400)]).left == 1
    assert [line.number for line in batches.lines(batch.id, -1, 10)] == [2]
    batches.answer(batch.id, [answered(2)])
    done = batches.finish(batch.id)
    assert (done.status, done.completed, done.failed, done.metadata) == ("completed", 2, 1, {"a": "b"})
    assert [line["custom_id"] for line in read(batches, done.output_file)] == ["c1", "c2"]
    assert read(batches, done.error_file)[0]["response"]["status_code"] == 400
    output = batches.file(P, done.output_file)
    assert (output.purpose, output.expires_s) == ("batch_output", output.created_s + 7200)
    assert batches.finish(batch.id) == done == batches.batch(P, batch.id)


def test_an_answer_is_kept_once_whoever_brings_it_again(batches: Batches) -> None:
    batch = begun(batches, 2)
    batches.validate(batch.id)
    batches.validate(batch.id)
    batches.answer(batch.id, [answered(0, text="first")])
    batches.answer(batch.id, [answered(0, 500, "second"), answered(7)])
    found = batches.batch(P, batch.id)
    assert (found.total, found.completed, found.failed) == (2, 1, 0)
    done = batches.finish(batch.id)
    assert read(batches, done.output_file)[0]["response"]["body"] == {"said": "first"}
    assert done.status == "expired"
    assert batches.answer(batch.id, [answered(1)]).status == "expired"
    assert batches.batch(P, batch.id) == done


def test_answers_that_come_at_once_are_all_counted(batches: Batches) -> None:
    batch = begun(batches, 10)
    batches.validate(batch.id)
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda number: batches.answer(batch.id, [answered(number, text="")]), [*range(10), *range(10)]))
    assert batches.batch(P, batch.id).completed == 10


def test_a_batch_ends_once_whoever_finishes_it(batches: Batches) -> None:
    batch = begun(batches, 2)
    batches.validate(batch.id)
    batches.answer(batch.id, [answered(0), answered(1)])
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: batches.finish(batch.id), range(4)))
    assert {each.output_file for each in done} == {batches.batch(P, batch.id).output_file}
    files, _ = batches.files(P, purpose="batch_output")
    assert len(files) == 1


def test_a_problem_fails_a_batch_and_keeps_what_was_answered(batches: Batches) -> None:
    batch = begun(batches, 3)
    batches.validate(batch.id)
    batches.answer(batch.id, [answered(0)])
    done = batches.finish(batch.id, BatchError("batch_key_gone", "the key was revoked"))
    assert (done.status, done.errors[0].code) == ("failed", "batch_key_gone")
    assert len(read(batches, done.output_file)) == 1
    assert [line["error"]["code"] for line in read(batches, done.error_file)] == ["batch_failed"] * 2


def test_a_cancelled_batch_ends_cancelled_whatever_else(batches: Batches) -> None:
    batch = begun(batches, 3)
    assert batches.cancel(P, batch.id).status == "cancelling"
    assert batches.cancel(P, batch.id).status == "cancelling"
    assert batches.validate(batch.id).status == "cancelling"
    done = batches.finish(batch.id, BatchError("x", "y"))
    assert (done.status, done.total) == ("cancelled", 3)
    assert len(read(batches, done.error_file)) == 3
    with pytest.raises(BatchOver):
        batches.cancel(P, batch.id)


def test_a_key_that_is_gone_begins_nothing_and_stops_what_runs(batches: Batches, keys: OneKey) -> None:
    batch = begun(batches)
    batches.validate(batch.id)
    keys.gone = True
    work = batches.work(batch.id)
    assert work.problem is not None
    assert (work.problem.code, work.secret) == ("batch_key_gone", "")
    with pytest.raises(BatchKeyGone):
        begun(batches)
    assert len(batches.batches(P)[0]) == 1


def test_too_many_bytes_of_answers_are_a_problem(batches: Batches) -> None:
    batch = begun(batches)
    batches.validate(batch.id)
    work = batches.answer(batch.id, [answered(0, text="x" * 500)])
    assert work.problem is not None
    assert work.problem.code == "answers_too_large"


def test_a_batch_that_nobody_can_work_on_is_not_begun(batches: Batches, jobs: NoJobs) -> None:
    def refuse(_batch: Batch) -> None:
        raise Unavailable("no worker")

    jobs.start = refuse  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        begun(batches)
    assert batches.batches(P) == ([], False)


def test_tending_begins_what_was_lost_and_ends_what_failed(batches: Batches, jobs: NoJobs) -> None:
    batch = begun(batches)
    jobs.started.clear()
    jobs.why = None
    assert batches.tend()["begun"] == 1
    assert jobs.started == [batch.id]
    jobs.why = ""
    assert batches.tend() == {"begun": 0, "ended": 0, "forgotten": 0}
    jobs.why = "the worker died each time"
    assert batches.tend()["ended"] == 1
    assert batches.batch(P, batch.id).errors[0].code == "worker_failed"


def test_files_and_batches_are_forgotten_when_their_time_has_come(batches: Batches, clock: Clock) -> None:
    batch = begun(batches)
    kept = put(batches, b"for ever", purpose="user_data")
    batches.validate(batch.id)
    batches.answer(batch.id, [answered(0), answered(1), answered(2)])
    done = batches.finish(batch.id)
    held = len(batches.blobs())
    clock.advance(timedelta(days=LIMITS.file_keep_days))
    for file in (done.output_file, done.input_file):
        with pytest.raises(FileNotThere):
            batches.file(P, file)
    assert batches.tend()["forgotten"] == 2
    assert len(batches.blobs()) == held - 2
    clock.advance(timedelta(days=LIMITS.batch_keep_days))
    assert batches.tend()["forgotten"] == 1
    with pytest.raises(BatchNotFound):
        batches.batch(P, batch.id)
    assert batches.file(P, kept.id).expires_s is None


def test_the_input_of_an_open_batch_is_held_though_its_file_is_deleted(batches: Batches) -> None:
    batch = begun(batches)
    batches.drop_file(P, batch.input_file)
    assert batch.input_digest in batches.blobs()
    assert batches.validate(batch.id).total == 3
    batches.finish(batch.id)
    assert batch.input_digest not in batches.blobs()


@pytest.mark.parametrize(
    ("content", "purpose", "more", "kind"),
    [
        (b"", "batch", {}, BadFile),
        (b"x", "nothing", {}, BadFile),
        (b"x", "batch", {"keep_s": 60}, BadFile),
        (b"x", "batch", {"keep_s": 31 * 86_400}, BadFile),
        (b"x" * 4001, "batch", {}, FileTooLarge),
    ],
)
def test_a_file_that_cannot_be_kept_is_refused(
    batches: Batches, content: bytes, purpose: str, more: dict[str, Any], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        put(batches, content, purpose=purpose, **more)
    assert batches.files(P) == ([], False)


def test_a_project_keeps_so_many_files_and_bytes(batches: Batches) -> None:
    for _ in range(2):
        put(batches, b"x" * 4000)
    with pytest.raises(TooManyFiles, match="8,000 bytes"):
        put(batches, b"x" * 4000)
    for _ in range(6):
        put(batches, b"x")
    with pytest.raises(TooManyFiles):
        put(batches, b"x")
    put(batches, b"x", "other")


def test_a_project_has_so_many_batches_under_way(batches: Batches) -> None:
    open_ones = [begun(batches, 1) for _ in range(3)]
    with pytest.raises(TooManyBatches):
        begun(batches, 1)
    begun(batches, 1, "other")
    batches.finish(open_ones[0].id)
    begun(batches, 1)


def test_a_batch_of_a_file_for_something_else_or_too_large_is_refused(batches: Batches) -> None:
    for content, purpose in ((b"x", "evals"), (b"x" * 3600, "batch")):
        file = put(batches, content, purpose=purpose)
        with pytest.raises(BadBatch):
            batches.create(P, "key_1", file.id, "/v1/embeddings", "24h")


def test_a_line_past_the_limit_fails_the_batch(batches: Batches) -> None:
    file = put(batches, lines(1) + b" " * 1005 + b"\n")
    batch = batches.create(P, "key_1", file.id, "/v1/embeddings", "24h")
    assert batches.validate(batch.id).status == "failed"
    assert batches.batch(P, batch.id).errors[0].code == "line_too_large"


def test_another_project_sees_nothing(batches: Batches) -> None:
    batch = begun(batches)
    assert batches.batches("other") == ([], False)
    assert batches.files("other") == ([], False)
    for ask in (
        lambda: batches.batch("other", batch.id),
        lambda: batches.cancel("other", batch.id),
        lambda: batches.remove("other", batch.id),
        lambda: batches.batch(P, batch.id, "anthropic"),
    ):
        with pytest.raises(BatchNotFound):
            ask()
    with pytest.raises(FileNotThere):
        batches.drop_file("other", batch.input_file)
    with pytest.raises(FileNotThere):
        batches.create("other", "key_1", batch.input_file, "/v1/embeddings", "24h")


def test_batches_are_listed_in_pages_both_ways(batches: Batches) -> None:
    made = [begun(batches, 1).id for _ in range(3)][::-1]
    first, more = batches.batches(P, limit=2)
    assert ([each.id for each in first], more) == (made[:2], True)
    rest, more = batches.batches(P, before=made[1], limit=2)
    assert ([each.id for each in rest], more) == (made[2:], False)
    newer, more = batches.batches(P, after=made[2], limit=1)
    assert ([each.id for each in newer], more) == (made[1:2], True)


def test_messages_come_with_their_requests_and_their_results_are_no_files(batches: Batches) -> None:
    params = msgspec.Raw(b'{"model":"m","max_tokens":5,"messages":[]}')
    batch = batches.create_messages(P, "key_1", [("a", params), ("b", params)])
    batches.validate(batch.id)
    assert [line.url for line in batches.lines(batch.id, -1, 9)] == ["/v1/messages"] * 2
    batches.answer(batch.id, [answered(0)])
    with pytest.raises(BatchOver):
        batches.results(batches.batch(P, batch.id))
    done = batches.finish(batch.id)
    with batches.results(done) as source:
        found = [json.loads(line)["result"]["type"] for line in source]
    assert found == ["succeeded", "expired"]
    assert batches.files(P) == ([], False)
    with pytest.raises(FileNotThere):
        batches.file(P, done.output_file)
    batches.remove(P, batch.id)
    assert not batches.blobs()
