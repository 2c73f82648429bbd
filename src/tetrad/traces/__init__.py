"""Spans of LLM applications: kept, listed, shown, followed."""

from tetrad.traces._ingest import IngestLimits, Receipt
from tetrad.traces._model import CodeMatch, Span, SpanKind, SpanStatus
from tetrad.traces._quarantine import Quarantine
from tetrad.traces._rows import RowLimits
from tetrad.traces._service import TraceLimits, Traces
from tetrad.traces._spool_format import (
    FrameBatch,
    FrameFault,
    OwnFields,
    SharedFields,
    SpanGroup,
    decode_frames,
    encode_frame,
    encode_group,
    read_frames,
    whole_frames,
)
from tetrad.traces._views import (
    Announced,
    Overview,
    SpanContent,
    SpanRow,
    TraceDetail,
    TraceFilter,
    TracePage,
    TraceSummary,
    Used,
    UsedBy,
    Window,
)

__all__ = [
    "Announced",
    "CodeMatch",
    "FrameBatch",
    "FrameFault",
    "IngestLimits",
    "Overview",
    "OwnFields",
    "Quarantine",
    "Receipt",
    "RowLimits",
    "SharedFields",
    "Span",
    "SpanContent",
    "SpanGroup",
    "SpanKind",
    "SpanRow",
    "SpanStatus",
    "TraceDetail",
    "TraceFilter",
    "TraceLimits",
    "TracePage",
    "TraceSummary",
    "Traces",
    "Used",
    "UsedBy",
    "Window",
    "decode_frames",
    "encode_frame",
    "encode_group",
    "read_frames",
    "whole_frames",
]
