"""The registry's one service: artifacts and their lineage, the versions that name them, the refs that move."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from tetrad.kernel import Clock, Digest, InvalidInput, Principal, canonical_json, parse_digest, short
from tetrad.registry._artifacts import Artifacts
from tetrad.registry._lineage import RegistryLimits
from tetrad.registry._model import (
    Bump,
    Cause,
    LogCheck,
    Ref,
    RefEntry,
    RefRule,
    RefStep,
    SemVer,
    Version,
    check_kind,
    check_log,
    check_name,
    entry_hash,
    governs,
)
from tetrad.registry._revocation import told
from tetrad.registry.errors import (
    ArtifactConflict,
    ArtifactRevoked,
    ArtifactTooLarge,
    BadVersion,
    GateMissing,
    GateRefused,
    RefMoved,
    RefNotFound,
    RefReserved,
    VersionNotFound,
    VersionTaken,
)
from tetrad.registry.ports import Blobs, Gates, Listener, RefGate, RefMove, Refusals, RegistryStore, RevocationCheck
from tetrad.registry.ports import RefMoved as RefMovedEvent

MAX_TEXT_CHARS = 4000
MAX_META_BYTES = 64 * 1024
_logger = logging.getLogger(__name__)


class _Absent:
    """The expectation that a ref does not exist yet."""


ABSENT: Final = _Absent()


class Registry(Artifacts):
    """Artifacts, versions, refs and lineage of all projects. Safe to use from many threads.

    A digest grants nothing: every read names the project, and what the project may not see is not there.
    """

    def __init__(
        self,
        store: RegistryStore,
        blobs: Blobs,
        clock: Clock,
        *,
        gates: Gates | None = None,
        limits: RegistryLimits | None = None,
        revocations: RevocationCheck | None = None,
    ) -> None:
        super().__init__(store, blobs, clock, limits or RegistryLimits())
        self._gates: dict[str, RefGate] = dict(gates or {})
        self._listeners: list[Listener] = []
        self._refusals: list[Refusals] = []
        self._revocations = revocations

    # -- versions -----------------------------------------------------------------------------------------------

    def add_version(
        self,
        project: str,
        kind: str,
        name: str,
        digest: str,
        *,
        actor: Principal,
        semver: str | None = None,
        bump: Bump = "minor",
        reason: str = "",
        expected_outcome: str = "",
        meta: Mapping[str, Any] | None = None,
    ) -> Version:
        """Name an artifact; the same digest and `meta` under the same name (and number) is the version that it has.

        Without `semver` the number is the newest one's, bumped (first: 1.0.0). A number that is taken by another digest
        raises `VersionTaken`; one that does not come after the newest raises `BadVersion`.
        """
        artifact = self.whole(project, digest)
        if artifact.kind != kind:
            raise ArtifactConflict(f"{digest} is a {artifact.kind}", hint=f"a version of a {kind} names a {kind}")
        check_name(name, f"name of a {kind}")
        wanted = SemVer.parse(semver) if semver is not None else None
        details = {"reason": _text(reason, "reason"), "expected_outcome": _text(expected_outcome, "expected outcome")}
        facts = dict(meta or {})
        if len(canonical_json(facts)) > MAX_META_BYTES:
            raise ArtifactTooLarge(f"the metadata of {name!r}", hint=f"at most {MAX_META_BYTES} bytes of JSON")

        def decide(known: Sequence[Version]) -> Version:
            for version in known:
                same = version.digest == digest and version.meta == facts
                if same and (wanted is None or version.semver == str(wanted)):
                    return version
                if wanted is not None and version.semver == str(wanted):
                    raise VersionTaken(
                        f"{name}@{wanted} already names another {kind}", hint="choose the next version number"
                    )
            newest = known[0] if known else None
            last = SemVer.parse(newest.semver) if newest else None
            number = wanted or (last.bump(bump) if last else SemVer(1, 0, 0))
            if last and number < last:
                raise BadVersion(
                    f"{name}@{number} would come before {name}@{last}", hint=f"{last.bump('patch')} is free"
                )
            return Version(
                project, kind, name, newest.seq + 1 if newest else 1, str(number), Digest(digest), actor.id, actor.name,
                self._clock.now(), parent=newest.digest if newest else None, meta=facts, **details,
            )  # fmt: skip

        return self._store.add_version(project, kind, name, decide)

    def versions(
        self, project: str, kind: str, name: str | None = None, *, limit: int = 50, before: int | None = None
    ) -> list[Version]:
        """Return versions of a name, newest first; `before` is the `seq` to go on from."""
        return self._store.versions(project, kind, name, limit=limit, before=before)

    def names(
        self,
        project: str,
        kind: str,
        *,
        limit: int = 50,
        after: str = "",
        contains: str = "",
        backwards: bool = False,
    ) -> list[Version]:
        """Return the newest version of every name of a kind that holds a text, in the order of names or against it.

        `after` is the name to go on from.
        """
        return self._store.named(project, kind, limit=limit, after=after, contains=contains, backwards=backwards)

    def lately(
        self,
        project: str,
        kind: str,
        *,
        limit: int = 50,
        after: tuple[datetime, str] | None = None,
        contains: str = "",
        newest: bool = True,
    ) -> list[Version]:
        """Return the newest version of every name, by when it was made; `after` is the time and name to go on from."""
        return self._store.lately(project, kind, limit=limit, after=after, contains=contains, newest=newest)

    def version(self, project: str, kind: str, name: str, semver: str | None = None) -> Version:
        """Return one version, the newest without `semver`; raise `VersionNotFound`."""
        if semver is None:
            newest = self._store.versions(project, kind, name, limit=1, before=None)
            found = newest[0] if newest else None
        else:
            found = self._store.version(project, kind, name, str(SemVer.parse(semver)))
        if found is None:
            label = f"{name}@{semver}" if semver else name
            raise VersionNotFound(f"the project {project!r} has no {kind} {label!r}", hint=f"list the {kind}s it has")
        return found

    def versions_of(self, project: str, digest: str) -> list[Version]:
        """Return the versions that name a digest."""
        return self._store.versions_of(project, parse_digest(digest))

    # -- refs ---------------------------------------------------------------------------------------------------

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` after each durable move of a ref; what it raises is logged, the move stands."""
        self._listeners.append(listener)

    def on_refusal(self, listener: Refusals) -> None:
        """Call `listener` after a gate refused a move and the transaction is over; what it raises is logged."""
        self._refusals.append(listener)

    def move_ref(
        self,
        project: str,
        name: str,
        digest: str,
        *,
        expected: str | _Absent | None,
        actor: Principal,
        reason: str = "",
        change_request: str = "",
        within: Callable[[Any], None] | None = None,
    ) -> Ref:
        """Point a ref to an artifact of the project, if it still points to `expected`; log the move.

        `expected` is a digest, `ABSENT` for a ref that must not exist yet, or None to take whatever is there. One
        transaction compares, asks the gates of the rules that match, moves and logs. Of concurrent movers exactly one
        wins; the others get `RefMoved` (409) with the current digest. Moving to where it points already does nothing.

        `within` is called with the open transaction once every gate has let the move pass: what it writes there holds
        if and only if the move does, and what it raises stops the move.
        No ref moves to what was revoked, or contains or derives from that (`ArtifactRevoked`), unless it is governed
        and every one of its gates passes by broken glass.
        """
        check_name(name, "name of a ref")
        target = self.whole(project, digest).digest
        words = _text(reason, "reason")

        def decide(
            current: Ref | None, reserved: bool, rules: Sequence[RefRule], head: tuple[int, str], transaction: Any
        ) -> RefEntry | None:
            if reserved:
                raise RefReserved(f"the ref {name!r} was deleted", hint="choose another name")
            self._compare(name, expected, current)
            if current is not None and current.digest == target:
                return None
            old = current.digest if current else None
            at = self._clock.now()
            passed = self._ask_gates(rules, project, name, old, target, actor, at, words, change_request, transaction)
            if not passed or not all(passed):
                self._refuse_revoked(project, name, target, transaction)
            if within is not None:
                within(transaction)
            return _entry(project, head, name, old, target, actor, at, words, change_request)

        return self._moved(project, name, *self._transact(project, name, decide))

    def delete_ref(self, project: str, name: str, *, expected: str, actor: Principal, reason: str = "") -> None:
        """Take a ref away for good: its log stays, its name is never used again. Its gates are asked as for a move."""
        words = _text(reason, "reason")

        def decide(
            current: Ref | None, reserved: bool, rules: Sequence[RefRule], head: tuple[int, str], transaction: Any
        ) -> RefEntry | None:
            if current is None or reserved:
                raise RefNotFound(f"the project {project!r} has no ref {name!r}")
            self._compare(name, expected, current)
            at = self._clock.now()
            self._ask_gates(rules, project, name, current.digest, None, actor, at, words, "", transaction)
            return _entry(project, head, name, current.digest, None, actor, at, words, "")

        _, entry = self._transact(project, name, decide)
        self._announce(entry)

    def _transact(
        self, project: str, name: str,
        decide: Callable[[Ref | None, bool, Sequence[RefRule], tuple[int, str], Any], RefEntry | None],
    ) -> tuple[Ref | None, RefEntry | None]:  # fmt: skip
        try:
            return self._store.move_ref(project, name, decide=decide)
        except GateRefused as refusal:
            # Only now, as what is written inside the transaction is rolled back with it.
            self._tell_refusal(refusal)
            raise

    def _tell_refusal(self, refusal: GateRefused) -> None:
        if not isinstance(refusal.move, RefMove):
            return
        for listener in self._refusals:
            try:
                listener(refusal.move, refusal.message)
            except Exception:  # the refusal stands, whoever cannot write it down
                _logger.exception("a listener failed after the move of %s was refused", refusal.move.ref)

    @staticmethod
    def _compare(name: str, expected: str | _Absent | None, current: Ref | None) -> None:
        there = current.digest if current else None
        if isinstance(expected, _Absent):
            if current is not None:
                raise RefMoved(name, None, there)
        elif expected is not None and there != parse_digest(expected):
            raise RefMoved(name, expected, there)

    def _ask_gates(
        self, rules: Sequence[RefRule], project: str, name: str, old: Digest | None, new: Digest | None,
        actor: Principal, at: datetime, reason: str, change_request: str, transaction: Any,
    ) -> list[bool]:  # fmt: skip
        """Ask every gate of a ref; of each that lets the move pass return whether it was by broken glass."""
        passed: list[bool] = []
        for rule in rules:
            if not governs(rule.pattern, name):
                continue
            gate = self._gates.get(rule.gate)
            if gate is None:
                raise GateMissing(
                    f"the ref {name!r} moves only through the gate {rule.gate!r}, which is not installed",
                    hint="install the gate, or have an administrator change the rule",
                )
            move = RefMove(project, name, old, new, actor, at, reason, change_request, rule)
            try:
                passed.append(gate.check(move, transaction) is True)
            except GateRefused as refusal:
                refusal.move = move
                raise
        return passed

    def _refuse_revoked(self, project: str, name: str, target: Digest, transaction: Any) -> None:
        if self._revocations is None:
            return
        causes = self._revocations.causes(project, target, transaction)
        if causes:
            more = f", and {len(causes) - 1} more" if len(causes) > 1 else ""
            raise ArtifactRevoked(
                f"the ref {name!r} does not move to {short(target)}: {told(causes[0])}{more}",
                hint="choose another release; `tetrad revoke --undo` reinstates what was revoked in error",
            )

    def anything_revoked(self, project: str) -> bool:
        """Tell whether anything of a project is revoked, so that looking for causes is worth it."""
        return self._revocations is not None and self._revocations.any(project)

    def revoked(self, project: str, digest: str) -> tuple[Cause, ...]:
        """Return the revocations that reach an artifact, the nearest first: none means that it is sound."""
        return tuple(self._revocations.causes(project, digest)) if self._revocations is not None else ()

    def _moved(self, project: str, name: str, ref: Ref | None, entry: RefEntry | None) -> Ref:
        if ref is None:
            raise RefNotFound(f"the project {project!r} has no ref {name!r}")
        self._announce(entry)
        return ref

    def _announce(self, entry: RefEntry | None) -> None:
        if entry is None:
            return
        event = RefMovedEvent(entry.project, entry.ref, entry.old, entry.new, entry.at, entry.actor)
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:  # the move is durable; a deaf listener must not make it look undone
                _logger.exception("a listener failed after the ref %s moved", entry.ref)

    def ref(self, project: str, name: str) -> Ref:
        """Return a ref, or raise `RefNotFound`."""
        found = self._store.ref(project, name)
        if found is None:
            raise RefNotFound(
                f"the project {project!r} has no ref {name!r}",
                hint="a ref is named app/ref, such as assistant/production",
            )
        return found

    def find_ref(self, project: str, name: str) -> Ref | None:
        """Return a ref, or None."""
        return self._store.ref(project, name)

    def refs(self, project: str, prefix: str = "", *, limit: int = 100, after: str = "") -> list[Ref]:
        """Return refs whose names start with `prefix`, in the order of names."""
        return self._store.refs(project, prefix, limit=limit, after=after)

    def ref_log(
        self,
        project: str,
        ref: str | None = None,
        *,
        limit: int = 50,
        before: int | None = None,
        actor: str = "",
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> list[RefEntry]:
        """Return moves, newest first; `before` is the `seq` to go on from. A `ref` that ends in `/` names all below.

        `actor` is an id or a name; of the times `since` counts and `until` does not.
        """
        return self._store.ref_log(project, ref, limit=limit, before=before, actor=actor, since=since, until=until)

    def ref_path(self, project: str, ref: str, *, limit: int) -> list[RefStep]:
        """Return the newest moves of one ref, oldest first, as bare steps: thousands of them in a few milliseconds."""
        return self._store.ref_path(project, ref, limit=limit)

    def ref_had(self, project: str, ref: str, digest: str) -> bool:
        """Tell whether a move ever brought the ref to a digest."""
        return self._store.ref_had(project, ref, digest)

    def verify_log(self, project: str) -> LogCheck:
        """Walk the whole log of a project and say whether each entry follows from the one before."""
        entries, head = self._store.walk_log(project)
        return check_log(entries, head)

    def govern(
        self, project: str, pattern: str, gate: str, *, actor: Principal, policy: Digest | None = None
    ) -> RefRule:
        """Let refs that match a glob (`*/production`) move only through a gate."""
        if not pattern or len(pattern) > 160:
            raise InvalidInput(f"{pattern[:170]!r} is no pattern of refs", hint="write */production")
        rule = RefRule(project, pattern, check_kind(gate), policy, self._clock.now(), actor.id)
        self._store.add_rule(rule)
        return rule

    def release_rule(self, project: str, pattern: str) -> None:
        """Take a rule away; refs that no other rule matches move freely again."""
        if not self._store.remove_rule(project, pattern):
            raise RefNotFound(f"the project {project!r} has no rule for {pattern!r}", code="rule_not_found")

    def rules(self, project: str) -> list[RefRule]:
        """Return the rules that govern a project's refs."""
        return self._store.rules(project)


def _entry(
    project: str, head: tuple[int, str], name: str, old: Digest | None, new: Digest | None, actor: Principal,
    at: datetime, reason: str, change_request: str,
) -> RefEntry:  # fmt: skip
    entry = RefEntry(
        project, head[0] + 1, name, old, new, actor.id, actor.name, at, reason, change_request, head[1], ""
    )
    return msgspec.structs.replace(entry, hash=entry_hash(entry))


def _text(text: str, what: str) -> str:
    if len(text) > MAX_TEXT_CHARS:
        raise InvalidInput(f"a {what} of {len(text)} characters", hint=f"at most {MAX_TEXT_CHARS}")
    canonical_json(text)  # the log's hash needs well-formed text
    return text
