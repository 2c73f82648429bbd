"""Make rows of rows: filter, split, dedupe, map. A step is JSON, does the same everywhere, and runs no one's code."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from tetrad.datasets._patterns import found, safe_pattern
from tetrad.datasets.errors import BadStep
from tetrad.kernel import InvalidInput, bucket, canonical_json, digest_json

Value = Mapping[str, Any]
Rows = Iterator[tuple[str, Value]]
Seen = Callable[[bytes], bool]  # tells whether it was asked for these bytes before
Condition = Callable[[str, Value], bool]

WHOLE: Final = 1_000_000
MAX_STEPS = 20
MAX_STEPS_BYTES = 64 * 1024
MAX_DEPTH = 16
MAX_PATH_PARTS = 32
KEY = "$key"
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge", "in", "exists", "matches", "contains", "min_length", "max_length")
CHANGES = ("set", "copy", "rename", "remove", "keep", "lower", "strip")
STEPS = ("filter", "split", "dedupe", "map")
_MISSING: Final = object()


def check_steps(steps: object) -> list[dict[str, Any]]:
    """Return steps that can be done, or refuse with `BadStep` and say which and why."""
    if not isinstance(steps, list) or not 0 < len(steps) <= MAX_STEPS:
        raise BadStep(f"steps are a list of 1 to {MAX_STEPS}", hint=", ".join(STEPS))
    try:
        size = len(canonical_json(steps))
    except InvalidInput as error:
        raise BadStep(error.message, hint=error.hint) from None
    if size > MAX_STEPS_BYTES:
        raise BadStep(f"steps of {size} bytes", hint=f"at most {MAX_STEPS_BYTES}")
    for number, step in enumerate(steps, 1):
        try:
            _compiled(step)
        except BadStep as error:
            raise BadStep(f"step {number}: {error.message}", hint=error.hint) from None
    return steps


def apply_steps(steps: Sequence[Mapping[str, Any]], rows: Rows, seen: Callable[[], Seen]) -> Rows:
    """Yield what checked steps make of rows; rows keep their keys. `seen` makes memories for `dedupe`."""
    for step in steps:
        rows = _compiled(step)(rows, seen)
    return rows


def split_steps(parts: Mapping[str, float], *, salt: str, by: str = "") -> dict[str, dict[str, Any]]:
    """Return for each part the step that takes its share; together they take every row once.

    Shares are of one and sum up to at most one. A row's part depends on its key (or the value at the path `by`, so that
    rows of one group stay together) and the salt alone: a row that is added moves no other row.
    """
    if not parts or len(parts) > 20 or any(not 0 < share <= 1 for share in parts.values()):
        raise BadStep("a split has 1 to 20 parts with shares above 0, up to 1", hint="train=0.8 eval=0.2")
    if sum(parts.values()) > 1 + 1e-9:
        raise BadStep(f"the shares sum up to {sum(parts.values()):.3f}", hint="at most 1")
    steps, total = {}, 0.0
    for name, share in parts.items():
        start, total = round(total * WHOLE), total + share
        step: dict[str, Any] = {"op": "split", "salt": salt, "from": start, "to": min(round(total * WHOLE), WHOLE)}
        steps[name] = {**step, "by": by} if by else step
    return steps


def _compiled(step: object) -> Callable[[Rows, Callable[[], Seen]], Rows]:
    if not isinstance(step, Mapping) or step.get("op") not in STEPS:
        raise BadStep(f"a step is an object with `op`: {', '.join(STEPS)}")
    if step["op"] == "filter":
        _only(step, {"op", "where"})
        holds = _condition(step.get("where"), 0)
        return lambda rows, _: ((key, value) for key, value in rows if holds(key, value))
    if step["op"] == "split":
        return _split(step)
    if step["op"] == "dedupe":
        return _dedupe(step)
    _only(step, {"op", "do"})
    changes = step.get("do")
    if not isinstance(changes, list) or not 0 < len(changes) <= 100:
        raise BadStep("`do` lists 1 to 100 changes", hint=", ".join(CHANGES))
    doing = [_change(change) for change in changes]
    return lambda rows, _: ((key, _mapped(value, doing)) for key, value in rows)


def _split(step: Mapping[str, Any]) -> Callable[[Rows, Callable[[], Seen]], Rows]:
    _only(step, {"op", "salt", "by", "from", "to"})
    salt, start, stop = step.get("salt"), step.get("from", 0), step.get("to", WHOLE)
    if not isinstance(salt, str) or len(salt) > 200:
        raise BadStep("a split has a `salt`, a text of up to 200 characters")
    if not (_whole(start) and _whole(stop) and 0 <= start < stop <= WHOLE):
        raise BadStep(f"`from` and `to` are millionths: 0 ≤ from < to ≤ {WHOLE}")
    by = _path(step["by"]) if "by" in step else None

    def run(rows: Rows, _: Callable[[], Seen]) -> Rows:
        for key, value in rows:
            unit = key if by is None else digest_json(list(_at(key, value, by)))
            if start <= bucket(unit, salt) < stop:
                yield key, value

    return run


def _dedupe(step: Mapping[str, Any]) -> Callable[[Rows, Callable[[], Seen]], Rows]:
    _only(step, {"op", "by"})
    by = step.get("by", [])
    if not isinstance(by, list) or len(by) > 20:
        raise BadStep("`by` lists up to 20 paths; without any the whole row counts")
    paths = [_path(each) for each in by]

    def run(rows: Rows, make_seen: Callable[[], Seen]) -> Rows:
        seen = make_seen()
        for key, value in rows:
            told = [list(_at(key, value, path)) for path in paths] if paths else value
            if not seen(hashlib.sha256(canonical_json(told)).digest()):
                yield key, value

    return run


# -- conditions -----------------------------------------------------------------------------------------------------


def _condition(told: object, depth: int) -> Condition:
    if not isinstance(told, Mapping) or depth > MAX_DEPTH:
        raise BadStep(f"a condition is an object, at most {MAX_DEPTH} deep", hint='{"path": "/lang", "eq": "en"}')
    for word, quantifier in (("all", all), ("any", any)):
        if word in told:
            _only(told, {word})
            if not isinstance(told[word], list):
                raise BadStep(f"`{word}` is a list of conditions")
            inner = [_condition(each, depth + 1) for each in told[word]]
            return lambda key, value, inner=inner, q=quantifier: q(each(key, value) for each in inner)  # type: ignore[misc]
    if "not" in told:
        _only(told, {"not"})
        negated = _condition(told["not"], depth + 1)
        return lambda key, value: not negated(key, value)
    words = sorted(set(told) - {"path"})
    if "path" not in told or len(words) != 1 or words[0] not in COMPARISONS:
        raise BadStep("a condition has a `path` and one comparison", hint=", ".join(COMPARISONS))
    path, compare = _path(told["path"]), _comparison(words[0], told[words[0]])
    if words[0] == "exists":
        return lambda key, value: any(True for _ in _at(key, value, path)) is told["exists"]
    return lambda key, value: any(compare(each) for each in _at(key, value, path))


def _comparison(word: str, wanted: Any) -> Callable[[Any], bool]:
    if word in ("eq", "ne"):
        same = canonical_json(wanted)
        return lambda value: (canonical_json(value) == same) is (word == "eq")
    if word == "in":
        if not isinstance(wanted, list):
            raise BadStep("`in` is a list of values")
        several = {canonical_json(each) for each in wanted}
        return lambda value: canonical_json(value) in several
    if word == "exists":
        if not isinstance(wanted, bool):
            raise BadStep("`exists` is true or false")
        return lambda _: True
    if word == "matches":
        pattern = safe_pattern(_text(wanted, word))
        return lambda value: isinstance(value, str) and found(pattern, value)
    if word == "contains":
        part = _text(wanted, word)
        return lambda value: isinstance(value, str) and part in value
    if word in ("min_length", "max_length"):
        if not _whole(wanted):
            raise BadStep(f"`{word}` is a whole number")
        return lambda value: (
            isinstance(value, str | list | dict)
            and (len(value) >= wanted if word == "min_length" else len(value) <= wanted)
        )
    if not _number(wanted) and not isinstance(wanted, str):
        raise BadStep(f"`{word}` compares with a number or a text")
    return lambda value: _ordered(word, value, wanted)


def _ordered(word: str, value: Any, wanted: Any) -> bool:
    if not (_number(value) and _number(wanted)) and not (isinstance(value, str) and isinstance(wanted, str)):
        return False
    if word == "lt":
        return bool(value < wanted)
    if word == "le":
        return bool(value <= wanted)
    return bool(value > wanted) if word == "gt" else bool(value >= wanted)


# -- changes --------------------------------------------------------------------------------------------------------


def _change(told: object) -> Callable[[dict[str, Any]], None]:
    words = [word for word in CHANGES if isinstance(told, Mapping) and word in told]
    if not isinstance(told, Mapping) or len(words) != 1:
        raise BadStep("a change says one of: " + ", ".join(CHANGES))
    word = words[0]
    if word == "keep":
        _only(told, {"keep"})
        names = told["keep"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise BadStep("`keep` lists names of fields")
        kept = set(names)
        return lambda row: _keep(row, kept)
    path = _plain_path(told[word])
    if word == "set":
        _only(told, {"set", "value"})
        if "value" not in told:
            raise BadStep("`set` has a `value`")
        value = told["value"]
        return lambda row: _put(row, path, copy.deepcopy(value))
    if word in ("copy", "rename"):
        _only(told, {word, "to"})
        to = _plain_path(told.get("to"))
        return lambda row: _copy(row, path, to, move=word == "rename")
    _only(told, {word})
    if word == "remove":
        return lambda row: _remove(row, path)
    return lambda row: _rewrite(row, path, str.lower if word == "lower" else str.strip)


def _mapped(value: Value, doing: Iterable[Callable[[dict[str, Any]], None]]) -> Value:
    row = copy.deepcopy(dict(value))
    for change in doing:
        change(row)
    return row


def _put(row: dict[str, Any], path: Sequence[str], value: Any) -> None:
    here: Any = row
    for part in path[:-1]:
        if not isinstance(here.get(part), dict):
            here[part] = {}
        here = here[part]
    here[path[-1]] = value


def _take(row: dict[str, Any], path: Sequence[str]) -> tuple[Any, ...]:
    here: Any = row
    for part in path[:-1]:
        here = here.get(part) if isinstance(here, dict) else None
    return (here.pop(path[-1]),) if isinstance(here, dict) and path[-1] in here else ()


def _keep(row: dict[str, Any], names: set[Any]) -> None:
    for name in [each for each in row if each not in names]:
        del row[name]


def _remove(row: dict[str, Any], path: Sequence[str]) -> None:
    _take(row, path)


def _copy(row: dict[str, Any], path: Sequence[str], to: Sequence[str], *, move: bool) -> None:
    values = _take(row, path) if move else tuple(copy.deepcopy(each) for each in _below(row, path))
    if values:
        _put(row, to, values[0])


def _rewrite(row: dict[str, Any], path: Sequence[str], how: Callable[[str], str]) -> None:
    for value in list(_below(row, path)):
        if isinstance(value, str):
            _put(row, path, how(value))


# -- paths ----------------------------------------------------------------------------------------------------------


def _path(told: object) -> tuple[str, ...]:
    """Read a JSON pointer (RFC 6901), in which `*` stands for every item; `$key` is the row's key."""
    if told == KEY:
        return (KEY,)
    if not isinstance(told, str) or not told.startswith("/") or told.count("/") > MAX_PATH_PARTS:
        raise BadStep(f"{told!r} is no path", hint="/messages/0/role, /messages/*/role, or $key")
    return ("", *(part.replace("~1", "/").replace("~0", "~") for part in told[1:].split("/")))


