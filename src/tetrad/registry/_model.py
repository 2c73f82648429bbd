"""Artifacts, versions, refs, activities and the edges between them: frozen values and pure rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import total_ordering
from typing import Any, Literal

import msgspec

from tetrad.kernel import Digest, digest_json
from tetrad.registry.errors import ArtifactErased, BadName, BadVersion

ArtifactKind = str
Bump = Literal["major", "minor", "patch"]
Direction = Literal["in", "out"]
Invalidation = Literal["rebuild", "revalidate", "reevaluate", "none"]

INVALIDATIONS: tuple[Invalidation, ...] = ("rebuild", "revalidate", "reevaluate", "none")
REMADE: tuple[Invalidation, ...] = ("rebuild", "reevaluate")
"""The policies of inputs that an artifact's bytes came from: a change of one asks for another artifact."""
COLLECTOR = "gc"
"""Who has erased what nothing needed any more."""
KEPT_AGAIN_AFTER = timedelta(minutes=10)
"""A write for each time that the same artifact is kept again would be too many."""
GENESIS = "sha256:" + "0" * 64
AUTHORS = "authors"
"""The key in a version's `meta` of the ids of those who made the artifact besides the version's author."""
LOG_SCHEMA = "tetrad.ref-log/1"
BINDINGS = "bindings"
"""The first part of the names of refs that bind an environment, `bindings/production`; no app is called so."""

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?(?:/[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?){0,3}")
_SIMPLE = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_SEMVER = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
)


class Artifact(msgspec.Struct, frozen=True):
    """Something immutable that a project may see. `stored` is False where its content is kept by its own slice.

    `erased_at` says that only its name is left: a tombstone. `kept_at` is when somebody last asked to keep it, to
    within ten minutes.
    """

    project: str
    digest: Digest
    kind: ArtifactKind
    media_type: str
    size: int
    created_at: datetime
    created_by: str
    stored: bool = True
    erased_at: datetime | None = None
    erased_by: str = ""
    erased_because: str = ""
    kept_at: datetime | None = None

    @property
    def collected(self) -> bool:
        """Tell whether its content went because nothing needed it: then it may come back."""
        return self.erased_at is not None and self.erased_by == COLLECTOR


class Version(msgspec.Struct, frozen=True):
    """An artifact with a name, a SemVer, an author, a time, a reason and an expected outcome."""

    project: str
    kind: ArtifactKind
    name: str
    seq: int
    semver: str
    digest: Digest
    author: str
    author_name: str
    created_at: datetime
    reason: str = ""
    expected_outcome: str = ""
    parent: Digest | None = None
    meta: Mapping[str, Any] = {}


class Ref(msgspec.Struct, frozen=True):
    """A movable name of a digest; `revision` counts its moves."""

    project: str
    name: str
    digest: Digest
    revision: int
    moved_at: datetime
    moved_by: str
    moved_by_name: str
    governed: bool = False


class RefEntry(msgspec.Struct, frozen=True):
    """One move of a ref in the project's hash-chained log."""

    project: str
    seq: int
    ref: str
    old: Digest | None
    new: Digest | None
    actor: str
    actor_name: str
    at: datetime
    reason: str
    change_request: str
    prev_hash: str
    hash: str


class RefStep(msgspec.Struct, frozen=True, gc=False):
    """Where one move brought a ref, and from where: an entry of the log without what people read in it."""

    seq: int
    old: Digest | None
    new: Digest | None


class RefRule(msgspec.Struct, frozen=True):
    """Refs whose names match the glob move only through the named gate."""

    project: str
    pattern: str
    gate: str
    policy: Digest | None
    created_at: datetime
    created_by: str


class Edge(msgspec.Struct, frozen=True):
    """An artifact that went into an activity or came out of it, in a role, and what its change means."""

    digest: Digest
    direction: Direction
    role: str = ""
    policy: Invalidation = "none"


class Activity(msgspec.Struct, frozen=True):
    """Something that made artifacts from artifacts: an import, a training, an evaluation."""

    project: str
    id: str
    kind: str
    actor: str
    started_at: datetime
    ended_at: datetime | None
    state: str
    params: Mapping[str, Any] = {}
    environment: Mapping[str, Any] = {}
    edges: tuple[Edge, ...] = ()


