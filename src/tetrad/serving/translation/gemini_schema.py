"""JSON Schema in the subset that Gemini takes for the parameters of functions and for answers.

Gemini refuses a request for a key that it does not know (`$ref`, `additionalProperties`, `const`, `oneOf`), for an
array without `items` and for an enumeration of anything but texts. What can be said otherwise is; what cannot is left
out and noted. Source: ai.google.dev, "Schema" of the generateContent API (a subset of OpenAPI 3.0).
"""

from __future__ import annotations

from typing import Any

from tetrad.serving.translation._saying import Losses, as_list, as_object, bad

MAX_DEPTH = 32
"""Where a schema refers to itself, or is deeper, an object without further rules stands in."""
MAX_NODES = 20_000
_SAME = frozenset(
    ("title", "description", "nullable", "maxItems", "minItems", "minProperties", "maxProperties", "minLength",
     "maxLength", "pattern", "minimum", "maximum", "default")
)  # fmt: skip
_NOTES = frozenset(
    ("$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "examples", "example", "deprecated", "readOnly",
     "writeOnly", "strict")
)  # fmt: skip
"""What says nothing about which values fit."""
_READ = frozenset(
    ("type", "enum", "const", "anyOf", "oneOf", "allOf", "properties", "required", "items", "prefixItems", "format",
     "exclusiveMinimum", "exclusiveMaximum", "propertyOrdering", "additionalProperties")
)  # fmt: skip
_FORMATS = {
    "string": frozenset(("date-time", "enum")),
    "integer": frozenset(("int32", "int64")),
    "number": frozenset(("float", "double", "int32", "int64")),
}
_TYPES = frozenset(("string", "number", "integer", "boolean", "array", "object"))


def clean_schema(schema: dict[str, Any], losses: Losses, path: str) -> dict[str, Any]:
    """Return the schema in Gemini's words; raises `RequestRefused` for what is no schema, or an endless one."""
    return _Cleaner(schema, losses, path).clean(schema, path, 0, ())


