"""A difference between releases as lines for a terminal, from what the API says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from tetrad.kernel import short
from tetrad.kit.cli_output import plain, shown_time

MAX_VALUE_CHARS = 200
_MARKS = {"added": "+", "removed": "-", "changed": "~", "moved": "↕"}
_COLOURS = {"added": "green", "removed": "red", "changed": "yellow", "moved": "cyan"}
DIRTY = "DIRTY: holds changes that are in no commit"


def render_diff(diff: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines; the caller's terminal decides about the colours."""
    for name, side in (("---", diff["old"]), ("+++", diff["new"])):
        dirty = typer.style(f"  {DIRTY}", fg="magenta") if side["dirty"] else ""
        reason = f"  {plain(side['reason'])}" if side["reason"] else ""
        yield f"{name} {side['app']} {short(side['digest'])}  by {plain(side['created_by'])}{reason}{dirty}"
        if side["expected_outcome"]:
            yield f"    expected: {plain(side['expected_outcome'])}"
    if diff["same"]:
        yield "nothing changed: both are one release"
        return
    for part in diff["prompt"]:
        yield from _prompt(part)
    for part in diff["model"]:
        yield _title("model", part)
        yield from _values(part["facts"])
    for part in diff["data"]:
        yield from _data(part)
    if diff["code"]:
        yield from _code(diff["code"])
    for what in ("sampling", "config"):
        if diff[what]:
            yield _bold(what)
            yield from _values(diff[what])
    yield from _evaluations(diff)


def _evaluations(diff: Mapping[str, Any]) -> Iterator[str]:
    if not diff["evaluations"]:
        yield _bold("evaluations: unknown, as neither release has a signed test result")
        return
    for suite in diff["evaluations"]:
        other = typer.style("  NOT THE SAME SUITE", fg="magenta") if suite["same_suite"] is False else ""
        yield _bold(f"evaluation {plain(suite['suite'])}") + other
        for mark, side in (("-", suite["old"]), ("+", suite["new"])):
            if side is None:
                yield f"  {mark} unknown: no signed result"
                continue
            when = f"{plain(side['signed_by'])}, {shown_time(side['received_at'])}"
            expired = typer.style("  EXPIRED", fg="magenta") if side["expired"] else ""
            yield f"  {mark} {side['result']}, {side['cases']} cases, signed by {when}{expired}"
        for metric in suite["metrics"]:
            old, new = ("unknown" if metric[each] is None else f"{metric[each]:g}" for each in ("old", "new"))
            delta = "" if metric["delta"] is None else f"  ({metric['delta']:+g})"
            yield f"    {plain(metric['metric'])}: {old} → {new}{delta}"


def _bold(text: str) -> str:
    return typer.style(text, bold=True)


def _title(kind: str, part: Mapping[str, Any]) -> str:
    old, new = part["old"], part["new"]
    sides = [f"{side['name']} {side['version']}".rstrip() for side in (old, new) if side]
    if len(sides) == 2 and sides[0] == sides[1]:
        sides = [f"{sides[0]} {short(old['digest'])}", short(new["digest"])]
    said = " → ".join(sides) if len(sides) == 2 else f"{sides[0]} ({part['change']})"
    expected = f"\n  expected: {plain(new['expected_outcome'])}" if new and new["expected_outcome"] else ""
    return _bold(f"{kind} {part['role']}: {said}") + expected


def _prompt(part: Mapping[str, Any]) -> Iterator[str]:
    yield _title("prompt", part)
    if part["change"] == "changed":
        contract = "changed" if part["contract_changed"] else "the same"
        verdict = {"kept": ", which the version keeps", "too-low": ", WHICH THE VERSION DOES NOT KEEP", "unknown": ""}
        yield f"  contract: {contract}; at least a {part['floor']} version{verdict[part['verdict']]}"
    for message in part["messages"]:
        place = message["new_place"] or message["old_place"]
        role = f"{message['old_role']} → {message['role']}" if message["old_role"] else message["role"]
        yield _mark(message["change"], f"message {place} ({role})")
        for hunk in message["hunks"]:
            yield from _hunk(hunk)
    for name in ("variables", "params", "other"):
        if part[name]:
            yield f"  {name}:"
            yield from _values(part[name], indent="    ")


