"""The life of an engine, as rules."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import InvalidInput
from tetrad.serving import (
    SERVING_STATES,
    EngineEvent,
    EngineSpec,
    EngineState,
    check_spec,
    next_state,
    possible_events,
)

EVENTS: tuple[EngineEvent, ...] = get_args(EngineEvent)
STATES: tuple[EngineState, ...] = get_args(EngineState)


def lived(choices: list[int]) -> list[tuple[EngineState, EngineEvent, EngineState]]:
    """Walk from `planned`, choosing among the possible events."""
    state: EngineState = "planned"
    steps = []
    for choice in choices:
        events = sorted(possible_events(state))
        event = events[choice % len(events)]
        following = next_state(state, event)
        steps.append((state, event, following))
        state = following
    return steps


@given(st.lists(st.integers(0, 1000), max_size=60))
def test_no_engine_serves_before_it_made_a_token(choices: list[int]) -> None:
    warmed = False
    for before, event, after in lived(choices):
        if event in ("provision", "exited", "drained"):
            warmed = False
        if event == "warmed":
            assert before == "warming"
            warmed = True
        if after in SERVING_STATES:
            assert warmed


@given(st.lists(st.integers(0, 1000), max_size=60))
def test_a_draining_engine_only_ever_stops(choices: list[int]) -> None:
    for before, _, after in lived(choices):
        if before == "draining":
            assert after == "stopped"


def test_every_living_state_can_be_drained_and_every_dead_one_started() -> None:
    for state in STATES:
        events = possible_events(state)
        assert events, state
        assert "drain" in events or state in ("draining", "stopped")
        if state in ("stopped", "failed", "planned"):
            assert "provision" in events


@given(st.sampled_from(STATES), st.sampled_from(EVENTS))
def test_what_cannot_happen_is_refused(state: EngineState, event: EngineEvent) -> None:
    if event in possible_events(state):
        assert next_state(state, event) in STATES
    else:
        with pytest.raises(InvalidInput, match="cannot have"):
            next_state(state, event)


specs = st.builds(
    EngineSpec,
    name=st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True),
    kind=st.just("llama_cpp"),
    model=st.just("sha256:" + "a" * 64),
    served_name=st.from_regex(r"local/[a-z0-9]{1,8}", fullmatch=True),
    ctx=st.integers(128, 8192),
    slots=st.integers(1, 8),
    threads=st.integers(0, 8),
)


@given(specs, st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True))
def test_a_specs_digest_is_that_of_its_content_without_its_name(spec: EngineSpec, name: str) -> None:
    renamed = msgspec.structs.replace(spec, name=name)
    assert check_spec(spec).digest == renamed.digest
    assert msgspec.structs.replace(spec, slots=spec.slots + 1).digest != spec.digest
    assert msgspec.json.decode(msgspec.json.encode(spec), type=EngineSpec).digest == spec.digest


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../x"},
        {"name": ""},
        {"served_name": "a b"},
        {"model": "sha256:short"},
        {"ctx": 1},
        {"slots": 0},
        {"drain_s": -1},
        {"kinds": ()},
        {"flags": {"x": "y" * 2000}},
    ],
)
def test_what_is_no_engine_is_refused(change: dict[str, object]) -> None:
    good = EngineSpec(name="a", kind="fake", model="sha256:" + "a" * 64, served_name="local/a")
    with pytest.raises(InvalidInput):
        check_spec(msgspec.structs.replace(good, **change))
