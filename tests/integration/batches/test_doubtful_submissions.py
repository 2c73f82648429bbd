"""A batch whose provider did not say whether it took it: looked for, not paid again, and decided on by people."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from support.databases import SqliteTemplate, opened
from support.native_world import LINES, World, time_of

HOUR_S = 3600.0


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    return SqliteTemplate(tmp_path_factory.mktemp("template"))


@pytest.fixture(params=["openai", "anthropic"])
def world(template: SqliteTemplate, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    with opened(template.copy(tmp_path / "tetrad.db")) as database:
        made = World(database, tmp_path, request.param)
        with time_of([made]):
            yield made


def submission(world: World) -> int:
    """Return the number of the request that submits the batch."""
    asked: list[int] = []
    served = world._provided

    def seen(request: httpx.Request, path: str) -> httpx.Response:
        if request.method == "POST" and path.endswith("batches"):
            asked.append(world.asked - 1)
        return served(request, path)

    world._provided = seen  # type: ignore[method-assign]
    world.run()
    return asked[0]


@pytest.fixture
def torn(world: World, template: SqliteTemplate, tmp_path: Path) -> Iterator[World]:
    """A batch that its provider accepts, which nobody hears."""
    at = submission(world)
    with opened(template.copy(tmp_path / "other.db")) as database:
        made = World(database, tmp_path, world.protocol)
        made.faults = {at: "other after"}
        with time_of([made]):
            yield made


def test_one_that_is_listed_late_is_found_and_paid_once(torn: World) -> None:
    torn.hidden = True
    began_s, passed = torn.now_s, torn.pass_s

    def listed_after_hours(seconds: float) -> None:
        passed(seconds)
        torn.hidden = torn.now_s < began_s + 6 * HOUR_S

    torn.pass_s = listed_after_hours  # type: ignore[method-assign]
    done = torn.run(doubt_s=25 * HOUR_S)
    assert (done.completed, len(torn.made), sum(torn.calls.values())) == (LINES, 1, 0)
    assert torn.now_s - began_s >= 6 * HOUR_S


def test_one_that_is_never_listed_is_not_called_before_its_time_is_over(torn: World) -> None:
    torn.hidden = True
    began_s = torn.now_s
    done = torn.run(doubt_s=25 * HOUR_S)
    assert torn.now_s - began_s >= 25 * HOUR_S
    assert (done.completed, len(torn.made), torn.calls.total()) == (LINES, 1, LINES)
    assert "has not listed it for 25 h" in done.carriage.why
    assert not torn.files


def test_where_people_want_the_providers_batches_only_the_lines_fail_instead(torn: World) -> None:
    torn.hidden, torn.insists = True, True
    done = torn.run(doubt_s=25 * HOUR_S)
    assert (done.completed, done.failed, torn.calls.total()) == (0, LINES, 0)
    with torn.batches.content(torn.batches.file("default", done.error_file)) as found:
        lines = found.read().splitlines()
    assert len(lines) == LINES
    assert all(b"batch_submission_unknown" in line for line in lines)


def test_people_may_end_the_doubt_by_cancelling(torn: World) -> None:
    torn.hidden = True
    began_s, passed = torn.now_s, torn.pass_s

    def cancelled_after_an_hour(seconds: float) -> None:
        passed(seconds)
        if torn.now_s >= began_s + HOUR_S:
            torn.batches.cancel("default", torn.batch.id)

    torn.pass_s = cancelled_after_an_hour  # type: ignore[method-assign]
    done = torn.run(doubt_s=25 * HOUR_S)
    assert (done.status, torn.calls.total()) == ("cancelled", 0)
    assert torn.now_s - began_s < 3 * HOUR_S
    assert torn.spent == (0, 0)


@pytest.mark.parametrize("status", [429, 503, 500])
def test_a_provider_that_says_it_did_nothing_is_asked_again(world: World, status: int) -> None:
    world.answers = [status, status]
    done = world.run()
    assert (done.completed, len(world.made), world.calls.total()) == (LINES, 1, 0)


def test_one_that_always_says_so_is_given_up_for_calls(world: World) -> None:
    world.answers = [429] * 50
    done = world.run()
    assert (done.completed, len(world.made), world.calls.total()) == (LINES, 0, LINES)
    assert "429" in done.carriage.why
    assert (world.spent, world.files) == ((0, 0), {})


@pytest.mark.parametrize("status", [502, 504, 408])
def test_an_answer_of_somebody_in_between_says_nothing(world: World, status: int) -> None:
    world.answers, world.insists = [status], True
    done = world.run(doubt_s=HOUR_S)
    assert (done.failed, len(world.made), world.calls.total()) == (LINES, 0, 0)


def test_a_batch_whose_key_is_gone_is_cancelled_at_its_provider_and_what_was_done_is_counted(world: World) -> None:
    world.ends = False
    passed = world.pass_s

    def revoked(seconds: float) -> None:
        passed(seconds)
        world.keys.gone = bool(world.made)

    world.pass_s = revoked  # type: ignore[method-assign]
    done = world.run()
    assert (done.status, done.errors[0].code, done.completed) == ("failed", "batch_key_gone", 2)
    assert world.made[0]["cancelled"]
    assert world.spent == (World.cost_of(0) + World.cost_of(1), 0)
    assert not world.files


def test_a_batch_that_ended_before_it_could_be_cancelled_is_settled_whole(world: World) -> None:
    served = world._controlled

    def revoked(request: httpx.Request) -> httpx.Response:
        world.keys.gone = bool(world.made)
        return served(request)

    world._controlled = revoked  # type: ignore[method-assign]
    done = world.run()
    assert (done.status, done.errors[0].code, done.completed) == ("failed", "batch_key_gone", LINES)
    assert world.spent == (sum(map(world.cost_of, range(LINES))), 0)


def test_a_batch_whose_key_is_gone_before_anything_was_submitted_is_never_submitted(world: World) -> None:
    world.keys.gone = True
    done = world.run()
    assert (done.status, world.made, world.calls.total()) == ("failed", [], 0)


def test_a_torn_submission_whose_key_is_gone_is_looked_for_and_cancelled(torn: World) -> None:
    torn.ends = False
    at = next(iter(torn.faults))
    torn.faults[at] = "worker after"
    served = torn._controlled

    def revoked(request: httpx.Request) -> httpx.Response:
        torn.keys.gone = bool(torn.made)
        return served(request)

    torn._controlled = revoked  # type: ignore[method-assign]
    if torn.protocol == "anthropic":
        torn.ends = True  # only its results tell whose it is
    done = torn.run()
    assert (done.status, done.errors[0].code, len(torn.made)) == ("failed", "batch_key_gone", 1)
    assert done.completed == (2 if torn.protocol == "openai" else LINES)
    assert torn.calls.total() == 0
