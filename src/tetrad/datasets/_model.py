"""Rows, their digests, schemas and differences: frozen values and pure rules."""

from __future__ import annotations

import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from tetrad.kernel import Digest

STEP = 1 << 20
MAX_SCHEMA_DEPTH = 12
MAX_SCHEMA_PROPERTIES = 500
MAX_SCHEMA_PATHS = 20_000
Role = Literal["train", "eval", "fewshot", "calibration", "rag_index"]
ROLES: tuple[Role, ...] = ("train", "eval", "fewshot", "calibration", "rag_index")


class Row(msgspec.Struct, frozen=True):
    """A row of a version: its key, its content's digest, its place, its content."""

    key: str
    digest: Digest
    position: int
    value: Mapping[str, Any]


class DatasetVersion(msgspec.Struct, frozen=True):
    """A version of a dataset. `digest` says which rows, `order` in which order, `schema_digest` of what shape."""

    project: str
    name: str
    seq: int
    semver: str
    digest: Digest
    order: Digest
    schema_digest: Digest
    schema: Mapping[str, Any]
    rows: int
    size: int
    author: str
    author_name: str
    created_at: datetime
    reason: str = ""
    expected_outcome: str = ""
    role: str = ""
    declared: str = ""


class FieldChange(msgspec.Struct, frozen=True):
    """One field that differs; `path` is a JSON pointer. A side that lacks the field is absent (`UNSET`)."""

    path: str
    old: Any = msgspec.UNSET
    new: Any = msgspec.UNSET


class RowChange(msgspec.Struct, frozen=True):
    """One row that differs between two versions."""

    key: str
    change: Literal["added", "removed", "changed", "moved"]
    old: Mapping[str, Any] | None = None
    new: Mapping[str, Any] | None = None
    fields: tuple[FieldChange, ...] = ()


class DatasetDiff(msgspec.Struct, frozen=True):
    """What changed from one version to another: counts of all, one page of rows."""

    added: int
    removed: int
    changed: int
    moved: int
    items: tuple[RowChange, ...]
    next_key: str | None = None


def dataset_digest(members: Iterable[tuple[str, bytes]]) -> Digest:
    """Name a set of rows, whatever stores them: SHA-256 over (key, row digest) in the order of keys.

    Preimage: `tetrad.dataset/1` and a line feed, then for each row, keys in the order of their UTF-8 bytes, the key
    and the 32 bytes of the row's digest, each behind its length as 4 bytes, big-endian. A row's digest is the SHA-256
    of its RFC 8785 form.
    """
    return sorted_dataset_digest(sorted(members, key=lambda member: member[0].encode("utf-8")))


def sorted_dataset_digest(members: Iterable[tuple[str, bytes]]) -> Digest:
    """Return the `dataset_digest` of members that come in the order of their keys' UTF-8 bytes, holding none."""
    return _prefixed(b"tetrad.dataset/1\n", ((key.encode("utf-8"), digest) for key, digest in members))


def order_digest(keys: Iterable[str]) -> Digest:
    """Name an order of rows: as `dataset_digest`, over `tetrad.dataset.order/1` and the keys in their order."""
    return _prefixed(b"tetrad.dataset.order/1\n", ((key.encode("utf-8"),) for key in keys))


def _prefixed(head: bytes, records: Iterable[tuple[bytes, ...]]) -> Digest:
    state = hashlib.sha256(head)
    for record in records:
        for part in record:
            state.update(len(part).to_bytes(4, "big"))
            state.update(part)
    return Digest("sha256:" + state.hexdigest())


def content_keys(digests: Iterable[bytes]) -> Iterator[str]:
    """Give rows that name themselves by nothing their content's digest as key, counted where a row stands twice."""
    seen: dict[bytes, int] = {}
    for digest in digests:
        count = seen.get(digest, 0)
        seen[digest] = count + 1
        yield digest.hex() if count == 0 else f"{digest.hex()}.{count}"


def place(keys: Sequence[str], known: Mapping[str, int]) -> list[int]:
    """Give each key a position in the order of `keys`, keeping as many known positions as can be kept.

    Positions have gaps, so that an insertion touches no other row; where a gap is used up, all are placed anew.
    """
    found = [(index, known[key]) for index, key in enumerate(keys) if key in known]
    kept = [found[number] for number in longest_rising([position for _, position in found])]
    positions = [0] * len(keys)
    borders = [*kept, (len(keys), None)]
    start, low = 0, 0
    for index, position in borders:
        count = index - start
        if position is None:
            for offset in range(count):
                positions[start + offset] = low + STEP * (offset + 1)
            break
        gap = position - low
        if gap <= count:
            return [STEP * (n + 1) for n in range(len(keys))]
        for offset in range(count):
            positions[start + offset] = low + gap * (offset + 1) // (count + 1)
        positions[index] = position
        start, low = index + 1, position
    return positions


def longest_rising(numbers: Sequence[int]) -> array[int]:
    """Return the places of a longest strictly rising run of numbers, in 24 bytes for each number."""
    tails, at, previous = array("q"), array("q"), array("q")
    for number, value in enumerate(numbers):
        length = bisect_left(tails, value)
        previous.append(at[length - 1] if length else -1)
        if length == len(tails):
            tails.append(value)
            at.append(number)
        else:
            tails[length] = value
            at[length] = number
    chain = array("q")
    number = at[-1] if at else -1
    while number >= 0:
        chain.append(number)
        number = previous[number]
    chain.reverse()
    return chain