def _hunk(hunk: Mapping[str, Any]) -> Iterator[str]:
    yield typer.style(
        f"    @@ -{hunk['old_start']},{len(hunk['old'])} +{hunk['new_start']},{len(hunk['new'])} @@", fg="cyan"
    )
    for mark, colour, op, lines in (("-", "red", "delete", hunk["old"]), ("+", "green", "insert", hunk["new"])):
        if hunk["words"]:
            lines = _emphasised(hunk["words"], op, colour)
        else:
            lines = [typer.style(plain(line), fg=colour) for line in lines]
        for line in lines:
            yield f"    {typer.style(mark, fg=colour)} {line}"


def _emphasised(words: Sequence[Mapping[str, str]], op: str, colour: str) -> list[str]:
    """Return one side's lines, with the words that only it has made to stand out."""
    lines = [""]
    for word in words:
        if word["op"] not in ("equal", op):
            continue
        for number, piece in enumerate(word["text"].split("\n")):
            if number:
                lines.append("")
            if piece:
                lines[-1] += typer.style(plain(piece), fg=colour, bold=word["op"] == op, underline=word["op"] == op)
    return lines


def _data(part: Mapping[str, Any]) -> Iterator[str]:
    yield _title("data", part)
    counts = ", ".join(f"{part[kind]} {kind}" for kind in ("added", "removed", "changed", "moved") if part[kind])
    said = counts or "the rows are the same" if part["compared"] else "not compared row by row"
    yield f"  rows: {part['old_rows']} → {part['new_rows']} ({said})"
    for row in part["rows"]:
        content = "" if row["content"] is None else f"  {_value(row['content'])}"
        yield _mark(row["change"], f"{plain(row['key'])[:16]}{content}")
        yield from _values(row["fields"], indent="    ")
    if part["more"]:
        yield "  … and more rows"


def _code(code: Mapping[str, Any]) -> Iterator[str]:
    yield _bold("code")
    for mark, side in (("-", code["old"]), ("+", code["new"])):
        commit = f"commit {side['commit'][:12]}" if side["commit"] else "no commit"
        dirty = typer.style(f"  {DIRTY}", fg="magenta") if side["dirty"] else ""
        yield f"  {mark} tree {short(side['tree'])}, {side['files']} files, {commit}{dirty}"
    for file in code["files"]:
        sizes = {
            "added": f"{file['new_size']} bytes",
            "removed": f"{file['old_size']} bytes",
            "changed": "execute bit" if file["mode_only"] else f"{file['old_size']} → {file['new_size']} bytes",
        }
        yield _mark(file["change"], f"{plain(file['path'])} ({sizes[file['change']]})")
    if code["more"]:
        yield "  … and more files"
    if code["lock_changed"]:
        yield "  the lock file changed: other dependencies"
    if code["runtime"]:
        yield "  runtime:"
        yield from _values(code["runtime"], indent="    ")


def _values(found: Sequence[Mapping[str, Any]], indent: str = "  ") -> Iterator[str]:
    for each in found:
        name = plain(each["path"].removeprefix("/")) or "value"
        if each["change"] == "changed":
            said = f"{name}: {_value(each['old'])} → {_value(each['new'])}"
        else:
            said = f"{name}: {_value(each['new' if each['change'] == 'added' else 'old'])}"
        yield _mark(each["change"], said, indent)


def _mark(change: str, text: str, indent: str = "  ") -> str:
    return indent + typer.style(f"{_MARKS[change]} {text}", fg=_COLOURS[change])


def _value(value: Any) -> str:
    text = plain(json.dumps(value, ensure_ascii=False))
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}…"
