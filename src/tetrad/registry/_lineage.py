"""What was made from what, and by whom: activities, and the walks along them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from tetrad.kernel import (
    Clock,
    Digest,
    InvalidInput,
    Principal,
    new_id,
    parse_digest,
)
from tetrad.registry._model import (
    INVALIDATIONS,
    Activity,
    Artifact,
    Edge,
    Version,
    check_kind,
)
from tetrad.registry.errors import (
    ArtifactNotFound,
    ArtifactTooLarge,
)
from tetrad.registry.ports import RegistryStore


@dataclass(frozen=True, slots=True)
class RegistryLimits:
    """What is refused as too much."""

    max_document_bytes: int = 16 << 20
    max_parts: int = 50_000
    max_lineage: int = 2_000


class LineageNode(msgspec.Struct, frozen=True):
    """An artifact of a lineage: what it is and what it is called; the newest version of each name."""

    digest: Digest
    kind: str
    size: int = 0
    versions: tuple[Version, ...] = ()
    erased: bool = False


class Lineage(msgspec.Struct, frozen=True):
    """The activities around an artifact, the artifacts they name, and whether the walk stopped at a limit."""

    root: Digest
    activities: tuple[Activity, ...]
    complete: bool
    nodes: tuple[LineageNode, ...] = ()


class Lineages:
    """The artifacts of all projects, and the activities between them. Every read names the project."""

    def __init__(self, store: RegistryStore, clock: Clock, limits: RegistryLimits) -> None:
        self._store = store
        self._clock = clock
        self._limits = limits

    def artifact(self, project: str, digest: str) -> Artifact:
        """Return an artifact of a project, or raise `ArtifactNotFound`."""
        found = self._store.artifact(project, parse_digest(digest))
        if found is None:
            raise ArtifactNotFound(
                f"the project {project!r} has no artifact {digest}", hint="check the digest and the project"
            )
        return found

    def record(
        self,
        project: str,
        kind: str,
        edges: Iterable[Edge],
        *,
        actor: Principal,
        started_at: datetime | None = None,
        state: Literal["running", "done", "failed"] = "done",
        params: Mapping[str, Any] | None = None,
        environment: Mapping[str, Any] | None = None,
    ) -> Activity:
        """Keep what was made from what; all artifacts must be the project's."""
        kept = tuple(edges)
        if len(kept) > self._limits.max_parts:
            raise ArtifactTooLarge(f"an activity with {len(kept)} edges", hint=f"at most {self._limits.max_parts}")
        for edge in kept:
            if edge.policy not in INVALIDATIONS or edge.direction not in ("in", "out"):
                raise InvalidInput(f"{edge.policy!r}, {edge.direction!r} is no edge", hint=", ".join(INVALIDATIONS))
        missing = {edge.digest for edge in kept} - self._store.visible(project, [edge.digest for edge in kept])
        if missing:
            raise ArtifactNotFound(f"the project {project!r} has no artifact {min(missing)}")
        now = self._clock.now()
        activity = Activity(
            project, new_id("act"), check_kind(kind), actor.id, started_at or now, None if state == "running" else now,
            state, dict(params or {}), dict(environment or {}), kept,
        )  # fmt: skip
        self._store.add_activity(activity)
        return activity

    def lineage(
        self,
        project: str,
        digest: str,
        *,
        direction: Literal["upstream", "downstream", "both"] = "upstream",
        depth: int = 10,
    ) -> Lineage:
        """Walk from an artifact to what it was made from, to what was made from it, or both ways, breadth first.

        Both ways, each way is walked for itself: what else was made from a common origin is not part of it.
        """
        root = self.artifact(project, digest).digest
        found: dict[str, Activity] = {}
        whole = True
        for way in ("upstream", "downstream") if direction == "both" else (direction,):
            whole = self._walk(project, root, way == "upstream", depth, found) and whole
        activities = tuple(list(found.values())[: self._limits.max_lineage])
        named = list(dict.fromkeys([root, *(edge.digest for each in activities for edge in each.edges)]))
        shown = named[: self._limits.max_lineage]
        return Lineage(
            root,
            activities,
            whole and len(found) <= self._limits.max_lineage and len(shown) == len(named),
            self._nodes(project, shown),
        )

    def _walk(self, project: str, root: Digest, upstream: bool, depth: int, found: dict[str, Activity]) -> bool:
        side, other = ("out", "in") if upstream else ("in", "out")
        seen: set[Digest] = {root}
        passed: set[str] = set()
        frontier = [root]
        for _ in range(depth):
            if not frontier or len(found) >= self._limits.max_lineage:
                break
            reached: list[Digest] = []
            for activity in self._store.activities_of(project, frontier, side):
                if activity.id in passed:
                    continue
                passed.add(activity.id)
                found[activity.id] = activity
                reached += [e.digest for e in activity.edges if e.direction == other and e.digest not in seen]
                seen.update(reached)
            frontier = sorted(set(reached))
        return not frontier

    def _nodes(self, project: str, digests: Sequence[Digest]) -> tuple[LineageNode, ...]:
        """What is only a part of an artifact has no kind of its own: it is called `part`."""
        artifacts = {artifact.digest: artifact for artifact in self._store.artifacts(project, digests)}
        newest: dict[Digest, dict[tuple[str, str], Version]] = {}
        for version in self._store.versions_of_all(project, digests):
            newest.setdefault(version.digest, {}).setdefault((version.kind, version.name), version)
        return tuple(
            LineageNode(
                digest,
                artifact.kind if (artifact := artifacts.get(digest)) else "part",
                artifact.size if artifact else 0,
                tuple(newest.get(digest, {}).values()),
                artifact is not None and artifact.erased_at is not None,
            )
            for digest in digests
        )

    def ancestors(self, project: str, digests: Iterable[str], *, limit: int) -> list[str]:
        """Return artifacts and everything that they were made of, along edges whose policy is not `none`.

        At most `limit`: as many as that may mean that there are more.
        """
        return self._store.ancestors(project, [parse_digest(each) for each in digests], limit=limit)

    def artifacts(self, project: str, digests: Iterable[str]) -> list[Artifact]:
        """Return those of the digests that are artifacts of the project."""
        return self._store.artifacts(project, list(digests))

    def naming(self, project: str, digests: Iterable[str]) -> list[Version]:
        """Return the versions that name any of the digests; of one name the older come first."""
        return self._store.naming(project, list(digests))

    def newest(self, project: str, kind: str, names: Iterable[str]) -> list[Version]:
        """Return the newest version of each of the names that is there."""
        return self._store.newest(project, kind, list(names))

    def makers(self, project: str, digests: Iterable[str]) -> list[Activity]:
        """Return the activities that any of the digests came out of, oldest first."""
        return self._store.activities_of(project, sorted(set(digests)), "out")

    def holding(self, project: str, parts: Iterable[str], *, limit: int) -> list[tuple[str, str]]:
        """Return (artifact, part) of what refers to any of `parts`."""
        return self._store.holding(project, list(parts), limit=limit)

    def holders(self, project: str, parts: Sequence[str], *, limit: int) -> list[str]:
        """Return the artifacts, such as releases, that refer to every one of `parts`, the newest first."""
        return self._store.holders(project, parts, limit=limit)
