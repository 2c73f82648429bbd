"""From spans to rows: what is kept in the row, what is cut, what is refused. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

import msgspec

from tetrad.kernel import digest_bytes
from tetrad.traces._model import Span

DAY_NS = 86_400 * 1_000_000_000
PREVIEW_CHARS = 200
MAX_FUTURE_NS = DAY_NS
CUT = "tetrad.cut"
"""The attribute that names what was cut, or could not be read, before a span was stored."""

COLUMNS: tuple[str, ...] = (
    "project", "trace_id", "span_id", "parent_id", "entry", "call", "name", "kind", "status", "status_message",
    "start", "duration_ns", "ttft_ns", "operation", "provider", "request_model", "response_model", "response_id",
    "finish_reasons", "has_usage", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens",
    "reasoning_tokens", "cost", "currency", "stream", "attempt", "http_status", "error_type", "app", "ref", "release",
    "binding", "variant", "prompt_name", "prompt_version", "code_digest", "code_match", "session", "user", "unit",
    "key_id", "service", "input_preview", "input_digest", "input_bytes", "output_preview", "output_digest",
    "output_bytes", "attributes", "ingested",
)  # fmt: skip

ROOT, SERVER = 1, 2
"""Values of `entry`: a span without a parent; a server's span whose parent may live in another system."""

