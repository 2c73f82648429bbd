"""From pieces of spool to durable rows: read, checked, queued, stored together, acknowledged."""

from __future__ import annotations

import logging
import re
import threading
import zlib
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import dataclass, field

import msgspec

from tetrad.kernel import Clock, TetradError, Unavailable
from tetrad.traces._quarantine import Quarantine
from tetrad.traces._rows import Payload, Prepared, RowLimits, prepare
from tetrad.traces._spool_format import encode_frame, read_frames
from tetrad.traces.errors import BadSegment, ChunkTooLarge, IngestBusy
from tetrad.traces.ports import SpanStore

log = logging.getLogger(__name__)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_MIB = 1024 * 1024
_RECENT = 4096


@dataclass(frozen=True, slots=True)
class IngestLimits:
    """How much may come in one piece, wait, and be stored in one statement."""

    chunk_bytes: int = 64 * _MIB
    queue_bytes: int = 128 * _MIB
    batch_rows: int = 10_000
    batch_bytes: int = 32 * _MIB
    answer_s: float = 30.0


class Receipt(msgspec.Struct, frozen=True):
    """What became of a piece: the sender goes on at `next_offset`; everything before it is dealt with for good."""

    next_offset: int
    spans: int
    refused: int
    damaged: int
    duplicate: bool = False


@dataclass
class IngestCounters:
    """Numbers since the start, for /metrics."""

    spans: int = 0
    duplicates: int = 0
    refused: int = 0
    damaged: int = 0
    batches: int = 0
    failures: int = 0
    turned_away: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, **steps: int) -> None:
        """Count up, from any thread."""
        with self.lock:
            for name, step in steps.items():
                setattr(self, name, getattr(self, name) + step)

    def shown(self) -> dict[str, int]:
        """Return the numbers by name."""
        with self.lock:
            return {
                name: getattr(self, name)
                for name in ("spans", "duplicates", "refused", "damaged", "batches", "failures", "turned_away")
            }


@dataclass(slots=True)
class _Piece:
    place: str
    prepared: Prepared
    size: int
    done: Future[int]


