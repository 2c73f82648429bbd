"""What the API shows of the registry."""

from __future__ import annotations

from collections.abc import Container
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from tetrad.registry._lineage import Lineage, LineageNode
from tetrad.registry._model import Activity, Artifact, LogCheck, Ref, RefEntry, Version

MAX_SHOWN_NAMES = 20


class VersionView(BaseModel):
    """A version of an artifact."""

    kind: str
    name: str
    sequence: int
    semver: str
    digest: str
    created_at: datetime
    created_by: str
    reason: str
    expected_outcome: str
    parent: str | None
    meta: dict[str, Any]

    @classmethod
    def of(cls, version: Version) -> VersionView:
        return cls(
            kind=version.kind,
            name=version.name,
            sequence=version.seq,
            semver=version.semver,
            digest=version.digest,
            created_at=version.created_at,
            created_by=version.author_name or version.author,
            reason=version.reason,
            expected_outcome=version.expected_outcome,
            parent=version.parent,
            meta=dict(version.meta),
        )


class PartView(BaseModel):
    """Something that an artifact refers to."""

    digest: str
    role: str


class ArtifactView(BaseModel):
    """An artifact; `document` is its content if that is a JSON object, `parts` are the first of what it refers to.

    `erased_at` says that only its name is left; `revoked` says in sentences which revocations reach it.
    """

    digest: str
    kind: str
    media_type: str
    size: int
    stored: bool
    created_at: datetime
    created_by: str
    erased_at: datetime | None
    erased_because: str
    revoked: list[str]
    versions: list[VersionView]
    parts: list[PartView]
    part_count: int
    document: dict[str, Any] | None

    @classmethod
    def of(
        cls,
        artifact: Artifact,
        versions: list[Version],
        parts: list[tuple[str, str]],
        part_count: int,
        document: dict[str, Any] | None,
        revoked: list[str],
    ) -> ArtifactView:
        return cls(
            digest=artifact.digest,
            kind=artifact.kind,
            media_type=artifact.media_type,
            size=artifact.size,
            stored=artifact.stored,
            created_at=artifact.created_at,
            created_by=artifact.created_by,
            erased_at=artifact.erased_at,
            erased_because=artifact.erased_because,
            revoked=revoked,
            versions=[VersionView.of(version) for version in versions],
            parts=[PartView(digest=digest, role=role) for digest, role in parts],
            part_count=part_count,
            document=document,
        )


class RefView(BaseModel):
    """A ref by its whole name, such as `assistant/production`."""

    name: str
    digest: str
    revision: int
    moved_at: datetime
    moved_by: str
    governed: bool

    @classmethod
    def of(cls, ref: Ref, prefix: str = "") -> RefView:
        return cls(
            name=ref.name.removeprefix(prefix),
            digest=ref.digest,
            revision=ref.revision,
            moved_at=ref.moved_at,
            moved_by=ref.moved_by_name or ref.moved_by,
            governed=ref.governed,
        )


class LogEntryView(BaseModel):
    """One move in the project's hash-chained log. A ref that was made has no `old`, one that was deleted no `new`."""

    sequence: int
    ref: str
    old: str | None
    new: str | None
    at: datetime
    by: str
    by_id: str
    reason: str
    change_request: str
    hash: str
    previous_hash: str

    @classmethod
    def of(cls, entry: RefEntry) -> LogEntryView:
        return cls(
            sequence=entry.seq,
            ref=entry.ref,
            old=entry.old,
            new=entry.new,
            at=entry.at,
            by=entry.actor_name or entry.actor,
            by_id=entry.actor,
            reason=entry.reason,
            change_request=entry.change_request,
            hash=entry.hash,
            previous_hash=entry.prev_hash,
        )


class LogCheckView(BaseModel):
    """Whether the log of a project is whole; `broken_at` is the first entry that does not follow."""

    sound: bool
    entries: int
    head: str
    broken_at: int | None
    problem: str

    @classmethod
    def of(cls, check: LogCheck) -> LogCheckView:
        return cls(
            sound=check.sound,
            entries=check.entries,
            head=check.head,
            broken_at=check.broken_at,
            problem=check.problem,
        )


class EdgeView(BaseModel):
    """An artifact that went into an activity (`in`) or came out of it (`out`)."""

    digest: str
    direction: str
    role: str
    policy: str


class ActivityView(BaseModel):
    """Something that made artifacts from artifacts."""

    id: str
    kind: str
    actor: str
    state: str
    started_at: datetime
    ended_at: datetime | None
    params: dict[str, Any]
    environment: dict[str, Any]
    edges: list[EdgeView]

    @classmethod
    def of(cls, activity: Activity, shown: Container[str]) -> ActivityView:
        return cls(
            id=activity.id,
            kind=activity.kind,
            actor=activity.actor,
            state=activity.state,
            started_at=activity.started_at,
            ended_at=activity.ended_at,
            params=dict(activity.params),
            environment=dict(activity.environment),
            edges=[
                EdgeView(digest=edge.digest, direction=edge.direction, role=edge.role, policy=edge.policy)
                for edge in activity.edges
                if edge.digest in shown
            ],
        )


class LineageNameView(BaseModel):
    """The newest version of a name that means the artifact."""

    kind: str
    name: str
    semver: str

    @classmethod
    def of(cls, version: Version) -> LineageNameView:
        return cls(kind=version.kind, name=version.name, semver=version.semver)


class LineageNodeView(BaseModel):
    """An artifact of a lineage. `kind` is `part` for what is only a part of an artifact."""

    digest: str
    kind: str
    size: int
    names: list[LineageNameView]
    erased: bool

    @classmethod
    def of(cls, node: LineageNode) -> LineageNodeView:
        return cls(
            digest=node.digest,
            kind=node.kind,
            size=node.size,
            names=[LineageNameView.of(version) for version in node.versions[:MAX_SHOWN_NAMES]],
            erased=node.erased,
        )


class LineageView(BaseModel):
    """The activities around an artifact and the artifacts that they name: the edges and the nodes of a graph.

    `complete` is false where the walk stopped at a limit; an edge whose artifact is not among the nodes is left out.
    """

    root: str
    complete: bool
    activities: list[ActivityView]
    nodes: list[LineageNodeView]

    @classmethod
    def of(cls, lineage: Lineage) -> LineageView:
        shown = {node.digest for node in lineage.nodes}
        return cls(
            root=lineage.root,
            complete=lineage.complete,
            activities=[ActivityView.of(activity, shown) for activity in lineage.activities],
            nodes=[LineageNodeView.of(node) for node in lineage.nodes],
        )
