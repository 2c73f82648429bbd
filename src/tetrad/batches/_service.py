"""Keep files, and see batches from their input to their results."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, BinaryIO

import msgspec

from tetrad.batches._model import (
    BATCH,
    BATCH_OUTPUT,
    CANCELLABLE,
    ENDPOINTS,
    HIDDEN,
    MESSAGES,
    MOST_ERRORS,
    MOST_MODELS,
    PURPOSES,
    Batch,
    BatchError,
    BatchLimits,
    Carriage,
    Line,
    LineAnswer,
    Protocol,
    Status,
    StoredFile,
    Work,
    WorkLine,
    body_of,
    final_status,
    output_line,
    read_call,
    unanswered,
    window_s,
)
from tetrad.batches.errors import (
    BadBatch,
    BadFile,
    BatchKeyGone,
    BatchNotFound,
    BatchOver,
    FileNotThere,
    FileTooLarge,
    TooManyBatches,
    TooManyFiles,
)
from tetrad.batches.ports import BatchHolds, BatchJobs, BatchStore, LineKeys
from tetrad.kernel import Clock, Digest, TetradError, uuid7
from tetrad.kit.blobs import BlobStore

log = logging.getLogger(__name__)
_DAY_S = 86_400
_LEAST_KEEP_S, _MOST_KEEP_S = 3600, 30 * _DAY_S
_LINES_AT_ONCE = 2000
_MOST_METADATA, _METADATA_KEY, _METADATA_VALUE = 16, 64, 512
_WORK_BYTES = 8 * 2**20


class Batches:
    """Files and batches of all projects; every look-up names the project. Safe to use from many threads."""

    def __init__(
        self,
        store: BatchStore,
        blobs: BlobStore,
        jobs: BatchJobs,
        keys: LineKeys,
        clock: Clock,
        *,
        scratch: Path,
        limits: BatchLimits | None = None,
        holds: BatchHolds | None = None,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._jobs = jobs
        self._keys = keys
        self._clock = clock
        self._scratch = scratch
        self._holds = holds
        self.limits = limits or BatchLimits()

    # files

    @contextmanager
    def draft(self) -> Iterator[IO[bytes]]:
        """Lend a file without a name, for bytes that are on their way."""
        self._scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=self._scratch) as draft:
            yield draft

    def keep_file(
        self, project: str, name: str, purpose: str, draft: IO[bytes], *, key_id: str = "", keep_s: int | None = None
    ) -> StoredFile:
        """Keep what was written to a draft, for `keep_s` seconds; raises errors of limits and `BadFile`."""
        if purpose not in PURPOSES:
            raise BadFile(f"{purpose[:40]!r} is no purpose of a file", hint=f"one of {', '.join(PURPOSES)}")
        self._check_keep(keep_s)
        size = draft.tell()
        if not size:
            raise BadFile("the file is empty", hint="send its content as the part `file`")
        if size > self.limits.file_bytes:
            raise FileTooLarge(
                f"the file has {size:,} bytes; at most {self.limits.file_bytes:,} are kept",
                hint="split it, or raise TETRAD_FILE_MAX_BYTES",
            )
        self._store.sweep(*self._old())
        count, kept = self._store.kept(project)
        if count >= self.limits.project_files or kept + size > self.limits.project_bytes:
            raise TooManyFiles(
                f"the project {project!r} keeps {count:,} files of {kept:,} bytes; one of {size:,} is too much",
                hint="delete some, or raise TETRAD_FILE_PROJECT_BYTES or TETRAD_FILE_PROJECT_MAX",
            )
        if keep_s is None and purpose == BATCH:
            keep_s = self.limits.file_keep_days * _DAY_S
        file = self._put(project, Path(name).name[:255] or "file", purpose, draft, keep_s, key_id)
        self._store.put_file(file)
        return file

    def file(self, project: str, identity: str) -> StoredFile:
        """Return a file; raises `FileNotThere`."""
        found = self._store.file(project, identity, self._now())
        if found is None or found.purpose == HIDDEN:
            raise _no_file(project, identity)
        return found

    def files(
        self, project: str, *, purpose: str = "", after: str = "", limit: int = 100, newest_first: bool = True
    ) -> tuple[list[StoredFile], bool]:
        """Return files by age, and whether there are more."""
        found = self._store.files(
            project, purpose=purpose, hidden=HIDDEN, after=after, limit=limit + 1, newest_first=newest_first,
            now_s=self._now(),
        )  # fmt: skip
        return found[:limit], len(found) > limit

    def content(self, file: StoredFile) -> BinaryIO:
        """Open the bytes of a file; the caller closes it."""
        return self._blobs.open(file.digest)

    def drop_file(self, project: str, identity: str) -> None:
        """Forget a file; its bytes go at the next collection. Raises `FileNotThere`."""
        self.file(project, identity)
        self._store.drop_file(project, identity)

    def blobs(self) -> Sequence[Digest]:
        """Return the digests that files and batches need, for the registry's collector."""
        return list(self._store.held())

    # batches

    def create(
        self,
        project: str,
        key_id: str,
        input_file: str,
        endpoint: str,
        window: str,
        *,
        metadata: dict[str, str] | None = None,
        output_keep_s: int | None = None,
    ) -> Batch:
        """Begin a batch of the requests in a file; they are checked before the first is made."""
        file = self.file(project, input_file)
        if file.purpose != BATCH:
            raise BadBatch(
                f"the file {input_file} was uploaded for {file.purpose!r}", hint="upload it with the purpose `batch`"
            )
        if endpoint not in ENDPOINTS:
            raise BadBatch(f"{endpoint[:100]!r} cannot be called in a batch", hint=f"one of {', '.join(ENDPOINTS)}")
        self._check_keep(output_keep_s)
        self._check_metadata(metadata)
        if file.size > self.limits.batch_bytes:
            raise BadBatch(
                f"the file has {file.size:,} bytes; a batch has at most {self.limits.batch_bytes:,}",
                hint="split it, or raise TETRAD_BATCH_MAX_BYTES",
            )
        batch = self._new(project, key_id, "openai", endpoint, window)
        return self._begin(
            msgspec.structs.replace(
                batch, input_file=file.id, input_digest=file.digest, metadata=metadata, output_keep_s=output_keep_s
            )
        )

    def create_messages(self, project: str, key_id: str, requests: Sequence[tuple[str, msgspec.Raw]]) -> Batch:
        """Begin a batch of Anthropic's messages, each a `custom_id` and its params; raises `BadBatch` for bad ones."""
        if not requests:
            raise BadBatch("the batch has no requests", hint="send at least one")
        batch = self._new(project, key_id, "anthropic", MESSAGES, "24h")
        with self.draft() as draft:
            for custom_id, params in requests:
                line = {"custom_id": custom_id, "method": "POST", "url": MESSAGES, "body": params}
                draft.write(msgspec.json.encode(line) + b"\n")
            draft.seek(0)
            errors, _, _ = self._check_lines(draft, batch)
            if errors:
                raise BadBatch(f"requests[{(errors[0].line or 1) - 1}]: {errors[0].message}", hint="nothing was begun")
            draft.seek(0)
            digest = self._blobs.put_stream(draft)  # type: ignore[arg-type] # a binary file is what it wants
        return self._begin(msgspec.structs.replace(batch, input_digest=digest))

    def batch(self, project: str, identity: str, protocol: Protocol | None = None) -> Batch:
        """Return a batch; raises `BatchNotFound`."""
        found = self._store.batch(identity, project)
        if found is None or (protocol is not None and found.protocol != protocol):
            raise BatchNotFound(f"the project {project!r} has no batch {identity[:80]!r}", hint="list them to find it")
        return found

    def batches(
        self, project: str, *, protocol: str = "", before: str = "", after: str = "", limit: int = 20
    ) -> tuple[list[Batch], bool]:
        """Return batches, the newest first, and whether there are more in the direction that was asked for."""
        found = self._store.batches(project, protocol=protocol, before=before, after=after, limit=limit + 1)
        more = len(found) > limit
        if more:
            found = found[1:] if after and not before else found[:limit]
        return found, more

    def cancel(self, project: str, identity: str, protocol: Protocol | None = None) -> Batch:
        """Stop a batch; calls that are under way end. Again, it changes nothing.

        Raises `BatchOver` for one that has ended.
        """
        self.batch(project, identity, protocol)
        now = self._now()

        def decide(found: Batch) -> Batch | None:
            if found.status == "cancelling":
                return None
            if found.status not in CANCELLABLE:
                raise BatchOver(f"the batch {identity} is {found.status}", hint="only one under way can be cancelled")
            return _moved(found, "cancelling", now)

        changed = self._store.change(identity, decide)
        return self.batch(project, identity) if changed is None else changed

    def remove(self, project: str, identity: str, protocol: Protocol | None = None) -> None:
        """Forget a batch that has ended, and its result file."""
        found = self.batch(project, identity, protocol)
        if found.open:
            raise BatchOver(f"the batch {identity} is {found.status}", hint="cancel it, and wait for its end")
        for file in filter(None, (found.output_file, found.error_file)):
            self._store.drop_file(project, file)
        self._store.remove(found)

    def results(self, batch: Batch) -> BinaryIO:
        """Open the results of one of Anthropic's batches.

        Raises `BatchOver` before its end, and `FileNotThere` where they have expired.
        """
        if batch.open:
            raise BatchOver(f"the batch {batch.id} has not ended", hint="wait until processing_status is ended")
        file = self._store.file(batch.project, batch.output_file, self._now())
        if file is None:
            raise FileNotThere(f"the results of the batch {batch.id} are gone", hint="they are kept for some days")
        return self._blobs.open(file.digest)

    # what the worker asks

    def work(self, identity: str) -> Work:
        """Return what a worker must know of a batch now; raises `BatchNotFound`."""
        batch = self._known(identity)
        secret, problem = "", None
        if batch.open:
            try:
                secret = self._keys.secret(batch)
            except BatchKeyGone as error:
                problem = BatchError(error.code, error.message)
                if batch.carriage.way == "native":  # its provider may have it, and asks money for it
                    secret = self._keys.remaining(batch)
            if problem is None and batch.answer_bytes > self.limits.answers_bytes:
                said = f"the batch's answers have more than {self.limits.answers_bytes:,} bytes"
                problem = BatchError("answers_too_large", said)
        return Work(
            batch.id, batch.protocol, batch.status, batch.expires_s, batch.total, batch.left, secret, problem,
            batch.carriage,
        )  # fmt: skip

    def validate(self, identity: str) -> Work:
        """Read a batch's input and keep where its lines are; what is wrong with any of them fails the batch.

        Again, it changes nothing.
        """
        batch = self._known(identity)
        if batch.status not in ("validating", "cancelling") or batch.total:
            return self.work(identity)
        with self._blobs.open(batch.input_digest) as source:
            errors, lines, models = self._check_lines(source, batch)
        if not errors:
            for start in range(0, len(lines), _LINES_AT_ONCE):
                self._store.put_lines(identity, lines[start : start + _LINES_AT_ONCE])
        now = self._now()

        def decide(found: Batch) -> Batch | None:
            if found.status not in ("validating", "cancelling"):
                return None
            if errors and found.status == "validating":
                failed = msgspec.structs.replace(found, errors=tuple(errors), models=models)
                return _moved(failed, "failed", now)
            counted = msgspec.structs.replace(found, total=0 if errors else len(lines), models=models)
            return counted if found.status == "cancelling" else _moved(counted, "in_progress", now)

        changed = self._store.change(identity, decide)
        if changed is not None and not changed.open:
            self._keys.changed()
        return self.work(identity)

    def carry(self, identity: str, wanted: Carriage) -> Work:
        """Note how a batch is done, and set aside what it may cost before anything is submitted.

        Where a budget does not cover it, its lines are calls, and each is asked for its own. What was submitted stays:
        its id at the provider is noted once. Raises `BatchNotFound`.
        """
        batch = self._known(identity)
        known = batch.carriage
        if batch.open and not known.batch and known.way != "calls":
            if wanted.way == "native" and wanted.holds is not None:
                self._store.hold(identity, wanted.holds)  # so that it is given back whoever dies now
                if not self._set_aside(identity):
                    wanted = Carriage(way="calls", why="a budget does not cover all of its lines at once")
            self._carried(batch, wanted)
        elif batch.open and wanted.way == "calls" and known.way == "native":
            # the provider refused all of it
            self._carried(batch, wanted)
        return self.work(identity)

    def _carried(self, batch: Batch, wanted: Carriage) -> None:
        kept = wanted if wanted.key is not None else msgspec.structs.replace(wanted, key=self._keys.kept(batch))
        kept = msgspec.structs.replace(kept, holds=None)  # they have rows of their own
        if self._store.change(batch.id, lambda found: msgspec.structs.replace(found, carriage=kept)) is None:
            raise BatchNotFound(f"there is no batch {batch.id[:80]!r}")
        if wanted.way == "calls":
            self._let_go(batch.id, batch.carriage)
        if wanted.way != batch.carriage.way or wanted.batch != batch.carriage.batch:
            self._keys.changed()

    def _set_aside(self, identity: str) -> bool:
        parts = self._store.parts(identity)
        return not parts or (self._holds is not None and self._holds.hold(identity, parts))

    def _let_go(self, identity: str, carriage: Carriage | None = None) -> None:
        """Tell the budgets what a batch spent in the end, and give the rest back."""
        parts = self._store.parts(identity)
        if self._holds is not None and (parts or (carriage is not None and carriage.holds)):  # by an older version
            self._holds.release(identity, parts)
            self._store.let_go(identity)

    def lines(self, identity: str, after: int, limit: int) -> list[WorkLine]:
        """Return calls behind line `after` that nobody has answered, some megabytes at most and at least one."""
        batch = self._known(identity)
        found: list[WorkLine] = []
        size = 0
        with self._blobs.open(batch.input_digest) as source:
            for line in self._store.unanswered(identity, after, limit):
                size += line.length
                if found and size > _WORK_BYTES:
                    break
                source.seek(line.start)
                url, body = body_of(source.read(line.length))
                found.append(WorkLine(line.number, url, body))
        return found

    def answer(self, identity: str, answers: Sequence[LineAnswer]) -> Work:
        """Keep answers of lines; one that is kept already stays as it is. Raises `BatchNotFound`.

        What a line cost of budgets is counted when its first answer is kept, and never again.
        """
        if self._store.answer(identity, answers) is None:
            raise BatchNotFound(f"there is no batch {identity[:80]!r}")
        # told anew where the answers are kept already: whoever kept them may have died before it told of the spending
        told = {(rule, instance) for each in answers for rule, instance, _, _ in each.spent}
        if told and self._holds is not None:
            parts = [each for each in self._store.parts(identity) if (each.rule, each.instance) in told]
            if parts:
                self._holds.spend(identity, parts)
        return self.work(identity)

    def finish(self, identity: str, problem: BatchError | None = None) -> Batch:
        """Write the results of a batch that is done with, whole or not, and end it. Again, it changes nothing.

        `problem` says why it stopped before its end, if it did.
        """
        now = self._now()

        def decide(found: Batch) -> Batch | None:
            if not found.open:
                return None
            noted = msgspec.structs.replace(found, errors=(problem,)) if problem and not found.errors else found
            return noted if found.status == "cancelling" else _moved(noted, "finalizing", now)

        batch = self._store.change(identity, decide)
        if batch is None:
            raise BatchNotFound(f"there is no batch {identity[:80]!r}")
        if not batch.open:
            self._let_go(identity, batch.carriage)
            return batch
        status = final_status(batch)
        with self.draft() as good, self.draft() as bad:
            self._write_results(batch, status, good, good if batch.protocol == "anthropic" else bad)
            purpose = HIDDEN if batch.protocol == "anthropic" else BATCH_OUTPUT
            keep_s = batch.output_keep_s or self.limits.file_keep_days * _DAY_S
            files = [
                self._put(batch.project, f"{batch.id}_{what}.jsonl", purpose, draft, keep_s, batch.key_id)
                if draft.tell()
                else None
                for what, draft in (("output", good), ("error", bad))
            ]
        ended = msgspec.structs.replace(
            _moved(batch, status, self._now()),
            output_file=files[0].id if files[0] else "",
            error_file=files[1].id if files[1] else "",
        )
        if not self._store.finish(ended, [file for file in files if file]):
            return self._known(identity)
        self._let_go(identity, ended.carriage)
        self._keys.changed()
        return ended

    def tend(self) -> dict[str, int]:
        """See to it that somebody works on every open batch, end those that nobody can, and forget what has expired."""
        begun = ended = 0
        for batch in self._store.open():
            try:
                why = self._jobs.ended(batch)
                if why is None:
                    self._jobs.start(batch)
                    begun += 1
                elif why:
                    self.finish(batch.id, BatchError("worker_failed", why[:500]))
                    ended += 1
            except TetradError as error:
                log.warning("the batch %s cannot be seen to: %s", batch.id, error)
        for identity in self._store.not_let_go():
            self._let_go(identity)
        return {"begun": begun, "ended": ended, "forgotten": self._store.sweep(*self._old())}

    # inside

    def _new(self, project: str, key_id: str, protocol: Protocol, endpoint: str, window: str) -> Batch:
        seconds = window_s(window)
        if seconds is None:
            raise BadBatch(f"{window[:20]!r} is no completion window", hint="24h; from 1h to 7d is possible")
        under_way = sum(1 for batch in self._store.open() if batch.project == project)
        if under_way >= self.limits.open_batches:
            raise TooManyBatches(
                f"the project {project!r} has {under_way} batches under way",
                hint="wait for one to end, cancel one, or raise TETRAD_BATCH_OPEN_MAX",
            )
        now = self._now()
        name = "msgbatch" if protocol == "anthropic" else "batch"
        return Batch(
            id=f"{name}_{uuid7().hex}",
            project=project,
            key_id=key_id,
            protocol=protocol,
            endpoint=endpoint,
            input_file="",
            input_digest=Digest(""),
            status="validating",
            created_s=now,
            expires_s=now + seconds,
            window=window,
        )

    def _begin(self, batch: Batch) -> Batch:
        self._keys.secret(batch)  # a key that is gone by now begins nothing
        self._store.add(batch)
        self._keys.changed()
        try:
            self._jobs.start(batch)
        except TetradError:
            self._store.remove(batch)
            self._keys.changed()
            raise
        return batch

    def _known(self, identity: str) -> Batch:
        found = self._store.batch(identity)
        if found is None:
            raise BatchNotFound(f"there is no batch {identity[:80]!r}")
        return found

    def _check_lines(
        self, source: IO[bytes] | BinaryIO, batch: Batch
    ) -> tuple[list[BatchError], list[Line], tuple[str, ...]]:
        errors: list[BatchError] = []
        lines: list[Line] = []
        seen: set[str] = set()
        models: dict[str, None] = {}
        most, start, number = self.limits.line_bytes, 0, 0
        while raw := source.readline(most + 2):
            number += 1
            text = raw.strip()
            if len(raw) > most + 1:
                errors.append(BatchError("line_too_large", f"the line has more than {most:,} bytes", number))
                break
            if text:
                found = read_call(text, batch.endpoint, batch.protocol, number)
                if not isinstance(found, BatchError) and found[0] in seen:
                    said = f"the custom_id {found[0][:80]!r} is there twice"
                    found = BatchError("duplicate_custom_id", said, number, "custom_id")
                if isinstance(found, BatchError):
                    errors.append(found)
                else:
                    custom_id, model = found
                    seen.add(custom_id)
                    lines.append(Line(len(lines), custom_id, start, len(raw)))
                    if model and len(models) < MOST_MODELS:
                        models[model] = None
            if len(lines) > self.limits.batch_lines:
                said = f"the batch has more than {self.limits.batch_lines:,} requests"
                errors.append(BatchError("too_many_requests", said, number))
                break
            if len(errors) >= MOST_ERRORS:
                break
            start += len(raw)
        if not lines and not errors:
            errors.append(BatchError("empty_file", "the input has no requests"))
        return errors, lines, tuple(models)

    def _write_results(self, batch: Batch, status: Status, good: IO[bytes], bad: IO[bytes]) -> None:
        code, message = unanswered(status)
        for line, found in self._store.answers(batch.id):
            answer = found or LineAnswer(line.number, code=code, message=message)
            (good if answer.good else bad).write(output_line(batch, line, answer))

    def _put(
        self, project: str, name: str, purpose: str, draft: IO[bytes], keep_s: int | None, key_id: str
    ) -> StoredFile:
        size, now = draft.tell(), self._now()
        draft.seek(0)
        digest = self._blobs.put_stream(draft)  # type: ignore[arg-type] # a binary file is what it wants
        return StoredFile(
            id=f"file-{uuid7().hex}",
            project=project,
            name=name,
            purpose=purpose,
            size=size,
            digest=digest,
            created_s=now,
            expires_s=None if keep_s is None else now + keep_s,
            key_id=key_id,
        )

    @staticmethod
    def _check_keep(seconds: int | None) -> None:
        if seconds is not None and not _LEAST_KEEP_S <= seconds <= _MOST_KEEP_S:
            raise BadFile(
                f"a file cannot expire after {seconds} s", hint=f"from {_LEAST_KEEP_S} to {_MOST_KEEP_S} seconds"
            )

    @staticmethod
    def _check_metadata(metadata: Mapping[str, Any] | None) -> None:
        for name, value in (metadata or {}).items():
            if len(name) > _METADATA_KEY or len(value) > _METADATA_VALUE:
                raise BadBatch(f"the metadata {name[:80]!r} is too long", hint="names of 64, values of 512 characters")
        if len(metadata or ()) > _MOST_METADATA:
            raise BadBatch(f"a batch has more than {_MOST_METADATA} metadata", hint="leave some out")

    def _now(self) -> int:
        return int(self._clock.now().timestamp())

    def _old(self) -> tuple[int, int]:
        now = self._now()
        return now, now - self.limits.batch_keep_days * _DAY_S


def _moved(batch: Batch, status: Status, now: int) -> Batch:
    return msgspec.structs.replace(batch, status=status, times={**batch.times, status: now})


def _no_file(project: str, identity: str) -> FileNotThere:
    return FileNotThere(f"the project {project!r} has no file {identity[:80]!r}", hint="it was deleted, or has expired")
