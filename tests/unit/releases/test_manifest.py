"""The manifest is the release: golden vectors, and what makes an example."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tetrad.kernel import digest_json
from tetrad.prompts import PromptMessage, PromptSpec, VariableSpec
from tetrad.releases import BadPart, Message, build_manifest, examples_of, version_floor

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/release_manifest.json").read_text("utf-8"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_manifests_have_the_digests_of_the_golden_vectors(case: dict) -> None:
    parts = {name: value for name, value in case["manifest"].items() if name != "schema"}
    turned = {name: value[::-1] if isinstance(value, list) else value for name, value in parts.items()}
    assert build_manifest(**parts) == build_manifest(**turned) == case["manifest"]
    assert digest_json(build_manifest(**turned)) == case["digest"]


def test_examples_are_questions_with_answers_or_conversations() -> None:
    rows = [
        ("1", {"input": "q", "output": "a", "note": "kept for people"}),
        ("2", {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}),
    ]
    assert examples_of(rows, what="shots") == (
        Message("user", "q"), Message("assistant", "a"), Message("system", "s"), Message("user", "u"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "row",
    [
        {}, {"input": "q"}, {"input": 1, "output": "a"}, {"messages": []}, {"messages": "x"}, {"messages": [1]},
        {"messages": [{"role": "tool", "content": "x"}]}, {"messages": [{"role": "user", "content": None}]},
    ],
)  # fmt: skip
def test_what_is_no_example_is_refused_by_name(row: dict) -> None:
    with pytest.raises(BadPart, match="shots: the row seven"):
        examples_of([("seven", row)], what="shots")


def test_examples_have_a_limit() -> None:
    with pytest.raises(BadPart, match="characters"):
        examples_of([(str(n), {"input": "x" * 1000, "output": ""}) for n in range(300)], what="shots")


def prompt(**changes: object) -> PromptSpec:
    base = {
        "name": "p", "messages": (PromptMessage("system", "Hi {{a}}"),),
        "variables": (VariableSpec("a"), VariableSpec("b", default="x")),
    }  # fmt: skip
    return PromptSpec(**{**base, **changes})


@pytest.mark.parametrize(
    ("changes", "floor"),
    [
        ({"messages": (PromptMessage("system", "Hello {{a}}"),)}, "patch"),
        ({"description": "new"}, "patch"),
        ({"params": {"temperature": 1}}, "minor"),
        ({"variables": (VariableSpec("a"), VariableSpec("b", default="x"), VariableSpec("c", default="y"))}, "minor"),
        ({"variables": (VariableSpec("a", default="now optional"), VariableSpec("b", default="x"))}, "minor"),
        ({"variables": (VariableSpec("a"),)}, "major"),
        ({"variables": (VariableSpec("a"), VariableSpec("b"))}, "major"),
        ({"variables": (VariableSpec("a"), VariableSpec("b", default="x"), VariableSpec("c"))}, "major"),
        ({"variables": (VariableSpec("a", "integer"), VariableSpec("b", default="x"))}, "major"),
        ({"output_schema": {"type": "object"}}, "major"),
        ({"tools": ({"name": "t"},)}, "minor"),
        ({"syntax": "jinja2"}, "major"),
        ({"messages": (PromptMessage("user", "Hi {{a}}"),)}, "major"),
    ],
)
def test_the_next_number_follows_from_what_callers_rely_on(changes: dict, floor: str) -> None:
    assert version_floor(prompt(), prompt(**changes)) == floor
