"""What the API takes and shows of revocations, collections and erasures."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from tetrad.registry._collect import Collected, Collection, Erasure, Explanation
from tetrad.registry._model import Impact, Live, Revocation


class CollectBody(BaseModel):
    """Whether to carry it out, and which versions may go as well: those that are older and nothing else needs."""

    model_config = ConfigDict(extra="forbid")

    run: bool = False
    versions_older_than_days: float | None = Field(None, ge=0, le=36_500)


class EraseBody(BaseModel):
    """Why, and whether also what is served now."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=4000)
    force: bool = False


class RevocationView(BaseModel):
    """A revocation; it stands until `reinstated_at`. `evidence` is the signed statement that says the same."""

    id: str
    digest: str
    kind: str
    reason: str
    stands: bool
    revoked_at: datetime
    revoked_by: str
    evidence: str
    reinstated_at: datetime | None
    reinstated_by: str
    reinstated_because: str

    @classmethod
    def of(cls, revocation: Revocation) -> RevocationView:
        return cls(
            id=revocation.id,
            digest=revocation.digest,
            kind=revocation.kind,
            reason=revocation.reason,
            stands=revocation.stands,
            revoked_at=revocation.revoked_at,
            revoked_by=revocation.revoked_by_name or revocation.revoked_by,
            evidence=revocation.evidence,
            reinstated_at=revocation.reinstated_at,
            reinstated_by=revocation.reinstated_by_name or revocation.reinstated_by,
            reinstated_because=revocation.reinstated_because,
        )


class TouchedView(BaseModel):
    """An artifact that contains or derives from another; `path` leads to it. `versions` are names with numbers."""

    digest: str
    kind: str
    path: list[str]
    versions: list[str]
    refs: list[str]


class LiveView(BaseModel):
    """A release that is served now for an app, by a ref; without one only to requests that pin it."""

    app: str
    ref: str
    digest: str

    @classmethod
    def of(cls, live: Live) -> LiveView:
        return cls(app=live.app, ref=live.ref, digest=live.digest)


class ImpactView(BaseModel):
    """Everything that a revocation reaches. `touched` are the first of `count`, itself the first of all.

    `complete` is false where the walk stopped at a limit.
    """

    digest: str
    count: int
    touched: list[TouchedView]
    live: list[LiveView]
    complete: bool

    @classmethod
    def of(cls, impact: Impact, most: int) -> ImpactView:
        return cls(
            digest=impact.digest,
            count=len(impact.touched),
            touched=[
                TouchedView(
                    digest=each.digest,
                    kind=each.kind,
                    path=list(each.path),
                    versions=[f"{version.name}@{version.semver}" for version in each.versions],
                    refs=list(each.refs),
                )
                for each in impact.touched[:most]
            ],
            live=[LiveView.of(each) for each in impact.live],
            complete=impact.complete,
        )


class RevokedView(BaseModel):
    """A revocation and what it reaches now."""

    revocation: RevocationView
    impact: ImpactView


class AmountView(BaseModel):
    """How many, and how many bytes."""

    count: int
    bytes: int


class CollectionView(BaseModel):
    """What a collection took from a project, or would take where `ran` is false.

    `gone` is by kind; `kept` counts artifacts by what holds them; `digests` are the first of those that go.
    """

    project: str
    ran: bool
    gone: dict[str, AmountView]
    total: AmountView
    kept: dict[str, int]
    versions: int
    rows: int
    digests: list[str]

    @classmethod
    def of(cls, collection: Collection, most: int) -> CollectionView:
        return cls(
            project=collection.project,
            ran=collection.ran,
            gone={kind: AmountView(count=each.count, bytes=each.bytes) for kind, each in collection.gone.items()},
            total=AmountView(count=collection.total.count, bytes=collection.total.bytes),
            kept=dict(collection.kept),
            versions=collection.versions,
            rows=collection.rows,
            digests=list(collection.digests[:most]),
        )


class CollectedView(BaseModel):
    """What a collection took from all projects, and the files and bytes that went with it.

    `remains` are pieces that killed writers had left.
    """

    ran: bool
    projects: list[CollectionView]
    blobs: AmountView
    remains: int

    @classmethod
    def of(cls, collected: Collected, most: int) -> CollectedView:
        return cls(
            ran=collected.ran,
            projects=[CollectionView.of(each, most) for each in collected.projects],
            blobs=AmountView(count=collected.blobs.count, bytes=collected.blobs.bytes),
            remains=collected.remains,
        )


class HolderView(BaseModel):
    """What holds an artifact, and the path from what it names to the artifact."""

    why: str
    path: list[str]


class ExplanationView(BaseModel):
    """Whether a collection would leave an artifact, and the nearest of what holds it."""

    digest: str
    kind: str
    kept: bool
    holders: list[HolderView]
    erased_at: datetime | None
    erased_because: str

    @classmethod
    def of(cls, explanation: Explanation) -> ExplanationView:
        return cls(
            digest=explanation.digest,
            kind=explanation.kind,
            kept=explanation.kept,
            holders=[HolderView(why=each.why, path=list(each.path)) for each in explanation.holders],
            erased_at=explanation.erased_at,
            erased_because=explanation.erased_because,
        )


class ErasureView(BaseModel):
    """An artifact whose content is gone. `blobs_left` are shared with other artifacts, or were put again lately."""

    digest: str
    kind: str
    erased_at: datetime | None
    erased_because: str
    rows: int
    freed: AmountView
    blobs_left: int
    was_live: list[LiveView]

    @classmethod
    def of(cls, erasure: Erasure) -> ErasureView:
        return cls(
            digest=erasure.artifact.digest,
            kind=erasure.artifact.kind,
            erased_at=erasure.artifact.erased_at,
            erased_because=erasure.artifact.erased_because,
            rows=erasure.rows,
            freed=AmountView(count=erasure.freed.count, bytes=erasure.freed.bytes),
            blobs_left=erasure.blobs_left,
            was_live=[LiveView.of(each) for each in erasure.was_live],
        )
