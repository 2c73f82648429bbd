"""What the traces need of a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from tetrad.traces._rows import Prepared
from tetrad.traces._views import (
    Announced,
    CacheUse,
    Dropped,
    Overview,
    Position,
    SortField,
    SpanContent,
    SpanRow,
    StoreSize,
    TraceFilter,
    TracePage,
    TraceSummary,
    TraceSums,
    Traffic,
    Used,
    UsedBy,
    Window,
)


class SpanStore(Protocol):
    """Keeps spans and answers questions about them, each within one project.

    A span is one by (project, trace_id, span_id): stored any number of times, it counts once in every answer, at once.
    """

    def add(self, prepared: Prepared) -> None:
        """Keep rows and payloads. They are durable when this returns; when it raises, some may be there already."""
        ...

    def traces(
        self,
        project: str,
        window: Window,
        only: TraceFilter,
        sort: SortField,
        descending: bool,
        after: Position | None,
        limit: int,
    ) -> TracePage:
        """Return traces whose standing span began in the window, a page at a time."""
        ...

    def summaries(self, project: str, trace_ids: Sequence[str], window: Window) -> list[TraceSummary]:
        """Return these traces as a list shows them, in the order of their start; absent ones are left out."""
        ...

    def arrived_after(self, project: str, ingested_ns: int, trace_id: str, limit: int) -> list[TraceSummary]:
        """Return traces whose standing span was stored after the given one, in the order of arrival."""
        ...

    def locate(self, project: str, trace_id: str, hint_ns: int | None) -> tuple[Window, TraceSums] | None:
        """Find a trace: the stretch of time that its spans take, and what they add up to; None where it is not."""
        ...

    def spans(
        self, project: str, trace_id: str, window: Window, after: tuple[int, str] | None, limit: int
    ) -> list[SpanRow]:
        """Return spans of a trace in the order of (start, span id), from behind `after`."""
        ...

    def content(self, project: str, trace_id: str, span_id: str, window: Window) -> SpanContent | None:
        """Return one span with its contents."""
        ...

    def overview(self, project: str, window: Window, bucket_s: int, app: str) -> Overview:
        """Add a window up, bucket by bucket, beside the window before."""
        ...

    def announced(self, project: str, window: Window, app: str, limit: int) -> list[Announced]:
        """Return the code that requests of an app announced, the newest first."""
        ...

    def used(self, project: str, window: Window, by: UsedBy, limit: int) -> list[Used]:
        """Add up the calls of models in a window, by who or what made them; those with most calls first."""
        ...

    def batch_sums(self, project: str, batch: str, key: str, window: Window) -> TraceSums:
        """Add up what the spans of a batch's lines tell, of those in a window; the key made the batch."""
        ...

    def traffic(self, project: str, window: Window, bucket_s: int, failures: int) -> Traffic:
        """Tell how the calls of each upstream went in a window, with so many of its newest failures."""
        ...

    def cache_use(self, project: str, window: Window, bucket_s: int) -> CacheUse:
        """Tell what the cache answered in a window, and what that saved; buckets without a call are left out."""
        ...

    def drop_before(self, day: int) -> Dropped:
        """Remove everything of all projects that began before a day (days since the epoch)."""
        ...

    def size(self) -> StoreSize:
        """Tell how much is kept."""
        ...
