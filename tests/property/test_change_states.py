"""Invariants of change requests: states, what reviews are about, lines that are found again."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import count
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from tetrad.changes import PartPatch, Review, WrongState, next_state, replaced, standing
from tetrad.changes._model import ENDED, LIVE, Decision, Event, Standing, State, allows
from tetrad.changes._rebase import rebased

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS: tuple[Event, ...] = get_args(Event)
STANDINGS: tuple[Standing, ...] = get_args(Standing)
SEALS = ("s1", "s2", "s3", "s4")
ACTORS = ("ann", "bob", "cid")


def review(sequence: int, actor: str, decision: Decision, seals: frozenset[str], *, own: bool = False) -> Review:
    return Review(
        sequence, actor, actor, "editor", decision, "", 1, tuple(sorted(seals)), (), f"sha256:{sequence}", NOW, own
    )


@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.sampled_from(STANDINGS)), max_size=30))
def test_no_order_of_events_leaves_the_states_or_an_end(events: list[tuple[Event, Standing]]) -> None:
    state: State = "draft"
    for event, now in events:
        before = state
        try:
            state = next_state(state, event, now)
        except WrongState:
            assert not allows(before, event)
            continue
        assert allows(before, event)
        assert before not in ENDED
        assert (state == "merged") == (event in ("merge", "merge_by_broken_glass"))
        assert (state == "closed") == (event == "close")
        if event == "merge":
            assert before in ("open", "approved")  # never a draft, never against a rejection
        if state in LIVE:
            assert state == now
        if before == "draft" and state in LIVE:
            assert event == "propose"


reviews = st.lists(
    st.tuples(
        st.sampled_from(ACTORS), st.sampled_from(("approve", "request_changes")),
        st.frozensets(st.sampled_from(SEALS), min_size=1), st.booleans(),
    ),
    max_size=12,
)  # fmt: skip


@given(st.frozensets(st.sampled_from(SEALS)), reviews, st.frozensets(st.sampled_from(ACTORS)))
def test_reviews_hold_for_exactly_the_digests_they_are_about(
    seals: frozenset[str], given_reviews: list[tuple[str, Decision, frozenset[str], bool]], authors: frozenset[str]
) -> None:
    numbers = count(1)
    made = [review(next(numbers), actor, what, about, own=own) for actor, what, about, own in given_reviews]
    # By hand: go through every part and every person, and take the last word that the person said of that part.
    approved, rejected = set(), False
    for seal in seals:
        for actor in ACTORS:
            said = [each for each in made if each.actor == actor and seal in each.seals]
            if not said:
                continue
            if said[-1].decision == "request_changes":
                rejected = True
            elif actor not in authors or said[-1].own:
                approved.add(seal)
    expected = "changes_requested" if rejected else "approved" if seals and approved == set(seals) else "open"
    assert standing(seals, made, authors) == expected


@given(
    st.frozensets(st.sampled_from(SEALS), min_size=1), st.sampled_from(SEALS), reviews,
    st.frozensets(st.sampled_from(ACTORS)),
)  # fmt: skip
def test_what_nobody_has_seen_is_never_approved(
    seals: frozenset[str], pushed: str, given_reviews: list[tuple[str, Decision, frozenset[str], bool]],
    authors: frozenset[str],
) -> None:  # fmt: skip
    numbers = count(1)
    made = [
        review(next(numbers), actor, what, about - {pushed}, own=own)
        for actor, what, about, own in given_reviews
        if about - {pushed}
    ]
    assert standing(seals | {pushed}, made, authors) != "approved"


lines = st.lists(st.sampled_from(["a", "b", "c", "", "long line"]), min_size=1, max_size=8)
messages = st.lists(lines.map("\n".join), min_size=1, max_size=3)


@given(messages, messages, st.data())
def test_a_line_is_found_only_where_it_stands(old: list[str], new: list[str], data: st.DataObject) -> None:
    message = data.draw(st.integers(1, len(old)))
    line = data.draw(st.integers(1, len(old[message - 1].split("\n"))))
    place = replaced(message, line, old, new)
    if place.state != "outdated":
        assert new[place.message - 1].split("\n")[place.line - 1] == old[message - 1].split("\n")[line - 1]
    assert replaced(message, line, old, old).state == "current"


values = st.sampled_from([None, 0, 1, 2, "x"])


@given(values, values, values)
def test_a_rebase_never_overwrites_what_the_ref_changed(base: object, ours: object, theirs: object) -> None:
    def manifest(value: object) -> dict[str, object]:
        return {"graph": [{"sampling": {} if value is None else {"seed": value}}]}

    def no_text(entry: object) -> str:
        raise AssertionError("no prompt is among them")

    [part] = rebased([PartPatch("sampling.seed", ours)], manifest(base), manifest(ours), manifest(theirs), no_text)
    if base == theirs:
        assert part.outcome == "clean"
    elif ours == theirs:
        assert part.outcome == "same"
    else:
        assert (part.outcome, part.patch) == ("conflict", None)