class Revocation(msgspec.Struct, frozen=True):
    """Somebody has said that an artifact is not to be used any more. It stands until it is reinstated.

    `evidence` is the signed statement that says the same.
    """

    project: str
    id: str
    digest: Digest
    kind: ArtifactKind
    reason: str
    revoked_at: datetime
    revoked_by: str
    revoked_by_name: str
    evidence: Digest
    reinstated_at: datetime | None = None
    reinstated_by: str = ""
    reinstated_by_name: str = ""
    reinstated_because: str = ""

    @property
    def stands(self) -> bool:
        """Tell whether it has not been taken back."""
        return self.reinstated_at is None


class Link(msgspec.Struct, frozen=True):
    """`below` contains `above` (role of the part), or was made from it (kind of the activity).

    `activity` is empty for parts. `remakes` says that the activity is done and that another `above` would ask for
    another `below`: only such a link can prove that an artifact has a sound origin.
    """

    above: Digest
    below: Digest
    how: str
    activity: str = ""
    remakes: bool = False


class Cause(msgspec.Struct, frozen=True):
    """A revocation that reaches an artifact: `path` goes from what was revoked to the artifact, both included."""

    revocation: Revocation
    path: tuple[Digest, ...]


class Touched(msgspec.Struct, frozen=True):
    """An artifact that contains or derives from another, by which path, what names it and what points to it."""

    digest: Digest
    kind: ArtifactKind
    path: tuple[Digest, ...]
    versions: tuple[Version, ...] = ()
    refs: tuple[str, ...] = ()


class Live(msgspec.Struct, frozen=True):
    """A release that is served now for an app; `ref` is empty where only requests that pin it get it."""

    app: str
    ref: str
    digest: Digest


class Impact(msgspec.Struct, frozen=True):
    """Everything that a revocation of `digest` reaches. `complete` is false where the walk stopped at a limit."""

    digest: Digest
    touched: tuple[Touched, ...]
    live: tuple[Live, ...]
    complete: bool


class LogCheck(msgspec.Struct, frozen=True):
    """What a walk over a project's ref log found; `broken_at` is the first entry that does not follow."""

    entries: int
    head: str
    broken_at: int | None = None
    problem: str = ""

    @property
    def sound(self) -> bool:
        """Tell whether every entry follows from the one before."""
        return self.broken_at is None


@total_ordering
class SemVer(msgspec.Struct, frozen=True):
    """A version number as semver.org 2.0.0 says, without build metadata."""

    major: int
    minor: int
    patch: int
    pre: str = ""

    @classmethod
    def parse(cls, text: str) -> SemVer:
        """Read `1.2.3` or `1.2.3-rc.1`; refuse anything else with `BadVersion`."""
        match = _SEMVER.fullmatch(text) if len(text) <= 64 else None
        if match is None:
            raise BadVersion(f"{text[:70]!r} is no version number", hint="write 1.2.3 or 1.2.3-rc.1")
        major, minor, patch, pre = match.groups()
        return cls(int(major), int(minor), int(patch), pre or "")

    def bump(self, part: Bump) -> SemVer:
        """Return the next number, a pre-release becoming the release that it announced."""
        if self.pre:
            return SemVer(self.major, self.minor, self.patch)
        if part == "major":
            return SemVer(self.major + 1, 0, 0)
        if part == "minor":
            return SemVer(self.major, self.minor + 1, 0)
        return SemVer(self.major, self.minor, self.patch + 1)

    def __lt__(self, other: SemVer) -> bool:
        return self._key() < other._key()

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.{self.patch}" + (f"-{self.pre}" if self.pre else "")

    def _key(self) -> tuple[int, int, int, int, tuple[tuple[int, int, str], ...]]:
        parts = tuple((0, int(p), "") if p.isdigit() else (1, 0, p) for p in self.pre.split(".")) if self.pre else ()
        return self.major, self.minor, self.patch, 0 if self.pre else 1, parts


def check_name(name: str, what: str = "name") -> str:
    """Return a name of up to four parts such as `local/smollm2-135m`, or refuse with `BadName`."""
    if len(name) > 128 or not _NAME.fullmatch(name):
        raise BadName(
            f"{name[:140]!r} is no {what}",
            hint="lower-case letters, digits, `.`, `_`, `-`; parts divided by `/`; at most 128 characters",
        )
    return name


