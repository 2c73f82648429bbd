"""What the registry asks of others: a place for bytes, a store for rows, a gate before a governed ref moves."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import msgspec

from tetrad.kernel import Digest, Principal
from tetrad.registry._model import Activity, Artifact, Ref, RefEntry, RefRule, Version


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

    def named(self, project: str, kind: str, *, limit: int, after: str) -> list[Version]:
        """Return the newest version of each name of a kind, in the order of names."""
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

    def ref_log(self, project: str, ref: str | None, *, limit: int, before: int | None) -> list[RefEntry]:
        """Return entries, newest first: of one ref, of all refs below `app/`, or of all."""
        ...

    def walk_log(self, project: str) -> tuple[Iterable[RefEntry], tuple[int, str]]:
        """Return all entries, oldest first, and the head that was written beside the newest."""
        ...

    def add_rule(self, rule: RefRule) -> None: ...

    def remove_rule(self, project: str, pattern: str) -> bool: ...

    def rules(self, project: str) -> list[RefRule]: ...

    def add_activity(self, activity: Activity) -> None: ...

    def activity(self, project: str, activity_id: str) -> Activity | None: ...

    def activities_of(self, project: str, digests: Sequence[str], direction: str) -> list[Activity]:
        """Return the activities that the digests went into (`in`) or came out of (`out`), oldest first."""
        ...


Listener = Callable[[RefMoved], None]
Gates = Mapping[str, RefGate]
