"""What the traces refuse."""

from __future__ import annotations

from tetrad.kernel import InvalidInput, NotFound, Overloaded, TooLarge, Unavailable


class TraceNotFound(NotFound):
    """No such trace in this project."""

    code = "trace_not_found"


class SpanNotFound(NotFound):
    """No such span in this trace."""

    code = "span_not_found"


class BadWindow(InvalidInput):
    """The time window is empty, too wide or unreadable."""

    code = "bad_window"


class BadSegment(InvalidInput):
    """A shipped piece of spool is not named as one."""

    code = "bad_segment"


class ChunkTooLarge(TooLarge):
    """A shipped piece of spool is larger than one request may be."""

    code = "chunk_too_large"


class IngestBusy(Unavailable):
    """More spans wait to be stored than may wait; the sender keeps them and tries again."""

    code = "ingest_busy"


class TooManyFollowers(Overloaded):
    """As many follow the traces as may follow them."""

    code = "too_many_followers"
