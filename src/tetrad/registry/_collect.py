"""Collect what nothing needs any more, and erase what must go: by reachability, rows before bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import msgspec

from tetrad.kernel import Clock, Digest, InvalidInput, Principal, parse_digest, short
from tetrad.registry._evidence import check_words
from tetrad.registry._model import COLLECTOR, Artifact, Live
from tetrad.registry._walk import Walk, walk
from tetrad.registry.errors import ArtifactNotFound, ArtifactServed, TooManyToCollect
from tetrad.registry.ports import (
    Auditor,
    BlobRoots,
    Blobs,
    CollectStore,
    Contents,
    Deployments,
    RegistryStore,
    RevocationStore,
    Roots,
)

MAX_REACHED = 5_000_000
MAX_HOLDERS = 50
_BATCH = 500
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CollectLimits:
    """What collections leave, and how much they go through."""

    grace: timedelta = timedelta(hours=24)
    kept_moves: int = 50
    max_reached: int = MAX_REACHED


class Amount(msgspec.Struct, frozen=True):
    """How many, and how many bytes."""

    count: int = 0
    bytes: int = 0


class Collection(msgspec.Struct, frozen=True):
    """What a collection took from a project, or would take where `ran` is false.

    `kept` counts artifacts by the first thing that holds each: `ref`, `version`, `kept lately`, … `rows` are those of
    datasets; a look beforehand cannot tell them.
    """

    project: str
    ran: bool
    gone: dict[str, Amount]
    kept: dict[str, int]
    versions: int
    rows: int
    digests: tuple[Digest, ...]

    @property
    def total(self) -> Amount:
        """All kinds together."""
        return Amount(sum(each.count for each in self.gone.values()), sum(each.bytes for each in self.gone.values()))


class Collected(msgspec.Struct, frozen=True):
    """What a collection took from all projects, and the bytes that no project needs any more."""

    ran: bool
    projects: tuple[Collection, ...]
    blobs: Amount
    remains: int = 0


class Holder(msgspec.Struct, frozen=True):
    """What holds an artifact: `why`, and the `path` from what it names to the artifact, both included."""

    why: str
    path: tuple[Digest, ...]


class Explanation(msgspec.Struct, frozen=True):
    """Whether a collection would leave an artifact, and the nearest holders."""

    digest: Digest
    kind: str
    kept: bool
    holders: tuple[Holder, ...]
    erased_at: datetime | None = None
    erased_because: str = ""


class Erasure(msgspec.Struct, frozen=True):
    """An artifact whose content is gone. `blobs_left` are shared with others, or were put again."""

    artifact: Artifact
    rows: int
    freed: Amount
    blobs_left: int
    was_live: tuple[Live, ...]


class Marked(msgspec.Struct, frozen=True):
    """What is reached from the roots of a project, and why."""

    living: dict[Digest, Artifact]
    why: dict[Digest, list[str]]
    reached: Walk

    def dead(self) -> list[Digest]:
        """Return what nothing reaches, in the order of digests."""
        return sorted(digest for digest in self.living if digest not in self.reached)


class Collector:
    """Takes away what nothing reaches, and what must go. Safe to use from many threads and processes, and to be killed.

    Reached is what a root names, what that contains, and what it was made from by edges that are not `none`. The mark
    and the tombstones are one transaction in which nothing of the project becomes referred to. Bytes go after it, each
    only while no artifact of any project names it and nobody has put it lately; what a kill leaves, the next run takes.
    """

    def __init__(
        self,
        store: CollectStore,
        artifacts: RegistryStore,
        edges: RevocationStore,
        blobs: Blobs,
        clock: Clock,
        *,
        deployments: Deployments,
        roots: Iterable[Roots] = (),
        blob_roots: Iterable[BlobRoots] = (),
        contents: Iterable[Contents] = (),
        audit: Auditor | None = None,
        limits: CollectLimits | None = None,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._edges = edges
        self._blobs = blobs
        self._clock = clock
        self._deployments = deployments
        self._roots = tuple(roots)
        self._blob_roots = tuple(blob_roots)
        self._contents = {each.kind: each for each in contents}
        self._audit = audit
        self._limits = limits or CollectLimits()
        self._listeners: list[Callable[[str, Sequence[Digest]], None]] = []

    def subscribe(self, listener: Callable[[str, Sequence[Digest]], None]) -> None:
        """Call `listener(project, digests)` after content has gone; what it raises is logged."""
        self._listeners.append(listener)

    # -- collecting ---------------------------------------------------------------------------------------------

    def collect(
        self, project: str, *, actor: Principal, run: bool = False, versions_older_than: timedelta | None = None
    ) -> Collection:
        """Take what nothing of a project reaches; without `run` only say what would go.

        Named versions stay, unless they are older than `versions_older_than`, not the newest of their name, and nothing
        else reaches what they name. Tombstones stay in place of artifacts; their bytes go with `collect_all`.
        """
        before = self._before(versions_older_than)
        if not run:
            with self._store.looking() as transaction:
                return self._collection(project, self._mark(transaction, project, before), ran=False)
        self._note(actor, "artifacts.collected", project, project, versions_before=str(before or ""))
        with self._store.holding(project) as transaction:
            marked = self._mark(transaction, project, before)
            dead = marked.dead()
            versions = self._store.bury(
                transaction, project, dead, at=self._clock.now(), by=COLLECTOR, because="nothing needed it",
                versions_too=True,
            )  # fmt: skip
            self._forget(project, [marked.living[digest] for digest in dead], transaction)
        rows = sum(each.sweep(project) for each in self._contents.values())
        self._announce(project, dead)
        return msgspec.structs.replace(self._collection(project, marked, ran=True), versions=versions, rows=rows)

    def collect_all(
        self, *, actor: Principal, run: bool = False, versions_older_than: timedelta | None = None
    ) -> Collected:
        """Do `collect` for every project, then let the bytes go that no project names any more."""
        done = tuple(
            self.collect(project, actor=actor, run=run, versions_older_than=versions_older_than)
            for project in self._store.projects()
        )
        dead = frozenset((each.project, digest) for each in done if not run for digest in each.digests)
        count = size = 0
        before = (self._clock.now() - self._limits.grace).timestamp()
        for digest, length in self._orphans(dead):
            if not run or self._blobs.discard(digest, put_before=before):
                count, size = count + 1, size + length
        return Collected(run, done, Amount(count, size), self._blobs.tidy() if run else 0)

    def _orphans(self, dead: frozenset[tuple[str, Digest]]) -> Iterator[tuple[Digest, int]]:
        held = {digest for each in self._blob_roots for digest in each.blobs()}
        listed = iter(self._blobs.list())
        while batch := list(islice(listed, _BATCH)):
            sizes = {each.digest: each.size for each in batch if each.digest not in held}
            for digest in sorted(self._store.unnamed(list(sizes), but_for=dead)):
                yield digest, sizes[digest]

    def _before(self, versions_older_than: timedelta | None) -> datetime | None:
        if versions_older_than is None:
            return None
        if versions_older_than < timedelta(0):
            raise InvalidInput("an age is not negative", hint="give days")
        return self._clock.now() - max(versions_older_than, self._limits.grace)

    def _mark(self, transaction: Any, project: str, versions_before: datetime | None) -> Marked:
        living = self._store.living(transaction, project)
        why: dict[Digest, list[str]] = {}
        for digest, reason in self._held(transaction, project, versions_before):
            why.setdefault(digest, []).append(reason)

        def step(digests: Sequence[Digest]) -> list[tuple[Digest, Digest]]:
            return [(link.below, link.above) for link in self._edges.above(project, digests, transaction)]

        reached = walk(why, step, limit=self._limits.max_reached)
        if not reached.complete:
            raise TooManyToCollect(
                f"the project {project!r} reaches more than {self._limits.max_reached} digests",
                hint="nothing was taken, as not all that is needed can be told",
            )
        return Marked(living, why, reached)

    def _held(self, transaction: Any, project: str, versions_before: datetime | None) -> Iterator[tuple[Digest, str]]:
        yield from self._store.roots(
            transaction, project, log_entries=self._limits.kept_moves,
            kept_since=self._clock.now() - self._limits.grace, versions_before=versions_before,
        )  # fmt: skip
        for live in self._deployments.live(project):
            yield live.digest, f"deployment of {live.app}"
        for each in self._roots:
            for digest in each.roots(project):
                yield digest, each.name

    def _collection(self, project: str, marked: Marked, *, ran: bool) -> Collection:
        gone: dict[str, Amount] = {}
        dead = marked.dead()
        for digest in dead:
            artifact = marked.living[digest]
            so_far = gone.get(artifact.kind, Amount())
            gone[artifact.kind] = Amount(so_far.count + 1, so_far.bytes + artifact.size)
        kept: dict[str, int] = {}
        reached = marked.reached
        for digest in marked.living:
            if digest in reached:
                reason = _sort(marked.why[reached.path(digest)[0]][0])
                kept[reason] = kept.get(reason, 0) + 1
        return Collection(project, ran, dict(sorted(gone.items())), dict(sorted(kept.items())), 0, 0, tuple(dead))

    def _forget(self, project: str, artifacts: Sequence[Artifact], transaction: Any) -> None:
        for kind, each in self._contents.items():
            mine = [artifact.digest for artifact in artifacts if artifact.kind == kind]
            if mine:
                each.forget(project, mine, transaction)

    def _announce(self, project: str, digests: Sequence[Digest]) -> None:
        if not digests:
            return
        for listener in self._listeners:
            try:
                listener(project, digests)
            except Exception:  # the content is gone, whoever does not hear of it
                _logger.exception("a listener failed after content of %s had gone", project)

    # -- explaining ---------------------------------------------------------------------------------------------

    def explain(self, project: str, digest: str) -> Explanation:
        """Say whether a collection would leave an artifact, what holds it, and by which path, the nearest first."""
        artifact = self._artifact(project, digest)
        with self._store.looking() as transaction:
            why: dict[Digest, list[str]] = {}
            for root, reason in self._held(transaction, project, None):
                why.setdefault(root, []).append(reason)

            def step(digests: Sequence[Digest]) -> list[tuple[Digest, Digest]]:
                return [(link.above, link.below) for link in self._edges.below(project, digests, transaction)]

            found = walk([artifact.digest], step, limit=self._limits.max_reached)
        holders = (
            Holder(reason, tuple(reversed(found.path(each))))
            for each in found.reached
            for reason in dict.fromkeys(why.get(each, ()))
        )
        shown = tuple(islice(holders, MAX_HOLDERS))
        return Explanation(
            artifact.digest, artifact.kind, artifact.erased_at is None and bool(shown), shown, artifact.erased_at,
            artifact.erased_because,
        )  # fmt: skip

    # -- erasing ------------------------------------------------------------------------------------------------

    def erase(self, project: str, digest: str, *, actor: Principal, reason: str, force: bool = False) -> Erasure:
        """Take away the content of an artifact for good, whatever holds it, and leave a tombstone with the reason.

        Reading it raises `ArtifactErased` from then on, and keeping the same content again does too. What is part of
        something that is served raises `ArtifactServed`, unless `force`. Erasing it again changes nothing.
        """
        because = check_words(reason, "reason")
        artifact = self._artifact(project, digest)
        if artifact.erased_at is not None and not artifact.collected:
            return Erasure(artifact, 0, Amount(), 0, ())
        live = self._live_with(project, artifact.digest)
        if live and not force:
            where = ", ".join(sorted({f"{each.app}/{each.ref}" if each.ref else each.app for each in live}))
            raise ArtifactServed(
                f"{short(artifact.digest)} is part of what {where} serves",
                hint="move the refs to another release first, or erase it all the same with --force",
            )
        self._note(actor, "artifact.erased", artifact.digest, project, reason=because[:500], force=force)
        parts = [part for part, _ in self._artifacts.parts(project, artifact.digest)]
        now = self._clock.now()
        with self._store.holding(project) as transaction:
            self._store.bury(
                transaction, project, [artifact.digest], at=now, by=actor.id, because=because, versions_too=False
            )
            self._forget(project, [artifact], transaction)
        rows = sum(each.sweep(project) for each in self._contents.values())
        # Bytes are put before their artifact is kept: what was put later, somebody else may be about to name.
        freed, left = self._let_go(
            [artifact.digest, *parts], put_before=(artifact.kept_at or now) + timedelta(milliseconds=1)
        )
        self._announce(project, [artifact.digest])
        return Erasure(self._artifact(project, digest), rows, freed, left, live)

    def _let_go(self, digests: Sequence[Digest], *, put_before: datetime) -> tuple[Amount, int]:
        """Let bytes go that nothing names any more, unless somebody has put them after the artifact was kept."""
        count = size = left = 0
        held = {digest for each in self._blob_roots for digest in each.blobs()}
        free = self._store.unnamed(list(dict.fromkeys(digests)), but_for=()) - held
        for digest in dict.fromkeys(digests):
            if not self._blobs.exists(digest):
                continue
            length = self._blobs.size(digest)
            if digest in free and self._blobs.discard(digest, put_before=put_before.timestamp()):
                count, size = count + 1, size + length
            else:
                left += 1
        return Amount(count, size), left

    def _live_with(self, project: str, digest: Digest) -> tuple[Live, ...]:
        def step(digests: Sequence[Digest]) -> list[tuple[Digest, Digest]]:
            links = self._edges.below(project, digests)
            return [(link.above, link.below) for link in links]

        found = walk([digest], step, limit=self._limits.max_reached)
        return tuple(each for each in self._deployments.live(project) if each.digest in found)

    def _artifact(self, project: str, digest: str) -> Artifact:
        found = self._artifacts.artifact(project, parse_digest(digest))
        if found is None:
            raise ArtifactNotFound(
                f"the project {project!r} has no artifact {digest}", hint="check the digest and the project"
            )
        return found

    def _note(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        if self._audit is not None:
            self._audit(actor, action, target, project, **detail)


def _sort(reason: str) -> str:
    """Return the sort of a root, for counts: `ref` of `ref assistant/production`."""
    for sort in ("ref", "history", "gate", "running", "version", "deployment"):
        if reason.startswith(f"{sort} "):
            return sort
    return reason
