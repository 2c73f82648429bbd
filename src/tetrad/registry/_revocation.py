"""Revoke artifacts and tell what that reaches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tetrad.kernel import Clock, Digest, Principal, new_id, parse_digest, short
from tetrad.registry._attest import Evidence, tags
from tetrad.registry._evidence import REVOCATION, Statement, check_words
from tetrad.registry._model import Cause, Impact, Link, Live, Revocation, Touched
from tetrad.registry._walk import Step, Walk, tainted, walk
from tetrad.registry.errors import ArtifactNotFound, ArtifactRevoked, RevocationNotFound
from tetrad.registry.ports import Auditor, Deployments, RegistryStore, RevocationStore

MAX_REACHED = 100_000
"""How many artifacts one walk visits. A move that would need more is refused: nothing unproven passes as sound."""


class Broken(msgspec.Struct, frozen=True):
    """A release that is served now although revocations reach it."""

    project: str
    live: Live
    causes: tuple[Cause, ...]


class NothingLive:
    """`Deployments` of an installation that serves nothing."""

    def live(self, project: str) -> Sequence[Live]:
        del project
        return ()


class Revocations:
    """What is not to be used any more, per project. Safe to use from many threads.

    A revocation spreads to everything that contains the artifact, or was made from it by an edge whose policy is not
    `none`, unless the same bytes were also made of sound inputs only. It stops refs from moving there; what is served
    already goes on being served, and is named.
    """

    def __init__(
        self,
        store: RevocationStore,
        artifacts: RegistryStore,
        evidence: Evidence,
        clock: Clock,
        *,
        audit: Auditor | None = None,
        deployments: Deployments | None = None,
        max_reached: int = MAX_REACHED,
    ) -> None:
        self._store = store
        self._artifacts = artifacts
        self._evidence = evidence
        self._clock = clock
        self._audit = audit
        self._deployments = deployments or NothingLive()
        self._max_reached = max_reached

    def serve_from(self, deployments: Deployments) -> None:
        """Ask `deployments` what is live; for composition roots, where what serves is made later."""
        self._deployments = deployments

    def revoke(self, project: str, digest: str, *, actor: Principal, reason: str) -> tuple[Revocation, Impact]:
        """Revoke an artifact and say what that reaches; revoking it again changes nothing.

        The statement is signed in the same transaction, while no ref of the project moves: a move is either before it,
        and named in what this returns, or is refused. Who may is for the routes to say.
        """
        said = check_words(reason, "reason")
        kind = self._kind(project, digest)
        known = self._store.standing(project).get(parse_digest(digest))
        if known is not None:
            return known, self.impact(project, digest)
        self._note(actor, "artifact.revoked", digest, project, reason=said[:500])

        def make(transaction: Any) -> Revocation:
            signed = self._sign(project, digest, kind, "revoke", said, actor, transaction)
            return Revocation(
                project, new_id("rev"), parse_digest(digest), kind, said, self._clock.now(), actor.id,
                actor.name[:256], signed,
            )  # fmt: skip

        revocation, _ = self._store.revoke(project, digest, make)
        return revocation, self.impact(project, digest)

    def reinstate(self, project: str, digest: str, *, actor: Principal, reason: str) -> Revocation:
        """Take a revocation back; raise `RevocationNotFound` where none stands."""
        said = check_words(reason, "reason")
        kind = self._kind(project, digest)
        if parse_digest(digest) not in self._store.standing(project):
            raise RevocationNotFound(f"{digest} is not revoked", hint="`tetrad revoke --list`")
        self._note(actor, "artifact.reinstated", digest, project, reason=said[:500])

        def change(known: Revocation, transaction: Any) -> Revocation:
            self._sign(project, digest, kind, "reinstate", said, actor, transaction)
            return msgspec.structs.replace(
                known, reinstated_at=self._clock.now(), reinstated_by=actor.id, reinstated_by_name=actor.name[:256],
                reinstated_because=said,
            )  # fmt: skip

        changed = self._store.reinstate(project, digest, change)
        if changed is None:
            raise RevocationNotFound(f"{digest} is not revoked", hint="somebody else has reinstated it just now")
        return changed

    def _sign(
        self, project: str, digest: str, kind: str, decision: str, reason: str, actor: Principal, transaction: Any
    ) -> Digest:
        predicate = {
            "decision": decision, "project": project, "actor": tags(actor), "reason": reason,
            "statement": new_id("stm"),  # else the second of two equal ones would be the first
        }  # fmt: skip
        statement = Statement(REVOCATION, ((kind, parse_digest(digest)),), predicate)
        return self._evidence.sign(project, statement, actor=actor, transaction=transaction).digest

    # -- reading ------------------------------------------------------------------------------------------------

    def all(
        self, project: str, *, standing: bool = False, digest: str | None = None, limit: int = 50,
        before: str | None = None,
    ) -> list[Revocation]:  # fmt: skip
        """Return revocations, newest first, those taken back among them unless `standing`."""
        about = parse_digest(digest) if digest is not None else None
        return self._store.revocations(project, standing=standing, digest=about, limit=limit, before=before)

    def standing(self, project: str, transaction: Any = None) -> dict[Digest, Revocation]:
        """Return what is revoked now, by digest."""
        return self._store.standing(project, transaction)

    def any(self, project: str) -> bool:
        """Tell whether anything of a project is revoked."""
        return bool(self._store.revocations(project, standing=True, digest=None, limit=1, before=None))

    def served(self) -> list[Broken]:
        """Return what is served now although a revocation reaches it, in all projects."""
        found: list[Broken] = []
        for project in self._store.projects():
            reached = walk(self._store.standing(project), self._downwards(project), limit=self._max_reached)
            suspects = [live for live in self._deployments.live(project) if live.digest in reached]
            judged = [Broken(project, live, self.causes(project, live.digest)) for live in suspects]
            found += [each for each in judged if each.causes]
        return found

    def causes(self, project: str, digest: str, transaction: Any = None) -> tuple[Cause, ...]:
        """Return the revocations that reach an artifact, the nearest first: none means that it is sound.

        Raises `ArtifactRevoked` where the artifact has too many ancestors to tell, and anything at all is revoked.
        """
        standing = self._store.standing(project, transaction)
        if not standing:
            return ()

        above: dict[Digest, list[Link]] = {}

        def step(digests: Sequence[Digest]) -> list[tuple[Digest, Digest]]:
            links = self._store.above(project, digests, transaction)
            for link in links:
                above.setdefault(link.below, []).append(link)
            return [(link.below, link.above) for link in links]

        root = parse_digest(digest)
        found = walk([root], step, limit=self._max_reached)
        if not found.complete:
            raise ArtifactRevoked(
                f"{short(digest)} has more than {self._max_reached} ancestors, so that none can be proven sound",
                hint="`tetrad revoke --list` shows what is revoked",
            )
        if standing.keys().isdisjoint(found.reached):
            return ()
        bad = tainted((link for links in above.values() for link in links), standing)
        if root not in bad:
            return ()
        through = walk(
            [root],
            lambda digests: [
                (each, link.above) for each in digests for link in above.get(each, ()) if link.above in bad
            ],
            limit=self._max_reached,
        )
        return tuple(
            Cause(standing[each], tuple(reversed(through.path(each)))) for each in through.reached if each in standing
        )

    def impact(self, project: str, digest: str) -> Impact:
        """Name every artifact, version, ref and live deployment that a revocation of an artifact reaches.

        What else is revoked counts too: an artifact with two origins falls with the second of them.
        """
        root = parse_digest(digest)
        self._kind(project, root)
        found = self._reached(project, root)
        reached = found.reached
        kinds = self._store.kinds(project, reached)
        versions = self._store.named_by(project, reached)
        refs = self._store.pointed_to(project, reached)
        touched = tuple(
            Touched(
                each, kinds.get(each, "part"), found.path(each),
                tuple(version for version in versions if version.digest == each),
                tuple(ref.name for ref in refs if ref.digest == each),
            )
            for each in reached
        )  # fmt: skip
        live = tuple(each for each in self._deployments.live(project) if each.digest in found)
        return Impact(root, touched, live, found.complete)

    def _reached(self, project: str, root: Digest) -> Walk:
        """Walk from an artifact to all that rest on it; where that is too much, also to what may be sound."""
        down = self._downwards(project)
        revoked = {root, *self._store.standing(project)}
        suspects = walk(revoked, down, limit=self._max_reached)
        if not suspects.complete:
            return walk([root], down, limit=self._max_reached).cut()
        bad = tainted(self._store.above(project, suspects.reached), revoked)
        return walk([root], lambda digests: [edge for edge in down(digests) if edge[1] in bad], limit=self._max_reached)

    def _downwards(self, project: str) -> Step:
        return lambda digests: [(link.above, link.below) for link in self._store.below(project, digests)]

    def _kind(self, project: str, digest: str) -> str:
        """Return the kind of an artifact of the project, one whose content is gone included."""
        whole = parse_digest(digest)
        artifact = self._artifacts.artifact(project, whole)
        if artifact is None:
            raise ArtifactNotFound(
                f"the project {project!r} has no artifact {digest}", hint="check the digest and the project"
            )
        return artifact.kind

    def _note(self, actor: Principal, action: str, target: str, project: str, **detail: Any) -> None:
        if self._audit is not None:
            self._audit(actor, action, target, project, **detail)


def told(cause: Cause) -> str:
    """Say a cause in one sentence."""
    revocation = cause.revocation
    what = f"{revocation.kind} {short(revocation.digest)}"
    who = revocation.revoked_by_name or revocation.revoked_by
    way = "" if len(cause.path) == 1 else f", by {' -> '.join(short(each) for each in cause.path)}"
    return f"the {what} was revoked by {who}: {revocation.reason}{way}"
