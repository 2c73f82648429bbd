"""What the registry asks of others: a place for bytes, a store for rows, a gate before a governed ref moves."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from tetrad.kernel import Digest, Principal
from tetrad.registry._model import (
    Activity,
    Artifact,
    Cause,
    Link,
    Live,
    Ref,
    RefEntry,
    RefRule,
    RefStep,
    Revocation,
    Version,
)
from tetrad.registry._runs import Experiment, MetricPoint, Run


class Sized(Protocol):
    """A blob that is listed."""

    @property
    def digest(self) -> Digest: ...
    @property
    def size(self) -> int: ...


class Blobs(Protocol):
    """Bytes by their SHA-256, on disk or in an object store; `tetrad.kit.blobs` fulfils it."""

    def put_bytes(self, data: bytes) -> Digest:
        """Keep bytes durably and return their digest; keeping them twice is keeping them once."""
        ...

    def put_file(self, path: Path) -> Digest:
        """Keep a file's bytes durably and return their digest; the file stays where it is."""
        ...

    def discard(self, digest: Digest, *, put_before: float) -> bool:
        """Forget bytes that nobody has put since a time (seconds since the epoch); tell whether they went."""
        ...

    def tidy(self) -> int:
        """Remove what writers that were killed left behind; return how many remains went."""
        ...

    def list(self, prefix: str = "") -> Iterator[Sized]:
        """Yield every blob with its size, in the order of digests."""
        ...

    def read(self, digest: Digest) -> bytes:
        """Return all bytes; raise `NotFound` where there are none by that digest."""
        ...

    def put_stream(self, source: BinaryIO, *, expected: Digest | None = None) -> Digest:
        """Keep what a stream yields until its end; refuse other bytes than `expected` and leave no remains of them."""
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """Open the bytes for reading and seeking; the caller closes it."""
        ...

    def exists(self, digest: Digest) -> bool:
        """Tell whether bytes by that digest are kept."""
        ...

    def size(self, digest: Digest) -> int:
        """Return how many bytes are kept under the digest."""
        ...


class RefMove(msgspec.Struct, frozen=True):
    """A move that somebody asks for; `rule` is why a gate is asked. `new` is None where the ref is to be deleted."""

    project: str
    ref: str
    old: Digest | None
    new: Digest | None
    actor: Principal
    at: datetime
    reason: str
    change_request: str
    rule: RefRule


class RefGate(Protocol):
    """Decides whether a governed ref may move. Called inside the transaction that moves it.

    `transaction` is the open transaction of the registry's store, for adapters that keep their evidence beside it: what
    they read there cannot change before the ref has moved. Raise `GateRefused` to refuse, saying what is missing;
    return to let it pass. Any other error also stops the move.
    """

    def check(self, move: RefMove, transaction: Any) -> bool | None:
        """Return where every condition holds; raise `GateRefused` otherwise.

        True says that the move passes by broken glass: then it may also go to what was revoked.
        """
        ...


class RefMoved(msgspec.Struct, frozen=True):
    """A ref has moved, and the move is durable."""

    project: str
    ref: str
    old: Digest | None
    new: Digest | None
    at: datetime
    actor: str


