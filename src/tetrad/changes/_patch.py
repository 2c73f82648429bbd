"""A patch as releases understand it: what it makes, kept or only worked out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from tetrad.changes._model import ChangedPart, PartPatch, part_in
from tetrad.changes.errors import BadChange
from tetrad.kernel import Digest, NotFound, Principal, TooLarge
from tetrad.prompts import ChainSpec, Prompts, PromptSpec, format_prompt_file, prompt_from_document, read_prompt_file
from tetrad.registry import Part, Registry, parts_of
from tetrad.releases import Composed, Planned, PromptText, Releases

MAX_PARTS: Final = 100
MAX_CONTENT_BYTES: Final = 256 << 10
MAX_PATCH_BYTES: Final = 1 << 20
_KINDS: Final = {"prompt": "prompt", "model": "model", "data": "dataset"}
_FILE_NAME = re.compile(r"[^a-z0-9]+")


class Patches:
    """Reads patches and makes releases of them. Safe to use from many threads."""

    def __init__(self, releases: Releases, prompts: Prompts, registry: Registry) -> None:
        self._releases = releases
        self._prompts = prompts
        self._registry = registry

    def read(self, project: str, base: str, patch: Sequence[PartPatch]) -> tuple[PartPatch, ...]:
        """Return a patch that says the same tomorrow: names without a version get one, texts get their prompt's name.

        Raises `BadChange`, or what is wrong with a prompt file, which begins with its name and line.
        """
        if not 1 <= len(patch) <= MAX_PARTS:
            raise BadChange(f"a patch of {len(patch)} parts", hint=f"1 to {MAX_PARTS}")
        if (size := sum(len((each.content or "").encode()) for each in patch)) > MAX_PATCH_BYTES:
            raise TooLarge(f"{size} bytes of prompts in one patch", hint=f"at most {MAX_PATCH_BYTES}")
        manifest = self._releases.release(project, base).manifest
        return tuple(sorted((self._pinned(project, manifest, each) for each in patch), key=lambda each: each.part))

    def _pinned(self, project: str, manifest: Mapping[str, Any], patch: PartPatch) -> PartPatch:
        kind = patch.part.partition(".")[0]
        if patch.content is not None:
            if patch.value is not None:
                raise BadChange(f"{patch.part} is given as text and as a value", hint="give one of them")
            if kind != "prompt":
                raise BadChange(f"{patch.part} is not given as text", hint="only prompts are; write NAME@VERSION")
            return msgspec.structs.replace(patch, name=self._name(manifest, patch))
        if patch.name:
            raise BadChange(f"{patch.part} has a name and no text", hint="the name goes into the value: NAME@VERSION")
        if kind in _KINDS and isinstance(patch.value, str) and patch.value and "@" not in patch.value:
            try:
                newest = self._registry.version(project, _KINDS[kind], patch.value)
            except NotFound:
                return patch  # deriving says what there is instead
            return msgspec.structs.replace(patch, value=f"{patch.value}@{newest.semver}")
        return patch

    def _name(self, manifest: Mapping[str, Any], patch: PartPatch) -> str:
        """Return a text's name: what was said, else what the file says, else that of the prompt it replaces."""
        text = patch.content or ""
        if len(text.encode("utf-8", "surrogatepass")) > MAX_CONTENT_BYTES:
            raise TooLarge(f"the text of {patch.part} is too long", hint=f"at most {MAX_CONTENT_BYTES} bytes")
        held = part_in(manifest, patch.part) if patch.part.count(".") == 1 else None
        default = patch.name or (held["name"] if isinstance(held, Mapping) else "prompt")
        spec = read_prompt_file(text, f"{default}.md")
        if isinstance(spec, ChainSpec):
            raise BadChange(f"the text of {patch.part} is a chain", hint="a release pins the prompts of its steps")
        if patch.name:
            return patch.name
        return default if spec.name == _FILE_NAME.sub("-", default).strip("-") else spec.name

    def plan(self, project: str, base: str, patch: Sequence[PartPatch], *, reason: str, outcome: str) -> Planned:
        """Work out the release that a patch makes of a base, and keep nothing."""
        patches, contents = _split(patch)
        return self._releases.derivations.plan(
            project, base, patches, contents=contents, reason=reason, expected_outcome=outcome
        )

    def keep(
        self, project: str, base: str, patch: Sequence[PartPatch], *, actor: Principal, reason: str, outcome: str,
        authors: Iterable[str],
    ) -> Composed:  # fmt: skip
        """Make and keep the release that a patch makes of a base; doing it again makes nothing new."""
        patches, contents = _split(patch)
        return self._releases.derivations.derive(
            project, base, patches, contents=contents, actor=actor, reason=reason, expected_outcome=outcome,
            authors=authors,
        )  # fmt: skip

    def changed(self, project: str, base: str, planned: Planned) -> tuple[ChangedPart, ...]:
        """Return the parts of a release that its base does not have, as approvals are bound to them."""
        before = parts_of("release", planned.base, self._releases.release(project, base).manifest)
        known = {part.seal for part in before}
        return tuple(
            ChangedPart(part.kind, part.role, part.name, part.label(), part.seal, _pins(part, planned))
            for part in parts_of("release", planned.digest, planned.manifest)
            if part.seal not in known
        )

    def spec(self, project: str, patch: PartPatch, *, reason: str, outcome: str) -> PromptSpec:
        """Return the prompt that a text is, its includes resolved, as committing it would."""
        spec = self._prompts.read(patch.name, patch.content or "", where=f"{patch.name}.md")
        checked = self._prompts.check(project, spec, reason=reason, expected_outcome=outcome).spec
        assert isinstance(checked, PromptSpec)  # noqa: S101 - a chain was refused when it was read
        return checked

    def text(self, project: str, entry: Mapping[str, Any]) -> str:
        """Return the prompt that a manifest pins as a file."""
        return format_prompt_file(
            prompt_from_document(entry["name"], self._registry.document(project, entry["digest"]))
        )


def _pins(part: Part, planned: Planned) -> tuple[Digest, ...]:
    draft = planned.drafts.get(part.digest) if part.digest else None
    if draft is not None:
        return draft.closure
    return (*([part.digest] if part.digest else []), *part.adapters)


def _split(patch: Sequence[PartPatch]) -> tuple[dict[str, Any], dict[str, PromptText]]:
    keys = [each.part for each in patch]
    if doubled := sorted({key for key in keys if keys.count(key) > 1}):
        raise BadChange(f"{doubled[0]} stands twice in the patch", hint="set it once")
    patches = {each.part: each.value for each in patch if each.content is None}
    contents = {each.part: PromptText(each.name, each.content) for each in patch if each.content is not None}
    return patches, contents
