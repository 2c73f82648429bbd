"""A difference between releases in a few lines for people."""

from __future__ import annotations

import json
from typing import Any

from tetrad.kernel import short
from tetrad.releases._diff import (
    CodeDiff,
    DataDiff,
    ModelDiff,
    PartSide,
    PromptDiff,
    ReleaseDiff,
    SuiteDelta,
    ValueChange,
)

MAX_VALUE_CHARS = 60
DIRTY = "holds changes that are in no commit"


def summarise(diff: ReleaseDiff) -> tuple[str, ...]:
    """Say in one line per part what changed, and which of the two is made of code that was not committed."""
    if diff.same:
        return ("nothing: both are one release", *_dirty(diff))
    lines = [
        *(_prompt(each) for each in diff.prompt),
        *(_model(each) for each in diff.model),
        *(_data(each) for each in diff.data),
        *([_code(diff.code)] if diff.code else []),
        *(f"sampling {say_change(each)}" for each in diff.sampling),
        *(f"config {say_change(each)}" for each in diff.config),
        *(say_suite(each) for each in diff.evaluations),
    ]
    return (*lines, *_dirty(diff))


def say_suite(delta: SuiteDelta) -> str:
    """Say what a suite measured on both, with how many cases; what was not measured is unknown."""
    told = [
        f"{each.metric} {_number(each.old)} → {_number(each.new)}"
        + (f" ({each.delta:+g})" if each.delta is not None else "")
        for each in delta.metrics
    ]
    sides = [f"{side.result}, {side.cases} cases" if side else "unknown" for side in (delta.old, delta.new)]
    other = " (NOT THE SAME SUITE)" if delta.same_suite is False else ""
    return f"evaluation {delta.suite}: {'; '.join([f'{sides[0]} → {sides[1]}', *told])}{other}"


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:g}"


def _dirty(diff: ReleaseDiff) -> list[str]:
    sides = {"the old": diff.old} if diff.same else {"the old": diff.old, "the new": diff.new}
    return [f"{name} release {short(side.digest)} {DIRTY}" for name, side in sides.items() if side.dirty]


def say_change(change: ValueChange) -> str:
    """Say what happened to one value."""
    name = change.path.removeprefix("/")
    if change.change == "added":
        return f"{name}: {_value(change.new)} is new"
    if change.change == "removed":
        return f"{name}: {_value(change.old)} is gone"
    return f"{name}: {_value(change.old)} → {_value(change.new)}"


def _value(value: Any) -> str:
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"


def _named(kind: str, role: str, change: str, old: PartSide | None, new: PartSide | None) -> str:
    if old is None or new is None:
        there = new or old
        what = f"{there.name} {there.version}".strip() if there else ""
        return f"{kind} {role}: {what} {'is new' if change == 'added' else 'is gone'}"
    if old.name != new.name:
        return f"{kind} {role}: {old.name} {old.version} → {new.name} {new.version}"
    step = f"{old.version} → {new.version}" if old.version != new.version else old.version
    return f"{kind} {role}: {new.name} {step}".rstrip()


def _prompt(diff: PromptDiff) -> str:
    head = _named("prompt", diff.role, diff.change, diff.old, diff.new)
    if diff.change != "changed":
        return head
    told = [_counted(len(diff.messages), "message"), _counted(len(diff.variables), "variable")]
    told += [_counted(len(diff.params), "parameter"), _counted(len(diff.other), "other field")]
    said = ", ".join(each for each in told if each) or "its name"
    contract = "the contract changed" if diff.contract_changed else "the contract is the same"
    floor = "" if diff.floor == "none" else f": at least {diff.floor}"
    low = ", MORE THAN THE VERSION SAYS" if diff.verdict == "too-low" else ""
    return f"{head} ({said}; {contract}{floor}{low})"


def _counted(count: int, what: str) -> str:
    return "" if not count else f"{count} {what}{'s' if count > 1 else ''}"


def _model(diff: ModelDiff) -> str:
    head = _named("model", diff.role, diff.change, diff.old, diff.new)
    told = [say_change(each) for each in diff.facts if each.path not in ("digest", "size", "tokenizer", "base")]
    if diff.change != "changed":
        return head
    weights = "other weights" if any(each.path == "digest" for each in diff.facts) else ""
    return f"{head} ({'; '.join(filter(None, [weights, *told])) or 'its name'})"


def _data(diff: DataDiff) -> str:
    head = _named("data", diff.role, diff.change, diff.old, diff.new)
    if not diff.compared:
        return f"{head} ({diff.old_rows} rows → {diff.new_rows} rows, not compared row by row)"
    told = [(diff.added, "added"), (diff.removed, "removed"), (diff.changed, "changed"), (diff.moved, "moved")]
    return f"{head} (rows: {', '.join(f'{count} {what}' for count, what in told if count) or 'all the same'})"


def _code(diff: CodeDiff) -> str:
    told = [(diff.added, "added"), (diff.removed, "removed"), (diff.changed, "changed")]
    files = ", ".join(f"{count} {what}" for count, what in told if count)
    said = [f"files: {files}"] if files else ["the same files"]
    if diff.old.commit != diff.new.commit:
        said.append(f"commit {diff.old.commit[:12] or 'none'} → {diff.new.commit[:12] or 'none'}")
    if diff.lock_changed:
        said.append("another lock file")
    if diff.runtime:
        said.append("another runtime")
    return f"code: {'; '.join(said)}"
