"""The next release from an older one and a few other parts, without any folder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from tetrad.datasets import ROLES as DATA_ROLES
from tetrad.datasets import Datasets
from tetrad.kernel import (
    Digest,
    InvalidInput,
    NotFound,
    Principal,
    TetradError,
    canonical_json,
    digest_json,
    parse_digest,
    short,
)
from tetrad.models import Models, ModelVersion, check_label
from tetrad.prompts import prompt_from_document
from tetrad.registry import Registry, SemVer
from tetrad.releases._declaration import MODEL_ROLES, PROMPT_ROLES, RESERVED_PARAMS
from tetrad.releases._model import build_manifest
from tetrad.releases._parts import data_part, model_part, prompt_part
from tetrad.releases._prompts import version_floor
from tetrad.releases.errors import BadPart
from tetrad.releases.ports import Prompts, PromptVersion

if TYPE_CHECKING:
    from tetrad.releases._kept import Composed, Release
    from tetrad.releases._service import Releases

MAX_PATCHES = 100
ROLES: Mapping[str, Sequence[str]] = {"prompt": PROMPT_ROLES, "model": MODEL_ROLES, "data": DATA_ROLES}
SYNONYMS = {("model", "chat"): "primary"}
_KEY = re.compile(r"(prompt|model|data)\.([a-z_]+)(?:/(.+))?")
_PARAM = re.compile(r"sampling\.([a-z][a-z0-9_]{0,63})")


class Patch(msgspec.Struct, frozen=True):
    """One change of a release: another part in a role, or another parameter; `value` None takes it away."""

    kind: str
    role: str
    value: Any
    name: str = ""

    @property
    def key(self) -> str:
        """How people write it."""
        return f"{self.kind}.{self.role}" + (f"/{self.name}" if self.name else "")


def parse_patch(key: str, value: Any) -> Patch:
    """Read `prompt.system`, `model.primary` (or `model.chat`), `data.fewshot`, `data.fewshot/NAME`, `sampling.seed`.

    A part's value is `NAME@VERSION`, `NAME@sha256:…`, or `NAME` for its newest version; null takes the part away.
    """
    if match := _PARAM.fullmatch(key):
        if match[1] in RESERVED_PARAMS:
            raise BadPart(f"{key!r} is no parameter of sampling", hint="set temperature, max_tokens or the like")
        return Patch("sampling", match[1], value)
    match = _KEY.fullmatch(key) if len(key) <= 256 else None
    if match is None:
        raise BadPart(
            f"{key[:80]!r} is no part of a release",
            hint="parts are prompt.ROLE, model.ROLE, data.ROLE (data.ROLE/NAME of several), sampling.NAME",
        )
    kind, role, name = match[1], match[2], match[3] or ""
    role = SYNONYMS.get((kind, role), role)
    if role not in ROLES[kind]:
        raise BadPart(f"{role!r} is no role of {kind} ({key})", hint=f"roles are {', '.join(ROLES[kind])}")
    if value is not None and (not isinstance(value, str) or not value):
        raise BadPart(f"{key} is set to a name", hint=f"write {key}=NAME@VERSION")
    return Patch(kind, role, value, name)


class PromptText(msgspec.Struct, frozen=True):
    """The text of a prompt file that is to stand in a role, under a name of its own."""

    name: str
    text: str


class Planned(msgspec.Struct, frozen=True):
    """A release that was worked out and not kept; `drafts` are its prompts that are not kept either, by digest."""

    project: str
    base: Digest
    digest: Digest
    manifest: Mapping[str, Any]
    notes: tuple[str, ...]
    drafts: Mapping[str, PromptVersion]


class Derivations:
    """Makes releases from releases. Safe to use from many threads."""

    def __init__(
        self, releases: Releases, registry: Registry, datasets: Datasets, models: Models, prompts: Prompts
    ) -> None:
        self._releases = releases
        self._registry = registry
        self._datasets = datasets
        self._models = models
        self._prompts = prompts

    def derive(
        self,
        project: str,
        base: str,
        patches: Mapping[str, Any],
        *,
        actor: Principal,
        contents: Mapping[str, PromptText] | None = None,
        reason: str = "",
        expected_outcome: str = "",
        authors: Iterable[str] = (),
    ) -> Composed:
        """Make the release that `base` (a digest) becomes with other parts; its code stays as it is.

        Everything is checked before anything is kept, and a part that is not there is named together with those that
        are. Parameters that the old prompt brought go with it; those that the app set stay. No patch, no new release.
        `contents` are prompts by their part (`prompt.system`) that are given as text: they become versions.
        """
        started = self._releases.now()
        words = {"reason": reason, "expected_outcome": expected_outcome}
        self.plan(project, base, patches, contents=contents, **words)
        for key, text in sorted((contents or {}).items()):
            self._prompts.put(project, text.name, text.text.encode(), actor=actor, where=key, **words)
        release, wanted, _ = self._wanted(project, base, patches, contents or {}, words)
        manifest, notes = self._patched(project, dict(release.manifest), wanted, {})
        made = self._releases.keep_manifest(
            project, release.app, self._releases.app(project, release.app).description, manifest,
            actor=actor, started=started, reason=reason, expected_outcome=expected_outcome,
            kind="derive", base=release.digest, params={patch.key: patch.value for patch in wanted}, authors=authors,
        )  # fmt: skip
        if manifest["code"]["patch"] is not None:
            notes.append("the code has changes that are not committed; the release holds them as a patch")
        return msgspec.structs.replace(made, notes=tuple(notes))

    def plan(
        self,
        project: str,
        base: str,
        patches: Mapping[str, Any],
        *,
        contents: Mapping[str, PromptText] | None = None,
        reason: str = "",
        expected_outcome: str = "",
    ) -> Planned:
        """Work out what `derive` would make, and keep nothing: the same digest, the same refusals, the same notes."""
        words = {"reason": reason, "expected_outcome": expected_outcome}
        release, wanted, drafts = self._wanted(project, base, patches, contents or {}, words)
        manifest, notes = self._patched(project, dict(release.manifest), wanted, drafts)
        return Planned(project, release.digest, digest_json(manifest), manifest, tuple(notes), drafts)

    def _wanted(
        self, project: str, base: str, patches: Mapping[str, Any], contents: Mapping[str, PromptText],
        words: Mapping[str, str],
    ) -> tuple[Release, list[Patch], dict[str, PromptVersion]]:  # fmt: skip
        """Read what is to change; prompts that are given as text are read too, and are in the patches by digest."""
        if len(patches) + len(contents) > MAX_PATCHES:
            raise InvalidInput(f"{len(patches) + len(contents)} changes at once", hint=f"at most {MAX_PATCHES}")
        wanted = [parse_patch(key, value) for key, value in sorted(patches.items())]
        drafts: dict[str, PromptVersion] = {}
        for key, text in sorted(contents.items()):
            found = self._prompts.check(project, text.name, text.text.encode(), where=key, **words)
            drafts[found.digest] = found
            patch = parse_patch(key, f"{text.name}@{found.digest}")
            if patch.kind != "prompt":
                raise BadPart(f"{key} is not given as text", hint=f"write {key}=NAME@VERSION")
            wanted.append(patch)
        keys = [patch.key for patch in wanted]
        if doubled := sorted({key for key in keys if keys.count(key) > 1}):
            raise BadPart(f"{doubled[0]} is set twice", hint="set it once")
        return self._releases.release(project, base), sorted(wanted, key=lambda patch: patch.key), drafts

    def _patched(
        self, project: str, manifest: Mapping[str, Any], wanted: Sequence[Patch], drafts: Mapping[str, PromptVersion]
    ) -> tuple[dict[str, Any], list[str]]:
        parts = {kind: [dict(part) for part in manifest[kind]] for kind in ROLES}
        if len(manifest["graph"]) > 1:
            raise BadPart("a release that is a chain cannot be patched", hint="change its files and compose it anew")
        step = dict(manifest["graph"][0])
        sampling, notes = dict(step["sampling"]), []
        for patch in wanted:
            if patch.kind == "sampling":
                continue
            index = _place(parts[patch.kind], patch)
            old = parts[patch.kind].pop(index) if index is not None else None
            if patch.kind == "prompt":
                before = self._prompt_of(project, old)
                after = self._prompt(project, patch, drafts) if patch.value is not None else None
                sampling = _sampling(sampling, before, after)
                if after is not None:
                    parts["prompt"].append(prompt_part(patch.role, after))
                    notes += self._contract(project, before, after, drafts)
                step = {name: value for name, value in step.items() if name != "prompt"}
                if after is not None:
                    step["prompt"] = after.name
            elif patch.value is None:
                if (patch.kind, patch.role) == ("model", "primary"):
                    raise BadPart("a release has a primary model", hint="set model.primary to another one")
            elif patch.kind == "model":
                version = self._model(project, patch)
                if old is not None and old.get("adapters"):
                    notes.append(f"the adapters of {old['name']} are gone with it")
                parts["model"].append(_model_part(patch.role, version, old))
                if patch.role == "primary":
                    step["model"] = version.name
                if not version.record.immutable:
                    notes.append(f"{version.name} is hosted and may change under its name")
            else:
                parts["data"].append(self._data(project, patch))
        for patch in wanted:
            if patch.kind == "sampling" and patch.value is None:
                if patch.role not in sampling:
                    raise BadPart(f"{patch.key} is not set", hint=f"set are {', '.join(sorted(sampling)) or 'none'}")
                del sampling[patch.role]
            elif patch.kind == "sampling":
                canonical_json(patch.value)
                sampling[patch.role] = patch.value
        for kind, found in parts.items():
            named = [(part["role"], part["name"]) for part in found]
            if doubled := sorted({each for each in named if named.count(each) > 1}):
                raise BadPart(f"{kind} {' '.join(doubled[0])} would be there twice", hint="name another one")
        graph = [{**step, "sampling": sampling}, *manifest["graph"][1:]]
        built = build_manifest(
            app=manifest["app"], code=manifest["code"], graph=graph, config=manifest["config"], **parts
        )
        return built, notes

    def _prompt_of(self, project: str, part: Mapping[str, Any] | None) -> PromptVersion | None:
        return self._prompts.get(project, part["digest"], part["name"]) if part else None

    def _prompt(self, project: str, patch: Patch, drafts: Mapping[str, PromptVersion]) -> PromptVersion:
        name, version, digest = _reference(patch)
        draft = drafts.get(digest or "")
        if draft is not None and draft.name == name:
            return draft
        try:
            return self._prompts.get(project, digest, name) if digest else self._prompts.version(project, name, version)
        except NotFound as error:
            raise self._missing(project, patch, "prompt", name, error) from None

    def _model(self, project: str, patch: Patch) -> ModelVersion:
        name, version, digest = _reference(patch)
        try:
            if not digest:
                return self._models.version(project, name, version)
            for _, found in self._models.versions(project, name, limit=1000):
                if found.digest == digest:
                    return found
            raise NotFound(f"the project {project!r} has no model {name!r} with the digest {digest}")
        except NotFound as error:
            raise self._missing(project, patch, "model", name, error) from None

    def _data(self, project: str, patch: Patch) -> dict[str, Any]:
        name, version, digest = _reference(patch)
        try:
            found = self._datasets.by_digest(project, digest) if digest else None
            if found is not None and found.name != name:
                raise NotFound(f"{short(digest or '')} is of the dataset {found.name!r}, not of {name!r}")
            found = found or self._datasets.version(project, name, version)
        except NotFound as error:
            raise self._missing(project, patch, "dataset", name, error) from None
        if patch.role == "fewshot":
            self._releases.check_examples(found)
        return data_part(patch.role, found)

    def _missing(self, project: str, patch: Patch, kind: str, name: str, error: TetradError) -> BadPart:
        """Name the part, and what there is instead."""
        versions = self._registry.versions(project, kind, name, limit=10)
        if versions:
            there = f"versions of {name} are {', '.join(version.semver for version in versions)}"
        else:
            names = [version.name for version in self._registry.names(project, kind, limit=10)]
            there = f"{kind}s of the project are {', '.join(names)}" if names else f"the project has no {kind}"
        return BadPart(f"{patch.key}={patch.value}: {error.message}", hint=there)

    def _contract(
        self, project: str, old: PromptVersion | None, new: PromptVersion, drafts: Mapping[str, PromptVersion]
    ) -> list[str]:
        if old is None or old.contract == new.contract:
            return []
        if new.digest in drafts:  # its document is kept nowhere yet
            return ["the prompt's contract changes: check what calls the app"]
        specs = [prompt_from_document(p.name, self._registry.document(project, p.digest)) for p in (old, new)]
        return [f"the prompt's contract changes ({version_floor(*specs)}): check what calls the app"]


def _model_part(role: str, version: ModelVersion, old: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a model's part; what the app asks of the engine is the app's, and stays with other weights."""
    hosted = version.record.kind == "provider"
    return model_part(role, version, None if hosted or old is None else old.get("engine"))


