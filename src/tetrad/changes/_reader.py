"""Read change requests as they stand now: their state, what their reviews come to, their candidates; writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from tetrad.changes._model import (
    ENDED,
    LIVE,
    ChangeRequest,
    Event,
    Happening,
    Review,
    Revision,
    Standing,
    State,
    allows,
    standing,
)
from tetrad.changes._patch import Patches
from tetrad.changes.errors import (
    BadChange,
    ChangeNotFound,
)
from tetrad.changes.ports import ChangeStore, Counts
from tetrad.kernel import Clock, Digest, Principal, TetradError
from tetrad.prompts import Prompts
from tetrad.registry import Evidence, GatePolicies, GatePolicy, Registry, glob_matches
from tetrad.releases import Planned, ReleaseDiff, Releases, ResolvedRelease

_CACHED: Final = 1_000


class Candidate(msgspec.Struct, frozen=True):
    """The release that a change request which has not ended would bring; that of a draft is kept nowhere."""

    project: str
    number: int
    digest: Digest
    draft: bool = False


class Looked(msgspec.Struct, frozen=True):
    """A change request with all that is shown of it. `newest` is its newest revision, with the patch.

    `problems` say which reviews' evidence does not count, and why.
    """

    request: ChangeRequest
    newest: Revision
    revisions: tuple[Revision, ...]
    reviews: tuple[Review, ...]
    problems: Mapping[int, str]
    counts: Counts
    ref_digest: Digest | None
    allowed: tuple[str, ...]

    @property
    def behind(self) -> bool:
        """Whether the ref has moved since the patch was put on its release."""
        return self.request.state not in ENDED and self.ref_digest != self.request.base


class ChangeReader:
    """The change requests of all projects, as they stand at the moment of asking. Safe to use from many threads."""

    def __init__(
        self,
        store: ChangeStore,
        releases: Releases,
        prompts: Prompts,
        registry: Registry,
        evidence: Evidence,
        gates: GatePolicies,
        clock: Clock,
    ) -> None:
        self._store = store
        self._releases = releases
        self._registry = registry
        self._evidence = evidence
        self._gates = gates
        self._clock = clock
        self._patches = Patches(releases, prompts, registry)
        self._planned: dict[tuple[str, str], ResolvedRelease] = {}
        self._lock = threading.Lock()

    def get(self, project: str, number: int) -> ChangeRequest:
        """Return a change request of the project, or raise `ChangeNotFound`."""
        found = self._store.get(project, number)
        if found is None:
            raise ChangeNotFound(
                f"the project {project!r} has no change request #{number}", hint="`tetrad change list` shows them"
            )
        return found

    def find(
        self, project: str, *, app: str | None = None, ref: str | None = None, states: Collection[State] = (),
        limit: int = 50, before: int | None = None,
    ) -> list[tuple[ChangeRequest, Counts, bool]]:  # fmt: skip
        """Return change requests, newest first, each with its comments counted and whether it is behind its ref.

        A state is what the reviews came to when something last happened to the request.
        """
        found = self._store.list(project, app=app, ref=ref, states=states, limit=limit, before=before)
        counts = self._store.counts(project, [each.number for each in found])
        refs = {name: self._registry.find_ref(project, name) for name in {each.ref_name for each in found}}
        listed = []
        for each in found:
            now = refs[each.ref_name]
            behind = each.state not in ENDED and (now is None or now.digest != each.base)
            listed.append((each, counts.get(each.number, Counts()), behind))
        return listed

    def look(self, project: str, number: int, *, actor: Principal) -> Looked:
        """Return a change request with its revisions, its reviews (each verified now), and what the actor may do."""
        request, problems = self._now(self.get(project, number))
        current = self._registry.find_ref(project, request.ref_name)
        return Looked(
            request,
            self._revision(request),
            tuple(self._store.revisions(project, number)),
            tuple(self._store.reviews(project, number)),
            problems,
            self._store.counts(project, [number]).get(number, Counts()),
            current.digest if current else None,
            self._allowed(request, actor),
        )

    def events(self, project: str, number: int, *, limit: int = 50, before: int | None = None) -> Sequence[Happening]:
        """Return what happened to a change request, newest first."""
        self.get(project, number)
        return self._store.events(project, number, limit=limit, before=before)

    def diff(self, project: str, number: int, *, rows: int = 20, files: int = 200) -> ReleaseDiff:
        """Say what the candidate changes on its base, part by part; for a draft too."""
        request = self.get(project, number)
        comparisons = self._releases.comparisons
        if request.state != "draft":
            return comparisons.diff(project, request.base, request.candidate, rows=rows, files=files)
        newest = self._revision(request)
        planned = self._plan(request, newest)
        words = {"reason": request.title, "outcome": request.expected_outcome}
        specs = [self._patches.spec(project, each, **words) for each in newest.patch if each.content is not None]
        return comparisons.diff_parts(
            self._releases.parts(project, request.base, rows=0),
            self._releases.planned_parts(project, planned.manifest, planned.drafts, actor=maker_of(newest)),
            documents={spec.digest: spec.document() for spec in specs}, rows=rows, files=files,
        )  # fmt: skip

    def manifest(self, request: ChangeRequest) -> Mapping[str, Any]:
        """Return the manifest of the candidate; that of a draft is worked out."""
        if request.state != "draft":
            return self._releases.release(request.project, request.candidate).manifest
        return self._plan(request, self._revision(request)).manifest

    def base_manifest(self, request: ChangeRequest) -> Mapping[str, Any]:
        """Return the manifest of the release that the patch is on."""
        return self._releases.release(request.project, request.base).manifest

    # -- candidates ---------------------------------------------------------------------------------------------

    def candidates(self) -> list[Candidate]:
        """Return the candidates of all change requests that have not ended, drafts too: to be tried before a merge."""
        return [
            Candidate(each.project, each.number, each.candidate, each.state == "draft")
            for each in self._store.unended(None)
        ]

    def resolve(self, candidate: Candidate) -> ResolvedRelease:
        """Return a candidate as requests need it, kept or not.

        Raises `BadChange` where a draft is not what it was any more: a prompt that it includes by a range has a newer
        version.
        """
        if not candidate.draft:
            return self._releases.resolve(candidate.project, candidate.digest)
        key = (candidate.project, candidate.digest)
        found = self._planned.get(key)
        if found is None:
            request = self.get(candidate.project, candidate.number)
            planned = self._plan(request, self._revision(request))
            if planned.digest != candidate.digest:
                raise drifted(planned.digest, candidate.digest)
            found = self._releases.resolve_planned(candidate.project, planned.manifest, planned.drafts)
            with self._lock:
                if len(self._planned) >= _CACHED:
                    self._planned.pop(next(iter(self._planned)))
                self._planned[key] = found
        return found

    def held(self, project: str) -> Iterable[Digest]:
        """Return what change requests that have not ended rest on; garbage collection leaves it be."""
        return sorted(self._store.held(project))

    def _plan(self, request: ChangeRequest, revision: Revision) -> Planned:
        return self._patches.plan(
            request.project, revision.base, revision.patch, reason=request.title, outcome=request.expected_outcome
        )

    def _now(self, request: ChangeRequest) -> tuple[ChangeRequest, dict[int, str]]:
        """Return a request in the state that its reviews come to now, and why which of them do not count any more."""
        reviews = self._store.reviews(request.project, request.number)
        problems = {each.sequence: why for each in reviews if (why := self._problem(request.project, each))}
        if request.state not in LIVE or not problems:
            return request, problems
        counted = [each for each in reviews if each.sequence not in problems]
        return msgspec.structs.replace(request, state=standing_of(request, self._revision(request), counted)), problems

    def _revision(self, request: ChangeRequest) -> Revision:
        found = self._store.revision(request.project, request.number, request.revision)
        assert found is not None  # noqa: S101 - written in the transaction that numbered it
        return found

    def _allowed(self, request: ChangeRequest, actor: Principal) -> tuple[str, ...]:
        may: list[str] = []
        if "review" not in actor.scopes:
            return ()
        ours = actor.id in request.authors or edits(actor)
        if request.state not in ENDED:
            may.append("comment")
        if request.state in LIVE:
            own = actor.id in request.authors
            if not own or any(policy.approvals.self_approval for policy in self._policies(request)):
                may.append("approve")
            if not own:
                may.append("request_changes")
        if ours and request.state not in ENDED:
            may.append("edit")
            events: tuple[Event, ...] = ("push", "propose", "rebase", "withdraw", "close")
            may += [event for event in events if allows(request.state, event)]
        if edits(actor) and allows(request.state, "merge"):
            may.append("merge")
        return tuple(may)

    def _policies(self, request: ChangeRequest) -> list[GatePolicy]:
        return [
            gate.policy
            for gate in self._gates.all(request.project)
            if gate.policy is not None and glob_matches(gate.rule.pattern, request.ref_name)
        ]

    def _problem(self, project: str, review: Review) -> str:
        try:
            judged = self._evidence.get(project, review.evidence)
        except TetradError as error:
            return error.message
        ended = judged.row.expires_at is not None and judged.row.expires_at <= self._clock.now()
        return judged.problem or ("it has expired" if ended else "")


def role_of(actor: Principal) -> str:
    """Name the role that an actor's scopes are those of, as `tetrad login --role` gives it."""
    if "admin" in actor.scopes:
        return "admin"
    if "review" not in actor.scopes:
        return "viewer"
    return "reviewer" if actor.read_only else "editor"


def edits(actor: Principal) -> bool:
    """Tell whether an actor may change what is somebody else's."""
    return "control" in actor.scopes and not actor.read_only


def standing_of(request: ChangeRequest, revision: Revision, reviews: Iterable[Review]) -> Standing:
    """Return what a revision's reviews come to."""
    return standing([part.seal for part in revision.changed], reviews, request.authors)


def maker_of(revision: Revision) -> Principal:
    """Return who pushed a revision, as what is kept of it names its author. It may do nothing."""
    return Principal(revision.by, "process", revision.by_name, frozenset())


def drifted(now: Digest, was: Digest) -> BadChange:
    """Say that a draft would be another release than the one that was looked at."""
    return BadChange(f"the draft's parts resolve to {now} now, not to {was}", hint="push it again")
