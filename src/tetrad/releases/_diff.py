"""What changed from one release to another, part by part: frozen values and pure rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal, TypeVar

import msgspec

from tetrad.code import CodeFile, CodeSnapshot
from tetrad.datasets import Row, diff_values
from tetrad.kernel import canonical_json
from tetrad.models import ModelVersion
from tetrad.registry import SemVer
from tetrad.releases._text_diff import Hunk, changed_blocks, diff_text

Change = Literal["added", "removed", "changed"]
RowChangeKind = Literal["added", "removed", "changed", "moved"]
Floor = Literal["major", "minor", "patch", "none"]
Verdict = Literal["kept", "too-low", "unknown"]
_P = TypeVar("_P")
MAX_ROW_CELLS = 4_000_000
MAX_SHOWN_CHARS = 4_000
FLOORS: tuple[Floor, ...] = ("none", "patch", "minor", "major")


class ValueChange(msgspec.Struct, frozen=True):
    """A value that came, went or changed; `path` is a JSON pointer, or a name."""

    path: str
    change: Change
    old: Any = None
    new: Any = None


class MessageChange(msgspec.Struct, frozen=True):
    """A message of a prompt that came, went or changed; places count from 1, 0 where that side has none."""

    change: Change
    role: str
    old_place: int = 0
    new_place: int = 0
    old_role: str = ""
    hunks: tuple[Hunk, ...] = ()


class PartSide(msgspec.Struct, frozen=True):
    """A part as one of the two releases pins it; `version` is the registry's number, for people.

    A prompt has a `contract`, a dataset an `order` of its rows. `expected_outcome` is what its author expected of it.
    """

    name: str
    digest: str
    version: str = ""
    contract: str = ""
    order: str = ""
    expected_outcome: str = ""


class PromptDiff(msgspec.Struct, frozen=True):
    """A prompt that differs.

    `floor` is what the change must at least be called by the contract; `verdict` says whether the new number keeps it.
    """

    role: str
    change: Change
    old: PartSide | None
    new: PartSide | None
    contract_changed: bool = False
    floor: Floor = "none"
    verdict: Verdict = "unknown"
    messages: tuple[MessageChange, ...] = ()
    variables: tuple[ValueChange, ...] = ()
    params: tuple[ValueChange, ...] = ()
    other: tuple[ValueChange, ...] = ()


class RowDiff(msgspec.Struct, frozen=True):
    """A row that differs. A changed one tells its fields, one that came or went its content."""

    key: str
    change: RowChangeKind
    fields: tuple[ValueChange, ...] = ()
    content: Any = None


class DataDiff(msgspec.Struct, frozen=True):
    """A dataset that differs: counts of all rows, the first of them one by one.

    `compared` is False where two different datasets are too large to be set against each other row by row.
    """

    role: str
    change: Change
    old: PartSide | None
    new: PartSide | None
    old_rows: int = 0
    new_rows: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    moved: int = 0
    rows: tuple[RowDiff, ...] = ()
    more: bool = False
    compared: bool = True


class ModelDiff(msgspec.Struct, frozen=True):
    """A model that differs, and in what."""

    role: str
    change: Change
    old: PartSide | None
    new: PartSide | None
    facts: tuple[ValueChange, ...] = ()


class FileChange(msgspec.Struct, frozen=True):
    """A file of the code that came, went or changed; `executable` tells that only its execute bit did."""

    path: str
    change: Change
    old_digest: str = ""
    new_digest: str = ""
    old_size: int = 0
    new_size: int = 0
    mode_only: bool = False


class CodeSide(msgspec.Struct, frozen=True):
    """The code of one of the two releases. `dirty` code holds changes that are in no commit."""

    digest: str
    tree: str
    commit: str
    dirty: bool
    lock: str
    files: int


class CodeDiff(msgspec.Struct, frozen=True):
    """Code that differs: counts of all files, the first of them one by one."""

    old: CodeSide
    new: CodeSide
    added: int
    removed: int
    changed: int
    files: tuple[FileChange, ...]
    more: bool
    lock_changed: bool
    runtime: tuple[ValueChange, ...] = ()


class ReleaseSide(msgspec.Struct, frozen=True):
    """One of the two releases; `dirty` says that its code is in no commit."""

    digest: str
    app: str
    sequence: int
    created_at: datetime
    created_by: str
    reason: str
    dirty: bool
    expected_outcome: str = ""


class SuiteSide(msgspec.Struct, frozen=True):
    """The newest signed result of a suite on one release: over how many cases, who signed, when it came.

    `evidence` names the statement, `suite` the suite that ran (empty where the result does not say). It counts until
    `expires_at`; `expired` says that this is over.
    """

    result: str
    cases: int
    metrics: Mapping[str, float]
    signed_by: str
    key_id: str
    received_at: datetime
    evidence: str
    suite: str = ""
    expires_at: datetime | None = None
    expired: bool = False


class MetricDelta(msgspec.Struct, frozen=True):
    """A metric on both sides, in its own unit; None where a side has none. `delta` is new less old."""

    metric: str
    old: float | None
    new: float | None
    delta: float | None


class SuiteDelta(msgspec.Struct, frozen=True):
    """A suite's results on two releases. `same_suite` is None where a side is missing or does not say which suite ran.

    Without the same suite the numbers were not measured on the same cases.
    """

    suite: str
    old: SuiteSide | None
    new: SuiteSide | None
    metrics: tuple[MetricDelta, ...] = ()
    same_suite: bool | None = None


class ReleaseDiff(msgspec.Struct, frozen=True):
    """What changed from one release to another; parts that did not change are not in it.

    `evaluations` are what signed test results say of both, suite by suite; without any, what changed in behaviour is
    unknown.
    """

    old: ReleaseSide
    new: ReleaseSide
    code: CodeDiff | None = None
    data: tuple[DataDiff, ...] = ()
    model: tuple[ModelDiff, ...] = ()
    prompt: tuple[PromptDiff, ...] = ()
    sampling: tuple[ValueChange, ...] = ()
    config: tuple[ValueChange, ...] = ()
    evaluations: tuple[SuiteDelta, ...] = ()

    @property
    def evaluated(self) -> Literal["both", "old", "new", "unknown"]:
        """Which of the two there are signed test results of."""
        old = any(each.old is not None for each in self.evaluations)
        new = any(each.new is not None for each in self.evaluations)
        return "both" if old and new else "old" if old else "new" if new else "unknown"

    @property
    def same(self) -> bool:
        """Whether nothing changed."""
        return self.old.digest == self.new.digest


def diff_suites(old: Mapping[str, SuiteSide], new: Mapping[str, SuiteSide]) -> tuple[SuiteDelta, ...]:
    """Set the results of suites on two releases against each other, in the order of names."""
    found = []
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        was, now = (dict(side.metrics) if side else {} for side in (before, after))
        metrics = tuple(
            MetricDelta(metric, was.get(metric), now.get(metric), _delta(was.get(metric), now.get(metric)))
            for metric in sorted({*was, *now})
        )
        named = before is not None and after is not None and bool(before.suite and after.suite)
        same = before.suite == after.suite if named and before and after else None
        found.append(SuiteDelta(name, before, after, metrics, same))
    return tuple(found)


def _delta(old: float | None, new: float | None) -> float | None:
    """Subtract as decimals do, so that 0.93 less 0.9 is 0.03."""
    return None if old is None or new is None else float(Decimal(str(new)) - Decimal(str(old)))


def changes(old: Any, new: Any) -> tuple[ValueChange, ...]:
    """Return what differs between two JSON values, with long texts cut; nothing where they are equal."""
    found = []
    for each in diff_values(old, new):
        if each.old is msgspec.UNSET:
            found.append(ValueChange(each.path, "added", new=cut(each.new)))
        elif each.new is msgspec.UNSET:
            found.append(ValueChange(each.path, "removed", old=cut(each.old)))
        else:
            found.append(ValueChange(each.path, "changed", cut(each.old), cut(each.new)))
    return tuple(found)


def cut(value: Any, most: int = MAX_SHOWN_CHARS) -> Any:
    """Return a value that is fit to be shown: what is longer than `most` characters is a shortened text."""
    if isinstance(value, str):
        return value if len(value) <= most else f"{value[:most]}… ({len(value)} characters)"
    if isinstance(value, Mapping | list | tuple):
        text = canonical_json(value).decode("utf-8")
        return value if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
    return value


def pair_parts(
    old: Sequence[_P], new: Sequence[_P], role: Callable[[_P], str], name: Callable[[_P], str]
) -> list[tuple[_P | None, _P | None]]:
    """Pair parts of two releases: the same role and name first, then what is left of a role in its order."""
    left, right = list(old), list(new)
    pairs: list[tuple[_P | None, _P | None]] = []
    for by_name in (True, False):
        for before in list(left):
            after = next(
                (e for e in right if role(e) == role(before) and (not by_name or name(e) == name(before))), None
            )
            if after is not None:
                pairs.append((before, after))
                left.remove(before)
                right.remove(after)
    pairs += [(before, None) for before in left] + [(None, after) for after in right]

    def place(pair: tuple[_P | None, _P | None]) -> tuple[str, str]:
        there = pair[0] if pair[0] is not None else pair[1]
        return ("", "") if there is None else (role(there), name(there))

    return sorted(pairs, key=place)


def diff_messages(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> tuple[MessageChange, ...]:
    """Say which messages came, went or changed, in their order; a changed one keeps its role where it can."""
    before, after = ([(str(each.get("role", "")), _text_of(each)) for each in side] for side in (old, new))
    found: list[MessageChange] = []
    for i1, i2, j1, j2 in changed_blocks(before, after, cells=MAX_ROW_CELLS):
        free = list(range(j1, j2))
        for i in range(i1, i2):
            j = next((j for j in free if after[j][0] == before[i][0]), free[0] if free and i2 - i1 == j2 - j1 else None)
            if j is None:
                found.append(_message("removed", before[i], None, i + 1, 0))
                continue
            found += [_message("added", None, after[skipped], 0, skipped + 1) for skipped in free if skipped < j]
            free = [each for each in free if each > j]
            found.append(_message("changed", before[i], after[j], i + 1, j + 1))
        found += [_message("added", None, after[j], 0, j + 1) for j in free]
    return tuple(found)


def _message(
    change: Change, old: tuple[str, str] | None, new: tuple[str, str] | None, old_place: int, new_place: int
) -> MessageChange:
    role = (new or old or ("", ""))[0]
    old_role = old[0] if old and new and old[0] != new[0] else ""
    if old is None or new is None:
        lines = tuple((old or new or ("", ""))[1].split("\n"))
        hunk = Hunk(1, 1, lines if old else (), lines if new else ())
        return MessageChange(change, role, old_place, new_place, old_role, (hunk,))
    return MessageChange(change, role, old_place, new_place, old_role, diff_text(old[1], new[1]))


def _text_of(message: Mapping[str, Any]) -> str:
    """Return a message's text; what is no plain template (a placeholder, say) is shown as its JSON."""
    content = message.get("content")
    if isinstance(content, str) and not set(message) - {"role", "content"}:
        return content
    rest = {name: value for name, value in message.items() if name != "role"}
    return canonical_json(rest).decode("utf-8")


