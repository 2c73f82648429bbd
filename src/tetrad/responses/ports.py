"""Where responses are kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from tetrad.kernel import Principal
from tetrad.responses._model import (
    BackgroundRecord,
    BackgroundRequest,
    EventBatch,
    EventLog,
    EventPage,
    KeptConversation,
    KeptResponse,
    OpenResponse,
    RecordSearch,
)


class ResponseStore(Protocol):
    """Rows by project and id. A row that has expired is as good as gone, whether it was removed or not."""

    def put(self, kept: KeptResponse, lineage: Sequence[str], expires_at: datetime) -> bool:
        """Insert a response; tell whether it is new. `lineage` are the turns before it, the oldest first.

        None of them expires before `expires_at` from then on.
        """
        ...

    def find(self, project: str, ids: Sequence[str], now: datetime) -> dict[str, KeptResponse]:
        """Return those of the responses that are there, by id."""
        ...

    def lineage(self, project: str, identity: str, now: datetime) -> tuple[str, ...] | None:
        """Return the turns before a response, the oldest first; None where it is not there."""
        ...

    def drop(self, project: str, identity: str, now: datetime) -> bool:
        """Remove a response, under way in the background or not; tell whether it was there."""
        ...

    def count(self, project: str) -> int:
        """Count the rows of a project."""
        ...

    def put_conversation(self, kept: KeptConversation, expires_at: datetime) -> None:
        """Insert a conversation, or overwrite its metadata."""
        ...

    def conversation(self, project: str, identity: str, now: datetime) -> KeptConversation | None:
        """Return a conversation; None where it is not there."""
        ...

    def drop_conversation(self, project: str, identity: str, now: datetime) -> bool:
        """Remove a conversation with its items; tell whether it was there."""
        ...

    def count_conversations(self, project: str) -> int:
        """Count the conversations of a project."""
        ...

    def append(
        self,
        project: str,
        conversation: str,
        items: Sequence[tuple[str, bytes]],
        *,
        source: str,
        most: int,
        most_bytes: int,
        expires_at: datetime,
        now: datetime,
    ) -> bool | None:
        """Add items, by their ids, behind all others, all or none; those of a `source` only once.

        False where they would be more than `most`, or more than `most_bytes`; None where there is no conversation.
        """
        ...

    def retract(self, project: str, conversation: str, source: str) -> int:
        """Remove the items of a `source` from a conversation; tell how many there were."""
        ...

    def conversation_items(self, project: str, conversation: str) -> list[tuple[str, bytes]]:
        """Return the items of a conversation with their ids, the oldest first."""
        ...

    def drop_item(self, project: str, conversation: str, item: str) -> bool:
        """Remove an item; tell whether it was there."""
        ...

    def sweep(self, now: datetime, most: int) -> int:
        """Remove at most so many rows that have expired; tell how many went."""
        ...


class BackgroundStore(Protocol):
    """Responses that are still to be answered, each beside the kept response that shows it."""

    def begin(
        self,
        asked: BackgroundRequest,
        *,
        lineage: Sequence[str],
        now: datetime,
        deadline_at: datetime,
        expires_at: datetime,
        most: int,
    ) -> bool:
        """Insert both, or neither; false where the project has `most` under way.

        Raises `BegunBefore` where the API key began one by the same idempotency key.
        """
        ...

    def begun_by(self, project: str, key_id: str, idempotency: str) -> tuple[str, str] | None:
        """Return the id and the fingerprint of what an API key began by an idempotency key; None where nothing."""
        ...

    def open(self, project: str, identity: str) -> OpenResponse | None:
        """Return a response that has not ended; None where it has, or is not there."""
        ...

    def every_open(self) -> list[tuple[str, str]]:
        """Return (project, id) of all that have not ended, the oldest first."""
        ...

    def keys(self) -> Collection[tuple[str, str]]:
        """Return (project, key id) of all that have not ended."""
        ...

    def note_call(self, project: str, identity: str, response: msgspec.Raw) -> bool:
        """Count a call and show the response so; false where it has ended."""
        ...

    def settle(
        self,
        project: str,
        identity: str,
        response: msgspec.Raw,
        *,
        upstream: str,
        now: datetime,
        expires_at: datetime,
        events_until: datetime,
        dropped: str = "",
    ) -> bool:
        """End a response: from now on it is shown so. False where it has ended before, and stays as it was."""
        ...

    def dropped(self, project: str, identity: str) -> str:
        """Return the parameters that the upstream of a response was not told, as they were named."""
        ...

    def add_events(self, project: str, identity: str, batch: EventBatch, most_bytes: int) -> bool | None:
        """Add what a call said, each event once; None where the response has ended.

        False where it is not shown: another call is made by now, or was shown before, or there would be more than
        `most_bytes`.
        Raises `msgspec.MsgspecError` for what is no event.
        """
        ...

    def event_log(self, project: str, identity: str) -> EventLog:
        """Return how far the events of a response are."""
        ...

    def events(self, project: str, identity: str, after: int) -> EventPage:
        """Return the next events after a number, some at a time."""
        ...

    def forget_events(self, now: datetime) -> int:
        """Forget events whose time is over; tell of how many responses."""
        ...


class RecordStore(Protocol):
    """What is known of responses in the background, as long as they are kept."""

    def search(
        self, project: str, search: RecordSearch, after: tuple[datetime, str] | None, limit: int
    ) -> list[BackgroundRecord]:
        """Return those that are searched for, by age, from a time and an id on."""
        ...

    def get(self, project: str, identity: str) -> BackgroundRecord | None:
        """Return one; None where it is not there."""
        ...


class BackgroundJobs(Protocol):
    """Who does the work. A job has the name of its response, so asking twice is asking once."""

    def start(self, project: str, identity: str) -> None:
        """Have a response answered; raises `TetradError` where nobody can."""
        ...

    def ended(self, identity: str) -> str | None:
        """Tell why the job of a response is over; empty while it goes on, None where there is none."""
        ...


class BackgroundKeys(Protocol):
    """What calls in the background are made with."""

    def secret(self, project: str, key_id: str) -> str:
        """Return a secret by which gateways take a call for the key's; raises `ResponseKeyGone`."""
        ...

    def needed(self, project: str, key_id: str) -> None:
        """See to it that gateways know that secret soon."""
        ...


class Auditor(Protocol):
    """The audit log; `tetrad.identity.Audit.record` fulfils it. Never called inside a transaction of a store."""

    def __call__(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append an event; raise where it cannot, so that what must be audited does not happen unseen."""
        ...
