"""What the next version must at least be called, from what callers and readers of the answer rely on.

Major is what can break them, minor what adds or what changes the answers' setting, patch what is text alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from tetrad.prompts._model import PLACEHOLDER, PromptMessage, PromptSpec
from tetrad.prompts._variables import VariableSpec

Level = Literal["major", "minor", "patch"]
_RANK: Final[dict[Level, int]] = {"patch": 0, "minor": 1, "major": 2}
_NOTES: Final = frozenset({"title", "description", "examples", "default", "$comment", "deprecated"})
_READ: Final = frozenset({"type", "properties", "required", "items", "enum", "additionalProperties"})
MAX_SCHEMA_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class ContractChange:
    """One difference that counts for the version number, in words."""

    level: Level
    what: str


@dataclass(frozen=True, slots=True)
class Floor:
    """The least that the next version must be called, and every change that says so."""

    level: Level
    changes: tuple[ContractChange, ...]

    def allows(self, level: Level) -> bool:
        """Tell whether a version may be called so."""
        return _RANK[level] >= _RANK[self.level]


def contract_floor(old: PromptSpec, new: PromptSpec) -> Floor:
    """Compare two prompts whose includes are in their places.

    Major: a variable removed, retyped, made required or new and required; an answer that readers of the old one may
    not understand; a tool removed, or an argument of it removed, retyped or newly required; another type, syntax or
    sequence of roles. Minor: a new optional variable, another default, an optional field of the answer, a new tool,
    other examples, other defaults of the request, an included prompt whose own change is minor or more. Anything else
    is a patch.
    """
    changes: list[ContractChange] = []
    if old.type != new.type:
        changes.append(ContractChange("major", f"the type was {old.type} and is {new.type}"))
    if old.syntax != new.syntax:
        changes.append(ContractChange("major", f"the syntax was {old.syntax} and is {new.syntax}"))
    if _roles(old.messages) != _roles(new.messages):
        was, now = ", ".join(_roles(old.messages)), ", ".join(_roles(new.messages))
        changes.append(ContractChange("major", f"the roles were {was} and are {now}"))
    changes += variable_changes(old.variables, new.variables)
    changes += _answer_changes(old.output_schema, new.output_schema)
    changes += _tool_changes(old.tools, new.tools)
    if old.examples != new.examples:
        changes.append(
            ContractChange("minor", f"the examples were {old.examples or 'none'}, are {new.examples or 'none'}")
        )
    changes += [
        ContractChange("minor", f"the default of {name!r} for the request changed")
        for name in sorted({*old.params, *new.params})
        if name not in old.params or name not in new.params or old.params[name] != new.params[name]
    ]
    return floor_of(changes)


def floor_of(changes: Iterable[ContractChange]) -> Floor:
    """Return the floor that changes make together."""
    found = tuple(sorted(changes, key=lambda change: -_RANK[change.level]))
    return Floor(found[0].level if found else "patch", found)


def _roles(messages: Sequence[PromptMessage]) -> list[str]:
    return [f"{each.role} {each.text}" if each.role == PLACEHOLDER else each.role for each in messages]


def variable_changes(old: Sequence[VariableSpec], new: Sequence[VariableSpec]) -> Iterable[ContractChange]:
    """Compare what two prompts or chains take."""
    was, now = ({variable.name: variable for variable in each} for each in (old, new))
    for name in sorted(was.keys() - now.keys()):
        yield ContractChange("major", f"the variable {name!r} is gone")
    for name in sorted(now.keys() - was.keys()):
        if now[name].required:
            yield ContractChange("major", f"the variable {name!r} is new and must be given")
        else:
            yield ContractChange("minor", f"the variable {name!r} is new and may be left out")
    for name in sorted(was.keys() & now.keys()):
        before, after = was[name], now[name]
        if before.type != after.type:
            yield ContractChange("major", f"the variable {name!r} was of type {before.type} and is {after.type}")
        elif after.required and not before.required:
            yield ContractChange("major", f"the variable {name!r} must be given now")
        elif before.required != after.required or before.default != after.default:
            yield ContractChange("minor", f"the default of the variable {name!r} changed")


def _answer_changes(old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> Iterable[ContractChange]:
    if old is None and new is None:
        return
    if old is None or new is None:
        yield ContractChange("major", f"the answer {'has a schema now' if old is None else 'has no schema any more'}")
        return
    yield from schema_changes(old, new, "the answer", new_required="minor")


def _tool_changes(old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]]) -> Iterable[ContractChange]:
    was, now = ({str(tool["name"]): tool for tool in each} for each in (old, new))
    for name in sorted(was.keys() - now.keys()):
        yield ContractChange("major", f"the tool {name!r} is gone")
    for name in sorted(now.keys() - was.keys()):
        yield ContractChange("minor", f"the tool {name!r} is new")
    for name in sorted(was.keys() & now.keys()):
        before, after = was[name], now[name]
        if before.get("description") != after.get("description"):
            yield ContractChange("minor", f"the tool {name!r} is described otherwise")
        yield from schema_changes(
            before.get("parameters") or {}, after.get("parameters") or {}, f"the tool {name!r}", new_required="major"
        )


def schema_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], what: str, *, new_required: Level, depth: int = 0
) -> Iterable[ContractChange]:
    """Compare JSON Schemas of something that the model writes and a program reads.

    What the old schema promised must still hold: a field that went, became optional, or may hold more than before is
    major; a new field is minor (as `new_required` says where it must be there), a narrower one too. Keywords that are
    not understood are major when they change, notes for people minor.
    """
    if old == new:
        return
    if depth > MAX_SCHEMA_DEPTH:
        yield ContractChange("major", f"{what} changed too deep inside to say how")
        return
    for key in sorted((old.keys() | new.keys()) - _READ):
        if old.get(key) != new.get(key) or (key in old) != (key in new):
            if key in _NOTES:
                yield ContractChange("minor", f"{what}: {key} changed")
            else:
                yield ContractChange("major", f"{what}: {key!r} changed")
    yield from _type_changes(old, new, what)
    yield from _field_changes(old, new, what, new_required, depth)
    if old.get("items") != new.get("items"):
        items = old.get("items"), new.get("items")
        if isinstance(items[0], Mapping) and isinstance(items[1], Mapping):
            yield from schema_changes(items[0], items[1], f"{what}[]", new_required=new_required, depth=depth + 1)
        else:
            level: Level = "minor" if items[0] is None else "major"
            yield ContractChange(level, f"{what}: the items of the array changed")


def _type_changes(old: Mapping[str, Any], new: Mapping[str, Any], what: str) -> Iterable[ContractChange]:
    was, now = _types(old.get("type")), _types(new.get("type"))
    if was != now:
        narrower = was is None or (
            now is not None and all(t in was or (t == "integer" and "number" in was) for t in now)
        )
        yield ContractChange("minor" if narrower else "major", f"{what}: the type was {_said(was)} and is {_said(now)}")
    if old.get("enum") != new.get("enum"):
        before, after = old.get("enum"), new.get("enum")
        fewer = isinstance(after, list) and (
            before is None or (isinstance(before, list) and all(value in before for value in after))
        )
        yield ContractChange("minor" if fewer else "major", f"{what}: the allowed values changed")
    if old.get("additionalProperties") != new.get("additionalProperties"):
        closed = new.get("additionalProperties") is False
        yield ContractChange("minor" if closed else "major", f"{what}: what other fields it may have changed")


def _field_changes(
    old: Mapping[str, Any], new: Mapping[str, Any], what: str, new_required: Level, depth: int
) -> Iterable[ContractChange]:
    was, now = _mapping(old.get("properties")), _mapping(new.get("properties"))
    needed, needs = _names(old.get("required")), _names(new.get("required"))
    for name in sorted(was.keys() - now.keys()):
        yield ContractChange("major", f"{what}: the field {name!r} is gone")
    for name in sorted(now.keys() - was.keys()):
        level = new_required if name in needs else "minor"
        yield ContractChange(level, f"{what}: the field {name!r} is new{' and required' if name in needs else ''}")
    for name in sorted((was.keys() & now.keys()) | ((needed ^ needs) - was.keys() - now.keys())):
        if name in needed and name not in needs:
            yield ContractChange("major", f"{what}: the field {name!r} may be missing now")
        elif name in needs and name not in needed:
            yield ContractChange(new_required, f"{what}: the field {name!r} is required now")
        before, after = was.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from schema_changes(before, after, f"{what}.{name}", new_required=new_required, depth=depth + 1)
        elif before != after:
            yield ContractChange("major", f"{what}: the field {name!r} changed")


def _types(value: object) -> frozenset[str] | None:
    if isinstance(value, str):
        return frozenset({value})
    return frozenset(map(str, value)) if isinstance(value, (list, tuple)) else None


def _said(types: frozenset[str] | None) -> str:
    return " or ".join(sorted(types)) if types else "anything"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _names(value: object) -> frozenset[str]:
    return frozenset(map(str, value)) if isinstance(value, (list, tuple)) else frozenset()
