"""The audit log as a chain: each entry's hash covers the hash before it, so that no change goes unnoticed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tetrad.kernel import Digest, digest_json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
GENESIS = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to what. `project` is empty for what concerns the whole installation."""

    project: str
    at: datetime
    actor: str
    action: str
    target: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An event in its place in the chain of its project; `seq` counts from 1."""

    event: AuditEvent
    seq: int
    previous: str
    hash: str


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are wanted: what is empty says nothing. `action` is a beginning, `target` a part of what it names.

    Of the times `since` counts and `until` does not.
    """

    actor: str = ""
    action: str = ""
    target: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditHead:
    """Where a chain ends, kept apart from it, so that cutting off its end is noticed as well."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class AuditCheck:
    """What a look at a whole chain found. Note `head` elsewhere: it proves later that nothing before it changed."""

    entries: int
    intact: bool
    head: str
    broken_at: int | None = None
    reason: str = ""


def micros(at: datetime) -> int:
    """Return microseconds since the epoch, in integers: a float of seconds would round."""
    return (at - _EPOCH) // _MICROSECOND


def entry_hash(event: AuditEvent, seq: int, previous: str) -> Digest:
    """Return the hash of an entry: SHA-256 over its canonical JSON, time in microseconds since the epoch."""
    return digest_json(
        {
            "project": event.project,
            "seq": seq,
            "at_us": micros(event.at),
            "actor": event.actor,
            "action": event.action,
            "target": event.target,
            "detail": dict(event.detail),
            "previous": previous,
        }
    )


def linked(event: AuditEvent, head: AuditHead) -> AuditEntry:
    """Return the event as the entry that follows the head."""
    seq = head.seq + 1
    return AuditEntry(event, seq, head.hash, entry_hash(event, seq, head.hash))


def check_chain(entries: Iterable[AuditEntry], head: AuditHead, exported: AuditHead | None = None) -> AuditCheck:
    """Go through a chain from its first entry and find where it was changed, if anywhere.

    `exported` is where it ended at an earlier time, by what was kept elsewhere: whoever has written the whole chain
    anew, its head included, is found out by it.
    """
    expected = AuditHead()
    for entry in entries:
        if exported is not None and entry.seq == exported.seq and entry.hash != exported.hash:
            reason = "the entry is not the one that was exported"
            return AuditCheck(expected.seq, intact=False, head=expected.hash, broken_at=entry.seq, reason=reason)
        reason = _fault(entry, expected)
        if reason:
            return AuditCheck(expected.seq, intact=False, head=expected.hash, broken_at=entry.seq, reason=reason)
        expected = AuditHead(entry.seq, entry.hash)
    if expected != head:
        return AuditCheck(
            expected.seq,
            intact=False,
            head=expected.hash,
            broken_at=min(expected.seq, head.seq) + 1,
            reason=f"the log was noted to end at entry {head.seq}, and ends at {expected.seq}",
        )
    if exported is not None and exported.seq > expected.seq:
        reason = f"the log was exported up to entry {exported.seq}, and ends at {expected.seq}"
        return AuditCheck(expected.seq, intact=False, head=expected.hash, broken_at=expected.seq + 1, reason=reason)
    return AuditCheck(expected.seq, intact=True, head=expected.hash)


def _fault(entry: AuditEntry, expected: AuditHead) -> str:
    if entry.seq != expected.seq + 1:
        return f"entry {expected.seq + 1} is missing"
    if entry.previous != expected.hash:
        return "the entry does not follow the one before it"
    if entry.hash != entry_hash(entry.event, entry.seq, entry.previous):
        return "the entry was changed"
    return ""
