"""What holds for every key and every audit log."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tetrad.identity._chain import AuditEntry, AuditEvent, AuditHead, check_chain, linked
from tetrad.identity._model import mint_secret, secret_is_well_formed

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
START = datetime(2026, 1, 1, tzinfo=UTC)
details = st.dictionaries(
    st.text(max_size=8), st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8), max_size=3
)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@st.composite
def chains(draw: st.DrawFn) -> tuple[list[AuditEntry], AuditHead]:
    entries: list[AuditEntry] = []
    head = AuditHead()
    for _ in range(draw(st.integers(1, 8))):
        at = START + timedelta(microseconds=draw(st.integers(0, 10**12)))
        event = AuditEvent("default", at, draw(words), draw(words), draw(words), draw(details))
        entries.append(linked(event, head))
        head = AuditHead(entries[-1].seq, entries[-1].hash)
    return entries, head


@given(chains())
def test_an_untouched_chain_is_intact(chain: tuple[list[AuditEntry], AuditHead]) -> None:
    entries, head = chain
    found = check_chain(entries, head)
    assert (found.intact, found.entries, found.head) == (True, len(entries), head.hash)


@given(chains(), st.data())
def test_any_change_of_any_entry_is_found_there(chain: tuple[list[AuditEntry], AuditHead], data: st.DataObject) -> None:
    entries, head = chain
    place = data.draw(st.integers(0, len(entries) - 1))
    entry, field = entries[place], data.draw(st.sampled_from(["at", "actor", "action", "target", "detail", "project"]))
    event = entry.event
    changed = {
        "at": event.at + timedelta(microseconds=1),
        "detail": {**event.detail, "added": 1},
    }.get(field) or f"{getattr(event, field)}!"
    tampered = [*entries]
    tampered[place] = replace(entry, event=replace(event, **{field: changed}))
    found = check_chain(tampered, head)
    assert (found.intact, found.broken_at) == (False, entry.seq)


@given(chains(), st.data())
def test_a_missing_swapped_or_repeated_entry_is_found(
    chain: tuple[list[AuditEntry], AuditHead], data: st.DataObject
) -> None:
    entries, head = chain
    place = data.draw(st.integers(0, len(entries) - 1))
    assert not check_chain(entries[:place] + entries[place + 1 :], head).intact
    assert not check_chain([*entries[: place + 1], *entries[place:]], head).intact
    if len(entries) > 1:
        assert not check_chain([entries[-1], *entries[1:-1], entries[0]], head).intact


@given(chains())
def test_a_chain_that_was_written_anew_does_not_end_at_the_noted_head(
    chain: tuple[list[AuditEntry], AuditHead],
) -> None:
    entries, head = chain
    forged, last = [], AuditHead()
    for entry in entries:
        forged.append(linked(replace(entry.event, actor=entry.event.actor + "x"), last))
        last = AuditHead(forged[-1].seq, forged[-1].hash)
    assert check_chain(forged, last).intact, (
        "a whole forgery is consistent in itself: only the noted head gives it away"
    )
    assert not check_chain(forged, head).intact


@given(st.sampled_from(["data", "control", "admin"]), st.data())
def test_one_wrong_character_never_passes_for_a_key(kind: str, data: st.DataObject) -> None:
    secret = mint_secret(kind)
    place = data.draw(st.integers(len(f"tetrad_{kind}_"), len(secret) - 1))
    other = data.draw(st.sampled_from([char for char in ALPHABET if char != secret[place]]))
    assert secret_is_well_formed(secret)
    assert not secret_is_well_formed(secret[:place] + other + secret[place + 1 :])


@given(st.data())
def test_two_neighbours_swapped_never_pass_for_a_key(data: st.DataObject) -> None:
    secret = mint_secret("data")
    place = data.draw(st.integers(len("tetrad_data_"), len(secret) - 2))
    swapped = secret[:place] + secret[place + 1] + secret[place] + secret[place + 2 :]
    assert secret_is_well_formed(swapped) == (swapped == secret)


@given(st.text(max_size=80))
def test_text_is_no_key(text: str) -> None:
    assert not secret_is_well_formed(text)
