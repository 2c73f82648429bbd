"""Put a patch on another base: what both sides changed is merged or shown, never overwritten."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace as with_name
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from tetrad.changes._model import PartPatch, part_in, same_part, say_part
from tetrad.kernel import Digest, InvalidInput
from tetrad.prompts import format_prompt_file, merge_texts, parse_prompt_file

Outcome = Literal["clean", "merged", "same", "conflict"]
Text = Callable[[Mapping[str, Any]], str]


class RebasedPart(msgspec.Struct, frozen=True):
    """A part of a patch on the new base. `patch` is what it becomes there; None: somebody has to say."""

    part: str
    outcome: Outcome
    base: str
    ours: str
    theirs: str
    text: str | None = None
    patch: PartPatch | None = None


class RebasePlan(msgspec.Struct, frozen=True):
    """What a rebase would do, part by part; not `needed` where the patch is on the ref's release already."""

    needed: bool
    old_base: Digest
    new_base: Digest
    parts: tuple[RebasedPart, ...] = ()

    @property
    def conflicts(self) -> tuple[str, ...]:
        """The parts that both sides changed, each otherwise."""
        return tuple(part.part for part in self.parts if part.outcome == "conflict")


def rebased(
    patch: Sequence[PartPatch],
    base: Mapping[str, Any],
    ours: Mapping[str, Any],
    theirs: Mapping[str, Any],
    text: Text,
) -> tuple[RebasedPart, ...]:
    """Say what becomes of each part of a patch that made `ours` of `base`, on `theirs`: three manifests.

    `text` returns the prompt that a manifest's entry pins as a file. A text that was given inline is merged with the
    ref's new one line by line; where that leaves a conflict, or no prompt, the part is in conflict.
    """
    return tuple(
        _part(each, part_in(base, each.part), part_in(ours, each.part), part_in(theirs, each.part), text)
        for each in patch
    )


def _part(patch: PartPatch, base: Any, ours: Any, theirs: Any, text: Text) -> RebasedPart:
    told = RebasedPart(patch.part, "conflict", say_part(base), _said(patch, ours), say_part(theirs))
    if same_part(base, theirs):
        return replace(told, outcome="clean", patch=patch)
    if same_part(ours, theirs):
        return replace(told, outcome="same", patch=patch)
    sides = [entry for entry in (base, theirs) if isinstance(entry, Mapping) and "digest" in entry]
    if patch.part.startswith("prompt.") and len(sides) == 2 and (mine := _mine(patch, ours, text)) is not None:
        merged = merge_texts(text(base), mine, text(theirs), ours_name="the change request", theirs_name="the ref")
        if patch.content is not None and not merged.conflicts and _reads(merged.text, patch.name):
            return replace(told, outcome="merged", text=merged.text, patch=replace(patch, content=merged.text))
        return replace(told, text=merged.text)
    return told


def _said(patch: PartPatch, ours: Any) -> str:
    return f"{patch.name} (text)" if patch.content is not None else say_part(ours)


def _mine(patch: PartPatch, ours: Any, text: Text) -> str | None:
    """Return our prompt in the form that the others are in, so that only what differs in meaning differs."""
    if patch.content is not None:
        return format_prompt_file(with_name(parse_prompt_file(patch.content, f"{patch.name}.md"), name=patch.name))
    return text(ours) if isinstance(ours, Mapping) and "digest" in ours else None


def _reads(text: str, name: str) -> bool:
    try:
        parse_prompt_file(text, f"{name}.md")
    except InvalidInput:
        return False
    return True
