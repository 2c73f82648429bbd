"""Placeholders, includes, references and chains."""

from __future__ import annotations

from typing import Any

import pytest

from tetrad.kernel import Digest, digest_json
from tetrad.prompts import (
    ChainSpec,
    ChainStep,
    PromptError,
    PromptMessage,
    PromptSpec,
    VariableSpec,
    check_chain,
    compile_prompt,
    compose_prompt,
    format_prompt_file,
    parse_prompt_file,
    parse_reference,
    read_prompt_file,
)
from tetrad.prompts._includes import include_references, pinned

CHAT = """---
name: support-answer
variables:
  tone: string
  history: array
---
# system

Be {{tone}}.

# placeholder

history

# user

Now:

# placeholder

messages
"""


def test_a_placeholder_becomes_the_messages_that_its_variable_holds() -> None:
    spec = parse_prompt_file(CHAT)
    prompt = compile_prompt(spec.pairs(), syntax=spec.syntax, variables=spec.variables)
    history = [{"role": "user", "content": "{{tone}}"}, {"role": "assistant", "content": "Yes?"}]
    assert prompt.render({"tone": "kind", "history": history}) == [
        {"role": "system", "content": "Be kind."},
        *history,
        {"role": "user", "content": "Now:"},
        {"role": "placeholder", "content": "messages"},
    ]
    assert parse_prompt_file(format_prompt_file(spec)) == spec
    assert not prompt.is_static


def test_the_digest_of_a_prompt_without_new_things_is_what_it_was() -> None:
    spec = parse_prompt_file("---\nname: a\nvariables: {b: string}\n---\n# system\n\nHi {{b}}\n")
    assert spec.digest == digest_json(
        {
            "schema": "tetrad.prompt/1",
            "type": "chat",
            "syntax": "mustache",
            "messages": [{"role": "system", "content": "Hi {{b}}"}],
            "variables": [{"name": "b", "type": "string"}],
        }
    )


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (["x"], "the variable 'history', message 1 has no role"),
        ([{"role": "user"}], "message 1 has no content"),
        ([{"role": "placeholder", "content": "messages"}], "has no role of a message"),
        ([{"role": "user", "content": "x", "nme": "y"}], "has the key 'nme'"),
        ("text", "the variable 'history' is a string, not an array"),
    ],
)
def test_a_value_that_is_no_list_of_messages_is_refused_by_name(value: Any, complaint: str) -> None:
    spec = parse_prompt_file(CHAT)
    prompt = compile_prompt(spec.pairs(), variables=spec.variables)
    with pytest.raises(PromptError, match=complaint) as caught:
        prompt.render({"tone": "kind", "history": value})
    assert caught.value.code == "prompt_variables"


@pytest.mark.parametrize(
    ("messages", "variables", "complaint"),
    [
        ([("placeholder", "history")], [], "is not declared"),
        ([("placeholder", "history")], [VariableSpec("history")], "is declared as string"),
        ([("placeholder", "messages"), ("placeholder", "messages")], [], "two places"),
        ([("placeholder", "messages")], [VariableSpec("messages", "array")], "a variable has its name"),
    ],
)
def test_a_placeholder_that_cannot_be_filled_is_refused(
    messages: list[tuple[str, str]], variables: list[VariableSpec], complaint: str
) -> None:
    with pytest.raises(PromptError, match=complaint):
        compile_prompt(messages, variables=variables)
    with pytest.raises(PromptError, match=complaint):
        PromptSpec("a", tuple(PromptMessage(*each) for each in messages), variables=tuple(variables))


def fragment(name: str, text: str, *variables: VariableSpec, syntax: Any = "mustache") -> PromptSpec:
    return PromptSpec(name, (PromptMessage("user", text),), type="text", variables=variables, syntax=syntax)


def composed(spec: PromptSpec, *fragments: PromptSpec) -> PromptSpec:
    known = {each.name: each for each in fragments}

    def pin(each: PromptSpec) -> PromptSpec:
        return pinned(each, {str(ref): known[ref.name].digest for ref in include_references(each)})

    return compose_prompt(pin(spec), lambda name, _digest: pin(known[name])).spec


