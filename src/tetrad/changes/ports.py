"""What change requests ask of others: a store of their rows, and the audit log."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol

import msgspec

from tetrad.changes._model import ChangeRequest, Comment, Happening, Review, Revision, State
from tetrad.kernel import Digest, Principal


class Hold(Protocol):
    """Begins to hold artifacts in a transaction; `tetrad.registry.Registry.hold` fulfils it."""

    def __call__(self, project: str, digests: Iterable[str], transaction: Any) -> None:
        """Raise where one of them is gone; until the transaction ends none goes."""
        ...


class Step(msgspec.Struct, frozen=True):
    """What one event writes: the change request as it is after it, and what came with it."""

    request: ChangeRequest
    happening: Happening
    revision: Revision | None = None
    review: Review | None = None


class CommentStep(msgspec.Struct, frozen=True):
    """A comment to write, new or changed, and what is said of it in the history (None: nothing)."""

    comment: Comment
    happening: Happening | None = None


class Counts(msgspec.Struct, frozen=True):
    """How many comments there are, and how many threads nobody has resolved."""

    comments: int = 0
    unresolved: int = 0


class ChangeStore(Protocol):
    """The rows of change requests. Each method is one transaction; all reads are within one project."""

    def add(self, request: ChangeRequest, revision: Revision, happening: Happening, *, most: int) -> ChangeRequest:
        """Number a change request and keep it; with a `key` that is known, return the one that has it.

        What its revision rests on is held from the same transaction on, here and in `update`.
        Numbers rise by one from 1 and none is given twice. Raises `TooManyChanges` where `most` are not ended.
        """
        ...

    def get(self, project: str, number: int) -> ChangeRequest | None: ...

    def by_key(self, project: str, key: str) -> ChangeRequest | None: ...

    def list(
        self, project: str, *, app: str | None, ref: str | None, states: Collection[State], limit: int,
        before: int | None,
    ) -> Sequence[ChangeRequest]:  # fmt: skip
        """Return change requests, newest first, from before the number `before`; no `states` means all."""
        ...

    def unended(self, project: str | None) -> Sequence[ChangeRequest]:
        """Return those of one project, or of all, that are neither merged nor closed."""
        ...

    def revisions(self, project: str, number: int) -> Sequence[Revision]:
        """Return all revisions, oldest first, without their patches."""
        ...

    def revision(self, project: str, number: int, revision: int) -> Revision | None:
        """Return one revision with its patch."""
        ...

    def reviews(self, project: str, number: int) -> Sequence[Review]:
        """Return all reviews, oldest first."""
        ...

    def events(self, project: str, number: int, *, limit: int, before: int | None) -> Sequence[Happening]:
        """Return the history, newest first."""
        ...

    def update(
        self,
        project: str,
        number: int,
        decide: Callable[[ChangeRequest, Sequence[Review]], Step | None],
        transaction: Any = None,
    ) -> ChangeRequest | None:
        """Let `decide` see a change request, held against other writers, and write what it returns; None: nothing.

        In `transaction`, an open one of the same database, where it is given. Returns it as it is then, None where
        there is none. `decide` numbers revisions and reviews; a number that is taken is refused.
        """
        ...

    def comments(self, project: str, number: int) -> Sequence[Comment]:
        """Return all comments, oldest first."""
        ...

    def comment(
        self, project: str, number: int, decide: Callable[[ChangeRequest, Sequence[Comment]], CommentStep | None]
    ) -> None:
        """Let `decide` see all comments, while nobody else can change them, and write what it returns."""
        ...

    def counts(self, project: str, numbers: Collection[int]) -> dict[int, Counts]:
        """Count comments and unresolved threads."""
        ...

    def held(self, project: str) -> set[Digest]:
        """Return what all revisions of change requests that are not ended rest on: bases, candidates, pins."""
        ...


class Auditor(Protocol):
    """The audit log; `tetrad.identity.Audit.record` fulfils it. Never called inside a transaction of the store."""

    def __call__(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append an event; raise where it cannot, so that what must be audited does not happen unseen."""
        ...
