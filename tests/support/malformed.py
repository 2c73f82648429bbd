"""Bodies that no client should send, for every operation of a control app: what they answer is told, not judged."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

DEEP = 100_000
HOSTILE: Mapping[str, str] = {
    "a lone surrogate": '"\\ud800"',
    "a NUL": '"a\\u0000b"',
    "a long text": f'"{"x" * 70_000}"',
    "NaN": "NaN",
    "no finite number": "1e999",
    "a huge integer": "9" * 400,
    "a big integer": str(2**63),
    "a negative integer": "-1",
    "null": "null",
    "a list of lists": "[[[]]]",
    "an object": '{"a": {"b": NaN}}',
    "a surrogate as a key": '{"\\udfff": 1}',
    "a path": '"../../etc/passwd"',
    "a naive time": '"9999-12-31T23:59:59"',
}
WHOLE: Mapping[str, bytes] = {
    "nothing": b"",
    "no JSON": b"{",
    "no UTF-8": b'{"a": "\xff\xfe"}',
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "duplicate keys": b'{"name": "a", "name": "b"}',
    "deep lists": b"[" * DEEP,
    "deep objects": b'{"a":' * DEEP,
    "a closed deep list": b'{"name": ' + b"[" * DEEP + b"]" * DEEP + b"}",
}
PATHS = ("x", "%00", "%ED%A0%80", "..%2f..%2fetc", "9" * 60, "sha256:" + "0" * 64)
_PLACE = "\x00place\x00"


def requests(document: Mapping[str, Any], each: int = len(HOSTILE)) -> Iterator[tuple[str, str, str, bytes]]:
    """Yield (method, path, what is wrong, body) for every operation; `each` is how many hostile values a field gets.

    Which ones goes round, so that neighbours get different ones.
    """
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method == "get" and "{" not in path:
                continue
            for value in PATHS if "{" in path.replace("{project}", "") else ("x",):
                yield method.upper(), _filled(path, value), f"the path {value[:20]}", b"{}"
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            for what, body in WHOLE.items():
                if content:
                    yield method.upper(), _filled(path, "x"), what, body
            if schema is not None:
                yield from (
                    (method.upper(), _filled(path, "x"), what, body)
                    for what, body in hostile_bodies(document, schema, each)
                )


def hostile_bodies(document: Mapping[str, Any], schema: Mapping[str, Any], each: int) -> Iterator[tuple[str, bytes]]:
    """Yield bodies that are right but for one field, for each field; objects get a key that cannot be written, too."""
    whole, values = sample(document, schema), list(HOSTILE.items())
    for number, (place, held) in enumerate(_places(whole)):
        text = json.dumps(_replaced(whole, place))
        chosen = dict(values[(number * each + turn) % len(values)] for turn in range(each))
        if isinstance(held, dict):
            chosen["a surrogate as a key"] = HOSTILE["a surrogate as a key"]
        for what, value in chosen.items():
            where = ".".join(map(str, place)) or "the body"
            yield f"{what} as {where}", text.replace(json.dumps(_PLACE), value).encode()


def sample(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int = 0) -> Any:
    """Make a value that a schema allows, with every field that it names."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[-1]]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return sample(document, schema[several][0], depth)
    if "const" in schema or "enum" in schema:
        return schema.get("const", (schema.get("enum") or [None])[0])
    kind = schema.get("type")
    if kind == "object":
        named = schema.get("properties", {})
        return {name: sample(document, each, depth + 1) for name, each in named.items()} if depth < 4 else {}
    if kind == "array":
        return [sample(document, schema.get("items", {}), depth + 1)] if depth < 4 else []
    if kind == "string":
        if "pattern" in schema and "sha256" in schema["pattern"]:
            return "sha256:" + "0" * 64
        return (
            "2026-01-01T00:00:00Z" if schema.get("format") == "date-time" else "a" * max(1, schema.get("minLength", 1))
        )
    numbers: dict[str, Any] = {"integer": 1, "number": 1.0, "boolean": True}
    return numbers.get(str(kind), {"a": 1})


def _places(value: Any, where: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    yield where, value
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield from _places(each, (*where, key))


def _replaced(value: Any, place: tuple[Any, ...]) -> Any:
    if not place:
        return _PLACE
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[place[0]] = _replaced(value[place[0]], place[1:])
    return copy


def _filled(path: str, value: str) -> str:
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda part: "default" if part[1] == "project" else value, path)


async def failures(
    http: httpx.AsyncClient, document: Mapping[str, Any], key: str, *, each: int
) -> tuple[int, list[str]]:
    """Send everything; return how much that was, and what was answered by 500 or by an error that is no problem."""
    found, count = [], 0
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    for method, path, what, body in requests(document, each):
        count += 1
        try:
            answer = await http.request(method, path, content=body, headers=headers)
        except Exception as error:  # noqa: BLE001 - what the app raises past its own handlers
            found.append(f"{method} {path}, {what}: {type(error).__name__}: {str(error)[:200]}")
            continue
        if answer.status_code in (500, 502) or (
            answer.status_code >= 400 and answer.headers.get("content-type") != "application/problem+json"
        ):
            found.append(f"{method} {path}, {what}: {answer.status_code} {answer.text[:200]}")
    return count, found
