"""What a report says never exceeds what was looked at and executed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tetrad.releases import (
    Answered,
    EngineFacts,
    PartCheck,
    RecordedRequest,
    Replay,
    Replayed,
    Report,
    compare_answers,
    compare_engines,
    conclude,
)

LEVELS = ("R0", "R1", "R2")
states = st.sampled_from(["proven", "differs", "missing", "erased", "cannot"])
hosted = st.booleans()
parts = st.lists(
    st.builds(
        lambda state, others: PartCheck("model", "primary", "m", "sha256:0", state, hosted=others), states, hosted
    ),
    max_size=6,
)
replays = st.lists(
    st.builds(Replay, st.just(1), st.sampled_from(["same", "differs", "failed"]), st.just("sha256:1")), max_size=5
)
replayed = st.none() | st.builds(
    Replayed, st.just("sha256:2"), st.none(), st.sampled_from([(), ("the build was 'a', here it is 'b'",)]),
    replays.map(tuple),
)  # fmt: skip


def report(found: list[PartCheck], played: Replayed | None, tried: str) -> Report:
    return conclude(id="rep_1", release="sha256:3", app="bot", tried=tried, parts=found, replay=played)  # type: ignore[arg-type]


@given(parts, replayed, st.sampled_from(LEVELS))
def test_nothing_is_proven_above_the_cap_or_without_its_proof(
    found: list[PartCheck], played: Replayed | None, tried: str
) -> None:
    made = report(found, played, tried)
    erased, by_others = any(p.state == "erased" for p in found), any(p.hosted for p in found)
    assert made.cap == ("none" if erased else "R2" if by_others else "R1")
    assert ("R0" in made.proven) == (bool(found) and all(part.state == "proven" for part in found))
    same = played is not None and bool(played.requests) and all(each.state == "same" for each in played.requests)
    comparable = played is not None and not played.incomparable
    assert ("R1" in made.proven) == (tried == "R1" and made.cap == "R1" and "R0" in made.proven and same and comparable)
    assert "R2" not in made.proven, "nothing here can evaluate"
    assert made.succeeded == (tried in made.proven)
    assert [each.level for each in made.levels] == list(LEVELS)
    assert all(each.reason for each in made.levels if each.state != "not_tried"), "every verdict says why"


@given(parts, replayed, st.sampled_from(LEVELS), st.data())
def test_a_part_that_gets_worse_never_proves_more(
    found: list[PartCheck], played: Replayed | None, tried: str, data: st.DataObject
) -> None:
    if not found:
        return
    place = data.draw(st.integers(0, len(found) - 1))
    worse = [*found]
    worse[place] = PartCheck("model", "primary", "m", "sha256:0", data.draw(states), hosted=found[place].hosted)
    if worse[place].state == "proven":
        return
    assert set(report(worse, played, tried).proven) <= set(report(found, played, tried).proven)


texts = st.text(max_size=30)


def recorded(request: str, answer: str) -> RecordedRequest:
    return RecordedRequest("[]", "", request, f"r:{request}", answer, f"a:{answer}")


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6), st.data())
def test_every_request_or_answer_that_differs_is_named_and_no_other(
    pairs: list[tuple[str, str]], data: st.DataObject
) -> None:
    was = [recorded(request, answer) for request, answer in pairs]
    requests = [data.draw(st.just(each.request_digest) | texts.map(lambda text: f"r:{text}")) for each in was]
    answers = [
        data.draw(
            st.just(Answered(each.answer, each.answer_digest))
            | texts.map(lambda text: Answered(text, f"a:{text}"))
            | st.just(Answered(problem="it died"))
        )
        for each in was
    ]
    found = compare_answers(was, requests, answers)
    assert [each.number for each in found] == list(range(1, len(was) + 1))
    for each, old, request, answer in zip(found, was, requests, answers, strict=True):
        same = request == old.request_digest and not answer.problem and answer.digest == old.answer_digest
        assert (each.state == "same") == same
        assert bool(each.detail) == (not same)


facts = st.builds(
    EngineFacts, st.sampled_from(["llama_cpp", "other"]), st.sampled_from(["1", "2"]), st.sampled_from(["b1", "b2"]),
    st.sampled_from(["d1", "d2"]), st.dictionaries(st.sampled_from(["threads", "ctx"]), st.sampled_from(["1", "2"])),
    st.sampled_from(["cpu", "other cpu"]), st.sampled_from(["f1", "f2"]),
)  # fmt: skip


@given(facts, facts)
def test_engines_are_comparable_only_where_nothing_that_bytes_depend_on_differs(
    one: EngineFacts, other: EngineFacts
) -> None:
    whole = ("kind", "build", "build_digest", "flags", "cpu", "features")
    same = all(getattr(one, name) == getattr(other, name) for name in whole)
    assert (compare_engines(one, other) == ()) == same
