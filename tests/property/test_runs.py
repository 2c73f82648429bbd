"""Series that are thinned out keep their size, their ends and their peaks."""

from __future__ import annotations

import math

from hypothesis import example, given
from hypothesis import strategies as st

from tetrad.registry._runs import thinned

steps = st.lists(
    st.tuples(st.integers(-(10**6), 10**6), st.floats(allow_nan=True, allow_infinity=True)), min_size=1, max_size=400
).map(lambda points: sorted(points, key=lambda point: point[0]))


@given(points=steps, most=st.integers(4, 120))
@example(points=[(0, 0.0), (0, 0.0), (0, 0.0), (0, 1.0), (0, math.nan)], most=4)
@example(points=[(0, 0.0), (0, math.nan), (0, 1.0), (0, 0.5), (0, 0.5)], most=4)
def test_a_thinned_series_is_small_sorted_and_keeps_ends_and_peaks(points: list[tuple[int, float]], most: int) -> None:
    kept = thinned(iter(points), first=points[0][0], last=points[-1][0], most=most)
    assert len(kept) <= most
    assert [step for step, _ in kept] == sorted(step for step, _ in kept)
    assert repr(kept[0]) == repr(points[0])
    assert repr(kept[-1]) == repr(points[-1])
    assert {repr(point) for point in kept} <= {repr(point) for point in points}
    numbers = [value for _, value in points if not math.isnan(value)]
    if numbers:
        shown = [value for _, value in kept if not math.isnan(value)]
        assert (min(shown), max(shown)) == (min(numbers), max(numbers))


@given(points=steps)
def test_a_series_that_fits_is_left_as_it_is(points: list[tuple[int, float]]) -> None:
    assert thinned(iter(points), first=points[0][0], last=points[-1][0], most=max(4, len(points))) == tuple(points)
