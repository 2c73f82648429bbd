"""Which code runs outside: what callers announced with their requests, as traces keep it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from tetrad.releases.ports import CodeSighting
from tetrad.traces import Traces


class TracedCode:
    """`CodeSightings` by the spans of an app's requests."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def announced(self, project: str, app: str, *, last_s: int) -> Sequence[CodeSighting]:
        return [
            CodeSighting(
                each.code, each.key_id, each.service, each.requests, datetime.fromtimestamp(each.last_ns / 1e9, UTC)
            )
            for each in self._traces.announced(project, app, last_s=last_s)
        ]
