"""What the registry asks of others: a place for bytes, a store for rows, a gate before a governed ref moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from tetrad.kernel import Digest, Principal
from tetrad.registry._model import Activity, Artifact, Label, Ref, RefEntry, RefRule, Version


class Blobs(Protocol):
    """Bytes by their SHA-256, on disk or in an object store; `tetrad.kit.blobs` fulfils it."""

    def put_bytes(self, data: bytes) -> Digest:
        """Keep bytes durably and return their digest; keeping them twice is keeping them once."""
        ...

    def put_file(self, path: Path) -> Digest:
        """Keep a file's bytes durably and return their digest; the file stays where it is."""
        ...

    def read(self, digest: Digest) -> bytes:
        """Return all bytes; raise `NotFound` where there are none by that digest."""
        ...

    def open(self, digest: Digest) -> BinaryIO:
        """Open the bytes for reading; the caller closes it."""
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

    def check(self, move: RefMove, transaction: Any) -> None:
        """Return where every condition holds; raise `GateRefused` otherwise."""
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
        """Keep an artifact, or return the one that is there; its `parts` (digest, role) keep other bytes alive."""
        ...

    def artifact(self, project: str, digest: str) -> Artifact | None: ...

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

    def labels(self, project: str, digests: Iterable[str]) -> list[Label]:
        """Return what a project's artifacts are called: the kind of each, and its newest version where it has one."""
        ...

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

    def activities_of(self, project: str, digests: Sequence[str], direction: str) -> list[Activity]:
        """Return the activities that the digests went into (`in`) or came out of (`out`), oldest first."""
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
        """Keep an envelope, or return the one that is there: what is kept never changes, but for its revocation."""
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

    def change_keys(
        self, project: str, decide: Callable[[list[tuple[str, bytes]]], Sequence[tuple[str, bytes, Any]]]
    ) -> None:
        """Let `decide` see (id, sealed key) of a project and return what to write: (id, sealed key, made at)."""
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


Listener = Callable[[RefMoved], None]
Refusals = Callable[[RefMove, str], None]
Gates = Mapping[str, RefGate]
