"""What is fuzzed: functions of bytes that raise nothing, and what to begin with.

    python -m support.fuzzing TARGET SECONDS FOLDER     fuzz with atheris, which is guided by coverage

Each target raises `AssertionError` where a promise is broken; whatever else it raises is a defect too.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from support.translation import NAMED, events_of
from tetrad.kernel import UNREADABLE, TetradError
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation import TRANSLATORS, find

GOLDEN = Path(__file__).parents[1] / "golden" / "translation"
PAIRS = (("chat", "messages"), ("messages", "chat"), ("completions", "chat"), ("responses", "chat"),
         ("completions", "messages"), ("responses", "messages"), ("chat", "responses"),
         ("messages", "responses"))  # fmt: skip
INSTRUMENTED = (
    *(f"tetrad.adapters.providers._{name}_wire" for name in ("anthropic", "openai", "responses")),
    *(place.partition(":")[0] for place in TRANSLATORS.values()),
)
SAMPLE: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "completions": {"model": "m", "prompt": "hi"},
    "responses": {"model": "m", "input": "hi"},
}


def has_atheris() -> bool:
    """Tell whether this Python has it."""
    return importlib.util.find_spec("atheris") is not None


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    """Cut bytes into pieces of equal length."""
    for at in range(0, len(data), step):
        yield data[at : at + step]


def is_json(data: bytes) -> bool:
    """Tell whether bytes are a JSON document."""
    try:
        msgspec.json.decode(data)
    except UNREADABLE:
        return False
    return True


def fuzz_events(data: bytes) -> None:
    """Server-sent events mean the same in whatever pieces they come, and no reader of them falls over."""
    from tetrad.adapters.providers._anthropic_wire import MessageReader, end_of_message
    from tetrad.adapters.providers._openai_wire import StreamReader, end_of_stream, without_usage_events
    from tetrad.adapters.providers._responses_wire import ResponsesReader, end_of_response
    from tetrad.serving.translation._events import EventReader

    step = data[0] % 7 + 1 if data else 1
    at_once, cut = EventReader(), EventReader()
    whole = [*at_once.feed(data), *at_once.rest()]
    parts = [payload for piece in pieces(data, step) for payload in cut.feed(piece)] + cut.rest()
    assert parts == whole, f"{parts} is not {whole}"
    for end in (end_of_stream, end_of_message, end_of_response):
        place = end(data)
        assert place is None or 0 <= place <= len(data)
    assert len(without_usage_events(data)) <= len(data)
    for reader in (StreamReader(), MessageReader(), ResponsesReader()):
        reader.feed(data)
        assert isinstance(reader.messages, bytes)
        assert isinstance(reader.finish_reasons, tuple)
        if reader.messages:
            msgspec.json.decode(reader.messages)


def fuzz_http(data: bytes) -> None:
    """The HTTP front end reads the same in whatever pieces bytes come, answers nothing twice, and lets go of all."""
    from support.fed_http import feed

    step = data[0] % 61 + 1 if data else 1
    at_once = asyncio.run(feed([data] if data else []))
    cut = asyncio.run(feed(list(pieces(data, step))))
    assert at_once.in_flight == cut.in_flight == 0
    # what is no HTTP ends a connection after the answer that is under way; in pieces, more was answered before it came
    known = len(at_once.asked) if at_once.closed else None
    assert cut.asked[:known] == at_once.asked, f"{cut.asked} is not {at_once.asked}"
    refused = sum(400 <= status < 500 for status in at_once.statuses)
    answers = [status for status in at_once.statuses if status >= 200]
    assert len(answers) <= len(at_once.asked) + refused


def fuzz_translation(data: bytes) -> None:
    """Whatever a client asks or an upstream answers is said in the other protocol, or refused with a clear error."""
    if not data:
        return
    client, upstream = PAIRS[data[0] % len(PAIRS)]
    strict, stream, part = bool(data[0] & 64), bool(data[0] & 128), data[1:]
    translate = find(client, [upstream])
    assert translate is not None
    asked, _, answered = part.partition(b"\x00")
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in SAMPLE[client].items()}
    try:
        msgspec.json.decode(asked)  # what is no UTF-8 goes on as it came, and its upstream refuses it
        fields |= msgspec.json.decode(asked, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        answered = part
    try:
        translation = translate(ModelCall(NAMED[client], fields, stream, usage_asked=strict), strict)
    except TetradError:
        return
    for raw in translation.call.fields.values():
        msgspec.json.decode(raw)
    with contextlib.suppress(TetradError):
        msgspec.json.decode(translation.whole(answered))
    if is_json(answered):  # an endpoint has made errors out of what was none
        msgspec.json.decode(translation.error(500, answered)[1])
    events = translation.events()
    try:
        said = b"".join(events.feed(piece) for piece in pieces(answered, data[0] % 50 + 1)) + events.end()
    except TetradError:
        return
    assert not said or said.endswith(b"\n\n")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "events": fuzz_events,
    "http": fuzz_http,
    "translation": fuzz_translation,
}


def seeds(target: str) -> list[bytes]:
    """Return what to begin with."""
    from support.http_requests import BREAKS, CHAT

    if target == "http":
        head = b"POST " + CHAT + b" HTTP/1.1\r\nhost: x\r\n"
        bodies = [b"content-length: 2\r\n\r\n{}", b"transfer-encoding: chunked\r\n\r\n2;a=b\r\n{}\r\n0\r\nt: 1\r\n\r\n"]
        return [head + body for body in bodies] + [head + each + b"\r\n" + bodies[0] for each in BREAKS]
    streams = [
        b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n',
        b'event: message_start\r\ndata: {"type":"message_start","message":{"usage":{}}}\r\n\r\n',
        b'data: {"type":"response.completed","response":{"status":"completed","output":[]}}\n\n',
    ]
    told = json.loads((GOLDEN / "streams.json").read_text())
    streams += [events_of(each["events"]) for each in told]
    if target == "events":
        return streams
    asked = [json.dumps(each).encode() for each in SAMPLE.values()]
    for name in ("chat_to_messages", "messages_to_chat", "chat_to_responses", "messages_to_responses"):
        asked += [json.dumps(each["request"]).encode() for each in json.loads((GOLDEN / f"{name}.json").read_text())]
    answers = [*streams, b'{"choices":[{"message":{"content":"a"}}]}', b'{"type":"message","content":[]}']
    answers += [json.dumps(each["answer"]).encode() for each in json.loads((GOLDEN / "answers.json").read_text())]
    return [
        bytes([place % 256]) + each + b"\0" + answers[place % len(answers)]
        for place, each in enumerate(each for each in asked for _ in answers)
    ]


def main() -> int:
    """Fuzz one target; anything but 0 is a finding."""
    import atheris

    target, seconds, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (folder / f"seed{number:04}").write_bytes(seed)
    with atheris.instrument_imports(include=["tetrad.serving.translation", "tetrad.adapters.providers"]):
        for module in INSTRUMENTED:
            importlib.import_module(module)
    if target == "http":
        from tetrad.processes.gateway._http1_connection import HttpConnection

        for name in ("data_received", "on_headers_complete", "on_header", "on_body", "on_message_complete", "_refuse"):
            setattr(HttpConnection, name, atheris.instrument_func(getattr(HttpConnection, name)))
    options = [f"-max_total_time={seconds}", "-timeout=20", "-seed=1", "-rss_limit_mb=2048", "-max_len=4096"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/found-", str(folder)], TARGETS[target])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