def test_what_is_included_stands_in_its_place_with_its_variables() -> None:
    spec = parse_prompt_file("---\nname: a\nvariables: {x: string}\n---\n# system\n\n{{> tone-kind@^1}}\nThen {{x}}.\n")
    whole = composed(
        spec,
        fragment("tone-kind", "Be {{tone}}. {{> tone-close}}", VariableSpec("tone", default="kind")),
        fragment("tone-close", "Bye, {{x}}.", VariableSpec("x")),
    )
    assert whole.messages[0].text == "Be {{tone}}. Bye, {{x}}.\nThen {{x}}."
    assert {variable.name for variable in whole.variables} == {"x", "tone"}
    assert compile_prompt(whole.pairs(), variables=whole.variables).render({"x": "Al"})[0]["content"] == (
        "Be kind. Bye, Al.\nThen Al."
    )


def test_jinja_includes_jinja() -> None:
    spec = parse_prompt_file('---\nname: a\nsyntax: jinja2\n---\n# system\n\n{% include "b@1" %} end\n')
    assert composed(spec, fragment("b", "hey", syntax="jinja2")).messages[0].text == "hey end"


@pytest.mark.parametrize(
    ("fragments", "complaint"),
    [
        ([fragment("b", "{{> c}}"), fragment("c", "{{> a}}")], "go in a circle: a → b → c → a"),
        ([fragment("b", "{{> b}}")], "go in a circle: a → b → b"),
        ([fragment("b", "x", syntax="jinja2")], "written in mustache, 'b' in jinja2"),
        ([PromptSpec("b", (PromptMessage("system", "x"),))], "a prompt of messages"),
        ([fragment("b", "{{x}}", VariableSpec("x", "integer"))], "type string here and integer in b"),
    ],
)
def test_what_cannot_be_included_is_refused_with_the_path(fragments: list[PromptSpec], complaint: str) -> None:
    spec = parse_prompt_file("---\nname: a\nvariables: {x: string}\n---\n# system\n\n{{> b}}\n")
    loop = fragment("a", "{{> b}}")
    known = {each.name: each for each in [*fragments, loop]}
    digest = Digest("sha256:" + "0" * 64)

    def load(name: str, _digest: Digest) -> PromptSpec:
        return pinned(known[name], {str(each): digest for each in include_references(known[name])})

    with pytest.raises(PromptError, match=complaint):
        compose_prompt(pinned(spec, {"b": digest}), load)


def test_includes_deeper_than_the_limit_are_refused() -> None:
    chain = [fragment(f"f{n}", f"{{{{> f{n + 1}}}}}") for n in range(9)]
    spec = PromptSpec("a", (PromptMessage("system", "{{> f0}}"),))
    with pytest.raises(PromptError, match="deeper than 8 levels") as caught:
        composed(spec, *chain, fragment("f9", "x"))
    assert caught.value.code == "prompt_limit"


def test_what_doubles_at_every_level_stops_at_the_limit() -> None:
    double = [fragment(f"f{n}", f"{{{{> f{n + 1}}}}}" * 40) for n in range(5)]
    spec = PromptSpec("a", (PromptMessage("system", "{{> f0}}"),))
    with pytest.raises(PromptError, match="passes 262,144 characters"):
        composed(spec, *double, fragment("f5", "x" * 100))


@pytest.mark.parametrize(
    ("text", "fits", "not_fits"),
    [
        ("a", ["1.0.0", "9.9.9"], ["1.0.0-rc.1"]),
        ("a@*", ["0.1.0"], ["1.0.0-rc.1"]),
        ("a@1.2.3", ["1.2.3"], ["1.2.4", "1.2.3-rc.1"]),
        ("a@1.2.3-rc.1", ["1.2.3-rc.1"], ["1.2.3"]),
        ("a@^1.2", ["1.2.0", "1.9.9"], ["1.1.9", "2.0.0"]),
        ("a@^0.2", ["0.2.0", "0.2.9"], ["0.3.0", "0.1.0"]),
        ("a@^0.0.3", ["0.0.3"], ["0.0.4"]),
        ("a@^2", ["2.0.0", "2.9.0"], ["3.0.0", "1.9.9"]),
        ("a@~1.2", ["1.2.9"], ["1.3.0"]),
        ("a@~1", ["1.9.0"], ["2.0.0"]),
        ("a@1", ["1.9.0"], ["2.0.0"]),
        ("a@1.2", ["1.2.9"], ["1.3.0"]),
    ],
)
def test_a_range_allows_what_it_says(text: str, fits: list[str], not_fits: list[str]) -> None:
    reference = parse_reference(text)
    assert str(reference) == text
    assert [each for each in [*fits, *not_fits] if reference.allows(each)] == fits


