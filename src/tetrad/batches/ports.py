"""What files and batches need of the outside world."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from tetrad.batches._model import Batch, Line, LineAnswer, StoredFile
from tetrad.kernel import Digest


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

    def hold(self, batch: str, holds: Sequence[tuple[str, str, int]]) -> bool:
        """Set amounts aside: rule, instance, amount. Again, it changes nothing.

        Tells whether there was enough; where there was not, nothing is set aside.
        """
        ...

    def release(self, batch: str, holds: Sequence[tuple[str, str, int]]) -> None:
        """Give back what was set aside: what the lines cost was counted by itself. Again, it changes nothing."""
        ...


class LineKeys(Protocol):
    """The keys by which the lines of batches are called."""

    def secret(self, batch: Batch) -> str:
        """Return what to call a batch's lines with; raises `BatchKeyGone` where its key may do nothing any more."""
        ...

    def changed(self) -> None:
        """Note that batches began or ended, and with them their keys."""
        ...
