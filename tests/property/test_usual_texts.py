"""Events that differ in their text alone are not read one by one; it shows in nothing that is read or passed on."""

from __future__ import annotations

import re
from typing import Any

import hypothesis
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.adapters.providers import _anthropic_wire, _openai_wire
from tetrad.adapters.providers._answers import Drainer, EventStream
from tetrad.adapters.providers._anthropic_wire import MessageReader
from tetrad.adapters.providers._openai_wire import StreamReader, end_of_stream
from tetrad.adapters.providers._usual_text import form_of
from tetrad.adapters.providers.anthropic import MessagesStream
from tetrad.adapters.providers.openai import ChatStream
from tetrad.kernel import SystemClock


def _chunk(rest: bytes) -> bytes:
    return b'data: {"id":"c1","model":"m","choices":[{"index":0,"delta":' + rest + b"\n\n"


def _delta(index: int, rest: bytes) -> bytes:
    return (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":' % index + rest + b"\n\n"
    )


CHAT = (
    _chunk(b'{"content":"%b"},"finish_reason":null}]}'),
    _chunk(b'{"content":"%b"}}],"usage":null,"obfuscation":"%b"}'),
    b'data: {"id": "c1", "model": "m", "choices": [{"index": 0, "delta": {"content": "%b"}}]}\n\n',
    _chunk(b'{"content":"%b","refusal":null}}]}\r\n'),
    _chunk(b'{"reasoning_content":"%b"}}]}'),
    b'data: {"id":"c1","model":"m","choices":[{"index":1,"delta":{"content":"%b"}}]}\n\n',
    _chunk(b'{"content":"%b"},"x":{"content":"other"}}]}'),
    _chunk(b'{"content":"a","content":"%b"}}]}'),
    _chunk(b'{"c\\u006fntent":"a"},"x":{"content":"%b"}}]}'),
    b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2}}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[{"index":0,"text":"%b"}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"refusal":"no"}}]}\n' + _chunk(b'{"content":"%b"}}]}'),
    b": ping\n\n",
)
BEGUN = b'data: {"type":"message_start","message":{"id":"m1","model":"c","usage":{"input_tokens":1}}}\n\n'
MESSAGES = (
    _delta(0, b'{"type":"text_delta","text":"%b"}%b}'),
    _delta(1, b'{"type":"thinking_delta","thinking":"%b"}}'),
    _delta(2, b'{"type":"input_json_delta","partial_json":"%b"}}'),
    b'event: message_delta\ndata: {"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":3}}\n\n',
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
)
_words = st.one_of(
    st.text(alphabet="ab é😀", max_size=3).map(str.encode),
    st.sampled_from(
        [
            b"", b"\\n", b"\\\\", b'\\"', b"\\", b'"', b"\n", b"\r", b"\t", b"\xff", b"\\u00e9", b"\\ud83d\\ude00",
            b"[DONE]", b"\n\ndata: [DONE]\n\n", b"\rdata: [DONE]\r", b"secret", b'"},"usage":{}', b"a\n\nb", b"\\x",
        ]
    ),
)  # fmt: skip
_fillers = st.sampled_from([b"", b"ab12", b"  ", b"         ", b"a b"])


def _runs(forms: tuple[bytes, ...]) -> st.SearchStrategy[list[bytes]]:
    def filled(form: bytes, word: bytes, filler: bytes) -> bytes:
        holes = form.count(b"%b")
        return form % ((word, filler)[:holes]) if holes else form

    one = st.sampled_from(forms).flatmap(
        lambda form: st.lists(st.tuples(_words, _fillers), min_size=1, max_size=6).map(
            lambda holes: [filled(form, word, filler) for word, filler in holes]
        )
    )
    return st.lists(one, max_size=5).map(lambda runs: [event for run in runs for event in run])


def read_by(reader: Any, pieces: list[bytes]) -> tuple[Any, ...]:
    for piece in pieces:
        reader.feed(piece)
    return (
        reader.messages, reader.finish_reasons, reader.usage, reader.id, reader.model, reader.error_type, reader.unread,
    )  # fmt: skip


def one_by_one(events: list[bytes]) -> list[bytes]:
    """Split as a reader splits that knows no forms: at each blank line."""
    return [event + b"\n\n" for event in b"".join(events).split(b"\n\n")]


def is_half_a_sign(events: list[bytes]) -> bool:
    """Halves of a sign in two events are none by themselves, and one together, which is better."""
    return any(b"\\ud83d" in event and b"\\ude00" not in event for event in events)


@given(_runs(CHAT))
@hypothesis.example([CHAT[0] % b"a", CHAT[0] % b"b\\", CHAT[0] % b"c"])
@hypothesis.example([CHAT[0] % b"a", CHAT[0] % b"b", CHAT[0] % b"\x01", CHAT[0] % b"c", CHAT[0] % b"d"])
def test_chat_reads_the_same_together_and_one_by_one(events: list[bytes]) -> None:
    hypothesis.assume(not is_half_a_sign(events))
    assert read_by(StreamReader(), [b"".join(events)]) == read_by(StreamReader(), one_by_one(events))


