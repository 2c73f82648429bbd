"""Headers that tell Tetrad about a call."""

from __future__ import annotations

import re

from tetrad_sdk._errors import TetradSdkError

MAX_CHARS = 256
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def headers(*, session: str = "", user: str = "", unit: str = "", code: str = "") -> dict[str, str]:
    """Return the headers that place calls in a session; give them to any client as `default_headers`.

    `session` is the conversation, `user` who asks, `unit` what is assigned to a variant where that is neither, and
    `code` the digest of `code_digest`. Empty ones are left out. Values are printable ASCII of at most 256 characters:
    hash or percent-encode others.
    """
    found: dict[str, str] = {}
    for name, value in (("session", session), ("user", user), ("unit", unit), ("code", code)):
        if not value:
            continue
        if len(value) > MAX_CHARS or not value.isascii() or not value.isprintable() or value != value.strip():
            raise TetradSdkError(
                f"the {name} {value[:60]!r} cannot be sent in a header",
                hint=f"use printable ASCII of at most {MAX_CHARS} characters",
            )
        found[f"x-tetrad-{name}"] = value
    if code and not _DIGEST.fullmatch(code):
        raise TetradSdkError(f"{code!r} is no digest of code", hint="use tetrad_sdk.code_digest(folder)")
    return found


def trace_headers() -> dict[str, str]:
    """Return `traceparent` (and `tracestate`) of the OpenTelemetry span that is active, for one call's `extra_headers`.

    Empty where OpenTelemetry is not installed or no span is active; Tetrad then starts a trace of its own.
    """
    try:
        from opentelemetry.trace import get_current_span
    except ImportError:
        return {}
    context = get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    found = {"traceparent": f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"}
    if context.trace_state:
        found["tracestate"] = context.trace_state.to_header()
    return found