@pytest.mark.parametrize("text", ["", "A", "a@", "a@x", "a@>=1", "a@1.2.3.4", "a b", "../a", "a@^1-rc"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(PromptError, match="no reference"):
        parse_reference(text)


DRAFT = PromptSpec("support-draft", (PromptMessage("user", "{{q}}"),), variables=(VariableSpec("q"),))
JUDGE = PromptSpec(
    "support-judge",
    (PromptMessage("user", "{{draft}}"),),
    variables=(VariableSpec("draft"), VariableSpec("strict", "boolean", default=False)),
    output_schema={"type": "object", "properties": {"score": {"type": "integer"}}, "required": ["score"]},
)
FINAL = PromptSpec("support-final", (PromptMessage("user", "{{s}}"),), variables=(VariableSpec("s", "number"),))
SPECS = {"draft": DRAFT, "judge": JUDGE, "final": FINAL}
CHAIN = """---
name: support-chain
type: chain
variables:
  question: string
steps:
  - {name: draft, prompt: support-draft@^1, inputs: {q: variables.question}}
  - {name: judge, prompt: support-judge, inputs: {draft: draft.text}}
  - {name: final, prompt: support-final, inputs: {s: judge.output.score}}
---
"""


def test_a_chain_whose_answers_feed_its_variables_is_sound() -> None:
    chain = read_prompt_file(CHAIN, "chain.md")
    assert isinstance(chain, ChainSpec)
    check_chain(chain, SPECS)
    assert read_prompt_file(format_prompt_file(chain)) == chain
    with pytest.raises(PromptError, match="this is a chain"):
        parse_prompt_file(CHAIN)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("inputs: {draft: draft.text}", "inputs: {}", "nothing feeds 'draft' of the step 'judge'"),
        ("draft: draft.text", "draft: final.text", "takes from 'final', which is no earlier step"),
        ("draft: draft.text", "draft: draft.output.x", "has no output schema"),
        ("s: judge.output.score", "s: judge.output.mark", "has no field 'mark'"),
        ("s: judge.output.score", "s: judge.text", "is string, and 's' is number"),
        ("q: variables.question", "q: variables.ask", "has no variable 'ask'"),
        ("q: variables.question", "q: variables.question, z: variables.question", "does not take"),
        ("q: variables.question", "q: question", "is no source"),
        ("name: judge", "name: draft", "two steps are named"),
    ],
)
def test_a_chain_that_cannot_run_is_refused(old: str, new: str, complaint: str) -> None:
    def check() -> None:
        chain = read_prompt_file(CHAIN.replace(old, new), "chain.md")
        assert isinstance(chain, ChainSpec)
        check_chain(chain, SPECS)

    with pytest.raises(PromptError, match=complaint):
        check()


def test_an_answer_that_may_lack_the_field_feeds_nothing() -> None:
    assert JUDGE.output_schema is not None
    loose = PromptSpec(
        "x", JUDGE.messages, variables=JUDGE.variables, output_schema={**JUDGE.output_schema, "required": []}
    )
    chain = ChainSpec(
        "c",
        (
            ChainStep("judge", "support-judge", {"draft": "variables.d"}),
            ChainStep("final", "support-final", {"s": "judge.output.score"}),
        ),
        (VariableSpec("d"),),
    )
    with pytest.raises(PromptError, match="may be missing"):
        check_chain(chain, {**SPECS, "judge": loose})
