"""One request and everything that became of it: what the pipeline fills in and the recorder reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from tetrad.kernel import TetradError, new_span_id, new_trace_id
from tetrad.serving._body import Extension
from tetrad.serving._model import KeyEntry, Kind, ModelEntry, ReleaseRoute, Upstream
from tetrad.serving._operations import Operation
from tetrad.serving._pricing import Pricer
from tetrad.serving.ports import Outcome

Spending = tuple[str, str, int, int]
"""What was spent of a budget: rule, instance, 10^-12 of the rule's currency, calls of unknown cost."""


class Reply(Protocol):
    """Where an answer goes. Every method waits while the client takes its time."""

    async def whole(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Send an answer that is complete."""
        ...

    async def begin(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the head of a stream."""
        ...

    async def write(self, piece: bytes) -> None:
        """Send a piece of a stream."""
        ...

    async def end(self, piece: bytes) -> None:
        """Send the last piece of a stream, and its end."""
        ...


class Attempt:
    """One call of one upstream; where it is not the first, `reason` says why: retry, fallback, hedge or key."""

    __slots__ = (
        "cost",
        "currency",
        "end_ns",
        "error_message",
        "error_type",
        "input",
        "model",
        "outcome",
        "pricer",
        "reason",
        "span_id",
        "start_ns",
        "status",
        "step",
        "upstream",
    )

    def __init__(
        self, model: ModelEntry, upstream: Upstream, sent: bytes, start_ns: int, pricer: Pricer | None = None
    ) -> None:
        self.model = model
        self.upstream = upstream
        self.pricer = pricer
        self.input = sent
        self.start_ns = start_ns
        self.end_ns = 0
        self.span_id = new_span_id()
        self.status = 0
        self.outcome: Outcome | None = None
        self.error_type = ""
        self.error_message = ""
        self.cost: str | None = None
        self.currency = "USD"
        self.step = ""
        self.reason = ""


class Exchange:
    """A request from its arrival to its record. Mutable, and never shared between requests.

    `headers` are by lower-case name. Everything after `body` is filled in by the pipeline. `key` is None until the
    client is known; what belongs to nobody is not recorded. `on_done` is called once, when everything about the
    exchange is known and before it is recorded. `background` is the id of the response that it begins, or answers;
    `spending` is what a line of a provider's own batch cost of budgets. What `goes_on` stands on what was said before,
    wherever that is by now: in the body, at the upstream.
    """

    __slots__ = (
        "app",
        "attempts",
        "background",
        "binding",
        "body",
        "cache",
        "code",
        "code_match",
        "end_ns",
        "error",
        "error_type",
        "goes_on",
        "headers",
        "input",
        "key",
        "labels",
        "model",
        "on_done",
        "operation",
        "parent_id",
        "ready_ns",
        "recorded",
        "ref",
        "release",
        "route",
        "session",
        "span_id",
        "spending",
        "start_ns",
        "status",
        "stream",
        "table_version",
        "trace_id",
        "unit",
        "unused",
        "user",
        "variables",
    )

    deployment: str = ""
    """The model, where the path names it; what the body says does not count then."""

    def __init__(self, operation: Operation, headers: Mapping[bytes, bytes], start_ns: int) -> None:
        self.operation = operation
        self.headers = headers
        self.start_ns = start_ns
        self.ready_ns = start_ns
        self.end_ns = 0
        self.body = b""
        parent = _parent(headers.get(b"traceparent"))
        self.trace_id, self.parent_id = parent or (new_trace_id(), "")
        self.span_id = new_span_id()
        self.key: KeyEntry | None = None
        self.model = ""
        self.stream = False
        self.release: ReleaseRoute | None = None
        self.app = ""
        self.ref = ""
        self.binding = ""
        self.goes_on = False
        self.spending: Sequence[Spending] = ()
        self.session = ""
        self.user = ""
        self.unit = ""
        self.route = ""
        self.background = ""
        self.labels: Extension | None = None
        self.cache = ""
        self.unused: tuple[str, ...] = ()
        self.code = ""
        self.code_match = ""
        self.input = b""
        self.variables = b""
        self.attempts: list[Attempt] = []
        self.status = 0
        self.error: TetradError | None = None
        self.error_type = ""
        self.table_version = 0
        self.recorded = False
        self.on_done: list[Callable[[Exchange], None]] = []

    def join(self, traceparent: str) -> None:
        """Become part of a trace that was told elsewhere than in the headers; what is malformed changes nothing."""
        parent = _parent(traceparent.encode("latin-1", "replace"))
        if parent is not None:
            self.trace_id, self.parent_id = parent

    @property
    def kind(self) -> Kind:
        """What the model is asked to do."""
        return self.operation.kind


_HEX = frozenset("0123456789abcdef")


def _parent(header: bytes | None) -> tuple[str, str] | None:
    """Return (trace id, span id) of a W3C `traceparent`; None where it is absent or malformed, as the standard says."""
    if header is None or len(header) < 55:
        return None
    parts = header[:55].decode("latin-1").split("-")
    if len(parts) != 4 or (len(header) > 55 and (parts[0] == "00" or header[55:56] != b"-")):
        return None
    version, trace_id, span_id, flags = parts
    lengths = (len(version), len(trace_id), len(span_id), len(flags))
    if lengths != (2, 32, 16, 2) or version == "ff" or not _HEX.issuperset(version + trace_id + span_id + flags):
        return None
    if not trace_id.strip("0") or not span_id.strip("0"):
        return None
    return trace_id, span_id