def _place(parts: Sequence[Mapping[str, Any]], patch: Patch) -> int | None:
    """Return where the part is that a patch replaces, None for a new one."""
    held = [index for index, part in enumerate(parts) if part["role"] == patch.role]
    names = ", ".join(str(parts[index]["name"]) for index in held)
    if patch.name:
        found = next((index for index in held if parts[index]["name"] == patch.name), None)
        if found is None:
            raise BadPart(f"the release has no {patch.key}", hint=f"it has {names or 'none in that role'}")
        return found
    if len(held) > 1:
        raise BadPart(
            f"the release has {len(held)} parts {patch.kind}.{patch.role}: {names}",
            hint=f"say which: {patch.kind}.{patch.role}/NAME",
        )
    if not held and patch.value is None:
        raise BadPart(f"the release has no {patch.key}", hint="there is nothing to take away")
    return held[0] if held else None


def _reference(patch: Patch) -> tuple[str, str | None, str | None]:
    """Return name, version and digest of `NAME@VERSION`, `NAME@sha256:…` or `NAME`."""
    name, at, label = str(patch.value).partition("@")
    if not name or (at and not label):
        raise BadPart(f"{patch.key}={patch.value} names no part", hint=f"write {patch.key}=NAME@VERSION")
    if label.startswith("sha256:"):
        return name, None, parse_digest(label)
    if label:
        (check_label if patch.kind == "model" else SemVer.parse)(label)
    return name, label or None, None


def _sampling(sampling: Mapping[str, Any], old: PromptVersion | None, new: PromptVersion | None) -> dict[str, Any]:
    """Take away what the old prompt brought, keep what the app set itself, add what the new prompt brings."""
    brought = dict(old.params) if old else {}
    own = {name: value for name, value in sampling.items() if name not in brought or brought[name] != value}
    return {**(new.params if new else {}), **own}
