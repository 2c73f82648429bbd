"""Prompts in the registry: commit versions, find them by number, range, label or release, compare and render them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from tetrad.kernel import Digest, InvalidInput, Principal, digest_json, parse_digest
from tetrad.prompts._chain import ChainSpec, ChainStep, chain_contract, chain_from_document, check_chain
from tetrad.prompts._compile import compile_prompt, messages_of
from tetrad.prompts._diff import PromptDiff, diff_prompts
from tetrad.prompts._file import read_prompt_file
from tetrad.prompts._floor import ContractChange, Floor, contract_floor, floor_of, schema_changes, variable_changes
from tetrad.prompts._includes import Composition, compose_prompt, include_references, pinned
from tetrad.prompts._model import CLIENT_MESSAGES, PLACEHOLDER, PromptSpec, prompt_from_document
from tetrad.prompts._policy import PromptPolicy, policy_problems
from tetrad.prompts._reference import Reference, first_allowed, parse_reference
from tetrad.prompts.errors import LoweringForbidden, PromptError, PromptMoved, PromptNotFound, VersionTooLow
from tetrad.prompts.ports import Audit
from tetrad.registry import (
    ABSENT,
    Edge,
    Ref,
    RefNotFound,
    Registry,
    SemVer,
    Version,
    VersionNotFound,
    check_simple_name,
)

KIND: Final = "prompt"
LABELS: Final = "prompts"
REVIEWER: Final = "review"
MAX_SEARCHED: Final = 2_000
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class KeptPrompt:
    """A version of a prompt: as it was committed, and, unless it is a chain, with its includes in their places."""

    version: Version
    spec: PromptSpec | ChainSpec
    composition: Composition | None
    contract: Digest

    @property
    def closure(self) -> tuple[Digest, ...]:
        """What it was put together from: included prompts, or the prompts of a chain's steps; sorted."""
        if isinstance(self.spec, ChainSpec):
            return tuple(sorted({step.digest for step in self.spec.steps if step.digest}))
        return self.composition.digests if self.composition else ()


@dataclass(frozen=True, slots=True)
class Checked:
    """A prompt as it would be committed: what its number must at least be, and what the policy warns of."""

    spec: PromptSpec | ChainSpec
    composition: Composition | None
    contract: Digest
    newest: Version | None
    floor: Floor | None
    least: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Committed:
    """A version that was made, or was there already."""

    kept: KeptPrompt
    new: bool
    floor: Floor | None
    warnings: tuple[str, ...]