class _Cleaner:
    def __init__(self, root: dict[str, Any], losses: Losses, path: str) -> None:
        self._root = root
        self._losses = losses
        self._path = path
        self._nodes = 0

    def clean(self, given: Any, path: str, depth: int, through: tuple[str, ...]) -> dict[str, Any]:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise bad(self._path, f"a schema of at most {MAX_NODES:,} parts, its references followed")
        if given is True or given == {}:
            return {}
        schema = as_object(given, path)
        if depth > MAX_DEPTH:
            self._losses.lose(path)
            return {"type": "object"}
        if "$ref" in schema:
            return self._followed(schema, path, depth, through)
        if "allOf" in schema:
            schema, through = self._merged(schema, path, depth, through)
        schema = _one_type(schema)
        said: dict[str, Any] = {name: schema[name] for name in _SAME if schema.get(name) is not None}
        self._type(schema, said, path)
        self._choices(schema, said, path)
        self._alternatives(schema, said, path, depth, through)
        self._parts(schema, said, path, depth, through)
        self._bounds(schema, said, path)
        self._form(schema, said, path)
        if "anyOf" in said:
            said = _alone(said)
        for name, value in schema.items():
            if (
                name not in said
                and name not in _SAME
                and name not in _READ
                and name not in _NOTES
                and value is not None
            ):
                self._losses.lose(f"{path}.{name}")
        if schema.get("additionalProperties") not in (None, False, True, {}):
            self._losses.lose(f"{path}.additionalProperties")
        return said

    def _followed(self, schema: dict[str, Any], path: str, depth: int, through: tuple[str, ...]) -> dict[str, Any]:
        ref = schema["$ref"]
        target: Any = self._root
        if not isinstance(ref, str) or not ref.startswith("#"):
            self._losses.lose(f"{path}.$ref")
            return {"type": "object"}
        if ref in through:
            self._losses.lose(f"{path}.$ref")
            return {"type": "object"}
        for part in ref.lstrip("#").split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            target = target.get(name) if isinstance(target, dict) else None
        if not isinstance(target, dict):
            raise bad(f"{path}.$ref", "a reference to a part of the schema")
        beside = {name: value for name, value in schema.items() if name != "$ref"}
        return self.clean({**target, **beside}, path, depth + 1, (*through, ref))

    def _merged(
        self, schema: dict[str, Any], path: str, depth: int, through: tuple[str, ...]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return the schema with what all of `allOf` demand in it, and the references that were followed to there."""
        followed = through
        merged = {name: value for name, value in schema.items() if name != "allOf"}
        for number, item in enumerate(as_list(schema["allOf"], f"{path}.allOf")):
            each = as_object(item, f"{path}.allOf[{number}]")
            seen = through
            while "$ref" in each and each["$ref"] not in seen and isinstance(each["$ref"], str):
                seen = (*seen, each["$ref"])
                followed = (*followed, each["$ref"])
                target: Any = self._root
                for part in each["$ref"].lstrip("#").split("/")[1:]:
                    target = target.get(part) if isinstance(target, dict) else None
                each = target if isinstance(target, dict) else {}
            if "$ref" in each:
                self._losses.lose(f"{path}.allOf[{number}].$ref")
                continue
            for name, value in each.items():
                before = merged.get(name)
                if name == "properties" and isinstance(before, dict) and isinstance(value, dict):
                    merged[name] = {**before, **value}
                elif name == "required" and isinstance(before, list) and isinstance(value, list):
                    merged[name] = list(dict.fromkeys([*before, *value]))
                elif before is None:
                    merged[name] = value
                elif before != value:
                    self._losses.lose(f"{path}.allOf[{number}].{name}")
        if "allOf" in merged:
            return (
                self._merged(merged, path, depth + 1, followed) if depth < MAX_DEPTH else ({"type": "object"}, followed)
            )
        return merged, followed

    def _type(self, schema: dict[str, Any], said: dict[str, Any], path: str) -> None:
        kind = schema.get("type")
        if isinstance(kind, list):
            said["nullable"], kind = True, next((each for each in kind if each != "null"), "null")
        if kind == "null":
            said["nullable"], kind = True, "string"
        if kind is None:
            kind = "object" if "properties" in schema else "array" if "items" in schema else None
        if kind is not None and str(kind).lower() not in _TYPES:
            self._losses.lose(f"{path}.type")
        elif kind is not None:
            said["type"] = str(kind).lower()

    def _choices(self, schema: dict[str, Any], said: dict[str, Any], path: str) -> None:
        values = [schema["const"]] if "const" in schema else schema.get("enum")
        if values is None:
            return
        values = as_list(values, f"{path}.enum")
        if None in values:
            said["nullable"] = True
            values = [value for value in values if value is not None]
        if values and all(isinstance(value, str) for value in values):
            said["type"], said["enum"], said["format"] = "string", values, "enum"
        elif (
            values
            and said.get("type", "boolean") == "boolean"
            and set(map(type, values)) == {bool}
            and len(values) == 2
        ):
            said["type"] = "boolean"
        elif values:
            # only texts can be enumerated: the model is told in words, and the loss is noted
            words = f"One of: {', '.join(map(str, values))}."
            said["description"] = f"{said['description']} {words}" if said.get("description") else words
            self._losses.lose(f"{path}.{'const' if 'const' in schema else 'enum'}")
            if "type" not in said:
                said["type"] = {bool: "boolean", int: "integer", float: "number"}.get(type(values[0]), "string")

    def _alternatives(
        self, schema: dict[str, Any], said: dict[str, Any], path: str, depth: int, through: tuple[str, ...]
    ) -> None:
        for name in ("anyOf", "oneOf"):
            if schema.get(name) is None:
                continue
            options = as_list(schema[name], f"{path}.{name}")
            rest = [each for each in options if not (isinstance(each, dict) and each.get("type") == "null")]
            if len(rest) != len(options):
                said["nullable"] = True
            cleaned = [self.clean(each, f"{path}.{name}[{n}]", depth + 1, through) for n, each in enumerate(rest)]
            if len(cleaned) == 1:
                # what is enumerated are texts, whatever the alternative says
                fits = frozenset(("type",)) if "enum" not in said else frozenset[str]()
                said.update({key: value for key, value in cleaned[0].items() if key not in said or key in fits})
            elif cleaned and not schema.get("properties"):
                said["anyOf"] = [*said.get("anyOf", []), *cleaned]
            elif cleaned:
                self._losses.lose(f"{path}.{name}")  # alternatives stand alone, and the properties say more

    def _parts(
        self, schema: dict[str, Any], said: dict[str, Any], path: str, depth: int, through: tuple[str, ...]
    ) -> None:
        properties = schema.get("properties")
        if properties:
            named = as_object(properties, f"{path}.properties")
            said["properties"] = {
                name: self.clean(each, f"{path}.properties.{name}", depth + 1, through) for name, each in named.items()
            }
            wanted = [name for name in as_list(schema.get("required") or [], f"{path}.required") if name in named]
            if wanted:
                said["required"] = wanted
            if isinstance(schema.get("propertyOrdering"), list):
                said["propertyOrdering"] = schema["propertyOrdering"]
        items = schema.get("items")
        if isinstance(schema.get("prefixItems"), list):
            self._losses.lose(f"{path}.prefixItems")
            items = items or {"anyOf": schema["prefixItems"]}
        if items is not None:
            said["items"] = self.clean(items, f"{path}.items", depth + 1, through)
        elif said.get("type") == "array":
            said["items"] = {"type": "string"}  # an array of nothing in particular is refused
            self._losses.lose(f"{path}.items")

    def _bounds(self, schema: dict[str, Any], said: dict[str, Any], path: str) -> None:
        for name, inclusive, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            bound = schema.get(name)
            if bound is None or isinstance(bound, bool):
                continue
            if isinstance(bound, int) and said.get("type") == "integer":
                said[inclusive] = bound + step
            else:
                self._losses.lose(f"{path}.{name}")

    def _form(self, schema: dict[str, Any], said: dict[str, Any], path: str) -> None:
        form = schema.get("format")
        if form is None or "format" in said:
            return
        if form in _FORMATS.get(said.get("type", ""), ()):
            said["format"] = form
        else:
            self._losses.lose(f"{path}.format")


def _one_type(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema with a list of types said as alternatives; that of a type and `null` stays."""
    kinds = schema.get("type")
    if not isinstance(kinds, list):
        return schema
    known = [each for each in kinds if each != "null"]
    if len(known) < 2:
        return schema if len(known) != len(kinds) else {**schema, "type": known[0] if known else None}
    rest = {name: value for name, value in schema.items() if name in _ABOUT}
    options = [_of_type(schema, str(kind)) for kind in known]
    return {**rest, "anyOf": [*options, *({"type": "null"} for _ in kinds[len(known) :])]}


def _of_type(schema: dict[str, Any], kind: str) -> dict[str, Any]:
    others = {name for each, names in _RULES.items() if each != kind for name in names}
    own = {name: value for name, value in schema.items() if name not in others and name not in _ABOUT}
    return {**own, "type": kind}


def _alone(said: dict[str, Any]) -> dict[str, Any]:
    """Return alternatives as Gemini takes them: with nothing beside them, so each is told what held for all.

    Alternatives of an alternative are alternatives of the whole.
    """
    shared = {name: said[name] for name in ("description", "nullable") if name in said}
    flat = [inner for option in said["anyOf"] for inner in option.get("anyOf", (option,))]
    return {"anyOf": [{**shared, **option} for option in flat]}


_ABOUT = frozenset(("title", "description", "default", "nullable", *_NOTES))
_RULES = {
    "object": ("properties", "required", "additionalProperties", "minProperties", "maxProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "minLength", "maxLength", "format"),
}