_PROMPT_PLACED = frozenset({"messages", "variables", "params", "schema"})


def with_documents(diff: PromptDiff, old: Mapping[str, Any], new: Mapping[str, Any]) -> PromptDiff:
    """Add what differs between two prompt documents: messages, variables, parameters, everything else."""
    return msgspec.structs.replace(
        diff,
        messages=diff_messages(old.get("messages", ()), new.get("messages", ())),
        variables=changes(_by_name(old.get("variables", ())), _by_name(new.get("variables", ()))),
        params=changes(old.get("params", {}), new.get("params", {})),
        other=changes(_rest(old), _rest(new)),
    )


def _by_name(items: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {str(each["name"]): {name: value for name, value in each.items() if name != "name"} for each in items}


def _rest(document: Mapping[str, Any]) -> dict[str, Any]:
    rest = {name: value for name, value in document.items() if name not in _PROMPT_PLACED}
    if "tools" in rest:
        rest["tools"] = _by_name(rest["tools"])
    return rest


def judge_version(floor: Floor, old: str, new: str) -> Verdict:
    """Say whether the step from one version number to the next is at least what the contract's change asks for."""
    if not old or not new:
        return "unknown"
    before, after = SemVer.parse(old), SemVer.parse(new)
    if after < before:  # an older version: what was promised then holds for who goes back to it
        before, after = after, before
    if before.major != after.major:
        step: Floor = "major"
    elif before.minor != after.minor:
        step = "minor"
    else:
        step = "patch" if before != after else "none"
    return "kept" if FLOORS.index(step) >= FLOORS.index(floor) else "too-low"


def diff_rows(old: Sequence[Row], new: Sequence[Row]) -> tuple[RowDiff, ...]:
    """Say which rows of two short datasets came, went, moved or changed field by field, in their order.

    Rows with names of their own are the same row when they have the same name. Rows that are named by their content are
    aligned: what stands in the place of another is that row, changed.
    """
    if _named(old) and _named(new):
        return _by_key(old, new)
    return _aligned(old, new)


def _named(rows: Sequence[Row]) -> bool:
    return any(row.key.partition(".")[0] != row.digest.removeprefix("sha256:") for row in rows)


def _by_key(old: Sequence[Row], new: Sequence[Row]) -> tuple[RowDiff, ...]:
    was, now = {row.key: row for row in old}, {row.key: row for row in new}
    found: list[RowDiff] = []
    for key, row in was.items():
        if key not in now:
            found.append(RowDiff(key, "removed", content=cut(dict(row.value))))
        elif now[key].digest != row.digest:
            found.append(RowDiff(key, "changed", changes(row.value, now[key].value)))
    stay = [key for key in was if key in now]
    found += [RowDiff(key, "moved") for key in _moved(stay, [key for key in now if key in was])]
    found += [RowDiff(key, "added", content=cut(dict(row.value))) for key, row in now.items() if key not in was]
    return tuple(found)


def _moved(old: Sequence[str], new: Sequence[str]) -> list[str]:
    return [key for _, _, j1, j2 in changed_blocks(old, new, cells=MAX_ROW_CELLS) for key in new[j1:j2]]


def _aligned(old: Sequence[Row], new: Sequence[Row]) -> tuple[RowDiff, ...]:
    removed: list[tuple[Row, Row | None]] = []
    added: list[Row] = []
    for i1, i2, j1, j2 in changed_blocks([r.digest for r in old], [r.digest for r in new], cells=MAX_ROW_CELLS):
        gone, come = list(old[i1:i2]), list(new[j1:j2])
        removed += [(row, come[index] if index < len(come) else None) for index, row in enumerate(gone)]
        added += come
    found: list[RowDiff] = []
    unmatched: list[tuple[Row, Row | None]] = []
    for row, beside in removed:  # a row that went here and came there has moved
        twin = next((each for each in added if each.digest == row.digest), None)
        if twin is None:
            unmatched.append((row, beside))
        else:
            added.remove(twin)
            found.append(RowDiff(row.key, "moved"))
    for row, beside in unmatched:
        if beside is not None and beside in added:
            added.remove(beside)
            found.append(RowDiff(row.key, "changed", changes(row.value, beside.value)))
        else:
            found.append(RowDiff(row.key, "removed", content=cut(dict(row.value))))
    return (*found, *(RowDiff(row.key, "added", content=cut(dict(row.value))) for row in added))


def model_facts(version: ModelVersion) -> dict[str, Any]:
    """Return what two models can differ in, absent things left out."""
    record, facts = version.record, version.record.facts
    named = {
        "digest": record.digest, "kind": record.kind, "derivation": record.derivation, "base": record.base,
        "licence": version.licence or facts.licence, "format": facts.format, "architecture": facts.architecture,
        "quantisation": facts.quantisation, "parameters": facts.parameters, "context_length": facts.context_length,
        "size": record.size, "tokenizer": facts.tokenizer, "chat_template": facts.chat_template,
        "provider": record.provider, "provider_model": record.provider_model, "snapshot": record.snapshot,
    }  # fmt: skip
    return {name: value for name, value in named.items() if value} | {"immutable": record.immutable}


def diff_models(old: ModelVersion, new: ModelVersion) -> tuple[ValueChange, ...]:
    """Say in what two models differ; `path` is the fact's name."""
    return diff_facts(model_facts(old), model_facts(new))


def diff_facts(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    """Say in what named facts differ; `path` is the fact's name, or `engine/version` for a fact of a fact."""
    return tuple(msgspec.structs.replace(each, path=each.path.removeprefix("/")) for each in changes(old, new))


def diff_code(old: CodeSnapshot, new: CodeSnapshot, *, limit: int) -> CodeDiff | None:
    """Say what differs between two snapshots, None where they are one; at most `limit` files one by one."""
    if old.digest == new.digest:
        return None
    files = diff_files(old.files, new.files)
    counts = {kind: sum(each.change == kind for each in files) for kind in ("added", "removed", "changed")}
    return CodeDiff(
        old=_code_side(old),
        new=_code_side(new),
        files=files[:limit],
        more=len(files) > limit,
        lock_changed=old.lock != new.lock,
        runtime=changes(dict(old.runtime), dict(new.runtime)),
        **counts,
    )


def diff_files(old: Iterable[CodeFile], new: Iterable[CodeFile]) -> tuple[FileChange, ...]:
    """Say which files came, went or changed, in the order of their paths."""
    was, now = {file.path: file for file in old}, {file.path: file for file in new}
    found: list[FileChange] = []
    for path in sorted({*was, *now}):
        before, after = was.get(path), now.get(path)
        if before is None and after is not None:
            found.append(FileChange(path, "added", new_digest=after.digest, new_size=after.size))
        elif after is None and before is not None:
            found.append(FileChange(path, "removed", old_digest=before.digest, old_size=before.size))
        elif before is not None and after is not None and before != after:
            found.append(
                FileChange(
                    path,
                    "changed",
                    before.digest,
                    after.digest,
                    before.size,
                    after.size,
                    mode_only=before.digest == after.digest,
                )
            )
    return tuple(found)


def _code_side(code: CodeSnapshot) -> CodeSide:
    return CodeSide(code.digest, code.tree, code.commit, code.dirty, code.lock or "", len(code.files))


def diff_config(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    """Compare what two manifests say besides their parts: config, and the steps of the graph without their sampling."""
    return changes(_config(old), _config(new))


def diff_sampling(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[ValueChange, ...]:
    """Compare the parameters of the request, step by step; `path` begins with the step where there is more than one."""
    before, after = _sampling(old), _sampling(new)
    if len({*before, *after}) == 1:
        step = next(iter({*before, *after}))
        return changes(before.get(step, {}), after.get(step, {}))
    return changes(before, after)


def _config(manifest: Mapping[str, Any]) -> dict[str, Any]:
    steps = {str(s["step"]): {k: v for k, v in s.items() if k not in ("step", "sampling")} for s in manifest["graph"]}
    loaded = {f"{m['role']} {m['name']}": m["adapters"] for m in manifest["model"] if m.get("adapters")}
    return {"config": dict(manifest["config"]), "graph": steps, **({"adapters": loaded} if loaded else {})}


def _sampling(manifest: Mapping[str, Any]) -> dict[str, Any]:
    return {str(step["step"]): dict(step["sampling"]) for step in manifest["graph"]}
