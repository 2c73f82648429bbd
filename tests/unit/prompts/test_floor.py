"""The least number of the next version, rule by rule."""

from __future__ import annotations

from typing import Any

import pytest

from tetrad.prompts import PromptMessage, PromptSpec, VariableSpec, contract_floor

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["a", "b"]}, "score": {"type": "number"}},
    "required": ["label"],
}
TOOL: dict[str, Any] = {
    "name": "find",
    "description": "Finds.",
    "parameters": {
        "type": "object",
        "properties": {"query": {"type": "string"}, "most": {"type": "integer"}},
        "required": ["query"],
    },
}
A, B = VariableSpec("a"), VariableSpec("b", default="x")


def prompt(**changes: Any) -> PromptSpec:
    base: dict[str, Any] = {
        "name": "triage-answer",
        "messages": (PromptMessage("system", "Hi {{a}}"), PromptMessage("user", "{{b}}")),
        "variables": (A, B),
        "output_schema": SCHEMA,
        "tools": (TOOL,),
        "params": {"temperature": 0},
        "examples": "triage-shots@^1",
    }
    return PromptSpec(**{**base, **changes})


def schema(**changes: Any) -> dict[str, Any]:
    return {**SCHEMA, **changes}


def fields(**changes: Any) -> dict[str, Any]:
    return schema(properties={**SCHEMA["properties"], **changes})


def arguments(required: list[str], **changes: Any) -> tuple[dict[str, Any], ...]:
    properties = {k: v for k, v in {**TOOL["parameters"]["properties"], **changes}.items() if v is not None}
    return ({**TOOL, "parameters": {"type": "object", "properties": properties, "required": required}},)


RULES: list[tuple[str, str, dict[str, Any]]] = [
    ("a variable removed", "major", {"variables": (A,)}),
    ("a variable renamed", "major", {"variables": (A, VariableSpec("c", default="x"))}),
    ("a variable retyped", "major", {"variables": (VariableSpec("a", "integer"), B)}),
    ("a new required variable", "major", {"variables": (A, B, VariableSpec("c"))}),
    ("an optional variable that must be given", "major", {"variables": (A, VariableSpec("b"))}),
    ("no output schema any more", "major", {"output_schema": None}),
    ("a field of the answer removed", "major", {"output_schema": schema(properties={"label": {"type": "string"}})}),
    ("a field of the answer retyped", "major", {"output_schema": fields(label={"type": "integer"})}),
    ("a required field that may be missing", "major", {"output_schema": schema(required=[])}),
    (
        "a value that readers do not know",
        "major",
        {"output_schema": fields(label={"type": "string", "enum": ["a", "c"]})},
    ),
    ("a wider type", "major", {"output_schema": fields(score={"type": ["number", "null"]})}),
    ("a keyword that is not understood", "major", {"output_schema": fields(score={"type": "number", "maximum": 9})}),
    ("a tool removed", "major", {"tools": ()}),
    ("a tool's argument newly required", "major", {"tools": arguments(["query", "most"])}),
    ("a new required argument", "major", {"tools": arguments(["query", "place"], place={"type": "string"})}),
    ("a tool's argument removed", "major", {"tools": arguments(["query"], most=None)}),
    ("text for chat", "major", {"type": "text", "messages": (PromptMessage("user", "Hi {{a}}"),)}),
    ("another template engine", "major", {"syntax": "jinja2"}),
    ("another sequence of roles", "major", {"messages": (PromptMessage("user", "Hi {{a}}"),)}),
    (
        "a placeholder",
        "major",
        {"messages": (*prompt().messages, PromptMessage("placeholder", "messages"))},
    ),
    ("a new optional variable", "minor", {"variables": (A, B, VariableSpec("c", default="y"))}),
    ("a variable that may be left out now", "minor", {"variables": (VariableSpec("a", default="z"), B)}),
    ("another default of a variable", "minor", {"variables": (A, VariableSpec("b", default="y"))}),
    ("a new optional field of the answer", "minor", {"output_schema": fields(why={"type": "string"})}),
    ("fewer values in the answer", "minor", {"output_schema": fields(label={"type": "string", "enum": ["a"]})}),
    ("a field that is always there now", "minor", {"output_schema": schema(required=["label", "score"])}),
    ("a note in the schema", "minor", {"output_schema": schema(description="What it is.")}),
    ("a tool added", "minor", {"tools": (TOOL, {"name": "other"})}),
    ("a new optional argument", "minor", {"tools": arguments(["query"], place={"type": "string"})}),
    ("a tool described otherwise", "minor", {"tools": ({**TOOL, "description": "Searches."},)}),
    ("other examples", "minor", {"examples": "triage-shots@^2"}),
    ("another default of the request", "minor", {"params": {"temperature": 1}}),
    ("one default more", "minor", {"params": {"temperature": 0, "max_tokens": 5}}),
    ("text alone", "patch", {"messages": (PromptMessage("system", "Hello {{a}}"), PromptMessage("user", "{{b}}"))}),
    ("a description", "patch", {"description": "new"}),
    ("metadata", "patch", {"metadata": {"owner": "me"}}),
    ("nothing", "patch", {}),
]


@pytest.mark.parametrize(("level", "changes"), [rule[1:] for rule in RULES], ids=[rule[0] for rule in RULES])
def test_the_floor_follows_the_rules(level: str, changes: dict[str, Any]) -> None:
    new = prompt(**changes)
    floor = contract_floor(prompt(), new)
    assert floor.level == level, floor.changes
    assert (floor.level == "patch") == (not floor.changes)
    if floor.level == "patch":
        assert new.contract_digest == prompt().contract_digest


def test_a_change_says_what_it_is() -> None:
    floor = contract_floor(prompt(), prompt(variables=(A,), params={}))
    assert [(change.level, change.what) for change in floor.changes] == [
        ("major", "the variable 'b' is gone"),
        ("minor", "the default of 'temperature' for the request changed"),
    ]
    assert floor.allows("major")
    assert not floor.allows("minor")
