"""Runs: activities that are watched while they go on. Frozen values and pure rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from tetrad.kernel import Digest, InvalidInput
from tetrad.registry._model import Activity, Invalidation

RunKind = Literal["train", "finetune", "distil", "quantise", "prune", "merge", "evaluate"]
EndState = Literal["done", "failed"]
RUN_KINDS: tuple[RunKind, ...] = ("train", "finetune", "distil", "quantise", "prune", "merge", "evaluate")
INPUT_POLICIES: Mapping[str, Invalidation] = {
    kind: "reevaluate" if kind == "evaluate" else "rebuild" for kind in RUN_KINDS
}
MAX_BATCH = 1_000
MAX_PARAMS = 1_000
MAX_TAGS = 200
MAX_NAME_CHARS = 128
MAX_VALUE_CHARS = 6_000
MAX_STEP = 2**53 - 1


class MetricPoint(msgspec.Struct, frozen=True):
    """One value of a metric at a step. `at` tells apart what was measured at one step; it may be absent."""

    metric: str
    step: int
    value: float
    at: datetime | None = None


class MetricSummary(msgspec.Struct, frozen=True):
    """A metric of a run in numbers: the newest value and the range. Values that are not numbers are in no range."""

    metric: str
    points: int
    first_step: int
    last_step: int
    last: float
    least: float | None
    most: float | None


class Run(msgspec.Struct, frozen=True):
    """An activity with a name, tags, metrics and a heartbeat."""

    activity: Activity
    experiment: str
    name: str
    heartbeat_at: datetime
    tags: Mapping[str, str] = {}
    error: str = ""
    actor_name: str = ""
    request: str = ""
    metrics: tuple[MetricSummary, ...] = ()

    @property
    def id(self) -> str:
        """The activity's id."""
        return self.activity.id


class Experiment(msgspec.Struct, frozen=True):
    """A name that runs share, and how many they are."""

    name: str
    runs: int
    running: int
    newest: str


class Series(msgspec.Struct, frozen=True):
    """A metric over its steps, thinned out to what a plot can show; `points` are (step, value), `total` counts all."""

    run: str
    metric: str
    points: tuple[tuple[int, float], ...]
    total: int

    @property
    def thinned(self) -> bool:
        """Tell whether points were left out."""
        return len(self.points) < self.total


class ParamRow(msgspec.Struct, frozen=True):
    """One parameter of several runs, in their order; None where a run has none of that name."""

    name: str
    values: tuple[Any, ...]
    differs: bool


class RunInput(msgspec.Struct, frozen=True):
    """An artifact that goes into a run or comes out of it; without a policy the one of the run's kind."""

    digest: Digest
    role: str = ""
    policy: Invalidation | None = None


def check_label(text: str, what: str, *, longest: int = MAX_NAME_CHARS) -> str:
    """Return the name of an experiment, run, metric, parameter or tag, or refuse with `InvalidInput`."""
    if not 1 <= len(text) <= longest or not text.isprintable() or text != text.strip():
        raise InvalidInput(f"{text[:80]!r} is no {what}", hint=f"1 to {longest} printable characters")
    return text


def check_values(values: Mapping[str, Any], what: str, *, most: int) -> dict[str, Any]:
    """Return parameters or tags: names with texts, numbers or booleans of bounded size."""
    if len(values) > most:
        raise InvalidInput(f"{len(values)} {what}s", hint=f"at most {most}")
    for name, value in values.items():
        check_label(name, what, longest=250)
        if isinstance(value, str) and len(value) <= MAX_VALUE_CHARS:
            continue
        if isinstance(value, bool) or (isinstance(value, int) and abs(value) <= MAX_STEP):
            continue
        if isinstance(value, float) and math.isfinite(value):
            continue
        raise InvalidInput(
            f"the {what} {name!r} has no value that is kept",
            hint=f"a text of at most {MAX_VALUE_CHARS} characters, a finite number or a boolean",
        )
    return dict(values)


def check_points(points: Sequence[MetricPoint]) -> tuple[MetricPoint, ...]:
    """Return a batch of points, or refuse with `InvalidInput`. Of two for one step and time the later one counts."""
    if len(points) > MAX_BATCH:
        raise InvalidInput(f"{len(points)} points in one batch", hint=f"at most {MAX_BATCH}; send several batches")
    kept: dict[tuple[str, int, datetime | None], MetricPoint] = {}
    for point in points:
        check_label(point.metric, "name of a metric", longest=250)
        if abs(point.step) > MAX_STEP:
            raise InvalidInput(f"{point.step} is no step", hint="a whole number within ±(2^53-1)")
        kept[point.metric, point.step, point.at] = point
    return tuple(kept.values())


def merged_params(known: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Add parameters to those that are known; the names in the second value are known with another value."""
    changed = sorted(
        name
        for name, value in given.items()
        if name in known and (known[name], type(known[name])) != (value, type(value))
    )
    return {**known, **given}, tuple(changed)


def _told(value: object) -> tuple[type, object]:
    return type(value), value  # True is not 1 here


def thinned(points: Iterable[tuple[int, float]], *, first: int, last: int, most: int) -> tuple[tuple[int, float], ...]:
    """Keep at most `most` points (4 at least) of a series that comes in the order of its steps.

    Steps are cut into equal ranges, and of each the least and the greatest value stay, where they were: peaks are never
    lost, whatever the number of points. Memory is bounded by `most`. The first and the last point always stay.
    """
    buckets = max(1, (max(most, 4) - 2) // 2)
    width = max(1, -(-(last - first + 1) // buckets))
    kept: dict[int, tuple[tuple[int, float], tuple[int, float]]] = {}
    small: list[tuple[int, float]] | None = []
    ends: list[tuple[int, float]] = []
    for point in points:
        ends = [ends[0] if ends else point, point]
        if small is not None:
            small.append(point)
            if len(small) > most:
                small = None
        index = (point[0] - first) // width
        low, high = kept.get(index, (point, point))
        kept[index] = (
            point if point[1] < low[1] or _is_first(point, low) else low,
            point if point[1] > high[1] or _is_first(point, high) else high,
        )
    if small is not None:
        return tuple(small)
    chosen = {point for pair in kept.values() for point in pair if not math.isnan(point[1])}
    middle = sorted(chosen - set(ends), key=lambda point: point[0])
    return (ends[0], *middle, ends[1])


def _is_first(point: tuple[int, float], known: tuple[int, float]) -> bool:
    """Tell whether a point is the first with a number: what is none is neither the least nor the greatest."""
    return math.isnan(known[1]) and not math.isnan(point[1])


def compare_params(runs: Sequence[Run]) -> tuple[ParamRow, ...]:
    """Set the parameters of runs side by side: what differs first, then the rest, each in the order of names."""
    rows = []
    for name in sorted({name for run in runs for name in run.activity.params}):
        values = tuple(run.activity.params.get(name) for run in runs)
        told = {_told(value) for value in values}
        rows.append(ParamRow(name, values, len(told) > 1))
    return tuple(sorted(rows, key=lambda row: not row.differs))
