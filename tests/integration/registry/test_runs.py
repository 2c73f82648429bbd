"""Runs on both databases: begun, logged to, ended, set side by side."""

from __future__ import annotations

import math
import threading
from datetime import UTC, datetime, timedelta

import pytest

from support.tetrads import ALICE, Tetrads, wire
from tetrad.kernel import Digest, InvalidInput
from tetrad.kit.db import Database
from tetrad.registry import (
    ArtifactNotFound,
    MetricPoint,
    RunConflict,
    RunInput,
    RunLimits,
    RunNotFound,
    RunTooLarge,
    compare_params,
)


@pytest.fixture
def tetrads(database: Database) -> Tetrads:
    return wire(database, run_limits=RunLimits(max_points=50, max_metrics=3, heartbeat_s=60))


def losses(*values: float, first: int = 0, metric: str = "loss") -> list[MetricPoint]:
    return [MetricPoint(metric, first + number, value) for number, value in enumerate(values)]


def artifact(tetrads: Tetrads, number: int) -> Digest:
    return tetrads.registry.put_document("default", "dataset", {"n": number}, actor=ALICE).digest


def test_a_run_is_an_activity_whose_edges_are_the_lineage(tetrads: Tetrads) -> None:
    data, made = artifact(tetrads, 1), artifact(tetrads, 2)
    run = tetrads.runs.start(
        "default", "train", actor=ALICE, experiment="support", params={"lr": 0.1}, inputs=[RunInput(data, "data:train")]
    )
    (going,) = tetrads.registry.lineage("default", data, direction="downstream").activities
    assert (going.id, going.state, going.ended_at) == (run.id, "running", None)
    tetrads.runs.finish("default", run.id, "done", outputs=[RunInput(made, "model")])
    lineage = tetrads.registry.lineage("default", made)
    (activity,) = lineage.activities
    assert (activity.id, activity.kind, activity.state, activity.params) == (run.id, "train", "done", {"lr": 0.1})
    assert {(edge.digest, edge.direction, edge.role, edge.policy) for edge in activity.edges} == {
        (data, "in", "data:train", "rebuild"),
        (made, "out", "model", "none"),
    }


def test_a_start_that_is_sent_again_is_the_same_run(tetrads: Tetrads) -> None:
    first = tetrads.runs.start("default", "train", actor=ALICE, params={"a": 1}, idempotency_key="k")
    assert tetrads.runs.start("default", "train", actor=ALICE, params={"a": 1}, idempotency_key="k").id == first.id
    with pytest.raises(RunConflict, match="another run"):
        tetrads.runs.start("default", "train", actor=ALICE, params={"a": 2}, idempotency_key="k")
    elsewhere = tetrads.runs.start("other", "train", actor=ALICE, params={"a": 1}, idempotency_key="k")
    assert elsewhere.id != first.id
    assert [run.id for run in tetrads.runs.newest("default")] == [first.id]


def test_of_starts_at_once_with_one_key_there_is_one_run(tetrads: Tetrads) -> None:
    begun: list[str] = []

    def start() -> None:
        begun.append(tetrads.runs.start("default", "train", actor=ALICE, idempotency_key="k").id)

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(begun) == 8
    assert {run.id for run in tetrads.runs.newest("default")} == set(begun)
    assert len(set(begun)) == 1
    assert len(tetrads.runs.newest("default", limit=10)) == 1


def test_points_that_are_sent_again_change_nothing_and_corrected_ones_correct(tetrads: Tetrads) -> None:
    run = tetrads.runs.start("default", "train", actor=ALICE)
    batch = losses(3.0, 2.0, 1.0)
    assert tetrads.runs.log("default", run.id, batch)[1] == 3
    again, new = tetrads.runs.log("default", run.id, batch)
    assert new == 0
    (summary,) = again.metrics
    assert (summary.points, summary.first_step, summary.last_step) == (3, 0, 2)
    assert (summary.last, summary.least, summary.most) == (1.0, 1.0, 3.0)
    corrected, _ = tetrads.runs.log("default", run.id, losses(9.0, first=2))
    (summary,) = corrected.metrics
    assert (summary.points, summary.last, summary.least, summary.most) == (3, 9.0, 2.0, 9.0)
    assert tetrads.runs.series("default", run.id, "loss").points == ((0, 3.0), (1, 2.0), (2, 9.0))