_TRACE_ID = re.compile(r"[0-9a-f]{32}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_LARGEST_COST = Decimal(1_000_000)
_SCALE = Decimal("0.000000000001")
_MODEL_CALLS = frozenset(
    {
        "chat",
        "text_completion",
        "generate_content",
        "embeddings",
        "moderations",
        "rerank",
        "images",
        "transcriptions",
        "speech",
    }
)
_LARGEST_COUNT = 2**53 - 1
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class RowLimits:
    """What one span may hold; what is longer is cut, and the span says so in the attribute `tetrad.cut`."""

    text_chars: int = 1024
    message_chars: int = 8192
    attributes: int = 256
    attribute_chars: int = 8192
    attributes_chars: int = 131_072
    payload_bytes: int = 8 * 1024 * 1024
    keep_days: int = 400


class Payload(NamedTuple):
    """A content that lies outside its row, named by its digest within a project and a day."""

    project: str
    day: int
    digest: str
    size: int
    data: bytes


class Prepared(NamedTuple):
    """What a batch of spans became: rows as JSON arrays, payloads, and spans that were refused and why.

    `entries` are the spans that may stand for their trace: project, trace, start.
    """

    rows: list[bytes]
    payloads: dict[tuple[str, int, str], Payload]
    entries: list[tuple[str, str, int]]
    refused: list[tuple[Span, str]]


def prepare(spans: Sequence[Span], now_ns: int, limits: RowLimits) -> Prepared:
    """Turn spans into what is stored; identical spans always become identical rows but for their arrival time."""
    prepared = Prepared([], {}, [], [])
    ingested = str(now_ns)
    for span in spans:
        wrong = refusal(span, now_ns, limits)
        if wrong:
            prepared.refused.append((span, wrong))
            continue
        prepared.rows.append(_encode(_row(span, ingested, limits, prepared.payloads)))
        if entry_of(span):
            prepared.entries.append((span.project, span.trace_id, span.start_ns))
    return prepared


def refusal(span: Span, now_ns: int, limits: RowLimits) -> str:
    """Say why a span cannot be stored at all, "" where it can."""
    if not span.project or len(span.project) > 128:
        return "project"
    if not _TRACE_ID.fullmatch(span.trace_id) or span.trace_id == _NO_TRACE:
        return "trace_id"
    if not _SPAN_ID.fullmatch(span.span_id) or span.span_id == _NO_SPAN:
        return "span_id"
    if not now_ns - limits.keep_days * DAY_NS <= span.start_ns <= now_ns + MAX_FUTURE_NS:
        return "time"
    return ""


def entry_of(span: Span) -> int:
    """Tell whether a span may stand for its whole trace: `ROOT`, `SERVER`, else 0."""
    if not _SPAN_ID.fullmatch(span.parent_id):
        return ROOT
    return SERVER if span.kind == "SERVER" else 0


def preview(data: bytes) -> str:
    """Return the first characters of a content, as lists show them."""
    return data[: PREVIEW_CHARS * 4].decode("utf-8", "replace")[:PREVIEW_CHARS]


def _row(
    span: Span, ingested: str, limits: RowLimits, payloads: dict[tuple[str, int, str], Payload]
) -> tuple[Any, ...]:
    cut: list[str] = []
    short = limits.text_chars

    def text(value: str, field: str) -> str:
        if len(value) <= short:
            return value
        cut.append(field)
        return value[:short]

    parent = span.parent_id
    if parent and not _SPAN_ID.fullmatch(parent):
        cut.append("parent_id")
        parent = ""
    message = span.status_message
    if len(message) > limits.message_chars:
        message = message[: limits.message_chars]
        cut.append("status_message")
    usage = span.usage
    cost, currency = _cost(span, cut)
    span_input = _payload(span, span.input, "input", limits, payloads, cut)
    span_output = _payload(span, span.output, "output", limits, payloads, cut)
    first = span.first_chunk_ns - span.start_ns if span.first_chunk_ns else 0
    return (
        span.project, span.trace_id, span.span_id, parent, entry_of(span),
        1 if usage is not None or (span.kind == "CLIENT" and span.operation in _MODEL_CALLS) else 0,
        text(span.name, "name"), span.kind, span.status, message,
        str(span.start_ns), _count(span.end_ns - span.start_ns), _count(first), text(span.operation, "operation"),
        text(span.provider, "provider"), text(span.request_model, "request_model"),
        text(span.response_model, "response_model"), text(span.response_id, "response_id"),
        [text(reason, "finish_reasons") for reason in span.finish_reasons[:16]], 0 if usage is None else 1,
        *((0, 0, 0, 0, 0) if usage is None else (
            _count(usage.input), _count(usage.cache_read), _count(usage.cache_written), _count(usage.output),
            _count(usage.reasoning),
        )),
        cost, currency, 1 if span.stream else 0, min(_count(span.attempt), 65_535),
        min(_count(span.http_status), 65_535), text(span.error_type, "error_type"), text(span.app, "app"),
        text(span.ref, "ref"), text(span.release, "release"), text(span.binding, "binding"),
        text(span.variant, "variant"), text(span.prompt_name, "prompt_name"),
        text(span.prompt_version, "prompt_version"), text(span.code_digest, "code_digest"), span.code_match,
        text(span.session, "session"), text(span.user, "user"), text(span.unit, "unit"), text(span.key_id, "key_id"),
        text(span.service, "service"), *span_input, *span_output, _attributes(span.attributes, limits, cut), ingested,
    )  # fmt: skip


def _count(value: int) -> int:
    return 0 if value < 0 else min(value, _LARGEST_COUNT)


def _cost(span: Span, cut: list[str]) -> tuple[str | None, str]:
    if span.cost is None:
        return None, ""
    try:
        amount = Decimal(span.cost)
        known = amount.is_finite() and abs(amount) < _LARGEST_COST and _CURRENCY.fullmatch(span.currency) is not None
        if known:
            return f"{amount.quantize(_SCALE):f}", span.currency
    except InvalidOperation:
        pass  # said below: an unreadable cost is an unknown cost, never 0
    cut.append("cost")
    return None, ""


def _payload(
    span: Span,
    data: bytes,
    field: str,
    limits: RowLimits,
    payloads: dict[tuple[str, int, str], Payload],
    cut: list[str],
) -> tuple[str, str, int]:
    if not data:
        return "", "", 0
    size = len(data)
    if size > limits.payload_bytes:
        data = data[: limits.payload_bytes]
        cut.append(field)
    digest = digest_bytes(data).removeprefix("sha256:")
    key = (span.project, span.start_ns // DAY_NS, digest)
    if key not in payloads:
        payloads[key] = Payload(*key, len(data), data)
    return preview(data), digest, size


def _attributes(given: Mapping[str, str], limits: RowLimits, cut: list[str]) -> Mapping[str, str]:
    if not cut and len(given) <= limits.attributes:
        total = 0
        for key, value in given.items():
            length = len(key) + len(value)
            total += length
            if length > limits.attribute_chars:
                break
        else:
            if total <= limits.attributes_chars:
                return given
    kept: dict[str, str] = {}
    left, shortened = limits.attributes_chars, False
    for key, value in given.items():
        name, room = key[:256], min(limits.attribute_chars, left)
        if len(kept) >= limits.attributes or len(name) >= room:
            shortened = True
            continue
        kept[name] = value[: room - len(name)]
        shortened |= len(kept[name]) < len(value) or name != key
        left -= len(name) + len(kept[name])
    if shortened:
        cut.append("attributes")
    kept[CUT] = ",".join(sorted(set(cut)))
    return kept


def encode_payloads(payloads: Sequence[Payload]) -> bytes:
    """Write payloads as RowBinary: project, day, digest, size, data."""
    out = bytearray()
    for project, day, digest, size, data in payloads:
        _append(out, project.encode())
        out += day.to_bytes(2, "little")
        _append(out, digest.encode())
        out += size.to_bytes(8, "little")
        _append(out, data)
    return bytes(out)


def _append(out: bytearray, value: bytes) -> None:
    """Append bytes behind their length, an unsigned LEB128 number."""
    length = len(value)
    while length > 0x7F:
        out.append(length & 0x7F | 0x80)
        length >>= 7
    out.append(length)
    out += value
