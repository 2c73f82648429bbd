"""What an upstream of the OpenAI protocol answers beside chat and embeddings, and how it reads forms."""

from __future__ import annotations

import base64
import json
from email import message_from_bytes
from email.policy import HTTP
from typing import Any

AUDIO = bytes(range(256)) * 400
PICTURE = base64.b64encode(b"\x89PNG fake").decode()
IMAGE_USAGE = {
    "input_tokens": 12,
    "output_tokens": 1056,
    "total_tokens": 1068,
    "input_tokens_details": {"text_tokens": 12, "image_tokens": 0},
}
EDIT_USAGE = {**IMAGE_USAGE, "input_tokens": 312, "input_tokens_details": {"text_tokens": 12, "image_tokens": 300}}
SPOKEN_USAGE = {
    "type": "tokens",
    "input_tokens": 14,
    "output_tokens": 45,
    "total_tokens": 59,
    "input_token_details": {"text_tokens": 0, "audio_tokens": 14},
}


def read_form(content_type: str, raw: bytes) -> dict[str, Any]:
    """Return texts by name, and under `files` (field, file's name, bytes)."""
    message = message_from_bytes(f"content-type: {content_type}\r\n\r\n".encode() + raw, policy=HTTP)
    found: dict[str, Any] = {"files": []}
    for part in message.iter_parts():  # type: ignore[attr-defined] # the policy makes it an EmailMessage
        name = part.get_param("name", header="content-disposition")
        data = part.get_payload(decode=True)
        if part.get_filename() is not None:
            found["files"].append((name, part.get_filename(), data))
        else:
            found[name] = data.decode()
    return found


def media_answer(target: str, body: dict[str, Any]) -> Any:
    """Return the JSON answer to a call, a text for transcriptions in another format; None for other paths."""
    path = target.removeprefix("/v1")
    if path == "/moderations":
        result = {"flagged": True, "categories": {"violence": True}, "category_scores": {"violence": 0.9}}
        return {"id": "modr-1", "model": "omni-moderation-1", "results": [result]}
    if path == "/rerank":
        order = sorted(range(len(body["documents"])), key=lambda at: body["query"] not in body["documents"][at])
        results = [{"index": at, "relevance_score": 0.9 - place / 10} for place, at in enumerate(order)]
        return {"id": "rerank-1", "model": "r1", "results": results, "usage": {"total_tokens": 40}}
    if path in ("/images/generations", "/images/edits", "/images/variations"):
        usage = IMAGE_USAGE if path == "/images/generations" else EDIT_USAGE
        return {"created": 1, "data": [{"b64_json": PICTURE}], "usage": usage}
    if path in ("/audio/transcriptions", "/audio/translations"):
        if body.get("response_format") in ("text", "srt", "vtt"):
            return "Hello there."
        return {"text": "Hello there.", "usage": SPOKEN_USAGE}
    return None


def media_events(target: str) -> list[bytes]:
    """Return the events of a streamed answer."""
    if target.endswith("/transcriptions"):
        told: list[dict[str, Any]] = [
            {"type": "transcript.text.delta", "delta": "Hello "},
            {"type": "transcript.text.delta", "delta": "there."},
            {"type": "transcript.text.done", "text": "Hello there.", "usage": SPOKEN_USAGE},
        ]
    else:
        told = [
            {"type": "image_generation.partial_image", "b64_json": PICTURE, "partial_image_index": 0},
            {"type": "image_generation.completed", "b64_json": PICTURE, "usage": IMAGE_USAGE},
        ]
    return [f"event: {each['type']}\ndata: {json.dumps(each)}\n\n".encode() for each in told]
