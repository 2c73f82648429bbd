"""The schema that a dataset's owner declares: a part of JSON Schema, checked row by row in bounded time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tetrad.datasets._patterns import found, safe_pattern
from tetrad.datasets.errors import BadSchema, BadStep
from tetrad.kernel import InvalidInput, canonical_json

MAX_SCHEMA_BYTES = 64 * 1024
MAX_DEPTH = 16
TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_COUNTS = ("minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties")
_WORDS = {
    "$schema", "title", "description", "type", "properties", "required", "additionalProperties", "items", "enum",
    "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "pattern", "anyOf", *_COUNTS,
}  # fmt: skip


def check_schema(schema: object) -> Mapping[str, Any]:
    """Return a schema that rows can be checked against, or refuse with `BadSchema` and say where it is wrong."""
    if not isinstance(schema, Mapping):
        raise BadSchema("a schema is an object", hint='such as {"type": "object", "required": ["question"]}')
    try:
        size = len(canonical_json(schema))
    except InvalidInput as error:
        raise BadSchema(error.message, hint=error.hint) from None
    if size > MAX_SCHEMA_BYTES:
        raise BadSchema(f"a schema of {size} bytes", hint=f"at most {MAX_SCHEMA_BYTES}")
    _check(schema, "", 0)
    return schema


def _check(schema: object, path: str, depth: int) -> None:
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        raise BadSchema(f"{path or '/'}: not a schema, or deeper than {MAX_DEPTH}")
    if unknown := sorted(set(schema) - _WORDS):
        raise BadSchema(f"{path}/{unknown[0]}: rows cannot be checked for this", hint=", ".join(sorted(_WORDS)))
    wanted = schema.get("type", [])
    for name in [wanted] if isinstance(wanted, str) else _list(wanted, f"{path}/type"):
        if name not in TYPES:
            raise BadSchema(f"{path}/type: {name!r} is no type", hint=", ".join(TYPES))
    required = _list(schema.get("required", []), f"{path}/required")
    if not all(isinstance(name, str) for name in required):
        raise BadSchema(f"{path}/required: names are texts")
    _list(schema.get("enum", []), f"{path}/enum")
    for word in _COUNTS:
        if word in schema and (not isinstance(schema[word], int) or isinstance(schema[word], bool) or schema[word] < 0):
            raise BadSchema(f"{path}/{word}: a whole number, 0 or more")
    for word in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
        if word in schema and not _is(schema[word], "number"):
            raise BadSchema(f"{path}/{word}: a number")
    if "pattern" in schema:
        try:
            safe_pattern(str(schema["pattern"]))
        except BadStep as error:
            raise BadSchema(f"{path}/pattern: {error.message}", hint=error.hint) from None
    properties = schema.get("properties", {})
    if not isinstance(properties, Mapping):
        raise BadSchema(f"{path}/properties: an object of schemas")
    for name, inner in properties.items():
        _check(inner, f"{path}/properties/{name}", depth + 1)
    if "items" in schema:
        _check(schema["items"], f"{path}/items", depth + 1)
    if not isinstance(schema.get("additionalProperties", True), bool):
        _check(schema["additionalProperties"], f"{path}/additionalProperties", depth + 1)
    for number, inner in enumerate(_list(schema.get("anyOf", []), f"{path}/anyOf")):
        _check(inner, f"{path}/anyOf/{number}", depth + 1)


def _list(value: object, path: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise BadSchema(f"{path}: a list")
    return value


def misfits(schema: Mapping[str, Any], value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield (field, reason) of everything in a value that a checked schema does not allow."""
    wanted = schema.get("type")
    if wanted is not None:
        types = [wanted] if isinstance(wanted, str) else wanted
        if not any(_is(value, name) for name in types):
            yield path, f"not {' or '.join(types)}"
            return
    if "const" in schema and not _same(value, schema["const"]):
        yield path, f"not {schema['const']!r}"
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        yield path, "none of the values that are allowed"
    if isinstance(value, str):
        yield from _text(schema, value, path)
    elif isinstance(value, Mapping):
        yield from _object(schema, value, path)
    elif isinstance(value, list):
        yield from _length(schema, len(value), "Items", "items", path)
        if "items" in schema:
            for number, inner in enumerate(value):
                yield from misfits(schema["items"], inner, f"{path}/{number}")
    elif _is(value, "number"):
        yield from _number(schema, value, path)
    if "anyOf" in schema and all(next(misfits(each, value), None) is not None for each in schema["anyOf"]):
        yield path, "fits none of the forms that are allowed"


def _text(schema: Mapping[str, Any], value: str, path: str) -> Iterator[tuple[str, str]]:
    yield from _length(schema, len(value), "Length", "characters", path)
    if "pattern" in schema and not found(safe_pattern(schema["pattern"]), value):
        yield path, f"does not match {schema['pattern']!r}"


def _object(schema: Mapping[str, Any], value: Mapping[str, Any], path: str) -> Iterator[tuple[str, str]]:
    yield from _length(schema, len(value), "Properties", "fields", path)
    for name in schema.get("required", ()):
        if name not in value:
            yield f"{path}/{name}", "missing"
    properties = schema.get("properties", {})
    others = schema.get("additionalProperties", True)
    for name, inner in value.items():
        here = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
        if name in properties:
            yield from misfits(properties[name], inner, here)
        elif others is False:
            yield here, "not a field that is allowed"
        elif others is not True:
            yield from misfits(others, inner, here)


def _number(schema: Mapping[str, Any], value: Any, path: str) -> Iterator[tuple[str, str]]:
    if "minimum" in schema and value < schema["minimum"]:
        yield path, f"less than {schema['minimum']}"
    if "maximum" in schema and value > schema["maximum"]:
        yield path, f"more than {schema['maximum']}"
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield path, f"not more than {schema['exclusiveMinimum']}"
    if "exclusiveMaximum" in schema and value >= schema["exclusiveMaximum"]:
        yield path, f"not less than {schema['exclusiveMaximum']}"


def _length(schema: Mapping[str, Any], count: int, word: str, what: str, path: str) -> Iterator[tuple[str, str]]:
    if count < schema.get(f"min{word}", 0):
        yield path, f"fewer than {schema[f'min{word}']} {what}"
    if f"max{word}" in schema and count > schema[f"max{word}"]:
        yield path, f"more than {schema[f'max{word}']} {what}"


def _same(one: object, other: object) -> bool:
    """Compare as JSON does: 1 is 1.0, but true is not 1, at any depth."""
    return canonical_json(one) == canonical_json(other)


def _is(value: object, name: str) -> bool:
    if name == "null":
        return value is None
    if name == "boolean":
        return isinstance(value, bool)
    if name == "integer":
        return not isinstance(value, bool) and (
            isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        )
    if name == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if name == "string":
        return isinstance(value, str)
    return isinstance(value, Mapping) if name == "object" else isinstance(value, list | tuple)
