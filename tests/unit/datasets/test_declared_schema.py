"""Schemas that owners declare: what rows they refuse, and which schemas cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from tetrad.datasets import BadSchema
from tetrad.datasets._schema import check_schema, misfits

CHAT = {
    "type": "object",
    "required": ["messages"],
    "additionalProperties": False,
    "properties": {
        "messages": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["role"],
                "properties": {"role": {"enum": ["user", "assistant"]}, "content": {"type": ["string", "null"]}},
            },
        },
        "score": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
        "id": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 5},
        "n": {"anyOf": [{"const": 1}, {"type": "string"}]},
    },
}


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"messages": [{"role": "user", "content": None}], "score": 0.5, "id": "abc", "n": "x"}, []),
        ({"messages": [{"role": "user"}], "n": 1.0}, []),
        ({}, ["/messages"]),
        ({"messages": []}, ["/messages"]),
        (
            {"messages": [{"role": "system"}, {"content": 5}]},
            ["/messages/0/role", "/messages/1/role", "/messages/1/content"],
        ),
        ({"messages": [{"role": "user"}], "score": True, "a/b": 1, "id": "toolong"}, ["/score", "/a~1b", "/id"]),
        ({"messages": [{"role": "user"}], "score": 1, "n": True}, ["/score", "/n"]),
        ([1], [""]),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named_by_its_place(row: Any, wrong: list[str]) -> None:
    assert [field for field, _ in misfits(check_schema(CHAT), row)] == wrong


@pytest.mark.parametrize(
    "schema",
    [
        [],
        {"type": "text"},
        {"required": "a"},
        {"properties": []},
        {"properties": {"a": 1}},
        {"minLength": -1},
        {"pattern": "(a+)+"},
        {"$ref": "#/defs/a"},
        {"items": {"oneOf": []}},
        {"minimum": "1"},
        {"enum": [float("nan")]},
    ],
    ids=str,
)
def test_a_schema_that_cannot_be_checked_is_refused(schema: Any) -> None:
    with pytest.raises(BadSchema):
        check_schema(schema)
