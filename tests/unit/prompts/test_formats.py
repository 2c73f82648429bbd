"""Other tools' prompt files: sample files come back as they were, and what cannot be kept is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.prompts import PromptError, PromptMessage, PromptSpec, VariableSpec, format_prompt_file, parse_prompt_file
from tetrad.prompts._formats import FORMATS, Format, export_prompt, format_of, import_prompt

SAMPLES = Path(__file__).parents[2] / "golden" / "prompts"
WHOLE = [
    ("triage.prompty", "prompty"),
    ("triage.prompt", "dotprompt"),
    ("triage.langfuse.json", "langfuse"),
    ("support-triage.json", "promptfoo"),
    ("support-triage.txt", "promptfoo"),
]


@pytest.mark.parametrize(("file", "form"), WHOLE)
def test_a_sample_file_comes_back_byte_for_byte(file: str, form: Format) -> None:
    text = (SAMPLES / file).read_text("utf-8")
    assert format_of(file, text) == form
    read = import_prompt(text, form, file)
    assert read.dropped == ()
    assert read.spec.name == "support-triage"
    assert export_prompt(read.spec, form).text == text
    ours = parse_prompt_file(format_prompt_file(read.spec))
    assert ours == read.spec


def test_a_prompty_file_is_read_with_all_it_says() -> None:
    spec = import_prompt((SAMPLES / "triage.prompty").read_text("utf-8"), "prompty", "triage.prompty").spec
    assert (spec.syntax, spec.roles) == ("jinja2", ("system", "user"))
    assert spec.variables == (
        VariableSpec("ticket", description="what the customer wrote"),
        VariableSpec("labels", "array", ["urgent", "normal"]),
    )
    assert spec.params == {"temperature": 0.5, "max_tokens": 200}
    assert [tool["name"] for tool in spec.tools] == ["find_order"]
    assert spec.metadata["prompty"]["authors"] == ["Kim"]
    assert spec.metadata["prompty"]["model"]["configuration"]["azure_deployment"] == "sorter"


def test_a_dotprompt_file_is_read_with_its_history_and_roles() -> None:
    spec = import_prompt((SAMPLES / "triage.prompt").read_text("utf-8"), "dotprompt", "triage.prompt").spec
    assert spec.roles == ("system", "placeholder", "user", "assistant")
    assert spec.variables == (
        VariableSpec("ticket", description="what the customer wrote"),
        VariableSpec("tone", default="friendly"),
    )
    assert spec.metadata["dotprompt"]["model"] == "vendor/large-model"


def test_a_picoschema_becomes_a_json_schema() -> None:
    fields = ["name: string, who it is", "age?: integer", "tags(array, all of them): string", "kind(enum): [A, B]"]
    schema = "".join(f"    {field}\n" for field in fields)
    text = f"---\ninput:\n  schema:\n{schema}---\nHi {{{{name}}}}\n"
    spec = import_prompt(text, "dotprompt", "hello-user.prompt").spec
    assert spec.variables == (
        VariableSpec("name", description="who it is"),
        VariableSpec("age", "integer", None),
        VariableSpec("tags", "array", description="all of them"),
        VariableSpec("kind"),
    )


def test_nunjucks_with_blocks_is_read_as_jinja() -> None:
    text = (SAMPLES / "support-triage.yaml").read_text("utf-8")
    spec = import_prompt(text, format_of("support-triage.yaml", text), "support-triage.yaml").spec
    assert spec.syntax == "jinja2"
    assert {variable.name for variable in spec.variables} == {"strict", "ticket"}
    parse_prompt_file(format_prompt_file(spec))


def test_what_another_system_keeps_for_itself_is_reported() -> None:
    text = '{"name": "Support Triage", "version": 3, "type": "text", "prompt": "Hi {{who}}", "createdAt": "2026-01-01"}'
    read = import_prompt(text, "langfuse", "x.json")
    assert (read.spec.name, read.spec.type, read.spec.metadata) == (
        "support-triage", "text", {"langfuse": {"name": "Support Triage"}},
    )  # fmt: skip
    assert [each.partition(":")[0] for each in read.dropped] == ["version", "createdAt"]


FULL = PromptSpec(
    "support-answer",
    (
        PromptMessage("system", "Be {{tone}}.\nsystem:\n\\user:"),
        PromptMessage("placeholder", "history"),
        PromptMessage("user", "{{q}}"),
        PromptMessage("placeholder", "messages"),
    ),
    variables=(VariableSpec("tone", default="kind"), VariableSpec("history", "array", None), VariableSpec("q")),
    output_schema={"type": "object", "properties": {"a": {"type": "string"}}},
    tools=({"name": "find", "description": "Finds.", "parameters": {"type": "object"}},),
    params={"temperature": 0.5},
    metadata={"owner": "kim"},
    description="Answers.",
    examples="support-shots@^1",
)


@pytest.mark.parametrize("form", ["prompty", "dotprompt", "langfuse"])
def test_a_full_prompt_survives_a_format_that_has_room_for_it(form: Format) -> None:
    made = export_prompt(FULL, form)
    assert import_prompt(made.text, form, f"x{made.suffix}").spec.document() == FULL.document()


def test_a_format_without_room_says_what_it_leaves_out() -> None:
    dropped = " ".join(export_prompt(FULL, "promptfoo").dropped)
    for what in ("description", "output schema", "tools", "defaults", "examples", "metadata", "'tone'", "'history'"):
        assert what in dropped
    included = PromptSpec("a", (PromptMessage("user", "{{> tone-kind@^1}}"),))
    for form in FORMATS:
        assert "tone-kind@^1" in " ".join(export_prompt(included, form).dropped)


@pytest.mark.parametrize(
    ("form", "text", "complaint"),
    [
        ("prompty", "---\nname: x\n", "x:1: the front matter never ends"),
        ("prompty", "---\nname: x\nname: y\n---\nuser:\nhi\n", "x:3: the key 'name' stands twice"),
        ("prompty", "---\nname: x\ntemplate: liquid\n---\nuser:\nhi\n", "'liquid' is not read"),
        ("prompty", "---\nname: x\n---\n", "has no message"),
        ("dotprompt", "---\nname: x\n---\na\n{{#if b}}c{{/if}}\n", "x:5: {{#if b}} is Handlebars"),
        ("dotprompt", '{{role "tool"}}\nx\n', "the role 'tool' is not read"),
        ("dotprompt", "---\ninput: {schema: {a: text}}\n---\nhi\n", "'text' is no type of a Picoschema"),
        ("langfuse", "{", "x:1"),
        ("langfuse", '{"prompt": "a", "prompt": "b"}', "x:1"),
        ("langfuse", '{"prompt": [{"role": "user"}]}', "message 1 has no role or no text"),
        ("langfuse", '{"name": 1, "prompt": "a"}', "`name` is no text"),
        ("promptfoo", "a\n---\nb\n", "several prompts"),
        ("langfuse", '{"prompt": "a", "config": {"tetrad": {"variables": [{}]}}}', "not shaped as a langfuse file"),
        ("dotprompt", "---\ninput: {schema: {type: object, properties: [a]}}\n---\nhi\n", "not shaped as a dotprompt"),
        ("prompty", "---\ntetrad: {metadata: [1]}\n---\nuser:\nhi\n", "not shaped as a prompty file"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(form: Format, text: str, complaint: str) -> None:
    with pytest.raises(PromptError) as caught:
        import_prompt(text, form, "x")
    assert caught.value.message.startswith("x:")
    assert complaint in caught.value.message


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n:# \\-"), min_size=1, max_size=40)
LINES = st.lists(TEXT | st.sampled_from(["system:", "User:", "\\user:", "---"]), min_size=1, max_size=4).map("\n".join)
PLAIN = LINES.map(lambda text: text.replace("{", "(") + "x")
ROLE = st.sampled_from(["system", "user", "assistant"])


@given(
    st.lists(st.tuples(ROLE, PLAIN), min_size=1, max_size=4),
    st.dictionaries(st.sampled_from(["temperature", "seed", "top_p"]), st.integers(0, 9), max_size=2),
    st.sampled_from(["prompty", "dotprompt", "langfuse"]),
    PLAIN.map(lambda text: text.replace("\n", " ")),
)
def test_any_prompt_survives_a_round_trip(
    messages: list[tuple[Any, str]], params: dict[str, int], form: Format, description: str
) -> None:
    spec = PromptSpec(
        "some-prompt", tuple(PromptMessage(*each) for each in messages), params=params, description=description
    )
    made = export_prompt(spec, form)
    assert made.dropped == () or form == "langfuse"
    again = import_prompt(made.text, form, f"x{made.suffix}")
    assert (again.spec, again.dropped) == (spec, ())


JSONISH: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["name", "prompt", "config", "tetrad", "variables", "type", "role", "content", "properties"]),
        inner, max_size=3,
    ),
    max_leaves=6,
)  # fmt: skip
KEYS = ["name", "model", "inputs", "outputs", "tools", "template", "sample", "config", "input", "output", "prompt"]


@given(st.dictionaries(st.sampled_from([*KEYS, "tetrad"]), JSONISH, max_size=5), st.sampled_from(FORMATS))
def test_whatever_a_file_holds_it_is_a_prompt_or_refused(fields: dict[str, Any], form: Format) -> None:
    text = json.dumps(fields) if form == "langfuse" else f"---\n{json.dumps(fields)}\n---\nuser:\nHi\n"
    refused = ""
    try:
        import_prompt(text, form, "x.txt")
    except PromptError as error:
        refused = error.message
    assert not refused or refused.startswith("x.txt:")
