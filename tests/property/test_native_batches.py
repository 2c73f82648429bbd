"""A batch that its provider does is submitted once and each of its lines counted once, whoever dies when."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.databases import SqliteTemplate, opened
from support.native_world import LINES, Fault, World, time_of

PROTOCOLS = ("openai", "anthropic")
FAULTS: tuple[Fault, ...] = ("worker before", "worker after", "other before", "other after")
SHARED = Path("/dev/shm")
ALL = sum(World.cost_of(number) for number in range(LINES))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> SqliteTemplate:
    return SqliteTemplate(tmp_path_factory.mktemp("template"))


@contextmanager
def world_of(template: SqliteTemplate, protocol: str) -> Iterator[World]:
    # in memory where there is such a place: hundreds of small databases are made
    place = SHARED if SHARED.is_dir() else None
    with (
        tempfile.TemporaryDirectory(dir=place) as folder,
        opened(template.copy(Path(folder) / "tetrad.db")) as database,
    ):
        world = World(database, Path(folder), protocol)
        with time_of([world]):
            yield world


def requests_of(template: SqliteTemplate, protocol: str) -> int:
    with world_of(template, protocol) as world:
        world.run()
        return world.asked


def check(world: World) -> None:
    """Raise where something was paid or counted twice, or not at all."""
    done = world.run()
    assert (done.status, done.completed) == ("completed", LINES)
    assert len(world.made) <= 1
    assert set(world.calls) == (set() if world.made else set(range(LINES)))
    assert world.spent == ((ALL, 0) if world.made else (0, 0))


@pytest.mark.parametrize("fault", ["worker after", "other after"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_at_every_single_step_anybody_may_die(template: SqliteTemplate, protocol: str, fault: Fault) -> None:
    steps = requests_of(template, protocol)
    assert steps > 20
    for step in range(steps):
        with world_of(template, protocol) as world:
            world.faults = {step: fault}
            check(world)


@given(
    protocol=st.sampled_from(PROTOCOLS),
    faults=st.dictionaries(st.integers(0, 60), st.sampled_from(FAULTS), max_size=6),
)
@settings(max_examples=20, deadline=None)
def test_all_may_die_as_often_as_they_like(template: SqliteTemplate, protocol: str, faults: dict[int, Fault]) -> None:
    with world_of(template, protocol) as world:
        world.faults = dict(faults)
        check(world)
