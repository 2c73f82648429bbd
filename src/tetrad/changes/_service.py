"""Open change requests, push to them, judge them, put them on a moved ref, merge them through its gates."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from tetrad.changes._checks import Checks, requirements
from tetrad.changes._comments import Comments
from tetrad.changes._model import (
    ENDED,
    LIVE,
    ChangedPart,
    ChangeRequest,
    Decision,
    Event,
    Happening,
    Merge,
    PartPatch,
    Review,
    Revision,
    State,
    judgements,
    next_state,
    standing,
)
from tetrad.changes._reader import ChangeReader, drifted, edits, maker_of, role_of, standing_of
from tetrad.changes._rebase import RebasePlan, rebased
from tetrad.changes.errors import (
    BadChange,
    ChangeBehind,
    ChangeMoved,
    KeyTaken,
    NothingChanges,
    NotYours,
    OwnWork,
    RebaseConflict,
    TooManyChanges,
    full,
)
from tetrad.changes.ports import Auditor, ChangeStore, Step
from tetrad.datasets import Datasets
from tetrad.kernel import Clock, Digest, Principal, canonical_json, parse_digest
from tetrad.prompts import Prompts
from tetrad.registry import BINDINGS, Evidence, GatePolicies, RefMoved, Registry, told
from tetrad.releases import Releases

MAX_TITLE_CHARS: Final = 200
MAX_DESCRIPTION_CHARS: Final = 20_000
MAX_TEXT_CHARS: Final = 4_000
MAX_NOTE_CHARS: Final = 500
MAX_KEY_CHARS: Final = 128
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ChangeLimits:
    """What is refused as too much."""

    max_open: int = 200
    max_revisions: int = 200
    max_reviews: int = 500
    max_comments: int = 500


class Changes(ChangeReader):
    """The change requests of all projects. Safe to use from many threads.

    A draft keeps nothing in the registry. What is proposed is a release like any other, made of the ref's release and
    the patch. Approvals are signed evidence about parts; a merge is a move of the ref, through its gates.
    """

    def __init__(
        self,
        store: ChangeStore,
        releases: Releases,
        prompts: Prompts,
        datasets: Datasets,
        registry: Registry,
        evidence: Evidence,
        gates: GatePolicies,
        clock: Clock,
        *,
        audit: Auditor | None = None,
        limits: ChangeLimits | None = None,
    ) -> None:
        super().__init__(store, releases, prompts, registry, evidence, gates, clock)
        self._audit = audit
        self._limits = limits or ChangeLimits()
        self._listeners: list[Callable[[], None]] = []
        self.comments = Comments(self, store, registry, datasets, self._patches, clock, most=self._limits.max_comments)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` after the candidates have changed; what it raises is logged, the change stands."""
        self._listeners.append(listener)

    # -- opening and pushing ------------------------------------------------------------------------------------

    def open(
        self,
        project: str,
        app: str,
        ref: str,
        *,
        title: str,
        patch: Sequence[PartPatch],
        actor: Principal,
        description: str = "",
        expected_outcome: str = "",
        draft: bool = False,
        key: str = "",
    ) -> ChangeRequest:
        """Open a change request for a ref that is there; the same `key` again is the one that it opened.

        Everything is checked before anything is kept, and a draft keeps no version and no release.
        """
        words = _texts(title=title, description=description, expected_outcome=expected_outcome)
        _text(key, "key", MAX_KEY_CHARS)
        if BINDINGS in (app.partition("/")[0], ref.partition("/")[0] if "/" in ref else ""):
            raise BadChange(
                f"{app[:60]}/{ref[:60]} binds an environment; change requests are for refs of apps",
                hint="`tetrad binding put` changes one, through its gates; `tetrad evidence approve` approves it",
            )
        if key and (known := self._store.by_key(project, key)) is not None:
            if (known.app, known.ref, known.title, known.author) != (app, ref, words["title"], actor.id):
                raise KeyTaken(f"the key {key[:40]!r} opened change request #{known.number}", hint="use another key")
            return known
        if len(self._store.unended(project)) >= self._limits.max_open:  # before anything is kept; the store counts anew
            raise full(project, self._limits.max_open)
        current = self._releases.ref(project, app, ref)
        authors = (actor.id,)
        revision = self._made(
            project, current.digest, patch, actor=actor, authors=authors, keep=not draft, number=1,
            title=words["title"], expected_outcome=words["expected_outcome"],
        )  # fmt: skip
        self._note(actor, "change.opened", f"{app}/{ref}", project, title=words["title"], draft=draft)
        now = self._clock.now()
        request = ChangeRequest(
            project, 0, app, ref, words["title"], words["description"], words["expected_outcome"],
            "draft" if draft else "open", actor.id, actor.name[:256], now, now, 1, revision.base, revision.candidate,
            authors, tuple(each.part for each in revision.patch), key,
        )  # fmt: skip
        happening = self._happening(actor, "opened", candidate=revision.candidate, draft=draft)
        made = self._store.add(request, revision, happening, most=self._limits.max_open)
        self._announce()
        return made

    def edit(
        self, project: str, number: int, *, actor: Principal, title: str | None = None, description: str | None = None,
        expected_outcome: str | None = None,
    ) -> ChangeRequest:  # fmt: skip
        """Say a change request's title, description or expected outcome anew; what was said is in its history."""
        self._of(self.get(project, number), actor)
        given = {"title": title, "description": description, "expected_outcome": expected_outcome}
        words = _texts(**{name: text for name, text in given.items() if text is not None})

        def decide(request: ChangeRequest, _: Sequence[Review]) -> Step | None:
            if request.state in ENDED:
                next_state(request.state, "push", "open", number=number)
            before = {name: getattr(request, name) for name, text in words.items() if getattr(request, name) != text}
            if not before:
                return None
            after = msgspec.structs.replace(request, **words, updated_at=self._clock.now())
            return Step(after, self._happening(actor, "edited", before=before))

        return self._updated(project, number, decide)

    def push(
        self, project: str, number: int, patch: Sequence[PartPatch], *, actor: Principal, expected_revision: int,
        note: str = "",
    ) -> ChangeRequest:  # fmt: skip
        """Put a whole new patch in the place of the old one; the same patch again is no new revision.

        Whoever pushes becomes an author. Approvals of parts that this changes are void from now on, as they are about
        other digests. Raises `ChangeMoved` where the newest revision is not the one that the caller saw.
        """
        request = self._of(self.get(project, number), actor)
        words = _text(note, "note", MAX_NOTE_CHARS)
        next_state(request.state, "push", "open", number=number)
        newest = self._revision(request)
        read = self._patches.read(project, request.base, patch)
        if read == newest.patch and newest.by == actor.id:
            return request
        self._same(request, expected_revision)
        authors = tuple(dict.fromkeys([*request.authors, actor.id]))
        revision = self._made(
            project, request.base, read, actor=actor, authors=authors, keep=request.state != "draft",
            number=request.revision + 1, title=request.title, expected_outcome=request.expected_outcome, note=words,
        )  # fmt: skip
        self._note(actor, "change.pushed", f"#{number}", project, candidate=revision.candidate)
        return self._revised(request, revision, authors, "push", self._happening(
            actor, "pushed", revision=revision.number, candidate=revision.candidate, note=words
        ))  # fmt: skip

    def propose(self, project: str, number: int, *, actor: Principal) -> ChangeRequest:
        """Make a draft an open change request: its texts become versions, its candidate a release."""
        request = self._of(self.get(project, number), actor)
        if request.state in LIVE:
            return request
        next_state(request.state, "propose", "open", number=number)
        newest = self._revision(request)
        self._keep(request, newest)
        self._note(actor, "change.proposed", f"#{number}", project, candidate=request.candidate)
        return self._stepped(request, "propose", self._happening(actor, "proposed", candidate=request.candidate))

    def withdraw(self, project: str, number: int, *, actor: Principal) -> ChangeRequest:
        """Make an open change request a draft again; reviews stay, and count for what they are about."""
        request = self._of(self.get(project, number), actor)
        if request.state == "draft":
            return request
        next_state(request.state, "withdraw", "open", number=number)
        self._note(actor, "change.withdrawn", f"#{number}", project)
        return self._stepped(request, "withdraw", self._happening(actor, "withdrawn"))

    def close(self, project: str, number: int, *, actor: Principal, reason: str = "") -> ChangeRequest:
        """End a change request without a merge; closing it again changes nothing."""
        request = self._of(self.get(project, number), actor)
        words = _text(reason, "reason", MAX_TEXT_CHARS)
        if request.state == "closed":
            return request
        next_state(request.state, "close", "open", number=number)
        self._note(actor, "change.closed", f"#{number}", project, reason=words[:500])
        return self._stepped(
            request, "close", self._happening(actor, "closed", reason=words), closed_reason=words
        )  # fmt: skip

    # -- reviews ------------------------------------------------------------------------------------------------

    def review(
        self,
        project: str,
        number: int,
        decision: Decision,
        *,
        actor: Principal,
        revision: int,
        parts: Collection[str] = (),
        comment: str = "",
    ) -> ChangeRequest:
        """Approve what a revision changes, or ask for changes; `parts` are the labels of those that are meant (all).

        The judgement is signed and bound to the parts as they are. The same judgement again is the one that is there.
        Raises `OwnWork` for an author's approval, unless the policy of the ref allows it; an author may lift their own
        rejection by approving. Raises `ChangeMoved` where there is a newer revision.
        """
        request = self.get(project, number)
        words = _text(comment.strip(), "comment", MAX_TEXT_CHARS)
        next_state(request.state, decision, "open", number=number)
        self._same(request, revision)
        if decision == "request_changes" and not words:
            raise BadChange("asking for changes needs a comment", hint="say what is to change")
        newest = self._revision(request)
        chosen = _chosen(newest.changed, parts)
        seals = tuple(part.seal for part in chosen)
        reviews = self._store.reviews(project, number)
        last = _last_of(reviews, actor.id)
        said = (last.decision, last.comment, last.revision, last.seals) if last else ()
        if last is not None and said == (decision, words, revision, seals) and not self._problem(project, last):
            return request
        if len(reviews) >= self._limits.max_reviews:
            raise TooManyChanges(f"change request #{number} has {len(reviews)} reviews", hint="open another one")
        own = self._check_own(request, decision, actor, seals, reviews)
        self._note(actor, f"change.{decision}", f"#{number}", project, candidate=request.candidate)
        judged = self._evidence.approve(
            project, request.candidate, actor=actor, reject=decision == "request_changes",
            parts=[(part.kind, part.seal) for part in chosen], comment=words, change_request=f"#{number}",
            review=len(reviews) + 1,
        )  # fmt: skip
        at = self._clock.now()
        happening = self._happening(
            actor, "approved" if decision == "approve" else "changes_requested", revision=revision,
            parts=[part.label for part in chosen], evidence=judged.row.digest, comment=words,
        )  # fmt: skip

        def decide(current: ChangeRequest, before: Sequence[Review]) -> Step:
            self._same(current, revision)
            review = Review(
                len(before) + 1, actor.id, actor.name[:256], role_of(actor), decision, words, revision, seals,
                tuple(part.label for part in chosen), judged.row.digest, at, own,
            )  # fmt: skip
            now = standing_of(current, newest, [*before, review])
            after = self._moved(current, next_state(current.state, decision, now, number=number))
            return Step(after, happening, review=review)

        return self._updated(project, number, decide)

    def _check_own(
        self, request: ChangeRequest, decision: Decision, actor: Principal, seals: Collection[str],
        reviews: Sequence[Review],
    ) -> bool:  # fmt: skip
        """Refuse a judgement of one's own work; return whether it is one that the policy of the ref allows."""
        if actor.id not in request.authors:
            return False
        if decision == "request_changes":
            raise OwnWork("you pushed to this change request yourself", hint="push what is missing, or withdraw it")
        if any(policy.approvals.self_approval for policy in self._policies(request)):
            return True
        held = judgements(reviews, request.authors)
        if any((seal, actor.id) in held and held[seal, actor.id].decision == "request_changes" for seal in seals):
            return False  # lifts what they asked for, and counts for nothing more
        raise OwnWork(
            f"{actor.name!r} pushed to change request #{request.number}, and nobody approves their own work",
            hint=f"ask somebody else: `tetrad change checks {request.number}` says who may",
        )

    # -- a moved ref --------------------------------------------------------------------------------------------

    def plan_rebase(self, project: str, number: int) -> RebasePlan:
        """Say what putting the patch on the ref's present release would do; nothing is kept."""
        request = self.get(project, number)
        next_state(request.state, "rebase", "open", number=number)
        current = self._releases.ref(project, request.app, request.ref).digest
        if current == request.base:
            return RebasePlan(False, request.base, current)
        newest = self._revision(request)
        ours = self._plan(request, newest).manifest
        base, theirs = (self._releases.release(project, digest).manifest for digest in (request.base, current))
        parts = rebased(newest.patch, base, ours, theirs, lambda entry: self._patches.text(project, entry))
        return RebasePlan(True, request.base, current, parts)

    def rebase(
        self, project: str, number: int, *, actor: Principal, expected_revision: int,
        resolutions: Sequence[PartPatch] = (),
    ) -> ChangeRequest:  # fmt: skip
        """Put the patch on the ref's present release; where it is there already, nothing changes.

        A part that both sides changed is merged where it is text, and else needs a resolution: `RebaseConflict` names
        those that lack one. A rebase without resolutions says nothing new, so it makes nobody an author; one with them
        is a push of its own.
        """
        request = self._of(self.get(project, number), actor)
        plan = self.plan_rebase(project, number)
        if not plan.needed:
            return request
        self._same(request, expected_revision)
        said = {each.part: each for each in resolutions}
        if strange := sorted(said.keys() - {part.part for part in plan.parts}):
            raise BadChange(f"{strange[0]} is no part of the patch", hint="push it afterwards")
        open_parts = [part for part in plan.parts if part.patch is None and part.part not in said]
        if open_parts:
            raise RebaseConflict(
                number, [(part.part, f"{part.base} became {part.ours} here, {part.theirs} on the ref")
                         for part in open_parts],
            )  # fmt: skip
        patch = [said.get(part.part) or part.patch for part in plan.parts]
        authors = tuple(dict.fromkeys([*request.authors, *([actor.id] if said else [])]))
        newest = self._revision(request)
        maker = actor if said else maker_of(newest)
        revision = self._made(
            project, plan.new_base, [each for each in patch if each is not None], actor=maker, authors=authors,
            keep=request.state != "draft", number=request.revision + 1, kind="rebase", title=request.title,
            expected_outcome=request.expected_outcome,
        )  # fmt: skip
        revision = msgspec.structs.replace(revision, by=maker.id, by_name=maker.name[:256])
        self._note(actor, "change.rebased", f"#{number}", project, base=plan.new_base, candidate=revision.candidate)
        return self._revised(request, revision, authors, "rebase", self._happening(
            actor, "rebased", revision=revision.number, old_base=plan.old_base, new_base=plan.new_base,
            candidate=revision.candidate, merged=[part.part for part in plan.parts if part.outcome == "merged"],
            resolved=sorted(said),
        ))  # fmt: skip

    # -- merging ------------------------------------------------------------------------------------------------

    def checks(self, project: str, number: int, *, actor: Principal) -> Checks:
        """Say what a merge would need now, what of it holds, and who could supply the rest. Nothing is recorded."""
        request, _ = self._now(self.get(project, number))
        current = self._registry.find_ref(project, request.ref_name)
        draft = request.state == "draft"
        answers = [] if draft else self._gates.check(project, request.ref_name, request.candidate, actor=actor)
        return requirements(
            request,
            current.digest if current else None,
            answers,
            {gate.rule.pattern: gate for gate in self._gates.all(project)},
            tuple(key.name for key in self._evidence.keys(project) if key.signs() and key.project),
            actor,
            () if draft else [told(cause) for cause in self._registry.revoked(project, request.candidate)],
        )

    def merge(
        self,
        project: str,
        number: int,
        *,
        actor: Principal,
        expected_candidate: str,
        reason: str = "",
        break_glass: str = "",
    ) -> ChangeRequest:
        """Move the ref to the candidate, through its gates, in the transaction that ends the change request.

        Of several merges on one base exactly one wins; the others get `ChangeBehind` (409) with where the ref is now.
        Merging what is merged is merging it once. A gate that refuses says all that is missing. With `break_glass` the
        gates are asked to let this one move pass, if they name the actor as somebody who may.
        """
        request, lost = self._now(self.get(project, number))
        newest = self._revision(request)
        candidate = parse_digest(expected_candidate)
        words = _text(reason, "reason", MAX_TEXT_CHARS - 500)
        glass = _text(break_glass.strip(), "reason", MAX_TEXT_CHARS - 500)
        if request.state == "merged" and request.candidate == candidate:
            return request
        event: Event = "merge_by_broken_glass" if glass else "merge"
        next_state(request.state, event, "open", number=number)
        if request.candidate != candidate:
            raise ChangeMoved(number, candidate, request.revision, request.candidate)
        self._up_to_date(request)
        self._note(actor, "change.merge", f"#{number}", project, ref=request.ref_name, candidate=candidate)
        if glass:
            self._gates.break_glass(project, request.ref_name, candidate, actor=actor, reason=glass)
        done: list[ChangeRequest] = []

        def within(transaction: Any) -> None:
            def decide(current: ChangeRequest, reviews: Sequence[Review]) -> Step:
                if (current.candidate, current.base) != (candidate, request.base):
                    raise ChangeMoved(number, candidate, current.revision, current.candidate)
                counted = [review for review in reviews if review.sequence not in lost]
                before = standing_of(current, newest, counted) if current.state in LIVE else current.state
                state = next_state(before, event, "open", number=number)
                now = self._clock.now()
                merge = Merge(now, actor.id, actor.name[:256], request.base, candidate, glass or words, bool(glass))
                after = msgspec.structs.replace(self._moved(current, state), merge=merge)
                return Step(after, self._happening(
                    actor, "merged", old=request.base, new=candidate, reason=glass or words, broke_glass=bool(glass)
                ))  # fmt: skip

            found = self._store.update(project, number, decide, transaction)
            assert found is not None  # noqa: S101 - get() found it, and rows are never taken away
            done.append(found)

        try:
            self._releases.move_ref(
                project, request.app, request.ref, candidate, expected=request.base, actor=actor,
                reason=f"change request #{number}: {request.title}" + (f"\n\n{words}" if words else ""),
                change_request=f"#{number}", within=within,
            )  # fmt: skip
        except RefMoved as error:
            now = self.get(project, number)
            if now.state == "merged" and now.candidate == candidate:  # the same merge, asked for twice at once
                return now
            raise ChangeBehind(number, request.ref_name, request.base, error.current) from None
        self._announce()
        return done[-1]

    def _up_to_date(self, request: ChangeRequest) -> None:
        current = self._registry.find_ref(request.project, request.ref_name)
        if current is None or current.digest != request.base:
            raise ChangeBehind(
                request.number, request.ref_name, request.base, current.digest if current else None
            )  # fmt: skip

    # -- inside -------------------------------------------------------------------------------------------------

    def _made(
        self, project: str, base: Digest, patch: Sequence[PartPatch], *, actor: Principal, authors: Collection[str],
        keep: bool, number: int, title: str, expected_outcome: str, kind: Literal["push", "rebase"] = "push",
        note: str = "",
    ) -> Revision:  # fmt: skip
        """Make the revision that a patch is on a base; with `keep` its candidate becomes a release."""
        if number > self._limits.max_revisions:
            raise TooManyChanges(f"the change request has {number - 1} revisions", hint="open another one")
        read = self._patches.read(project, base, patch)
        planned = self._patches.plan(project, base, read, reason=title, outcome=expected_outcome)
        if planned.digest == base:
            raise NothingChanges(
                "the patch changes nothing: the ref's release is that already", hint="change a part, or close it"
            )
        if keep:
            self._patches.keep(
                project, base, read, actor=actor, reason=title, outcome=expected_outcome, authors=authors
            )
        return Revision(
            number, kind, base, planned.digest, tuple(each.part for each in read), read,
            self._patches.changed(project, base, planned), planned.notes, self._clock.now(), actor.id,
            actor.name[:256], note,
        )  # fmt: skip

    def _keep(self, request: ChangeRequest, revision: Revision) -> None:
        """Keep what a draft made, in the name of who made it: proposing it for somebody makes nobody an author."""
        kept = self._patches.keep(
            request.project, revision.base, revision.patch, actor=maker_of(revision), reason=request.title,
            outcome=request.expected_outcome, authors=request.authors,
        )  # fmt: skip
        if kept.digest != revision.candidate:  # a name that the patch includes means another version by now
            raise drifted(kept.digest, revision.candidate)

    def _revised(
        self, request: ChangeRequest, revision: Revision, authors: Sequence[str], event: Event, happening: Happening
    ) -> ChangeRequest:
        def decide(current: ChangeRequest, reviews: Sequence[Review]) -> Step:
            self._same(current, request.revision)
            if (current.state == "draft") != (request.state == "draft"):
                raise ChangeMoved(current.number, request.state, current.revision, current.candidate)
            now = standing([part.seal for part in revision.changed], reviews, authors)
            after = msgspec.structs.replace(
                self._moved(current, next_state(current.state, event, now, number=current.number)),
                revision=revision.number, base=revision.base, candidate=revision.candidate, authors=tuple(authors),
                parts=tuple(each.part for each in revision.patch),
            )  # fmt: skip
            return Step(after, happening, revision=revision)

        done = self._updated(request.project, request.number, decide)
        self._announce()
        return done

    def _stepped(self, request: ChangeRequest, event: Event, happening: Happening, **changed: Any) -> ChangeRequest:
        """Let an event happen that leaves the patch as it is, unless there is a newer revision meanwhile."""
        newest = self._revision(request)

        def decide(current: ChangeRequest, reviews: Sequence[Review]) -> Step:
            self._same(current, request.revision)
            state = next_state(current.state, event, standing_of(current, newest, reviews), number=current.number)
            after = msgspec.structs.replace(self._moved(current, state), **changed)
            return Step(after, happening)

        done = self._updated(request.project, request.number, decide)
        self._announce()
        return done

    def _updated(
        self, project: str, number: int, decide: Callable[[ChangeRequest, Sequence[Review]], Step | None]
    ) -> ChangeRequest:
        found = self._store.update(project, number, decide)
        if found is None:
            return self.get(project, number)
        return found

    def _moved(self, request: ChangeRequest, state: State) -> ChangeRequest:
        return msgspec.structs.replace(request, state=state, updated_at=self._clock.now())

    @staticmethod
    def _same(request: ChangeRequest, revision: int) -> None:
        if request.revision != revision:
            raise ChangeMoved(request.number, f"revision {revision}", request.revision, request.candidate)

    def _of(self, request: ChangeRequest, actor: Principal) -> ChangeRequest:
        """Return a request that the actor may change: an author's own, or any for an editor of the project."""
        if actor.id in request.authors or edits(actor):
            return request
        raise NotYours(
            f"change request #{request.number} is {request.author_name}'s",
            hint="comment on it, review it, or ask an editor of the project",
        )

    def _happening(self, actor: Principal, kind: str, **detail: Any) -> Happening:
        return Happening(kind, actor.id, actor.name[:256], self._clock.now(), detail)

    def _note(self, actor: Principal, action: str, target: str, project: str, **detail: Any) -> None:
        if self._audit is not None:
            self._audit(actor, action, target, project, **detail)

    def _announce(self) -> None:
        for listener in self._listeners:
            try:
                listener()
            except Exception:  # what changed is durable; a deaf listener must not make it look undone
                _logger.exception("a listener failed after a change request changed")


