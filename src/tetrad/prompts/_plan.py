"""What must happen for a folder of prompt files and the registry to say the same; decided without touching either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from tetrad.prompts._chain import ChainSpec
from tetrad.prompts._file import format_prompt_file, read_prompt_file
from tetrad.prompts._includes import include_references
from tetrad.prompts._merge import merge_texts
from tetrad.prompts._model import PromptSpec
from tetrad.prompts._reference import parse_reference
from tetrad.prompts.errors import PromptError
from tetrad.prompts.ports import RemotePrompt

ActionKind = Literal["same", "adopt", "push", "pull", "merge", "conflict", "unresolved", "removed", "forget"]


@dataclass(frozen=True, slots=True)
class Synced:
    """What folder and registry said when they last said the same of a prompt.

    `source` is the digest of the file's content, `version` that of the registry's version. `conflict` is, while one
    stands, the registry's side of it: (source, version).
    """

    file: str
    source: str
    version: str
    removed: bool = False
    conflict: tuple[str, str] | None = None

    def decided(self, *, removed: bool) -> Synced:
        """Go on from the registry's side of a conflict: a person has seen it and took the marker's file away."""
        return Synced(self.file, *self.conflict, removed=removed) if self.conflict else self


@dataclass(frozen=True, slots=True)
class LocalPrompt:
    """A prompt file of the folder."""

    name: str
    file: str
    text: str
    spec: PromptSpec | ChainSpec

    @property
    def source(self) -> str:
        """The digest of what the file says."""
        return self.spec.source.digest


@dataclass(frozen=True, slots=True)
class Action:
    """One thing to do; `text` is what is to be written or committed, for a conflict both sides between markers."""

    kind: ActionKind
    name: str
    file: str
    note: str = ""
    text: str = ""


def decide(
    base: Synced | None,
    local: LocalPrompt | None,
    remote: RemotePrompt | None,
    text: Callable[[str], str],
    *,
    name: str,
    marker: bool = False,
) -> Action:
    """Decide what happens to one prompt; `text` returns a version's file by its digest.

    `marker` says that the file of an earlier conflict is still there: then nothing happens.
    """
    file = local.file if local else base.file if base else f"{name}.md"
    if marker:
        return Action("unresolved", name, file, f"edit {file}, then delete {file}.conflict")
    if remote is None:
        if local is None:
            return Action("forget", name, file)
        return Action("push", name, file, "new", local.text)
    if local is None:
        return _without_file(base, remote, text, name, file)
    if local.source == remote.source:
        known = base is not None and base == Synced(local.file, remote.source, remote.digest)
        return Action("same" if known else "adopt", name, file)
    if base is None:
        merged = merge_texts("", local.text, text(remote.digest), ours_name=file, theirs_name=_their_name(remote))
        return Action("conflict", name, file, "both have it, and nobody knows which came first", merged.text)
    if remote.source == base.source:
        return Action("push", name, file, "changed here", local.text)
    return _both(base, local, remote, text)


def _without_file(
    base: Synced | None, remote: RemotePrompt, text: Callable[[str], str], name: str, file: str
) -> Action:
    if base is None:
        return Action("pull", name, file, f"new: {remote.semver}", text(remote.digest))
    if remote.source == base.source:
        return Action("same" if base.removed else "removed", name, file, "the registry keeps its versions")
    return Action(
        "conflict", name, file, f"deleted here, changed in the registry ({remote.semver})", text(remote.digest)
    )


def _both(base: Synced, local: LocalPrompt, remote: RemotePrompt, text: Callable[[str], str]) -> Action:
    theirs, root = text(remote.digest), text(base.version)
    changed_here = local.source != base.source
    # A file is compared as it stands first, so that its layout and notes live on; then in the registry's own layout,
    # where that loses nothing but layout.
    sides = [local.text] if has_notes(local.text) else [local.text, format_prompt_file(local.spec)]
    for ours in sides:
        merged = merge_texts(root, ours, theirs)
        if merged.conflicts == 0 and (spec := _readable(merged.text, local)) is not None:
            if spec.source.digest == remote.source:
                return Action("pull", local.name, local.file, f"changed in the registry: {remote.semver}", merged.text)
            if changed_here:
                note = f"changed here and in the registry ({remote.semver})"
                return Action("merge", local.name, local.file, note, merged.text)
    if not changed_here and not has_notes(local.text):
        return Action("pull", local.name, local.file, f"changed in the registry: {remote.semver}", theirs)
    shown = merge_texts(root, local.text, theirs, ours_name=local.file, theirs_name=_their_name(remote))
    if shown.conflicts == 0:  # it merges as text, but not into a prompt: show both whole
        shown = merge_texts("", local.text, theirs, ours_name=local.file, theirs_name=_their_name(remote))
    return Action("conflict", local.name, local.file, f"changed here and in the registry ({remote.semver})", shown.text)


def _readable(text: str, local: LocalPrompt) -> PromptSpec | ChainSpec | None:
    try:
        return read_prompt_file(text, local.file)
    except PromptError:
        return None


def _their_name(remote: RemotePrompt) -> str:
    return f"registry {remote.name}@{remote.semver}"


def has_notes(text: str) -> bool:
    """Tell whether the front matter holds comments, which only the file keeps."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n")
    if lines[0].rstrip() != "---":
        return False
    for line in lines[1:]:
        if line.rstrip() == "---":
            return False
        if "#" in line and (line.lstrip().startswith("#") or " #" in line):
            return True
    return False


def in_order(prompts: Mapping[str, LocalPrompt]) -> list[str]:
    """Return names so that what a prompt includes comes before it; raise `PromptError` with the path of a circle."""
    done: dict[str, bool] = {}
    order: list[str] = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name not in prompts or done.get(name):
            return
        if name in path:
            circle = " → ".join([*path[path.index(name) :], name])
            raise PromptError(
                f"the includes go in a circle: {circle}", hint="take one of them out", code="prompt_include_cycle"
            )
        for other in sorted(needs(prompts[name].spec)):
            visit(other, (*path, name))
        done[name] = True
        order.append(name)

    for name in sorted(prompts):
        visit(name, ())
    return order


def needs(spec: PromptSpec | ChainSpec) -> set[str]:
    """Return the names of the prompts that a prompt includes, or that a chain's steps are."""
    if isinstance(spec, ChainSpec):
        return {parse_reference(step.prompt).name for step in spec.steps}
    return {reference.name for reference in include_references(spec)}
