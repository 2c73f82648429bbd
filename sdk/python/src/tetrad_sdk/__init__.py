"""Tetrad for applications: say which code asks, and read back what came of it.

Any OpenAI or Anthropic client talks to Tetrad without this package. It adds three things: the headers that place a call
in a session and announce the code that made it (`headers`, `code_digest`), the link to a running OpenTelemetry trace
(`trace_headers`), and a small client of the control plane (`connect`).
"""

from tetrad_sdk._client import App, Client, ReleaseDetail, Span, Trace, TraceDetail, TracePage, connect
from tetrad_sdk._code import code_digest
from tetrad_sdk._errors import ApiError, BadFolder, NotConfigured, TetradSdkError, Unreachable
from tetrad_sdk._headers import headers, trace_headers

__all__ = [
    "ApiError",
    "App",
    "BadFolder",
    "Client",
    "NotConfigured",
    "ReleaseDetail",
    "Span",
    "TetradSdkError",
    "Trace",
    "TraceDetail",
    "TracePage",
    "Unreachable",
    "code_digest",
    "connect",
    "headers",
    "trace_headers",
]
