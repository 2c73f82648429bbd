"""What operators do with batches: look at them, and cancel them."""

from __future__ import annotations

from tetrad.batches._model import CANCELLABLE, Batch, BatchFile, BatchSearch, FileRole
from tetrad.batches._service import Batches
from tetrad.batches.ports import Auditor, BatchStore
from tetrad.kernel import Clock, Principal


class BatchRecords:
    """Batches of all projects, without what was said in them. Safe to use from many threads."""

    def __init__(self, store: BatchStore, batches: Batches, audit: Auditor, clock: Clock) -> None:
        self._store = store
        self._batches = batches
        self._audit = audit
        self._clock = clock

    def search(self, project: str, search: BatchSearch, after: tuple[int, str] | None, limit: int) -> list[Batch]:
        """Return those that are searched for, by age, from a time (seconds) and an id on."""
        return self._store.search(project, search, after, limit)

    def get(self, project: str, identity: str) -> tuple[Batch, list[BatchFile]]:
        """Return a batch with what is known of its files; raises `BatchNotFound`."""
        batch = self._batches.batch(project, identity)
        return batch, self._files(batch)

    def cancel(self, actor: Principal, project: str, identity: str) -> tuple[Batch, list[BatchFile]]:
        """Stop a batch, which is in the audit log before it happens; calls that are under way end.

        Again, it changes nothing. Raises `BatchOver` for one that has ended, and `BatchNotFound`.
        """
        found = self._batches.batch(project, identity)
        if found.status in CANCELLABLE:
            asked = {"status": found.status, "key": found.key_id, "total": found.total, "left": found.left}
            self._audit(actor, "batch.cancelled", identity, project, **asked)
        cancelled = self._batches.cancel(project, identity)
        return cancelled, self._files(cancelled)

    def _files(self, batch: Batch) -> list[BatchFile]:
        now_s = int(self._clock.now().timestamp())
        named: tuple[tuple[FileRole, str], ...] = (
            ("input", batch.input_file),
            ("output", batch.output_file),
            ("errors", batch.error_file),
        )
        found: list[BatchFile] = []
        for role, identity in named:
            if not identity:
                continue
            file = self._store.file(batch.project, identity, now_s)
            if file is None:
                found.append(BatchFile(role, identity))
            else:
                found.append(BatchFile(role, identity, file.name, file.size, file.expires_s))
        return found
