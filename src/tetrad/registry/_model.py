"""Artifacts, versions, refs, activities and the edges between them: frozen values and pure rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import total_ordering
from typing import Any, Literal

import msgspec

from tetrad.kernel import Digest, digest_json
from tetrad.registry.errors import BadName, BadVersion

ArtifactKind = str
Bump = Literal["major", "minor", "patch"]
Direction = Literal["in", "out"]
Invalidation = Literal["rebuild", "revalidate", "reevaluate", "none"]

INVALIDATIONS: tuple[Invalidation, ...] = ("rebuild", "revalidate", "reevaluate", "none")
GENESIS = "sha256:" + "0" * 64
AUTHORS = "authors"
"""The key in a version's `meta` of the ids of those who made the artifact besides the version's author."""
LOG_SCHEMA = "tetrad.ref-log/1"

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?(?:/[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?){0,3}")
_SIMPLE = re.compile(r"[a-z0-9](?:[a-z0-9._-]*[a-z0-9])?")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")
_SEMVER = re.compile(
    r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
)


class Artifact(msgspec.Struct, frozen=True):
    """Something immutable that a project may see. `stored` is False where its content is kept by its own slice."""

    project: str
    digest: Digest
    kind: ArtifactKind
    media_type: str
    size: int
    created_at: datetime
    created_by: str
    stored: bool = True
    erased_at: datetime | None = None


class Label(msgspec.Struct, frozen=True):
    """What an artifact is called: its kind, and the name and number of its newest version, empty without one."""

    digest: Digest
    kind: str
    name: str = ""
    semver: str = ""
    erased: bool = False


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
