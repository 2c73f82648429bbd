"""What changed between two bindings, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from tetrad.bindings._model import SECTIONS, Binding, IndexBinding, McpServerBinding, ProviderBinding, ToolBinding

ChangeKind = Literal["added", "removed", "changed"]
_NOUNS = {"providers": "provider", "indexes": "index", "tools": "tool", "mcp_servers": "MCP server"}


class BindingChange(msgspec.Struct, frozen=True):
    """One thing that changed about a logical name: which `field` of it, from what to what, and a sentence."""

    section: str
    name: str
    kind: ChangeKind
    field: str
    old: Any
    new: Any
    text: str


def diff_bindings(old: Binding, new: Binding) -> tuple[BindingChange, ...]:
    """Return what changed, by section and name; equal bindings give nothing."""
    found: list[BindingChange] = []
    if old.inherit != new.inherit:
        said = "follows the environment's binding now" if new.inherit else "no longer follows the environment's binding"
        found.append(BindingChange("", "", "changed", "inherit", old.inherit, new.inherit, said))
    for section in SECTIONS:
        before: Mapping[str, Any] = getattr(old, section)
        after: Mapping[str, Any] = getattr(new, section)
        for name in sorted({*before, *after}):
            if name not in after:
                noun = _NOUNS[section]
                text = f"{noun} {name} is no longer bound; the name means itself (was {_where(before[name])})"
                found.append(_whole(section, name, "removed", before[name], None, text))
            elif name not in before:
                text = f"{_NOUNS[section]} {name} is bound to {_where(after[name])}"
                found.append(_whole(section, name, "added", None, after[name], text))
            else:
                found += _entry(section, name, before[name], after[name])
    return tuple(found)


def _whole(section: str, name: str, kind: ChangeKind, old: Any, new: Any, text: str) -> BindingChange:
    told = [None if each is None else msgspec.to_builtins(each) for each in (old, new)]
    return BindingChange(section, name, kind, "", told[0], told[1], text)


def _entry(section: str, name: str, old: Any, new: Any) -> list[BindingChange]:
    noun = f"{_NOUNS[section]} {name}"
    found: list[BindingChange] = []

    def note(field: str, before: Any, after: Any, text: str) -> None:
        found.append(BindingChange(section, name, "changed", field, before, after, text))

    if _where(old) != _where(new):
        note("endpoint", _where(old), _where(new), f"{noun} moved from {_where(old)} to {_where(new)}")
    if old.secret != new.secret:
        told = [each or "none of its own" for each in (old.secret, new.secret)]
        note("secret", old.secret, new.secret, f"{noun}: secret reference changed from {told[0]} to {told[1]}")
    if isinstance(old, ProviderBinding):
        if old.max_concurrency != new.max_concurrency:
            sizes = [str(each) if each else "no limit" for each in (old.max_concurrency, new.max_concurrency)]
            text = f"{noun}: capacity changed from {sizes[0]} to {sizes[1]}"
            note("max_concurrency", old.max_concurrency, new.max_concurrency, text)
        for model in sorted({*old.models, *new.models}):
            was, now = old.models.get(model, ""), new.models.get(model, "")
            if was != now:
                told = [each or "called by its own name" for each in (was, now)]
                text = f"{noun}: model {model} is {told[1]}, was {told[0]}"
                note(f"models.{model}", was, now, text)
    elif old.timeout_s != new.timeout_s:
        text = f"{noun}: time limit changed from {old.timeout_s:g} s to {new.timeout_s:g} s"
        note("timeout_s", old.timeout_s, new.timeout_s, text)
    return found


def _where(entry: ProviderBinding | IndexBinding | ToolBinding | McpServerBinding) -> str:
    if isinstance(entry, ProviderBinding):
        return f"provider {entry.provider}" if entry.provider else f"engine {entry.engine}"
    if isinstance(entry, IndexBinding) and entry.index:
        return f"index {entry.index}"
    if isinstance(entry, McpServerBinding) and entry.server:
        return f"registered server {entry.server}"
    return entry.url
