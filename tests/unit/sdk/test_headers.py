"""Headers for any client."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tetrad_sdk import TetradSdkError, headers, trace_headers

DIGEST = "sha256:" + "a" * 64


def test_only_what_is_given_is_sent() -> None:
    assert headers() == {}
    assert headers(session="s", user="u", unit="v", code=DIGEST) == {
        "x-tetrad-session": "s",
        "x-tetrad-user": "u",
        "x-tetrad-unit": "v",
        "x-tetrad-code": DIGEST,
    }


@pytest.mark.parametrize("value", ["a\nb", "a\r\nx-evil: 1", "ä", "x" * 257, " a", "\x00"])
def test_what_cannot_stand_in_a_header_is_refused(value: str) -> None:
    with pytest.raises(TetradSdkError, match="cannot be sent in a header"):
        headers(session=value)


def test_a_code_that_is_no_digest_is_refused() -> None:
    with pytest.raises(TetradSdkError, match="no digest of code"):
        headers(code="v1.2")


def test_the_active_span_is_propagated() -> None:
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState, use_span

    assert trace_headers() == {}
    context = SpanContext(
        0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1), trace_state=TraceState([("a", "b")])
    )
    with use_span(NonRecordingSpan(context)):
        assert trace_headers() == {
            "traceparent": f"00-{0xABC:032x}-{0xDEF:016x}-01",
            "tracestate": "a=b",
        }


def test_the_sdk_imports_nothing_of_the_platform_and_no_opentelemetry() -> None:
    code = "import sys, tetrad_sdk\nprint(sorted({m.split('.')[0] for m in sys.modules} & {'tetrad', 'opentelemetry'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
