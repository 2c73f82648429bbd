"""Three-way merge: what one side left alone comes from the other, and nobody's line is lost."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from tetrad.prompts._merge import merge_texts

TEXT = st.lists(st.sampled_from(["a", "b", "c", "", "d "]), max_size=8).map("\n".join)


@st.composite
def edited(draw: st.DrawFn, base: str) -> str:
    """Return a text with some lines of the base removed and some new ones, each unlike any other, put in."""
    side = draw(st.sampled_from("LR"))
    lines: list[str] = []
    for number, line in enumerate(base.split("\n")):
        if draw(st.integers(0, 4)) == 0:
            lines.append(f"{side}{number}")
        if draw(st.integers(0, 5)):
            lines.append(line)
    return "\n".join(lines)


TRIPLES = TEXT.flatmap(lambda base: st.tuples(st.just(base), edited(base), edited(base)))


@given(TEXT, TEXT)
def test_the_side_that_changed_is_taken(base: str, side: str) -> None:
    assert (merge_texts(base, base, side).text, merge_texts(base, base, side).conflicts) == (side, 0)
    assert (merge_texts(base, side, base).text, merge_texts(base, side, base).conflicts) == (side, 0)


@given(TEXT, TEXT)
def test_the_same_on_both_sides_is_no_conflict(base: str, side: str) -> None:
    assert (merge_texts(base, side, side).text, merge_texts(base, side, side).conflicts) == (side, 0)


@given(TRIPLES)
def test_no_line_that_a_side_wrote_is_lost(triple: tuple[str, str, str]) -> None:
    base, ours, theirs = triple
    merged = merge_texts(base, ours, theirs)
    result = Counter(merged.text.split("\n"))
    for side in (ours, theirs):
        written = Counter(side.split("\n")) - Counter(base.split("\n"))
        assert not written - result


@given(TRIPLES)
def test_a_conflict_holds_both_sides_whole_and_is_marked(triple: tuple[str, str, str]) -> None:
    merged = merge_texts(*triple)
    lines = merged.text.split("\n")
    assert sum(line.startswith("<<<<<<< ") for line in lines) == merged.conflicts
    assert sum(line.startswith(">>>>>>> ") for line in lines) == merged.conflicts


@given(TRIPLES)
def test_who_is_ours_and_who_is_theirs_does_not_matter_without_conflicts(triple: tuple[str, str, str]) -> None:
    base, ours, theirs = triple
    one, other = merge_texts(base, ours, theirs), merge_texts(base, theirs, ours)
    assert one.conflicts == other.conflicts
    if not one.conflicts:
        assert one.text == other.text
