"""Canonical JSON: one value, one sequence of bytes (RFC 8785)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence

from tetrad.kernel.errors import InvalidInput

MAX_SAFE_INTEGER = 2**53 - 1
MAX_DEPTH = 256

_escape = json.encoder.encode_basestring
_MANTISSA = re.compile(r"^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$")


class NotCanonical(InvalidInput):
    """The value has no canonical form."""

    code = "not_canonical"
    status = 422


def canonical_json(value: object) -> bytes:
    """Return the RFC 8785 bytes of a JSON value.

    Objects' keys are sorted by UTF-16 code units, numbers are written as ECMAScript does. Refuses with `NotCanonical`
    what two readers could understand differently: NaN and infinities, integers beyond ±(2^53-1), lone surrogates,
    keys that are not strings, nesting deeper than `MAX_DEPTH`.
    """
    out: list[str] = []
    _write(value, out.append, 0, "$")
    try:
        return "".join(out).encode("utf-8")
    except UnicodeEncodeError as error:
        raise NotCanonical(
            f"a string holds the lone surrogate {error.object[error.start]!r}",
            hint="send well-formed Unicode text",
        ) from None


def _write(value: object, emit: Callable[[str], object], depth: int, path: str) -> None:
    if depth > MAX_DEPTH:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH} levels", hint="flatten the value")
    if value is None:
        emit("null")
    elif value is True:
        emit("true")
    elif value is False:
        emit("false")
    elif isinstance(value, str):
        emit(_escape(value))
    elif isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise NotCanonical(f"{path} is {value}, beyond ±(2^53-1)", hint="send large integers as strings")
        emit(str(int(value)))
    elif isinstance(value, float):
        emit(_number(value, path))
    elif isinstance(value, Mapping):
        _write_object(value, emit, depth, path)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        emit("[")
        for index, item in enumerate(value):
            if index:
                emit(",")
            _write(item, emit, depth + 1, f"{path}[{index}]")
        emit("]")
    else:
        raise NotCanonical(
            f"{path} is a {type(value).__name__}",
            hint="JSON holds objects, arrays, strings, numbers, booleans and null",
        )


def _write_object(value: Mapping[object, object], emit: Callable[[str], object], depth: int, path: str) -> None:
    keys: list[str] = []
    for key in value:
        if not isinstance(key, str):
            raise NotCanonical(f"{path} has the key {key!r}, a {type(key).__name__}", hint="keys must be strings")
        keys.append(key)
    try:
        keys.sort(key=_utf16)
    except UnicodeEncodeError:
        raise NotCanonical(f"{path} has a key with a lone surrogate", hint="send well-formed Unicode text") from None
    emit("{")
    for index, key in enumerate(keys):
        if index:
            emit(",")
        emit(_escape(key))
        emit(":")
        _write(value[key], emit, depth + 1, f"{path}.{key}")
    emit("}")


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be")


def _number(value: float, path: str) -> str:
    """Write a double as ECMAScript's Number::toString does (ECMA-262 6.1.6.1.20)."""
    if not math.isfinite(value):
        raise NotCanonical(f"{path} is {value}", hint="JSON has no NaN and no infinity; send null or a string")
    if value == 0:
        return "0"
    text = repr(value)
    match = _MANTISSA.match(text)
    if match is None:
        return text.removesuffix(".0")
    sign, lead, rest, exponent_text = match.groups()
    exponent = int(exponent_text)
    digits = lead + (rest or "")
    if -7 < exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    if 0 < exponent < 21:
        return sign + digits.ljust(exponent + 1, "0")
    mantissa = lead + (f".{rest}" if rest else "")
    return f"{sign}{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent)}"


def parse_json(data: bytes | str, *, where: str = "JSON") -> object:
    """Read JSON strictly, as UTF-8 (RFC 8259): what two readers could understand differently is refused.

    That is duplicate keys, NaN, infinities, and numbers too large for a double. Whole numbers beyond ±(2^53-1) that
    are the written form of a double come back as that double, so that what `canonical_json` wrote can be read again.
    """
    try:
        text = data if isinstance(data, str) else bytes(data).decode("utf-8")
        return json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constants,
            parse_float=_finite_number,
            parse_int=_integer,
        )
    except RecursionError:
        raise NotCanonical(f"{where} is nested too deeply", hint=f"at most {MAX_DEPTH} levels") from None
    except UnicodeDecodeError as error:
        raise NotCanonical(f"{where} is not UTF-8: {error.reason} at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise NotCanonical(f"{where} is malformed at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError as error:
        if isinstance(error, InvalidInput):
            raise
        raise NotCanonical(f"{where} is malformed: {error}") from None


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise NotCanonical(f"the key {key!r} stands twice in one object", hint="keep one of them")
        found[key] = value
    return found


def _integer(text: str) -> int | float:
    value = int(text)
    if abs(value) <= MAX_SAFE_INTEGER:
        return value
    double = _finite_number(text)
    return double if _number(double, "$") == text else value


def _finite_number(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise NotCanonical(f"{text[:40]} is too large for a number", hint="send it as a string")
    return value


def _no_constants(text: str) -> object:
    raise NotCanonical(f"{text} is not JSON", hint="send null or a string")
