"""The rows by which a response in the background is known while it is kept, and its events, inside a transaction.

Numbers of events have no gaps and are given once. What a second call says is counted and not shown where the first had
said something already: nobody can go on with the half of another's answer. The number of the call that is shown is
negative from when it said more than is kept: what is missing of it is told in the end.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from tetrad.kit.db import insert_or_ignore
from tetrad.responses._closing import Told
from tetrad.responses._model import BackgroundRequest, EventBatch, EventLog, EventPage, ResponseState, output_of
from tetrad.responses._store import background_events, background_records

_r, _e = background_records.c, background_events.c
_encode = msgspec.json.encode
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_list = msgspec.json.Decoder(list[msgspec.Raw])
_PER_PAGE = 16
_PAGE_BYTES = 4 * 2**20
_ROW_BYTES = 256 * 1024


def open_record(connection: sa.Connection, asked: BackgroundRequest, now: datetime) -> bool:
    """Insert what is known of a response that begins, with its first events where they are followed.

    False where one was begun by the same idempotency key.
    """
    kept, call = asked.kept, asked.call
    row = {
        "project": kept.project,
        "id": kept.id,
        "key_id": kept.key_id,
        "app": asked.app[:63],
        "model": asked.model[:300],
        "status": "queued",
        "created_at": now,
        "followed": call.events,
        "next_number": 0,
        "event_bytes": 0,
        "shown_call": 0,
        "call_events": 0,
        "idempotency": asked.idempotency or None,
        "fingerprint": asked.fingerprint,
        "dropped": "",
    }
    if not insert_or_ignore(connection, background_records, [row]):
        return False
    if call.events:
        for kind in ("response.created", "response.queued"):
            tell(connection, kept.project, kept.id, kind, kept.response)
    return True


def begun_by(connection: sa.Connection, project: str, key_id: str, idempotency: str) -> tuple[str, str] | None:
    """Return the id and the fingerprint of what was begun by an idempotency key of an API key."""
    query = sa.select(_r.id, _r.fingerprint).where(
        _r.project == project, _r.key_id == key_id, _r.idempotency == idempotency
    )
    row = connection.execute(query).first()
    return None if row is None else (row[0], row[1])


def tell(connection: sa.Connection, project: str, identity: str, kind: str, response: msgspec.Raw) -> None:
    """Add an event that shows the response; nothing where its events are not followed."""
    row = _record(connection, project, identity)
    if row is None or not row["followed"]:
        return
    said = {"type": kind, "sequence_number": row["next_number"], "response": response}
    _put(connection, row, [_encode(said)])


def mark(
    connection: sa.Connection,
    project: str,
    identity: str,
    status: str,
    *,
    ended_at: datetime | None = None,
    events_until: datetime | None = None,
    dropped: str = "",
) -> None:
    """Note how far a response is; another call of it begins where it has not ended."""
    values: dict[str, Any] = {"status": status, "call_events": 0}
    if ended_at is not None:
        values |= {"ended_at": ended_at, "events_until": events_until, "dropped": dropped}
    connection.execute(sa.update(background_records).where(*_this(project, identity)).values(values))


def add(connection: sa.Connection, project: str, identity: str, batch: EventBatch, most_bytes: int) -> bool:
    """Add what a call said, each event once; tell whether it is shown, which what is past `most_bytes` is not.

    Raises `msgspec.MsgspecError` for what is no event.
    """
    row = _record(connection, project, identity)
    if row is None or not row["followed"] or batch.first > row["call_events"]:
        return False
    new = batch.events[row["call_events"] - batch.first :]
    if not new:
        return True
    count = row["call_events"] + len(new)
    connection.execute(sa.update(background_records).where(*_this(project, identity)).values(call_events=count))
    if row["shown_call"] not in (0, batch.call):
        return False
    events = [
        _encode({**_fields.decode(event), "sequence_number": row["next_number"] + number})
        for number, event in enumerate(new)
    ]
    shown = bool(row["event_bytes"] + sum(map(len, events)) <= most_bytes)
    _put(connection, row, events if shown else [], shown_call=batch.call if shown else -batch.call)
    return shown


def close(connection: sa.Connection, project: str, identity: str, call: int, response: msgspec.Raw) -> None:
    """Add what was not kept of what the last call said, made from the whole answer; nothing where all is there.

    That is not bounded by what is kept of events, but by the answer.
    """
    row = _record(connection, project, identity)
    if row is None or not row["followed"] or not call or row["shown_call"] != -call:
        return
    query = sa.select(_e.events).where(_e.project == project, _e.response == identity).order_by(_e.last)
    told = Told(bytes(event) for packed in connection.execute(query).scalars() for event in _unpacked(packed))
    number = row["next_number"]
    events = [
        _encode({**event, "sequence_number": number + place})
        for place, event in enumerate(told.closing(output_of(response)))
    ]
    for part in _parts(events):
        _put(connection, _record(connection, project, identity), part)


def dropped_of(connection: sa.Connection, project: str, identity: str) -> str:
    """Return which parameters the upstream was not told; empty for a response that was answered at once."""
    found = connection.execute(sa.select(_r.dropped).where(*_this(project, identity))).scalar()
    return str(found or "")


def log_of(connection: sa.Connection, project: str, identity: str) -> EventLog:
    """Return how far the events are."""
    row = _record(connection, project, identity, lock=False)
    if row is None or not row["followed"]:
        return EventLog(kept=False, next_number=0, over=True)
    over = not ResponseState(row["status"]).open
    return EventLog(kept=True, next_number=row["next_number"], over=over, until=row["events_until"])


def page(connection: sa.Connection, project: str, identity: str, after: int) -> EventPage:
    """Return the next events after a number. What is not kept is not over: it may have been deleted a moment ago."""
    log = log_of(connection, project, identity)
    query = sa.select(_e.last, _e.events).where(_e.project == project, _e.response == identity, _e.last > after)
    events: list[msgspec.Raw] = []
    reached, size = after, 0
    for last, packed in connection.execute(query.order_by(_e.last).limit(_PER_PAGE)):
        these = _unpacked(packed)
        first = last - len(these) + 1
        events += these[max(0, after + 1 - first) :]
        reached = last
        size += sum(map(len, map(bytes, these)))
        if size >= _PAGE_BYTES:
            break
    return EventPage(events, reached, over=log.kept and log.over and reached >= log.next_number - 1)


def forget_events(connection: sa.Connection, now: datetime) -> int:
    """Forget the events whose time is over; tell of how many responses."""
    late = sa.select(_r.project, _r.id).where(_r.events_until <= now, _r.event_bytes > 0).limit(200)
    rows = connection.execute(late).all()
    for project, identity in rows:
        connection.execute(sa.delete(background_events).where(_e.project == project, _e.response == identity))
        connection.execute(sa.update(background_records).where(*_this(project, identity)).values(event_bytes=0))
    return len(rows)


def _parts(events: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Put events together to rows of some size."""
    part: list[bytes] = []
    size = 0
    for event in events:
        if part and size + len(event) > _ROW_BYTES:
            yield part
            part, size = [], 0
        part.append(event)
        size += len(event)
    if part:
        yield part


def _unpacked(packed: bytes) -> list[msgspec.Raw]:
    return _list.decode(zlib.decompress(packed))


def _put(connection: sa.Connection, row: Any, events: Sequence[bytes], **values: Any) -> None:
    if events:
        last = row["next_number"] + len(events) - 1
        packed = zlib.compress(b"[" + b",".join(events) + b"]", 1)
        these = {"project": row["project"], "response": row["id"], "last": last, "events": packed}
        connection.execute(sa.insert(background_events).values(these))
        values |= {"next_number": last + 1, "event_bytes": row["event_bytes"] + sum(map(len, events))}
    if values:
        connection.execute(sa.update(background_records).where(*_this(row["project"], row["id"])).values(values))


def _record(connection: sa.Connection, project: str, identity: str, *, lock: bool = True) -> Any:
    query = sa.select(background_records).where(*_this(project, identity))
    return connection.execute(query.with_for_update() if lock else query).mappings().first()


def _this(project: str, identity: str) -> tuple[sa.ColumnElement[bool], ...]:
    return _r.project == project, _r.id == identity
