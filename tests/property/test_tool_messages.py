"""Whatever comes, and however it is cut: events are the same, messages are read or refused, nothing else."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kit.seal import Keyring
from tetrad.serving import KeyEntry, ToolServerRoute
from tetrad.tools import BadMessage, Event, EventReader, Sessions, SessionUnknown, read_message
from tetrad.tools._screen import Digests, Screen, definition_digest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
NAMES = st.text("abcdefghij_-./", min_size=1, max_size=12)
KEY = KeyEntry("key", "p", ("data",))


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=30), st.sampled_from([b"\n", b"\r\n", b"\r"])), max_size=12),
    st.lists(st.integers(0, 400), max_size=20),
)
def test_where_a_stream_is_cut_changes_no_event(lines: list[tuple[bytes, bytes]], cuts: list[int]) -> None:
    stream = b"".join(b"data: " + line.replace(b"\r", b"").replace(b"\n", b"") + end + end for line, end in lines)
    whole = list(EventReader(10_000).feed(stream))
    reader, pieces, start = EventReader(10_000), [], 0
    for cut in [*sorted(cut for cut in cuts if cut < len(stream)), len(stream)]:
        pieces += list(reader.feed(stream[start:cut]))
        start = cut
    assert pieces == whole
    again = list(EventReader(10_000).feed(b"".join(event.encoded() for event in whole if event.data)))
    assert [event.data for event in again] == [event.data for event in whole if event.data]


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_bytes_are_a_message_or_refused_and_a_message_stays_itself(body: bytes) -> None:
    with contextlib.suppress(BadMessage):
        message = read_message(body)
        again = read_message(message.encoded())
        assert (again.kind, again.method, bytes(again.id)) == (message.kind, message.method, bytes(message.id))


@given(st.dictionaries(NAMES, JSON, max_size=6), st.sets(NAMES, max_size=3), st.sets(NAMES, max_size=3))
def test_only_definitions_that_are_the_approved_ones_are_shown(
    tools: dict[str, Any], approved: set[str], changed: set[str]
) -> None:
    shown = [{"name": name, "description": value} for name, value in tools.items()]
    pins = {tool["name"]: definition_digest(tool) for tool in shown if tool["name"] in approved - changed}
    pins |= {name: definition_digest({"name": name, "description": "before", "was": 1}) for name in changed}
    screen = Screen(ToolServerRoute(name="s", project="p", pins=pins), ("*",), Digests(), {})
    result, seen = screen.listing(json.dumps({"tools": shown, "nextCursor": "x"}).encode())
    found = json.loads(result)
    assert {tool["name"] for tool in found["tools"]} == (approved - changed) & set(tools)
    assert found["nextCursor"] == "x"
    assert {each.name for each in seen} == set(tools)


@given(JSON)
def test_the_order_of_a_definitions_fields_is_no_change(value: Any) -> None:
    one, other = {"name": "x", "a": value, "b": 1}, {"b": 1, "a": value, "name": "x"}
    digests = Digests()
    first, second = digests.of(json.dumps(one).encode()), digests.of(json.dumps(other, indent=1).encode())
    assert first is not None
    assert second is not None
    assert first.digest == second.digest


@given(
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=100),
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=3, max_size=3),
    st.lists(st.text("abc", min_size=1, max_size=3), min_size=3, max_size=3),
)
def test_a_sealed_session_opens_for_its_own_project_server_and_key_only(
    identity: str, owner: list[str], other: list[str]
) -> None:
    sessions = Sessions(lambda: Keyring(b"k" * 32))
    sealed = sessions.seal(*owner, identity.encode())
    assert identity.encode() not in sealed or len(identity) < 4
    assert sessions.unseal(*owner, sealed) == identity.encode()
    if other != owner:
        with pytest.raises(SessionUnknown):
            sessions.unseal(*other, sealed)


@given(st.binary(max_size=300))
def test_no_bytes_that_we_did_not_seal_are_a_session(given_id: bytes) -> None:
    with pytest.raises(SessionUnknown):
        Sessions(lambda: Keyring(b"k" * 32)).unseal("p", "s", "k", given_id)


def test_an_empty_event_is_only_a_sign_of_life() -> None:
    assert Event().encoded() == b":\n\n"