def test_points_may_come_late_and_at_one_step_several_times(tetrads: Tetrads) -> None:
    run = tetrads.runs.start("default", "train", actor=ALICE)
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    tetrads.runs.log("default", run.id, losses(1.0, first=10))
    tetrads.runs.log("default", run.id, losses(5.0, first=-3))
    same_step = [MetricPoint("loss", 10, 2.0, noon), MetricPoint("loss", 10, 3.0, noon + timedelta(seconds=1))]
    after, new = tetrads.runs.log("default", run.id, same_step)
    (summary,) = after.metrics
    assert (new, summary.points, summary.first_step, summary.last) == (2, 4, -3, 3.0)
    assert [value for _, value in tetrads.runs.series("default", run.id, "loss").points] == [5.0, 1.0, 2.0, 3.0]


def test_values_that_are_no_numbers_are_kept_and_are_in_no_range(tetrads: Tetrads) -> None:
    run = tetrads.runs.start("default", "train", actor=ALICE)
    after, _ = tetrads.runs.log("default", run.id, losses(2.0, math.inf, math.nan))
    (summary,) = after.metrics
    assert math.isnan(summary.last)
    assert (summary.least, summary.most) == (2.0, math.inf)
    assert tetrads.runs.log("default", run.id, losses(2.0, math.inf, math.nan))[1] == 0
    values = [value for _, value in tetrads.runs.series("default", run.id, "loss").points]
    assert values[:2] == [2.0, math.inf]
    assert math.isnan(values[2])


def test_past_the_limits_nothing_of_a_batch_is_kept(tetrads: Tetrads) -> None:
    run = tetrads.runs.start("default", "train", actor=ALICE)
    tetrads.runs.log("default", run.id, losses(*range(40)))
    with pytest.raises(RunTooLarge, match="points"):
        tetrads.runs.log("default", run.id, losses(*range(11), first=40))
    with pytest.raises(RunTooLarge, match="metrics"):
        tetrads.runs.log("default", run.id, [MetricPoint(f"m{number}", 0, 0.0) for number in range(3)])
    with pytest.raises(InvalidInput, match="1001 points"):
        tetrads.runs.log("default", run.id, losses(*range(1001)))
    assert [(each.metric, each.points) for each in tetrads.runs.get("default", run.id).metrics] == [("loss", 40)]


def test_a_run_that_has_ended_takes_nothing_more(tetrads: Tetrads) -> None:
    run = tetrads.runs.start("default", "finetune", actor=ALICE)
    tetrads.runs.log("default", run.id, losses(1.0))
    ended = tetrads.runs.finish("default", run.id, "failed", error="out of memory")
    assert (ended.activity.state, ended.error) == ("failed", "out of memory")
    assert tetrads.runs.finish("default", run.id, "failed", error="out of memory") == ended
    assert tetrads.runs.log("default", run.id, losses(1.0))[1] == 0
    for late in (
        lambda: tetrads.runs.log("default", run.id, losses(2.0, first=1)),
        lambda: tetrads.runs.beat("default", run.id),
        lambda: tetrads.runs.describe("default", run.id, params={"late": 1}),
        lambda: tetrads.runs.finish("default", run.id, "done"),
    ):
        with pytest.raises(RunConflict, match="failed already"):
            late()
    assert tetrads.runs.describe("default", run.id, tags={"note": "kept"}).tags == {"note": "kept"}


def test_a_parameter_is_said_once_and_tags_may_change(tetrads: Tetrads) -> None:
    run = tetrads.runs.start("default", "train", actor=ALICE, params={"lr": 0.1}, tags={"a": "1", "b": "2"})
    after = tetrads.runs.describe("default", run.id, params={"lr": 0.1, "seed": 7}, tags={"a": None, "b": "3"})
    assert (after.activity.params, after.tags) == ({"lr": 0.1, "seed": 7}, {"b": "3"})
    with pytest.raises(RunConflict, match="another value for lr"):
        tetrads.runs.describe("default", run.id, params={"lr": 0.2})
    with pytest.raises(InvalidInput):
        tetrads.runs.describe("default", run.id, params={"nested": {"no": 1}})
    assert tetrads.runs.get("default", run.id).activity.params == {"lr": 0.1, "seed": 7}


def test_a_run_without_a_sign_is_lost_until_it_gives_one(tetrads: Tetrads) -> None:
    run = tetrads.runs.start("default", "train", actor=ALICE)
    assert not tetrads.runs.is_lost(run)
    tetrads.clock.advance(timedelta(seconds=61))
    assert tetrads.runs.is_lost(tetrads.runs.get("default", run.id))
    assert not tetrads.runs.is_lost(tetrads.runs.beat("default", run.id))
    tetrads.clock.advance(timedelta(seconds=61))
    tetrads.runs.log("default", run.id, losses(1.0))
    assert not tetrads.runs.is_lost(tetrads.runs.get("default", run.id))
    ended = tetrads.runs.finish("default", run.id, "done")
    tetrads.clock.advance(timedelta(days=1))
    assert not tetrads.runs.is_lost(ended)


