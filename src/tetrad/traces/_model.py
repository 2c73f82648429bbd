"""What the store keeps of a span."""

from __future__ import annotations

from typing import Literal

import msgspec

from tetrad.kernel import Usage

SpanKind = Literal["SERVER", "CLIENT", "INTERNAL", "PRODUCER", "CONSUMER"]
SpanStatus = Literal["unset", "ok", "error"]
CodeMatch = Literal["", "match", "mismatch", "unannounced"]


class Span(msgspec.Struct, frozen=True, omit_defaults=True):
    """One wide, immutable row; (project, trace_id, span_id) is its identity, so a row that comes twice is one row.

    Times are nanoseconds since the epoch. `usage` and `cost` stand on the spans of model calls only (attempts), never
    on their parents, so that any sum is right. `cost` is a decimal text in `currency`, None where it is unknown.
    `first_chunk_ns` is the time of the first piece of an answer, 0 where there was none.
    `input` and `output` are JSON documents (OpenTelemetry GenAI messages or the protocol's own), empty where content
    was not recorded.
    """

    project: str
    trace_id: str
    span_id: str
    name: str
    start_ns: int
    end_ns: int
    parent_id: str = ""
    kind: SpanKind = "INTERNAL"
    status: SpanStatus = "unset"
    status_message: str = ""
    # the call, in the words of OpenTelemetry's GenAI conventions
    operation: str = ""
    provider: str = ""
    request_model: str = ""
    response_model: str = ""
    response_id: str = ""
    finish_reasons: tuple[str, ...] = ()
    usage: Usage | None = None
    cost: str | None = None
    currency: str = "USD"
    stream: bool = False
    first_chunk_ns: int = 0
    attempt: int = 0
    http_status: int = 0
    error_type: str = ""
    # the release that answered
    app: str = ""
    ref: str = ""
    release: str = ""
    binding: str = ""
    variant: str = ""
    prompt_name: str = ""
    prompt_version: str = ""
    code_digest: str = ""
    code_match: CodeMatch = ""
    # who asked
    session: str = ""
    user: str = ""
    unit: str = ""
    key_id: str = ""
    service: str = ""
    # content and the rest
    input: bytes = b""
    output: bytes = b""
    attributes: dict[str, str] = {}
