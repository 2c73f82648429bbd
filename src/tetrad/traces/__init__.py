"""Spans of LLM applications: kept, listed, shown."""

from tetrad.traces._model import Span

__all__ = ["Span"]