def test_lists_filter_and_page_and_experiments_are_counted(tetrads: Tetrads) -> None:
    ids = [
        tetrads.runs.start("default", kind, actor=ALICE, experiment=name).id
        for kind, name in (("train", "a"), ("quantise", "a"), ("train", "b"))
    ]
    tetrads.runs.finish("default", ids[0], "done")
    listed = tetrads.runs.newest
    assert [run.id for run in listed("default")] == ids[::-1]
    assert [run.id for run in listed("default", limit=1, before=ids[2])] == [ids[1]]
    assert [run.id for run in listed("default", experiment="a", kind="train")] == [ids[0]]
    assert [run.id for run in listed("default", state="running")] == [ids[2], ids[1]]
    found = tetrads.runs.experiments("default")
    assert [(each.name, each.runs, each.running, each.newest) for each in found] == [
        ("a", 2, 1, ids[1]),
        ("b", 1, 1, ids[2]),
    ]
    assert [each.name for each in tetrads.runs.experiments("default", after="a")] == ["b"]


def test_runs_side_by_side_say_what_differs_first(tetrads: Tetrads) -> None:
    one = tetrads.runs.start("default", "train", actor=ALICE, params={"lr": 0.1, "epochs": 3})
    two = tetrads.runs.start("default", "train", actor=ALICE, params={"lr": 0.2, "epochs": 3, "seed": 1})
    tetrads.runs.log("default", one.id, losses(2.0, 1.0))
    runs = tetrads.runs.compared("default", [two.id, one.id, two.id])
    assert [run.id for run in runs] == [two.id, one.id]
    assert [(row.name, row.values, row.differs) for row in compare_params(runs)] == [
        ("lr", (0.2, 0.1), True),
        ("seed", (1, None), True),
        ("epochs", (3, 3), False),
    ]
    (series,) = tetrads.runs.series_of("default", runs, ["loss", "nothing"], points=100)
    assert (series.run, series.points, series.thinned) == (one.id, ((0, 2.0), (1, 1.0)), False)
    with pytest.raises(InvalidInput):
        tetrads.runs.compared("default", [])


def test_another_project_sees_no_run_and_lends_no_artifact(tetrads: Tetrads) -> None:
    run = tetrads.runs.start("default", "train", actor=ALICE)
    data = artifact(tetrads, 1)
    for touch in (
        lambda: tetrads.runs.get("other", run.id),
        lambda: tetrads.runs.log("other", run.id, losses(1.0)),
        lambda: tetrads.runs.finish("other", run.id, "done"),
        lambda: tetrads.runs.series("other", run.id, "loss"),
        lambda: tetrads.runs.compared("other", [run.id]),
    ):
        with pytest.raises(RunNotFound):
            touch()
    with pytest.raises(ArtifactNotFound):
        tetrads.runs.start("other", "train", actor=ALICE, inputs=[RunInput(data, "data")])
    assert tetrads.runs.newest("other") == []


def test_writers_at_once_lose_no_point(tetrads: Tetrads) -> None:
    run = tetrads.runs.start("default", "train", actor=ALICE)
    problems: list[BaseException] = []

    def write(part: int) -> None:
        try:
            for step in range(6):
                tetrads.runs.log("default", run.id, losses(float(step), first=part * 6 + step))
        except Exception as error:  # noqa: BLE001 - told after the threads have ended
            problems.append(error)

    threads = [threading.Thread(target=write, args=(part,)) for part in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    (summary,) = tetrads.runs.get("default", run.id).metrics
    assert summary.points == 36 == len(tetrads.runs.series("default", run.id, "loss").points)


def test_a_lineage_names_its_artifacts_and_runs_both_ways(tetrads: Tetrads) -> None:
    data, model, small = (artifact(tetrads, number) for number in range(3))
    tetrads.registry.add_version("default", "dataset", "rows", data, actor=ALICE)
    tetrads.registry.add_version("default", "dataset", "rows", data, actor=ALICE, semver="1.5.0")
    for source, made in ((data, model), (model, small)):
        run = tetrads.runs.start("default", "train", actor=ALICE, inputs=[RunInput(source)])
        tetrads.runs.finish("default", run.id, "done", outputs=[RunInput(made)])
    lineage = tetrads.registry.lineage("default", model, direction="both")
    assert lineage.complete
    assert len(lineage.activities) == 2
    nodes = {node.digest: node for node in lineage.nodes}
    assert set(nodes) == {data, model, small}
    assert [(version.name, version.semver) for version in nodes[data].versions] == [("rows", "1.5.0")]
    assert (nodes[small].kind, nodes[small].versions) == ("dataset", ())
