"""Prompt files: Markdown with front matter, and errors that say the line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tetrad.prompts import (
    PromptError,
    PromptMessage,
    PromptSpec,
    VariableSpec,
    compile_prompt,
    format_prompt_file,
    parse_prompt_file,
    prompt_from_document,
)

WHOLE = """---
name: support-triage
description: Sorts tickets.
variables:
  product: string
  limit: {type: integer, default: 3, description: "how many"}
output_schema:
  type: object
  required: [label]
tools:
  - name: lookup
    parameters: {type: object}
params:
  temperature: 0.2
metadata:
  owner: support
---

# system

You sort tickets of {{product}}.

# Rules
At most {{limit}}.

\\# user
stays text.

# user

One more.
"""


def test_a_file_becomes_a_prompt_that_renders() -> None:
    spec = parse_prompt_file(WHOLE, "triage.md")
    assert spec.name == "support-triage"
    assert spec.roles == ("system", "user")
    assert spec.messages[0].text.endswith("# Rules\nAt most {{limit}}.\n\n# user\nstays text.")
    assert spec.variables == (VariableSpec("product"), VariableSpec("limit", "integer", 3, "how many"))
    assert spec.params == {"temperature": 0.2}
    prompt = compile_prompt(spec.pairs(), syntax=spec.syntax, variables=spec.variables)
    assert prompt.render({"product": "Tetrad"})[1] == {"role": "user", "content": "One more."}
    assert parse_prompt_file(format_prompt_file(spec)) == spec
    assert prompt_from_document(spec.name, spec.document()).document() == spec.document()


def test_a_file_without_front_matter_is_named_after_itself() -> None:
    spec = parse_prompt_file("# user\nHello", "prompts/Support Triage_2.md")
    assert spec.name == "support-triage-2"


def test_a_text_prompt_is_its_body() -> None:
    spec = parse_prompt_file("---\ntype: text\nvariables: {x: string}\n---\n\n# system\nis text {{x}}\n", "a.md")
    assert spec.messages == (PromptMessage("user", "# system\nis text {{x}}"),)
    assert parse_prompt_file(format_prompt_file(spec)) == spec


def test_windows_line_ends_and_a_byte_order_mark_make_no_difference() -> None:
    same = parse_prompt_file("\ufeff" + WHOLE.replace("\n", "\r\n"), "triage.md")
    assert same.digest == parse_prompt_file(WHOLE, "triage.md").digest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("---\nname: x\n", "p.md:1: the front matter never ends"),
        ("---\nname: x\nvariabels: {}\n---\n# user\nx", "p.md:3: the key `variabels` is unknown"),
        ("---\nname: x\nname: y\n---\n# user\nx", "p.md:3: the key 'name' stands twice"),
        ("---\nvariables:\n  a:\n    type: text\n---\n# user\nx", "p.md:3: the variable 'a' has the type 'text'"),
        ("---\nvariables:\n  a: {type: integer, default: x}\n---\n# user\nx", "p.md:3: the variable 'a' is a string"),
        ("---\nvariables:\n  a: {tpye: integer}\n---\n# user\nx", "p.md:3: the key `tpye` is unknown"),
        ("---\nvariables: [a]\n---\n# user\nx", "p.md:2: `variables` is no mapping"),
        ("---\nsyntax: erb\n---\n# user\nx", "p.md:2: `syntax` is 'erb'"),
        ("---\nname: Bad Name\n---\n# user\nx", "p.md:1: 'Bad Name' is no name"),
        ("---\nx: &a 1\n---\n# user\nx", "p.md:2: the anchor &a"),
        ("---\nname: !!python/object:os.system x\n---\n# user\nx", "p.md:2: the tag"),
        ("---\n- a\n---\n# user\nx", "p.md:2: the front matter is no mapping"),
        ("---\nparams: {model: gpt}\n---\n# user\nx", "'model' is no default"),
        ("---\ntools: [{name: a}, {name: a}]\n---\n# user\nx", "the tool 'a' is declared twice"),
        ("hello", "p.md:1: text before the first role heading"),
        ("", "p.md:1: the prompt has no message"),
        ("# System\nx", "p.md:1: '# System' is nearly a role heading"),
        ("# user:\nx", "p.md:1: '# user:' is nearly a role heading"),
        ("# user\n\n  \n", "p.md:2: the user message is empty"),
        ("---\nname: x\n---\n\n# user\n\n\nfine\n{{x}}", "p.md:9: the variable 'x' is not declared"),
        ("# system\nok\n# user\n\na\nb {{#c", "p.md:6: a tag opens here and never closes"),
    ],
)
def test_faults_are_told_with_their_line(text: str, said: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse_prompt_file(text, "p.md")
    assert said in caught.value.message
    assert caught.value.message.startswith("p.md:")


def test_the_digest_ignores_names_and_layout_and_sees_everything_else() -> None:
    spec = parse_prompt_file(WHOLE, "triage.md")
    assert parse_prompt_file(WHOLE.replace("support-triage", "other"), "x.md").digest == spec.digest
    assert parse_prompt_file(WHOLE.replace("\n# user\n", "\n\n\n# user\n\n\n"), "x.md").digest == spec.digest
    for old, new in [
        ("One more.", "One  more."),
        ("0.2", "0.3"),
        ("default: 3", "default: 4"),
        ("owner: support", "owner: sales"),
        ("Sorts tickets.", "Sorts."),
    ]:
        assert parse_prompt_file(WHOLE.replace(old, new), "x.md").digest != spec.digest


def test_the_contract_changes_with_what_callers_rely_on_and_not_with_text() -> None:
    contract = parse_prompt_file(WHOLE, "x.md").contract_digest
    for old, new in [("One more.", "Other."), ("default: 3", "default: 4"), ("0.2", "0.9"), ("how many", "count")]:
        assert parse_prompt_file(WHOLE.replace(old, new), "x.md").contract_digest == contract
    for old, new in [
        ("product: string", "product: {type: string, default: x}"),
        ("type: integer", "type: number"),
        ("required: [label]", "required: []"),
        ("name: lookup", "name: find"),
        ("# user\n\nOne", "# assistant\n\nOne"),
    ]:
        assert parse_prompt_file(WHOLE.replace(old, new), "x.md").contract_digest != contract


def test_the_digest_of_a_prompt_never_changes() -> None:
    spec = PromptSpec("a", (PromptMessage("system", "Be {{tone}}."),), variables=(VariableSpec("tone", default="dry"),))
    assert spec.digest == "sha256:5479bb85ca614e415e59bac7329b6cc70d40fdf28e2ed5fdc983299145d290c4"
    assert spec.contract_digest == "sha256:8d6cf8b2f6783e07706b223acde383293c822e9bfab88f729d58ff113e3b0a9a"


def test_the_example_apps_prompt_reads() -> None:
    path = Path(__file__).parents[3] / "examples/assistant/prompts/assistant.md"
    spec = parse_prompt_file(path.read_text("utf-8"), path.name)
    assert all(not variable.required for variable in spec.variables)
    assert spec.roles == ("system",)


def test_what_has_no_canonical_form_is_refused() -> None:
    with pytest.raises(PromptError, match="no canonical form"):
        PromptSpec("a", (PromptMessage("user", "x"),), params={"seed": 2**60})
    with pytest.raises(PromptError, match="no canonical form"):
        PromptSpec("a", (PromptMessage("user", "x"),), metadata={"x": float("nan")})
