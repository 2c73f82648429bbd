"""Where responses are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from tetrad.responses._model import KeptConversation, KeptResponse


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
        """Remove a response; tell whether it was there."""
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

    def conversation_items(self, project: str, conversation: str) -> list[tuple[str, bytes]]:
        """Return the items of a conversation with their ids, the oldest first."""
        ...

    def drop_item(self, project: str, conversation: str, item: str) -> bool:
        """Remove an item; tell whether it was there."""
        ...

    def sweep(self, now: datetime, most: int) -> int:
        """Remove at most so many rows that have expired; tell how many went."""
        ...
