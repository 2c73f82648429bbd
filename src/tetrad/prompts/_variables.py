"""Typed variables: what a prompt accepts, checked before a template sees it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from tetrad.prompts._limits import MAX_VALUE_DEPTH, MAX_VALUES_CHARS, MAX_VARIABLES
from tetrad.prompts.errors import PromptError, bad_variables, past_limit

VariableType = Literal["string", "number", "integer", "boolean", "array", "object"]
VARIABLE_TYPES: Final = get_args(VariableType)
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
RESERVED: Final = frozenset(
    {"and", "else", "elif", "false", "False", "for", "if", "in", "is", "loop", "none", "None", "not", "or", "range"}
    | {"recursive", "self", "true", "True"}
)


class _Required:
    """The default of a variable that has none."""

    def __repr__(self) -> str:
        return "REQUIRED"

    def __reduce__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


@dataclass(frozen=True, slots=True)
class VariableSpec:
    """A variable of a prompt: its name, JSON type, and a default unless callers must give it.

    A default of None makes the variable optional and absent: it renders as nothing and its section is skipped.
    """

    name: str
    type: VariableType = "string"
    default: object = REQUIRED
    description: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise PromptError(
                f"{self.name!r} is no name for a variable",
                hint="a letter, then letters, digits and underscores, at most 64 together",
            )
        if self.name in RESERVED:
            raise PromptError(f"the variable name {self.name!r} is reserved", hint="choose another name")
        if self.type not in VARIABLE_TYPES:
            raise PromptError(
                f"the variable {self.name!r} has the type {self.type!r}", hint=f"types are {', '.join(VARIABLE_TYPES)}"
            )
        if self.default is not REQUIRED and self.default is not None:
            check_value(self, self.default)

    @property
    def required(self) -> bool:
        """Callers must give it a value."""
        return self.default is REQUIRED


def _problem_string(value: object) -> str:
    if type(value) is not str:
        return f"is {_kind(value)}, not a string"
    return "" if value.isascii() or _well_formed(value) else "holds a lone surrogate"


def _problem_number(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"is {_kind(value)}, not a number"
    return "" if math.isfinite(value) else f"is {value}, which JSON has not"


def _problem_integer(value: object) -> str:
    if isinstance(value, float) and value.is_integer():
        return f"is {value}, written with a fraction, not an integer"
    return "" if isinstance(value, int) and not isinstance(value, bool) else f"is {_kind(value)}, not an integer"


def _problem_boolean(value: object) -> str:
    return "" if isinstance(value, bool) else f"is {_kind(value)}, not a boolean"


def _problem_array(value: object) -> str:
    return "" if isinstance(value, (list, tuple)) else f"is {_kind(value)}, not an array"


def _problem_object(value: object) -> str:
    return "" if isinstance(value, dict) else f"is {_kind(value)}, not an object"


_PROBLEMS: Final[dict[str, Callable[[object], str]]] = {
    "string": _problem_string,
    "number": _problem_number,
    "integer": _problem_integer,
    "boolean": _problem_boolean,
    "array": _problem_array,
    "object": _problem_object,
}


def check_value(spec: VariableSpec, value: object) -> int:
    """Return the size of a value of the right type in characters, or refuse it by the variable's name."""
    if problem := _PROBLEMS[spec.type](value):
        raise bad_variables(f"the variable {spec.name!r} {problem}", hint=_hint(spec))
    return len(value) if type(value) is str else _size(spec.name, value, 0)


def _size(name: str, value: object, depth: int) -> int:
    """Count a JSON value's characters, roughly, refusing what is not JSON and what is too deep."""
    if isinstance(value, str):
        if not value.isascii() and not _well_formed(value):
            raise bad_variables(f"the variable {name!r} holds text with a lone surrogate", hint="send Unicode text")
        return len(value) + 2
    if value is None or isinstance(value, bool):
        return 5
    if isinstance(value, int):
        if abs(value) > 10**40:
            raise past_limit(f"the variable {name!r} holds a number of more than 40 digits", hint="send it as text")
        return 20
    if isinstance(value, float):
        if not math.isfinite(value):
            raise bad_variables(f"the variable {name!r} holds {value}, which JSON has not", hint="send null or text")
        return 20
    if depth >= MAX_VALUE_DEPTH:
        raise past_limit(f"the variable {name!r} is nested deeper than {MAX_VALUE_DEPTH} levels", hint="flatten it")
    if isinstance(value, (list, tuple)):
        return 2 + sum(_size(name, item, depth + 1) + 1 for item in value)
    if isinstance(value, dict):
        total = 2
        for key, item in value.items():
            if not isinstance(key, str):
                raise bad_variables(f"the variable {name!r} holds the key {key!r}, which is no text")
            total += _size(name, key, depth + 1) + _size(name, item, depth + 1) + 2
        return total
    raise bad_variables(f"the variable {name!r} holds {_kind(value)}", hint="values are JSON values")


def _well_formed(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Signature:
    """The variables of one prompt, ready to check values against."""

    __slots__ = ("_defaults", "_specs", "names")

    def __init__(self, specs: Sequence[VariableSpec]) -> None:
        if len(specs) > MAX_VARIABLES:
            raise past_limit(f"a prompt with {len(specs)} variables", hint=f"at most {MAX_VARIABLES}")
        self.names = frozenset(spec.name for spec in specs)
        if len(self.names) != len(specs):
            twice = next(s.name for i, s in enumerate(specs) if any(o.name == s.name for o in specs[:i]))
            raise PromptError(f"the variable {twice!r} is declared twice", hint="keep one of them")
        self._specs = {spec.name: (spec, spec.type == "string") for spec in specs}
        self._defaults = {spec.name: spec.default for spec in specs if not spec.required}

    def bind(self, values: Mapping[str, object]) -> dict[str, object]:
        """Return a value for every variable, or refuse with the name of the first that is wrong."""
        bound = self._defaults.copy()
        size = 0
        specs = self._specs
        for name, value in values.items():
            found = specs.get(name)
            if found is None:
                raise bad_variables(f"there is no variable {name!r}", hint=self._names_hint())
            if value is None and not found[0].required:
                continue
            if found[1] and type(value) is str and value.isascii():
                size += len(value)
            else:
                size += check_value(found[0], value)
            bound[name] = value
        if size > MAX_VALUES_CHARS:
            raise past_limit(
                f"the values of the variables are {size:,} characters together",
                hint=f"at most {MAX_VALUES_CHARS:,}",
            )
        if len(bound) != len(specs):
            missing = next(name for name in specs if name not in bound)
            raise bad_variables(f"the variable {missing!r} has no value", hint=_hint(specs[missing][0]))
        return bound

    def _names_hint(self) -> str:
        if not self._specs:
            return "this prompt has no variables"
        return f"the variables are {', '.join(sorted(self._specs))}"


def _hint(spec: VariableSpec) -> str:
    text = f"give {_article(spec.type)}"
    return f"{text}: {spec.description}" if spec.description else text


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "aio" else f"a {kind}"


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object"}
    return _article(names.get(type(value), type(value).__name__))
