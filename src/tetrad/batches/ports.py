"""What files and batches need of the outside world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

from tetrad.batches._model import Batch, BatchSearch, BudgetPart, Line, LineAnswer, StoredFile
from tetrad.kernel import Digest, Principal


class BatchStore(Protocol):
    """Rows of files, batches and lines. A file that has expired is as good as gone, whether it was removed or not."""

    def put_file(self, file: StoredFile) -> None:
        """Insert a file."""
        ...

    def file(self, project: str, identity: str, now_s: int) -> StoredFile | None:
        """Return a file of a project, None where it is not there."""
        ...

    def files(
        self, project: str, *, purpose: str, hidden: str, after: str, limit: int, newest_first: bool, now_s: int
    ) -> list[StoredFile]:
        """Return files by their age, from the one behind `after` on; those with the purpose `hidden` are not listed."""
        ...

    def drop_file(self, project: str, identity: str) -> bool:
        """Remove a file; tell whether it was there."""
        ...

    def kept(self, project: str) -> tuple[int, int]:
        """Return how many files a project has, and how many bytes."""
        ...

    def sweep(self, now_s: int, ended_before_s: int) -> int:
        """Remove files that have expired and batches that ended long ago; tell how many rows went."""
        ...

    def held(self) -> Iterable[Digest]:
        """Return the digests that files and open batches of all projects need."""
        ...

    def add(self, batch: Batch) -> None:
        """Insert a batch."""
        ...

    def remove(self, batch: Batch) -> None:
        """Remove a batch with its lines; again, it changes nothing."""
        ...

    def batch(self, identity: str, project: str | None = None) -> Batch | None:
        """Return a batch; None where it is not there, or not in that project."""
        ...

    def batches(self, project: str, *, protocol: str, before: str, after: str, limit: int) -> list[Batch]:
        """Return batches, the newest first, of those older than `before` or newer than `after`, where given."""
        ...

    def search(self, project: str, search: BatchSearch, after: tuple[int, str] | None, limit: int) -> list[Batch]:
        """Return those that are searched for, by age, from a time (seconds) and an id on."""
        ...

    def open(self) -> list[Batch]:
        """Return the batches of all projects that are not over."""
        ...

    def change(self, identity: str, decide: Callable[[Batch], Batch | None]) -> Batch | None:
        """Replace a batch by what `decide` makes of it as it stands, with nobody else in between.

        None from `decide` changes nothing. Returns the batch as it stands then; None where there is none.
        """
        ...

    def put_lines(self, identity: str, lines: Sequence[Line]) -> None:
        """Insert lines, all unanswered; those that are there stay as they are."""
        ...

    def unanswered(self, identity: str, after: int, limit: int) -> list[Line]:
        """Return lines behind number `after` that have no answer, in order."""
        ...

    def hold(self, identity: str, holds: Sequence[tuple[str, str, int]]) -> None:
        """Note what is to be held of budgets for a batch, in place of what was before; what is spent stays."""
        ...

    def parts(self, identity: str) -> list[BudgetPart]:
        """Return what a batch holds and spent of budgets, by rule and instance."""
        ...

    def let_go(self, identity: str) -> None:
        """Forget what a batch held and spent: the budgets know. Again, it changes nothing."""
        ...

    def not_let_go(self) -> list[str]:
        """Return the batches that are over, or not there any more, and hold of budgets."""
        ...

    def answer(self, identity: str, answers: Sequence[LineAnswer]) -> Batch | None:
        """Keep answers and count them; a line that has one keeps its first."""
        ...

    def answers(self, identity: str) -> Iterator[tuple[Line, LineAnswer | None]]:
        """Yield all lines in order with their answers, in bounded memory."""
        ...

    def finish(self, batch: Batch, files: Sequence[StoredFile]) -> bool:
        """Put a batch that has ended in the place of the open one, add its files and forget its lines, all or nothing.

        Tells whether it was open.
        """
        ...


class BatchJobs(Protocol):
    """Who does the work of batches."""

    def start(self, batch: Batch) -> None:
        """See to it that a batch is worked on; again, it changes nothing. Raises `TetradError` where nobody can be."""
        ...

    def ended(self, batch: Batch) -> str | None:
        """Return why nobody works on a batch any more; empty where somebody does, None where nobody was asked."""
        ...


class BatchHolds(Protocol):
    """Budgets, of which a batch that a provider does has its part set aside until it has ended."""

    def hold(self, batch: str, parts: Sequence[BudgetPart]) -> bool:
        """Set aside what the parts say is held, in place of what was before. Again, it changes nothing.

        Tells whether there was enough; where there was not, `release` must follow.
        """
        ...

    def spend(self, batch: str, parts: Sequence[BudgetPart]) -> None:
        """Count what was spent of these parts in all since the batch began: told again, it is counted once."""
        ...

    def release(self, batch: str, parts: Sequence[BudgetPart]) -> None:
        """Count what was spent, and give back what was not, for good. Again, it changes nothing."""
        ...


class LineKeys(Protocol):
    """The keys by which the lines of batches are called."""

    def secret(self, batch: Batch) -> str:
        """Return what to call a batch's lines with; raises `BatchKeyGone` where its key may do nothing any more."""
        ...

    def remaining(self, batch: Batch) -> str:
        """Return what a batch whose key is gone is watched and settled with at its provider; it calls no model."""
        ...

    def kept(self, batch: Batch) -> dict[str, str] | None:
        """Return what lines are to be recorded by when the key is gone; None where that is not known."""
        ...

    def changed(self) -> None:
        """Note that batches began, ended or were handed over, and with them their keys."""
        ...


class Auditor(Protocol):
    """The audit log; `tetrad.identity.Audit.record` fulfils it. Never called inside a transaction of a store."""

    def __call__(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append an event; raise where it cannot, so that what must be audited does not happen unseen."""
        ...