def _plain_path(told: object) -> tuple[str, ...]:
    path = _path(told)
    if path == (KEY,) or "*" in path:
        raise BadStep(f"{told!r} is no path to a field that can be changed", hint="/answer")
    return path[1:]


def _at(key: str, value: Any, path: Sequence[str]) -> Iterator[Any]:
    """Yield the values at a path: none where nothing is there, several where it has a `*`."""
    if path == (KEY,):
        yield key
        return
    yield from _below(value, path[1:])


def _below(value: Any, parts: Sequence[str]) -> Iterator[Any]:
    if not parts:
        yield value
    elif isinstance(value, Mapping):
        if parts[0] in value:
            yield from _below(value[parts[0]], parts[1:])
    elif isinstance(value, list):
        if parts[0] == "*":
            for inner in value:
                yield from _below(inner, parts[1:])
        elif parts[0].isdecimal() and len(parts[0]) < 10 and int(parts[0]) < len(value):
            yield from _below(value[int(parts[0])], parts[1:])


def _only(told: Mapping[str, Any], words: set[str]) -> None:
    if unknown := sorted(set(told) - words):
        raise BadStep(f"{unknown[0]!r} says nothing here", hint=", ".join(sorted(words)))


def _text(value: object, word: str) -> str:
    if not isinstance(value, str) or not value:
        raise BadStep(f"`{word}` is a text")
    return value


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