def check_simple_name(name: str, what: str = "name") -> str:
    """Return a name without `/`, of at most 63 characters, or refuse with `BadName`."""
    if len(name) > 63 or not _SIMPLE.fullmatch(name):
        raise BadName(
            f"{name[:80]!r} is no {what}", hint="lower-case letters, digits, `.`, `_`, `-`; at most 63 characters"
        )
    return name


def check_kind(kind: str) -> str:
    """Return the kind of an artifact or activity, or refuse with `BadName`."""
    if not _KIND.fullmatch(kind):
        raise BadName(f"{kind[:40]!r} is no kind", hint="a lower-case word such as `prompt`")
    return kind


def glob_matches(pattern: str, name: str) -> bool:
    """Tell whether a ref's name matches: `*` stays within one part, `**` crosses parts."""
    expression = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
    return re.fullmatch(expression, name) is not None


def governs(pattern: str, name: str) -> bool:
    """Tell whether a rule's pattern governs a ref.

    What one app has instead of an environment's binding, `bindings/production/assistant`, is governed by whatever
    governs `bindings/production`: else the gate of the one would be passed by way of the other.
    """
    if glob_matches(pattern, name):
        return True
    first, _, rest = name.partition("/")
    return first == BINDINGS and "/" in rest and glob_matches(pattern, f"{first}/{rest.partition('/')[0]}")


def had_before(moves: Sequence[RefStep | RefEntry]) -> list[Digest]:
    """Return what a ref can be rolled back to, the nearest first, from its moves, oldest first.

    A move to what the ref had before takes everything since then off the list, so that rolling back twice
    goes back two steps and never forward again to what was left.
    """
    stack: list[Digest] = []
    held: set[Digest] = set()
    if moves and moves[0].old is not None:
        stack.append(moves[0].old)
        held.add(moves[0].old)
    for move in moves:
        if move.new is None:
            stack.clear()
            held.clear()
        elif move.new in held:
            while stack[-1] != move.new:
                held.discard(stack.pop())
        else:
            stack.append(move.new)
            held.add(move.new)
    return stack[-2::-1]


def erased(artifact: Artifact) -> ArtifactErased:
    """Say that only the name of an artifact is left, since when and why."""
    when = f"{artifact.erased_at:%Y-%m-%d %H:%M} UTC" if artifact.erased_at else ""
    if artifact.collected:
        return ArtifactErased(
            f"the {artifact.kind} {artifact.digest} was collected on {when}, as nothing needed it",
            hint="keep the same content again, then it is back",
        )
    return ArtifactErased(
        f"the {artifact.kind} {artifact.digest} was erased on {when}: {artifact.erased_because}",
        hint="it was erased on purpose and does not come back",
    )


def young(artifact: Artifact, now: datetime) -> bool:
    """Tell whether an artifact is there and was kept so lately that no collection takes it before long."""
    return artifact.erased_at is None and artifact.kept_at is not None and now - artifact.kept_at < KEPT_AGAIN_AFTER


def entry_hash(entry: RefEntry) -> Digest:
    """Chain an entry to its predecessor: the digest of everything it says, `prev_hash` included."""
    return digest_json(
        {
            "schema": LOG_SCHEMA,
            "project": entry.project,
            "seq": entry.seq,
            "ref": entry.ref,
            "old": entry.old,
            "new": entry.new,
            "actor": entry.actor,
            "actor_name": entry.actor_name,
            "at": entry.at.astimezone(UTC).isoformat(timespec="microseconds"),
            "reason": entry.reason,
            "change_request": entry.change_request,
            "prev": entry.prev_hash,
        }
    )


def check_log(entries: Iterable[RefEntry], head: tuple[int, str] | None = None) -> LogCheck:
    """Walk a project's log from its first entry; `head` is what the log's end must be (seq, hash)."""
    count, last = 0, GENESIS
    for entry in entries:
        count += 1
        if entry.seq != count:
            return LogCheck(count - 1, last, count, f"entry {count} is missing, entry {entry.seq} follows")
        if entry.prev_hash != last:
            return LogCheck(count - 1, last, count, f"entry {count} does not follow from entry {count - 1}")
        if entry_hash(entry) != entry.hash:
            return LogCheck(count - 1, last, count, f"entry {count} was changed after it was written")
        last = entry.hash
    if head is not None and head != (count, last):
        return LogCheck(count, last, count + 1, f"the log ends at entry {count}, but entry {head[0]} was written")
    return LogCheck(count, last)