def _last_of(reviews: Sequence[Review], actor: str) -> Review | None:
    return next((review for review in reversed(reviews) if review.actor == actor), None)


def _chosen(changed: Sequence[ChangedPart], labels: Collection[str]) -> list[ChangedPart]:
    known = {part.label for part in changed}
    if strange := sorted(set(labels) - known):
        raise BadChange(f"the candidate changes no part {strange[0][:80]!r}", hint=f"parts: {', '.join(sorted(known))}")
    return [part for part in changed if not labels or part.label in labels]


def _text(text: str, what: str, most: int) -> str:
    if len(text) > most:
        raise BadChange(f"a {what} of {len(text)} characters", hint=f"at most {most}")
    canonical_json(text)  # what has no canonical form cannot be signed or kept
    return text


def _texts(**given: str) -> dict[str, str]:
    """Check the texts of a change request; a title is one line."""
    most = {"title": MAX_TITLE_CHARS, "description": MAX_DESCRIPTION_CHARS, "expected_outcome": MAX_TEXT_CHARS}
    words = {name: _text(text, name.replace("_", " "), most[name]) for name, text in given.items()}
    if "title" in words:
        words["title"] = words["title"].strip()
        if not words["title"] or not words["title"].isprintable():
            raise BadChange("a change request needs a title", hint="one line that says what changes")
    return words