@given(_runs(MESSAGES))
def test_messages_read_the_same_together_and_one_by_one(events: list[bytes]) -> None:
    events = [BEGUN, *events]
    assert read_by(MessageReader(), [b"".join(events)]) == read_by(MessageReader(), one_by_one(events))


class _Coming:
    status = 200
    headers = ()
    complete = True


class _Provider:
    clock = SystemClock()
    drainer = Drainer()
    keep_bytes = 1 << 20


def shown_by(kind: str, pieces: list[bytes], *, learns: bool) -> tuple[list[bytes], bool, Any]:
    stream: EventStream
    coming: Any = _Coming()
    provider: Any = _Provider()
    stream = ChatStream(provider, coming, strip=True) if kind == "chat" else MessagesStream(provider, coming, [])
    stream.secrets = (b"secret",)
    if not learns:
        stream.texts = ()
    shown = []
    for piece in pieces:
        shown.append(stream._step(piece))
        if stream.done:
            break
    return shown, stream.done, read_by(stream._collected(), [])


@pytest.mark.parametrize(("kind", "forms"), [("chat", CHAT), ("messages", MESSAGES)])
def test_clients_see_the_same_whether_forms_are_learnt_or_not(kind: str, forms: tuple[bytes, ...]) -> None:
    @given(_runs(forms), st.lists(st.integers(0, 40), max_size=4), st.booleans())
    def check(events: list[bytes], cuts: list[int], whole: bool) -> None:
        pieces = events if whole else _cut(b"".join(events), cuts)
        assert shown_by(kind, pieces, learns=True) == shown_by(kind, pieces, learns=False)

    check()


def _cut(data: bytes, cuts: list[int]) -> list[bytes]:
    pieces = []
    for cut in cuts:
        pieces.append(data[:cut])
        data = data[cut:]
    return [piece for piece in [*pieces, data] if piece]


@pytest.mark.parametrize("word", [b"a", b"\\n", b"two words", "é😀".encode(), b"[DONE]"])
@pytest.mark.parametrize("form", [*CHAT[:3], CHAT[4], CHAT[12], MESSAGES[0], MESSAGES[1]])
def test_the_usual_forms_are_known(form: bytes, word: bytes) -> None:
    holes = form.count(b"%b")
    names = (b'"content":', b'"reasoning_content":', b'"text":', b'"thinking":')
    first, other = (form % (each, b"")[:holes] for each in (b"first", word))
    known = form_of(first, names)
    assert known is not None
    assert known.text(other) == word
    assert known.event(word) == other
    assert msgspec.json.decode(b'"%b"' % word)


@pytest.mark.parametrize("form", [*CHAT[:3], MESSAGES[0]])
def test_a_run_of_a_thousand_events_is_read_as_one(form: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = _anthropic_wire if form is MESSAGES[0] else _openai_wire
    name, decoded = ("_events" if form is MESSAGES[0] else "_chunks"), 0
    known = getattr(wire, name)

    class Counting:
        def decode(self, data: bytes) -> Any:
            nonlocal decoded
            decoded += 1
            return known.decode(data)

    monkeypatch.setattr(wire, name, Counting())
    fillers = [b"  " * (n % 7) if form is MESSAGES[0] else b"x" * (n % 7) for n in range(1000)]
    events = [form % (b"word ", filler)[: form.count(b"%b")] for filler in fillers]
    reader: Any = MessageReader() if form is MESSAGES[0] else StreamReader()
    reader.feed(b"".join([BEGUN, *events]))
    assert b"word " * 1000 in reader.messages
    assert decoded < 6


def test_a_form_that_is_not_learnt_any_more_lends_its_place_to_none() -> None:
    for odd in range(20):
        words = [MESSAGES[0] % (b'a \\"', b"")] * odd
        events = [BEGUN, *words, *(MESSAGES[kind] % (b"A", b"")[: 2 - kind] for kind in (0, 1, 0, 1))]
        assert read_by(MessageReader(), [b"".join(events)]) == read_by(MessageReader(), one_by_one(events))


@given(
    st.lists(st.sampled_from([b"data: [DONE]\n\n", b"[DONE]", b"\n\n", b"\r\n", b"data: ", b"x"]), max_size=8).map(
        b"".join
    )
)
def test_the_end_of_a_stream_is_where_its_marker_is_a_line(events: bytes) -> None:
    match = re.search(rb"(?:^|[\r\n])data:[ \t]*\[DONE\][ \t]*(?:\r?\n){0,2}", events)
    assert end_of_stream(events) == (match.end() if match else None)