class _Paths:
    """Counts the different paths of a shape by depth, and how deep it can be told within a bound on all of them."""

    def __init__(self) -> None:
        self.counts = [0] * (MAX_SCHEMA_DEPTH + 2)
        self.depth = MAX_SCHEMA_DEPTH

    def made(self, depth: int) -> None:
        self.counts[depth] += 1
        while self.depth and sum(self.counts[: self.depth + 1]) > MAX_SCHEMA_PATHS:
            self.depth -= 1


class Shape:
    """Collects values and says what JSON Schema they all fulfil; the order of the values does not matter.

    Rows with ever new names are told less deep, so that the shape of any number of rows stays small.
    """

    def __init__(self, depth: int = 0, paths: _Paths | None = None) -> None:
        self._depth = depth
        self._paths = paths or _Paths()
        self._types: set[str] = set()
        self._objects = 0
        self._fields: dict[str, Shape] = {}
        self._present: dict[str, int] = {}
        self._items: Shape | None = None

    def add(self, value: object) -> None:
        """Take one value into account."""
        if isinstance(value, Mapping):
            self._types.add("object")
            self._objects += 1
            if self._depth < self._paths.depth:
                for name, inner in value.items():
                    if (field := self._fields.get(name)) is None:
                        field = self._fields[name] = self._inner()
                    self._present[name] = self._present.get(name, 0) + 1
                    field.add(inner)
                    if self._depth >= self._paths.depth:
                        break
        elif isinstance(value, list | tuple):
            self._types.add("array")
            if self._depth < self._paths.depth:
                self._items = self._items or self._inner()
                for inner in value:
                    self._items.add(inner)
        else:
            self._types.add(_type_name(value))

    def _inner(self) -> Shape:
        self._paths.made(self._depth + 1)
        return Shape(self._depth + 1, self._paths)

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema, with sorted names; wide objects are described without their fields."""
        if not self._types:
            return {}
        types = sorted(self._types - {"integer"} if "number" in self._types else self._types)
        found: dict[str, Any] = {"type": types[0] if len(types) == 1 else types}
        told = self._depth < self._paths.depth
        if told and self._fields and len(self._fields) <= MAX_SCHEMA_PROPERTIES:
            found["properties"] = {name: self._fields[name].schema() for name in sorted(self._fields)}
            required = sorted(name for name, count in self._present.items() if count == self._objects)
            if required:
                found["required"] = required
        if told and self._items is not None and (inner := self._items.schema()):
            found["items"] = inner
        return found


def merge_schemas(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the schema of all values of two shapes from the schemas alone, None where they do not tell it.

    They do not where one side has no fields or items to tell and the other has: there may have been too many of them.
    """
    merged = _merge(one, other, 0)
    return merged if merged is not None and _paths(merged) <= MAX_SCHEMA_PATHS else None


def _merge(one: Mapping[str, Any], other: Mapping[str, Any], depth: int) -> dict[str, Any] | None:
    if not one or not other:
        return dict(one or other)
    types = set(_types(one)) | set(_types(other))
    names = sorted(types - {"integer"} if "number" in types else types)
    merged: dict[str, Any] = {"type": names[0] if len(names) == 1 else names}
    for kind, word in (("object", "properties"), ("array", "items")):
        sides = [side for side in (one, other) if kind in _types(side)]
        if len({word in side for side in sides}) > 1:
            return None
        if not sides or word not in sides[0]:
            continue
        if len(sides) == 1:
            merged |= {key: sides[0][key] for key in (word, "required") if key in sides[0] and kind == "object"}
            if kind == "array":
                merged[word] = sides[0][word]
            continue
        inner = _merge_fields(one, other, depth) if kind == "object" else _merge(one[word], other[word], depth + 1)
        if inner is None:
            return None
        if kind == "array":
            merged[word] = inner
            continue
        merged[word] = inner
        if required := sorted({*one.get("required", ())} & {*other.get("required", ())}):
            merged["required"] = required
    return merged


def _merge_fields(one: Mapping[str, Any], other: Mapping[str, Any], depth: int) -> dict[str, Any] | None:
    left, right = one["properties"], other["properties"]
    fields: dict[str, Any] = {}
    for name in sorted({*left, *right}):
        field = _merge(left.get(name, {}), right.get(name, {}), depth + 1)
        if field is None:
            return None
        fields[name] = field
    return fields if len(fields) <= MAX_SCHEMA_PROPERTIES else None


def _types(schema: Mapping[str, Any]) -> Sequence[str]:
    told = schema.get("type", ())
    return (told,) if isinstance(told, str) else tuple(told)


def _paths(schema: Mapping[str, Any]) -> int:
    inner = [*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])]
    return len(inner) + sum(_paths(each) for each in inner)


def _type_name(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    return "number" if isinstance(value, float) else "string"


def diff_values(old: Any, new: Any, path: str = "") -> Iterator[FieldChange]:
    """Yield what differs between two JSON values, as deep as both have the same shape."""
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in sorted({*old, *new}):
            inner = f"{path}/{_pointer(name)}"
            if name not in new:
                yield FieldChange(inner, old=old[name])
            elif name not in old:
                yield FieldChange(inner, new=new[name])
            else:
                yield from diff_values(old[name], new[name], inner)
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (before, after) in enumerate(zip(old, new, strict=True)):
            yield from diff_values(before, after, f"{path}/{index}")
    elif old != new or isinstance(old, bool) is not isinstance(new, bool):
        yield FieldChange(path, old=old, new=new)


def _pointer(name: str) -> str:
    """Escape a name for a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