class Prompts:
    """The prompts of all projects, kept in the registry. Safe to use from many threads."""

    def __init__(self, registry: Registry, *, policy: PromptPolicy | None = None, audit: Audit | None = None) -> None:
        self._registry = registry
        self._policy = policy or PromptPolicy()
        self._audit = audit

    # -- reading ------------------------------------------------------------------------------------------------

    def names(
        self, project: str, *, limit: int = 50, after: str = "", contains: str = "", backwards: bool = False
    ) -> list[KeptPrompt]:
        """Return the newest version of each prompt whose name holds a text, in the order of names or against it."""
        found = self._registry.names(project, KIND, limit=limit, after=after, contains=contains, backwards=backwards)
        return [self._kept(each) for each in found]

    def lately(
        self,
        project: str,
        *,
        limit: int = 50,
        after: tuple[datetime, str] | None = None,
        contains: str = "",
        newest: bool = True,
    ) -> list[KeptPrompt]:
        """Return the same by when the versions were made; `after` is the time and name to go on from."""
        found = self._registry.lately(project, KIND, limit=limit, after=after, contains=contains, newest=newest)
        return [self._kept(each) for each in found]

    def versions(self, project: str, name: str, *, limit: int = 50, before: int | None = None) -> list[Version]:
        """Return the versions of a prompt, newest first; raise `PromptNotFound` where there is none at all."""
        found = self._registry.versions(project, KIND, name, limit=limit, before=before)
        if not found and before is None:
            raise _not_found(project, name)
        return found

    def find(self, project: str, name: str, *, version: str = "", label: str = "", ref: str = "") -> KeptPrompt:
        """Return one version, the newest where nothing is said; raise `PromptNotFound`.

        `version` is a number or a range (`^2`), `label` one of the prompt's labels, `ref` a ref such as
        `assistant/production`, whose release pins the prompt. At most one of them is given. What is not there is never
        answered with something else.
        """
        if sum(map(bool, (version, label, ref))) > 1:
            raise InvalidInput("a version, a label and a ref were given", hint="give one of them")
        if label or ref:
            return self._kept(self._at(project, name, self._labelled(project, name, label, ref), label or ref))
        return self._kept(self._version(project, parse_reference(f"{name}@{version}" if version else name)))

    def by_digest(self, project: str, digest: str, name: str) -> KeptPrompt:
        """Return a prompt by digest and name; raise `PromptNotFound`."""
        return self._kept(self._at(project, name, parse_digest(digest), digest))

    def _version(self, project: str, reference: Reference) -> Version:
        name = reference.name
        try:
            if not reference.constraint or reference.is_exact:
                return self._registry.version(project, KIND, name, reference.constraint or None)
        except VersionNotFound as error:
            raise PromptNotFound(error.message, hint=error.hint) from None
        found = first_allowed(reference, ((each.semver, each) for each in self._every_version(project, name)))
        if found is None:
            raise PromptNotFound(
                f"the project {project!r} has no version of the prompt {name!r} that fits {reference.constraint}",
                hint=f"`tetrad prompt show {name}` names those it has",
            )
        return found

    def _every_version(self, project: str, name: str) -> Iterator[Version]:
        before: int | None = None
        for _ in range(MAX_SEARCHED // _PAGE):
            page = self._registry.versions(project, KIND, name, limit=_PAGE, before=before)
            yield from page
            if len(page) < _PAGE:
                return
            before = page[-1].seq

    def _labelled(self, project: str, name: str, label: str, ref: str) -> Digest:
        if label:
            try:
                return self._registry.ref(project, label_ref(name, label)).digest
            except RefNotFound:
                raise PromptNotFound(
                    f"the prompt {name!r} has no label {label!r}", hint="labels are set by `tetrad prompt label`"
                ) from None
        digest = self._registry.ref(project, ref).digest
        if self._registry.artifact(project, digest).kind == KIND:
            return digest
        for part, role in self._registry.parts(project, digest):
            if role == KIND and any(each.name == name for each in self._registry.versions_of(project, part)):
                return part
        raise PromptNotFound(f"what {ref!r} points to holds no prompt {name!r}", hint="`tetrad release show` lists it")

    def _at(self, project: str, name: str, digest: Digest, what: str) -> Version:
        named = [v for v in self._registry.versions_of(project, digest) if v.kind == KIND and v.name == name]
        if not named:
            raise PromptNotFound(f"the project {project!r} has no prompt {name!r} at {what!r}")
        return max(named, key=lambda version: version.seq)

    def _kept(self, version: Version) -> KeptPrompt:
        spec = self._spec(version.project, version.name, version.digest)
        composition, contract = self._composed(version.project, spec)
        return KeptPrompt(version, spec, composition, contract)

    def _spec(self, project: str, name: str, digest: str) -> PromptSpec | ChainSpec:
        document = self._registry.document(project, digest)
        if document.get("type") == "chain":
            return chain_from_document(name, document)
        return prompt_from_document(name, document)

    def _fragment(self, project: str, name: str, digest: Digest) -> PromptSpec:
        spec = self._spec(project, name, digest)
        if isinstance(spec, ChainSpec):
            raise PromptError(f"{name!r} is a chain and cannot be a part of a prompt or chain", hint="name a prompt")
        return spec

    def _composed(self, project: str, spec: PromptSpec | ChainSpec) -> tuple[Composition | None, Digest]:
        if isinstance(spec, ChainSpec):
            return None, digest_json(chain_contract(spec, lambda step: self._of_step(project, step).spec))
        composition = compose_prompt(spec, lambda name, digest: self._fragment(project, name, digest))
        return composition, composition.spec.contract_digest

    def _of_step(self, project: str, step: ChainStep) -> Composition:
        assert step.digest is not None  # noqa: S101 - only resolved chains are asked
        name = parse_reference(step.prompt).name
        composition, _ = self._composed(project, self._fragment(project, name, step.digest))
        assert composition is not None  # noqa: S101 - a fragment is no chain
        return composition

    # -- committing ---------------------------------------------------------------------------------------------

    def read(self, name: str, text: str, *, where: str = "") -> PromptSpec | ChainSpec:
        """Read a prompt file under a name; errors begin with `where:line`."""
        spec = read_prompt_file(text, where or f"{name}.md")
        return spec if spec.name == name else replace(spec, name=name)

    def check(
        self, project: str, spec: PromptSpec | ChainSpec, *, reason: str = "", expected_outcome: str = ""
    ) -> Checked:
        """Resolve a prompt as a commit would, and keep nothing."""
        warnings = policy_problems(self._policy, spec, reason=reason, expected_outcome=expected_outcome)
        resolved = self._resolved(project, spec.source)
        composition, contract = self._composed(project, resolved)
        if composition is not None:
            compile_prompt(
                composition.spec.pairs(), syntax=composition.spec.syntax, variables=composition.spec.variables
            )
        newest = next(iter(self._registry.versions(project, KIND, spec.name, limit=1)), None)
        floor, least = None, SemVer(1, 0, 0)
        if newest is not None:
            floor = self._floor(project, self._spec(project, spec.name, newest.digest), resolved)
            least = SemVer.parse(newest.semver).bump(floor.level)
        return Checked(resolved, composition, contract, newest, floor, str(least), warnings)

    def commit(
        self,
        project: str,
        spec: PromptSpec | ChainSpec,
        *,
        actor: Principal,
        semver: str | None = None,
        lower_reason: str = "",
        reason: str = "",
        expected_outcome: str = "",
        expected: str | None = None,
        reuse: bool = False,
    ) -> Committed:
        """Make a version of a prompt; the newest one again is the version that is there.

        Includes and a chain's prompts are resolved to digests now. Without `semver` the number is the least that the
        change allows; a lower one is refused with `VersionTooLow`, unless `lower_reason` says why and the actor has the
        scope `review`, which the audit log keeps. `expected` is the digest of the newest version that the caller saw
        (empty: none); another newest one raises `PromptMoved` (409). With `reuse` an older version with the same
        content will do.
        """
        checked = self.check(project, spec, reason=reason, expected_outcome=expected_outcome)
        newest = checked.newest
        if expected is not None and (newest.digest if newest else "") != expected:
            raise PromptMoved(spec.name, newest.digest if newest else None)
        known = self._known(project, checked, reuse=reuse)
        if known is not None and semver in (None, known.semver):
            kept = KeptPrompt(known, checked.spec, checked.composition, checked.contract)
            return Committed(kept, False, checked.floor, checked.warnings)
        lowered = self._lowered(checked, semver, lower_reason, actor)
        meta: dict[str, Any] = {"contract": checked.contract}
        if lowered:
            meta["lowered"] = lowered
        parts = self._parts(checked)
        if parts:
            meta["closure"] = sorted({digest for digest, _ in parts})
        artifact = self._registry.put_document(project, KIND, checked.spec.document(), actor=actor, parts=parts)
        version = self._registry.add_version(
            project, KIND, spec.name, artifact.digest, actor=actor, semver=semver or checked.least, reason=reason,
            expected_outcome=expected_outcome, meta=meta,
        )  # fmt: skip
        if parts:
            edges = [Edge(digest, "in", role, "revalidate") for digest, role in parts]
            self._registry.record(project, "compose", [*edges, Edge(artifact.digest, "out", KIND)], actor=actor)
        if lowered and self._audit is not None:
            self._audit.record(actor, "prompt.lower_version", f"{spec.name}@{version.semver}", project, **lowered)
        kept = KeptPrompt(version, checked.spec, checked.composition, checked.contract)
        return Committed(kept, True, checked.floor, checked.warnings)

    def _known(self, project: str, checked: Checked, *, reuse: bool) -> Version | None:
        digest = checked.spec.digest
        if checked.newest is not None and checked.newest.digest == digest:
            return checked.newest
        if not reuse or checked.newest is None:
            return None
        named = [
            v for v in self._registry.versions_of(project, digest) if (v.kind, v.name) == (KIND, checked.spec.name)
        ]
        return max(named, key=lambda version: version.seq, default=None)

    @staticmethod
    def _lowered(checked: Checked, semver: str | None, why: str, actor: Principal) -> dict[str, str]:
        if semver is None or checked.floor is None:
            return {}
        asked = SemVer.parse(semver)
        if not SemVer(asked.major, asked.minor, asked.patch) < SemVer.parse(checked.least):
            return {}
        name, level = checked.spec.name, checked.floor.level
        causes = "; ".join(change.what for change in checked.floor.changes if change.level == level)
        if not why.strip():
            raise VersionTooLow(
                f"{name}@{semver} is too low: this is a {level} change ({causes or 'of text'})",
                hint=f"call it {checked.least}, or have a reviewer lower it with a reason",
            )
        if REVIEWER not in actor.scopes:
            raise LoweringForbidden(
                f"{actor.name!r} may not call a {level} change of {name!r} {semver}",
                hint=f"call it {checked.least}, or ask somebody with the scope {REVIEWER}",
            )
        return {"floor": level, "least": checked.least, "reason": why, "by": actor.id}

    @staticmethod
    def _parts(checked: Checked) -> list[tuple[Digest, str]]:
        if isinstance(checked.spec, ChainSpec):
            return [(step.digest, "step") for step in checked.spec.steps if step.digest]
        return [(digest, "include") for digest in (checked.composition.digests if checked.composition else ())]

    def _resolved(self, project: str, spec: PromptSpec | ChainSpec) -> PromptSpec | ChainSpec:
        if isinstance(spec, PromptSpec):
            wanted = include_references(spec)
            return pinned(spec, {str(each): self._version(project, each).digest for each in wanted}) if wanted else spec
        steps = tuple(
            replace(step, digest=self._version(project, parse_reference(step.prompt)).digest) for step in spec.steps
        )
        resolved = replace(spec, steps=steps)
        check_chain(resolved, {step.name: self._of_step(project, step).spec for step in steps})
        return resolved

    # -- comparing ----------------------------------------------------------------------------------------------

    def diff(self, project: str, old: KeptPrompt, new: KeptPrompt) -> PromptDiff:
        """Tell two prompts apart, message by message."""
        return diff_prompts(old.spec, new.spec, self._floor(project, old.spec, new.spec))

    def diff_to(self, project: str, old: KeptPrompt, checked: Checked) -> PromptDiff:
        """Tell a prompt that is not committed apart from one that is."""
        return diff_prompts(old.spec, checked.spec, self._floor(project, old.spec, checked.spec))

    def _floor(self, project: str, old: PromptSpec | ChainSpec, new: PromptSpec | ChainSpec) -> Floor:
        if isinstance(old, ChainSpec) and isinstance(new, ChainSpec):
            return self._chain_floor(project, old, new)
        was, now = self._composed(project, old)[0], self._composed(project, new)[0]
        if was is None or now is None:
            return floor_of([ContractChange("major", "a prompt is a chain now, or a chain a prompt")])
        changes = list(contract_floor(was.spec, now.spec).changes)
        before = {each.name: each.digest for each in was.closure}
        for each in now.closure:
            if before.get(each.name, each.digest) == each.digest:
                continue
            inner = self._floor(
                project,
                self._fragment(project, each.name, before[each.name]),
                self._fragment(project, each.name, each.digest),
            )
            if inner.level != "patch":
                changes.append(ContractChange("minor", f"the included prompt {each.name!r} has a {inner.level} change"))
        return floor_of(changes)

    def _chain_floor(self, project: str, old: ChainSpec, new: ChainSpec) -> Floor:
        changes = list(variable_changes(old.variables, new.variables))
        was = self._of_step(project, old.steps[-1]).spec.output_schema
        now = self._of_step(project, new.steps[-1]).spec.output_schema
        if (was is None) != (now is None):
            changes.append(ContractChange("major", "the answer gained or lost its schema"))
        elif was is not None and now is not None:
            changes += schema_changes(was, now, "the answer", new_required="minor")
        if old.steps != new.steps:
            changes.append(ContractChange("minor", "the steps changed"))
        return floor_of(changes)

    # -- rendering ----------------------------------------------------------------------------------------------

    def render(
        self,
        project: str,
        spec: PromptSpec | ChainSpec,
        variables: Mapping[str, Any],
        messages: Sequence[Mapping[str, Any]] = (),
    ) -> list[dict[str, Any]]:
        """Return the messages that a model would be sent, the request's own in their place.

        Few-shot examples are not among them: they belong to a release. Values that do not fit raise `PromptError`
        naming the variable.
        """
        resolved = spec if _is_pinned(spec) else self._resolved(project, spec)
        composition, _ = self._composed(project, resolved)
        if composition is None:
            raise PromptError(f"{spec.name!r} is a chain", hint="render the prompts of its steps")
        whole = composition.spec
        own = messages_of(CLIENT_MESSAGES, list(messages))
        rendered = compile_prompt(whole.pairs(), syntax=whole.syntax, variables=whole.variables).render(variables)
        place = next((n for n, each in enumerate(rendered) if each["role"] == PLACEHOLDER), None)
        if place is None:
            return [*rendered, *own]
        return [*rendered[:place], *own, *rendered[place + 1 :]]

    # -- labels -------------------------------------------------------------------------------------------------

    def labels(self, project: str, name: str) -> list[Ref]:
        """Return the labels of a prompt: refs below `prompts/NAME/`."""
        return self._registry.refs(project, f"{LABELS}/{name}/", limit=1000)

    def move_label(
        self, project: str, name: str, label: str, version: str, *, actor: Principal, expected: str | None = None,
        create: bool = False, reason: str = "",
    ) -> Ref:  # fmt: skip
        """Point a label to a version of the prompt; `expected` is the digest that it points to now.

        A label is a ref: rules and gates govern it, its moves are in the log.
        """
        target = self._version(project, parse_reference(f"{name}@{version}" if version else name))
        return self._registry.move_ref(
            project, label_ref(name, label), target.digest, expected=ABSENT if create else expected, actor=actor,
            reason=reason,
        )  # fmt: skip


def label_ref(name: str, label: str) -> str:
    """Return the ref that a prompt's label is: `prompts/support-triage/production`."""
    return f"{LABELS}/{name}/{check_simple_name(label, 'label')}"


def _is_pinned(spec: PromptSpec | ChainSpec) -> bool:
    if isinstance(spec, ChainSpec):
        return all(step.digest for step in spec.steps)
    return {str(each) for each in include_references(spec)} == {ref for ref, _ in spec.includes}


def _not_found(project: str, name: str) -> PromptNotFound:
    return PromptNotFound(f"the project {project!r} has no prompt {name!r}", hint="`tetrad prompt list` names them")
