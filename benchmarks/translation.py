"""What translation costs: microseconds of CPU per chunk of a stream, and per request, without a network."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from tetrad.serving import OPERATIONS
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation import Translation, find

LIMIT_US = 25.0
CHUNKS = 200
ROUNDS = 60
NAMED = {operation.name: operation for operation in OPERATIONS}


def chat_stream() -> list[bytes]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m1-2026"}
    chunks: list[Any] = [
        {**head, "choices": [{"index": 0, "delta": {"content": f" word{i}"}, "logprobs": None, "finish_reason": None}]}
        for i in range(CHUNKS)
    ]
    usage = {"prompt_tokens": 12, "completion_tokens": CHUNKS, "total_tokens": CHUNKS + 12}
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    chunks.append({**head, "choices": [], "usage": usage})
    return [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks] + [b"data: [DONE]\n\n"]


def messages_stream() -> list[bytes]:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": [], "usage": {}}
    events: list[dict[str, Any]] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    events += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": f" word{i}"}}
        for i in range(CHUNKS)
    ]
    events += [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": CHUNKS}},
        {"type": "message_stop"},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def responses_stream() -> list[bytes]:
    whole: dict[str, Any] = {"id": "resp_1", "object": "response", "model": "m", "output": [], "status": "completed"}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    where = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**whole, "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
    ]
    events += [{"type": "response.output_text.delta", **where, "delta": f" word{i}"} for i in range(CHUNKS)]
    events += [
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": whole},
    ]
    return [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events]


def request(operation: str) -> ModelCall:
    turns = [{"role": role, "content": "some words " * 20} for _ in range(5) for role in ("user", "assistant")]
    body = {"model": "m", "max_tokens": 100, "temperature": 0.2, "stream": True, "messages": turns}
    fields = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}
    return ModelCall(NAMED[operation], fields, stream=True, usage_asked=True)


def said(client: str, upstream: str) -> Translation:
    translate = find(client, [upstream])
    if translate is None:
        raise SystemExit(f"nothing translates {client} to {upstream}")
    return translate(request(client), False)


def best_us(work: Callable[[], int]) -> float:
    """Return the best time of one unit of work, of which `work` does as many as it returns."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time()
        count = work()
        best = min(best, (time.process_time() - begun) / count)
    return best * 1e6


def stream_us(client: str, upstream: str, pieces: list[bytes]) -> float:
    def work() -> int:
        for _ in range(5):
            events = said(client, upstream).events()
            told = [events.feed(piece) for piece in pieces]
            told.append(events.end())
            if not events.done or b"word199" not in b"".join(told):
                raise SystemExit("the stream was not translated whole")
        return 5 * CHUNKS

    return best_us(work)


def request_us(client: str, upstream: str) -> float:
    def work() -> int:
        for _ in range(50):
            said(client, upstream)
        return 50

    return best_us(work)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--json", type=Path)
    given = asked.parse_args()
    streams = [
        ("messages", "chat", chat_stream()),
        ("chat", "messages", messages_stream()),
        ("messages", "responses", responses_stream()),
        ("chat", "responses", responses_stream()),
    ]
    results: dict[str, float] = {}
    print(f"\nTranslation, microseconds of CPU (a stream of {CHUNKS} chunks, its request included)")
    missed = False
    for client, upstream, pieces in streams:
        chunk = stream_us(client, upstream, pieces)
        whole = request_us(client, upstream)
        good = chunk <= LIMIT_US
        missed |= not good
        print(
            f"  {client:8} from {upstream:8}  per chunk {chunk:6.2f}   limit {LIMIT_US:g} "
            f"{'ok' if good else 'MISSED'}   per request {whole:6.1f}"
        )
        results[f"{client}_from_{upstream}_chunk_us"] = chunk
        results[f"{client}_from_{upstream}_request_us"] = whole
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    if missed:
        sys.exit(1)


if __name__ == "__main__":
    main()