class Ingest:
    """The way in. One thread stores; senders wait for it, so that an acknowledgement means durable.

    Nothing is acknowledged before it is stored. What is sent again is stored again and folded by its identity; the
    memory of recent pieces only saves that work.
    """

    def __init__(
        self,
        store: SpanStore,
        clock: Clock,
        quarantine: Quarantine,
        announce: Callable[[Sequence[tuple[str, str, int]]], None],
        *,
        limits: IngestLimits | None = None,
        rows: RowLimits | None = None,
    ) -> None:
        self.counters = IngestCounters()
        self._store = store
        self._clock = clock
        self._quarantine = quarantine
        self._announce = announce
        self._limits = limits or IngestLimits()
        self._rows = rows or RowLimits()
        self._queue: deque[_Piece] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._stopping = True
        self._thread: threading.Thread | None = None
        self._recent: OrderedDict[tuple[str, str, int, int, int], Receipt] = OrderedDict()
        self._recent_lock = threading.Lock()

    def start(self) -> None:
        """Begin to store."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="traces-ingest", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Store what waits, then end; pieces that come later are turned away."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(self._limits.answer_s)

    @property
    def queued_bytes(self) -> int:
        """How much waits to be stored."""
        return self._queued_bytes

    @property
    def queued_pieces(self) -> int:
        """How many pieces wait."""
        return len(self._queue)

    def take(self, worker: str, segment: str, offset: int, data: bytes, *, final: bool = False) -> Receipt:
        """Store a piece of a segment and return once it is durable.

        Damaged frames and spans that cannot be stored are set aside and counted; the rest is stored. A torn frame at
        the end is left for the next piece, unless `final`. Raises `IngestBusy` where the sender should come again.
        """
        _check_place(worker, segment, offset, len(data), self._limits)
        identity = (worker, segment, offset, len(data), zlib.crc32(data, int(final)))
        with self._recent_lock:
            known = self._recent.get(identity)
        if known is not None:
            self.counters.add(duplicates=known.spans)
            return msgspec.structs.replace(known, duplicate=True)
        place = f"{worker}-{segment}-{offset}"
        batch = read_frames(data, final=final)
        for fault in batch.faults:
            piece = memoryview(data)[fault.offset : fault.offset + fault.length]
            self._quarantine.keep(f"{worker}-{segment}-{offset + fault.offset}", fault.reason, piece)
        prepared = prepare(batch.spans, self._clock.now_ns(), self._rows)
        self._set_aside(place, prepared)
        refused = len(prepared.refused) + (self._stored(place, prepared) if prepared.rows else 0)
        receipt = Receipt(offset + batch.consumed, len(batch.spans) - refused, refused, len(batch.faults))
        self.counters.add(spans=receipt.spans, refused=refused, damaged=receipt.damaged)
        with self._recent_lock:
            self._recent[identity] = receipt
            while len(self._recent) > _RECENT:
                self._recent.popitem(last=False)
        return receipt

    def _set_aside(self, place: str, prepared: Prepared) -> None:
        for number, (span, reason) in enumerate(prepared.refused):
            self._quarantine.keep(f"{place}-span{number}", reason, encode_frame(span))

    def _stored(self, place: str, prepared: Prepared) -> int:
        """Wait until the rows are durable; return how many the store refused for good."""
        size = sum(map(len, prepared.rows)) + sum(payload.size for payload in prepared.payloads.values())
        piece = _Piece(place, prepared, size, Future())
        with self._changed:
            full = self._queue and self._queued_bytes + size > self._limits.queue_bytes
            if self._stopping or full:
                self.counters.add(turned_away=1)
                raise IngestBusy(
                    "the traces are stopping" if self._stopping else "too many spans wait to be stored",
                    hint="keep them and send them again",
                    retry_after_s=1,
                )
            self._queue.append(piece)
            self._queued_bytes += size
            self._changed.notify_all()
        try:
            return piece.done.result(self._limits.answer_s)
        except NotInTime:
            self.counters.add(turned_away=1)
            raise IngestBusy(
                f"storing took longer than {self._limits.answer_s:g} s", hint="send them again", retry_after_s=5
            ) from None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._stopping)
                if not self._queue:
                    return
                pieces = self._next_batch()
            try:
                self._store_together(pieces)
            finally:
                with self._changed:
                    self._queued_bytes -= sum(piece.size for piece in pieces)

    def _next_batch(self) -> list[_Piece]:
        pieces, rows, size = [self._queue.popleft()], 0, 0
        rows, size = len(pieces[0].prepared.rows), pieces[0].size
        while self._queue:
            following = self._queue[0]
            rows, size = rows + len(following.prepared.rows), size + following.size
            if rows > self._limits.batch_rows or size > self._limits.batch_bytes:
                break
            pieces.append(self._queue.popleft())
        return pieces

    def _store_together(self, pieces: Sequence[_Piece]) -> None:
        """Store pieces in one statement; where that fails, each alone, so that one cannot hold up the others."""
        try:
            self._store.add(_joined([piece.prepared for piece in pieces]))
        except Exception as error:  # noqa: BLE001 - whatever it is, the senders are told, and the thread goes on
            self.counters.add(failures=1)
            if len(pieces) > 1 and not isinstance(error, Unavailable):
                for piece in pieces:
                    self._store_together([piece])
                return
            for piece in pieces:
                self._store_what_can_be(piece, error)
            return
        self.counters.add(batches=1)
        for piece in pieces:
            piece.done.set_result(0)
        self._announce([entry for piece in pieces for entry in piece.prepared.entries])

    def _store_what_can_be(self, piece: _Piece, error: Exception) -> None:
        """Find the rows that the store refuses, set them aside, and store the others: nothing may block a spool."""
        if isinstance(error, Unavailable) or not isinstance(error, TetradError):
            log.error("storing %d spans failed: %s", len(piece.prepared.rows), error)
            piece.done.set_exception(_as_busy(error))
            return
        refused = 0
        try:
            waiting = [piece.prepared]
            while waiting:
                part = waiting.pop()
                try:
                    self._store.add(part)
                except Unavailable:
                    raise
                except TetradError as reason:
                    if len(part.rows) == 1:
                        refused += 1
                        log.error("the store refuses a span of %s: %s", piece.place, reason)  # noqa: TRY400
                        self._quarantine.keep(f"{piece.place}-row{refused}", "refused", part.rows[0])
                    else:
                        middle = len(part.rows) // 2
                        payloads = part.payloads
                        waiting.append(Prepared(part.rows[:middle], payloads, [], []))
                        waiting.append(Prepared(part.rows[middle:], payloads, [], []))
        except Exception as broken:
            log.exception("storing spans of %s failed", piece.place)
            piece.done.set_exception(_as_busy(broken))
            return
        piece.done.set_result(refused)
        self._announce(piece.prepared.entries)


def _as_busy(error: Exception) -> IngestBusy:
    text = error.message if isinstance(error, TetradError) else type(error).__name__
    return IngestBusy(f"the spans could not be stored: {text}", hint="keep them and send them again", retry_after_s=5)


def _joined(parts: Sequence[Prepared]) -> Prepared:
    if len(parts) == 1:
        return parts[0]
    payloads: dict[tuple[str, int, str], Payload] = {}
    for part in parts:
        payloads |= part.payloads
    return Prepared([row for part in parts for row in part.rows], payloads, [], [])


def _check_place(worker: str, segment: str, offset: int, size: int, limits: IngestLimits) -> None:
    for label, name in (("worker", worker), ("segment", segment)):
        if not _NAME.fullmatch(name):
            raise BadSegment(f"{name[:60]!r} is no name of a {label}", hint="letters, digits, `.`, `_` and `-`")
    if offset < 0:
        raise BadSegment(f"the offset {offset} is negative", hint="an offset counts bytes from the segment's start")
    if size > limits.chunk_bytes:
        raise ChunkTooLarge(
            f"the piece has {size} bytes, at most {limits.chunk_bytes} come in one request",
            hint="send smaller pieces, cut between frames",
        )