class RegistryStore(Protocol):
    """The registry's rows. Each method is one transaction; all reads are within one project."""

    def add_artifact(self, artifact: Artifact, parts: Sequence[tuple[Digest, str]]) -> Artifact:
        """Keep an artifact, or return the one that is there; its `parts` (digest, role) keep other bytes alive.

        What was collected comes back; what was erased on purpose, or has such a part, raises `ArtifactErased`.
        """
        ...

    def hold(self, project: str, digests: Sequence[str], transaction: Any) -> None:
        """Keep collections out until the transaction ends; raise `ArtifactErased` where one of the digests is gone."""
        ...

    def touch(self, project: str, digest: str, *, at: datetime) -> bool:
        """Note that somebody needs an artifact; tell whether it is there with its content."""
        ...

    def artifact(self, project: str, digest: str) -> Artifact | None:
        """Return an artifact, also one of which only the name is left."""
        ...

    def visible(self, project: str, digests: Iterable[str]) -> set[str]:
        """Return which digests the project may see, as artifacts or as parts of one."""
        ...

    def parts(self, project: str, digest: str) -> list[tuple[Digest, str]]: ...

    def add_version(
        self, project: str, kind: str, name: str, decide: Callable[[Sequence[Version]], Version]
    ) -> Version:
        """Let `decide` see the newest versions and choose the next, while nobody else can add one to that name.

        What `decide` returns is kept, unless it is one of those it was shown.
        """
        ...

    def versions(
        self, project: str, kind: str, name: str | None, *, limit: int, before: int | None
    ) -> list[Version]: ...

    def version(self, project: str, kind: str, name: str, semver: str) -> Version | None: ...

    def named(
        self,
        project: str,
        kind: str,
        *,
        limit: int,
        after: str,
        contains: str = "",
        backwards: bool = False,
    ) -> list[Version]:
        """Return the newest version of each name of a kind that holds a text, in the order of names or against it."""
        ...

    def lately(
        self, project: str, kind: str, *, limit: int, after: tuple[datetime, str] | None, contains: str, newest: bool
    ) -> list[Version]:
        """Return the same by when the versions were made, and by name where that is equal."""
        ...

    def versions_of(self, project: str, digest: str) -> list[Version]: ...

    def move_ref(
        self,
        project: str,
        ref: str,
        *,
        decide: Callable[[Ref | None, bool, Sequence[RefRule], tuple[int, str], Any], RefEntry | None],
    ) -> tuple[Ref | None, RefEntry | None]:
        """Move a ref and append to the log in one transaction, alone in the project.

        `decide` is shown the ref (None: absent), whether its name is reserved, the project's rules, the log's head and
        the transaction; it returns the log entry to write, or None to leave everything as it is.
        """
        ...

    def ref(self, project: str, name: str) -> Ref | None: ...

    def refs(self, project: str, prefix: str, *, limit: int, after: str) -> list[Ref]: ...

    def ref_log(
        self,
        project: str,
        ref: str | None,
        *,
        limit: int,
        before: int | None,
        actor: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[RefEntry]:
        """Return entries, newest first: of one ref, of all refs below `app/`, or of all.

        `actor` is an id or a name; `since` counts, `until` does not.
        """
        ...

    def ref_path(self, project: str, ref: str, *, limit: int) -> list[RefStep]:
        """Return the newest moves of one ref, oldest first."""
        ...

    def ref_had(self, project: str, ref: str, digest: str) -> bool:
        """Tell whether a move ever brought the ref to a digest."""
        ...

    def walk_log(self, project: str) -> tuple[Iterable[RefEntry], tuple[int, str]]:
        """Return all entries, oldest first, and the head that was written beside the newest."""
        ...

    def add_rule(self, rule: RefRule) -> None: ...

    def remove_rule(self, project: str, pattern: str) -> bool: ...

    def rules(self, project: str) -> list[RefRule]: ...

    def add_activity(self, activity: Activity) -> None: ...

    def activity(self, project: str, activity_id: str) -> Activity | None: ...

    def makers(self, project: str, digests: Sequence[str], transaction: Any = None) -> dict[str, Makers]:
        """Return who made which of the artifacts, read in `transaction` where one is given."""
        ...

    def versions_of_all(self, project: str, digests: Sequence[str]) -> list[Version]:
        """Return the versions that name any of the digests, the newest of a name first."""
        ...

    def activities_of(self, project: str, digests: Sequence[str], direction: str) -> list[Activity]:
        """Return the activities that the digests went into (`in`) or came out of (`out`), oldest first."""
        ...

    def ancestors(self, project: str, digests: Sequence[str], *, limit: int) -> list[str]:
        """Return the artifacts among the digests, and all that they were made of, along edges that mean something.

        At most `limit`; as many as that may mean that there are more.
        """
        ...

    def artifacts(self, project: str, digests: Sequence[str]) -> list[Artifact]:
        """Return those of the digests that are artifacts of the project."""
        ...

    def naming(self, project: str, digests: Sequence[str]) -> list[Version]:
        """Return the versions that name any of the digests; of one name the older come first."""
        ...

    def newest(self, project: str, kind: str, names: Sequence[str]) -> list[Version]:
        """Return the newest version of each of the names that is there."""
        ...

    def holding(self, project: str, parts: Sequence[str], *, limit: int) -> list[tuple[str, str]]:
        """Return (artifact, part) of what refers to any of `parts`."""
        ...

    def holders(self, project: str, parts: Sequence[str], *, limit: int) -> list[str]:
        """Return the artifacts that refer to every one of `parts`, the newest first."""
        ...


class EvidenceRow(msgspec.Struct, frozen=True):
    """An envelope as it is kept. Nothing of it is believed before its signature and its receipt were checked.

    `seq` sorts in the order of receipt. `receipt` is our own signature over project, digest, time, sender and expiry.
    """

    project: str
    digest: Digest
    seq: str
    predicate_type: str
    envelope: str
    receipt: str
    received_at: datetime
    received_by: str
    received_by_name: str = ""
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_by: str = ""
    revoked_because: str = ""


class EvidenceStore(Protocol):
    """The rows of evidence and signing keys. `transaction` is an open one of the same database, to take part in."""

    def add(self, row: EvidenceRow, subjects: Sequence[str], transaction: Any = None) -> EvidenceRow:
        """Keep an envelope, or return the one that is there: it changes by `renew` and `revoke` only."""
        ...

    def renew(self, row: EvidenceRow, *, now: datetime) -> EvidenceRow | None:
        """Put a new receipt, sender, time and expiry beside an envelope that had expired by `now`; return the row.

        One that has not expired, or was revoked, stays as it is. None: there is none.
        """
        ...

    def get(self, project: str, digest: str) -> EvidenceRow | None: ...

    def about(
        self, project: str, subjects: Sequence[str], transaction: Any = None, *, digests: Sequence[str] = ()
    ) -> list[EvidenceRow]:
        """Return what is indexed under any of the subjects, or is named by `digests`, in the order of receipt."""
        ...

    def newest(
        self, project: str, *, subject: str | None, predicate_type: str | None, limit: int, before: str | None
    ) -> list[EvidenceRow]:
        """Return rows, newest first; `before` is the `seq` to go on from."""
        ...

    def revoke(self, project: str, digest: str, *, values: Mapping[str, Any]) -> EvidenceRow | None:
        """Set `revoked_at`, `revoked_by`, `revoked_because` where it is not revoked yet; return the row."""
        ...

    def keys(self, projects: Sequence[str], transaction: Any = None) -> list[tuple[str, str, bytes]]:
        """Return (project, id, sealed key), oldest first; the installation's are those of the project ``."""
        ...

    def every_key(self) -> list[tuple[str, str, bytes]]:
        """Return project, id and sealed key of every signing key, of all projects."""
        ...

    def change_keys(
        self, project: str, decide: Callable[[list[tuple[str, bytes]]], Sequence[tuple[str, bytes, Any]]]
    ) -> None:
        """Let `decide` see (id, sealed key) of a project and return what to write: (id, sealed key, made at)."""
        ...


class RevocationStore(Protocol):
    """Revocations, and the edges that they spread along. `transaction` is an open one of the same database."""

    def revoke(self, project: str, digest: str, make: Callable[[Any], Revocation]) -> tuple[Revocation, bool]:
        """Keep what `make` returns, told the transaction, unless the artifact is revoked; say whether it was kept.

        No ref of the project moves meanwhile.
        """
        ...

    def reinstate(
        self, project: str, digest: str, change: Callable[[Revocation, Any], Revocation]
    ) -> Revocation | None:
        """Replace the revocation that stands by what `change` makes of it; None where none stands."""
        ...

    def revocations(
        self, project: str, *, standing: bool, digest: str | None, limit: int, before: str | None
    ) -> list[Revocation]:
        """Return revocations, newest first; `before` is the `id` to go on from."""
        ...

    def projects(self) -> list[str]:
        """Return the projects in which something is revoked now."""
        ...

    def standing(self, project: str, transaction: Any = None) -> dict[Digest, Revocation]:
        """Return what is revoked now, by digest."""
        ...

    def above(self, project: str, digests: Sequence[str], transaction: Any = None) -> list[Link]:
        """Return what the digests contain, and what they were made from by edges that are not `none`."""
        ...

    def below(self, project: str, digests: Sequence[str], transaction: Any = None) -> list[Link]:
        """Return what contains the digests, and what was made from them by edges that are not `none`."""
        ...

    def kinds(self, project: str, digests: Sequence[str]) -> dict[str, str]:
        """Return the kinds of those that are artifacts."""
        ...

    def named_by(self, project: str, digests: Sequence[str]) -> list[Version]: ...

    def pointed_to(self, project: str, digests: Sequence[str]) -> list[Ref]: ...


class Roots(Protocol):
    """What another slice holds, so that no collection takes it, nor anything that it contains or was made from.

    A slice that begins to hold a digest does so in a transaction in which it calls `Registry.hold`: then either the
    collection sees it here, or the slice is told that the artifact is gone.
    """

    @property
    def name(self) -> str:
        """What holds, for people: `change request`."""
        ...

    def roots(self, project: str) -> Iterable[Digest]:
        """Return what is held now; digests that are no artifacts of the project are passed over."""
        ...


class BlobRoots(Protocol):
    """Bytes that somebody needs outside of any project, such as the bundled models."""

    def blobs(self) -> Iterable[Digest]:
        """Return what must stay."""
        ...


class Contents(Protocol):
    """The slice that keeps the content of artifacts of a kind which the blob store does not hold."""

    @property
    def kind(self) -> str:
        """The kind of artifact, such as `dataset`."""
        ...

    def forget(self, project: str, digests: Sequence[Digest], transaction: Any) -> None:
        """Let the content go, in the transaction that leaves tombstones in its place. Twice is fine."""
        ...

    def sweep(self, project: str) -> int:
        """Free what nothing refers to any more, after that transaction; return how many rows. Twice is fine."""
        ...


class CollectStore(Protocol):
    """What a collection reads and writes. A transaction is lent by `looking` or `holding`."""

    def projects(self) -> list[str]: ...

    def looking(self) -> AbstractContextManager[Any]:
        """Lend a consistent snapshot."""
        ...

    def holding(self, project: str) -> AbstractContextManager[Any]:
        """Lend a transaction in which nothing of the project becomes referred to or kept."""
        ...

    def living(self, transaction: Any, project: str) -> dict[Digest, Artifact]:
        """Return every artifact that has its content."""
        ...

    def roots(
        self,
        transaction: Any,
        project: str,
        *,
        log_entries: int,
        kept_since: datetime,
        versions_before: datetime | None,
    ) -> list[tuple[Digest, str]]:
        """Return what the registry itself holds, as (digest, why).

        Refs and their newest moves, versions, policies of gates, inputs and outputs of running activities, and what was
        kept since a time. Versions made before `versions_before` hold nothing, but for the newest of each name.
        """
        ...

    def bury(
        self,
        transaction: Any,
        project: str,
        digests: Sequence[Digest],
        *,
        at: datetime,
        by: str,
        because: str,
        versions_too: bool,
    ) -> int:
        """Leave tombstones of artifacts and take away their lists of parts; return how many versions went with them."""
        ...

    def unnamed(self, digests: Sequence[Digest], *, but_for: Container[tuple[str, Digest]]) -> set[Digest]:
        """Return which of the digests no living artifact of any project is or has among its parts.

        Artifacts in `but_for`, as (project, digest), are counted as dead already.
        """
        ...


class Deployments(Protocol):
    """What is served now, as the composition root knows it."""

    def live(self, project: str) -> Sequence[Live]:
        """Return each release that gateways serve for an app, by which ref (empty: to those that pin it)."""
        ...


class RevocationCheck(Protocol):
    """What the registry asks before a ref moves."""

    def causes(self, project: str, digest: str, transaction: Any = None) -> Sequence[Cause]:
        """Return the revocations that reach a digest, and by which path."""
        ...

    def any(self, project: str) -> bool:
        """Tell whether anything of a project is revoked."""


class RunStore(Protocol):
    """The rows of runs. Each method is one transaction; all reads are within one project."""

    def start(self, run: Run, key: str | None) -> Run:
        """Keep a run with its activity, or return the one that was started with the same idempotency key."""
        ...

    def get(self, project: str, run: str) -> Run | None: ...

    def newest(
        self, project: str, *, experiment: str | None, kind: str | None, state: str | None, limit: int,
        before: str | None,
    ) -> list[Run]:  # fmt: skip
        """Return runs, newest first; `before` is the id to go on from."""
        ...

    def experiments(self, project: str, *, limit: int, after: str) -> Sequence[Experiment]: ...

    def change(self, project: str, run: str, decide: Callable[[Run], Run]) -> Run | None:
        """Let `decide` see a run and say what it is from now on, while nobody else can change it; None: no such run."""
        ...

    def log(
        self, project: str, run: str, points: Sequence[MetricPoint], decide: Callable[[Run, int, int], Run]
    ) -> tuple[Run, int] | None:
        """Keep points, one for each metric, step and time; return the run and how many were new.

        `decide` is shown the run, how many points and how many metrics are new, and may refuse by raising.
        """
        ...

    def points(self, project: str, run: str, metric: str) -> Iterator[tuple[int, float]]:
        """Yield (step, value) in the order of steps; memory is bounded."""
        ...


class Makers(msgspec.Struct, frozen=True):
    """Who has made an artifact, and under which licences its versions are recorded."""

    kind: str
    authors: frozenset[str]
    licences: frozenset[str] = frozenset()


class Auditor(Protocol):
    """The audit log; `tetrad.identity.Audit.record` fulfils it. Never called inside a transaction of the registry."""

    def __call__(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append an event; raise where it cannot, so that what must be audited does not happen unseen."""
        ...


class AuditChecked(Protocol):
    """What a look at the audit log found; `tetrad.identity.AuditCheck` fulfils it."""

    @property
    def entries(self) -> int: ...
    @property
    def intact(self) -> bool: ...
    @property
    def reason(self) -> str: ...


class AuditLog(Protocol):
    """The audit log as a chain, per project (None: the installation's); `tetrad.identity.Audit` fulfils it."""

    def head(self, project: str | None) -> tuple[int, str]:
        """Return the number and the hash of the newest entry."""
        ...

    def check(self, project: str | None, exported: tuple[int, str] | None = None) -> AuditChecked:
        """Go through the whole chain; what led to `exported` must still be there."""
        ...


Listener = Callable[[RefMoved], None]
Refusals = Callable[[RefMove, str], None]
Gates = Mapping[str, RefGate]
