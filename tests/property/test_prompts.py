"""Prompts: files and digests survive a round trip, and rendering puts values in and nothing else."""

from __future__ import annotations

import string
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import canonical_json, parse_json
from tetrad.prompts import (
    REQUIRED,
    PromptMessage,
    PromptSpec,
    VariableSpec,
    compile_prompt,
    format_prompt_file,
    parse_prompt_file,
    prompt_from_document,
)

WORDS = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\t\r# \\{}:-'\""), max_size=60)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True).filter(
    lambda name: (
        name
        not in {
            "and",
            "else",
            "elif",
            "false",
            "for",
            "if",
            "in",
            "is",
            "loop",
            "none",
            "not",
            "or",
            "range",
            "recursive",
            "self",
            "true",
        }
    )
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | FLOATS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
LINES = st.lists(
    st.sampled_from(
        [
            "# system",
            "# user",
            "\\# user",
            "\\\\# assistant",
            "# User",
            "#user:",
            "# Rules",
            "",
            "  ",
            "text",
            "---",
            "## user",
        ]
    )
    | WORDS,
    min_size=1,
    max_size=6,
)
TEXTS = LINES.map("\n".join).map(lambda text: text.replace("{{", "{ {").replace("{{", "{ {") + "x")
DEFAULTS: dict[str, st.SearchStrategy[Any]] = {
    "string": WORDS,
    "integer": st.integers(-(2**53) + 1, 2**53 - 1),
    "number": FLOATS,
    "boolean": st.booleans(),
    "array": st.lists(JSON, max_size=3),
    "object": st.dictionaries(WORDS, JSON, max_size=3),
}


@st.composite
def variables(draw: st.DrawFn, name: str) -> VariableSpec:
    kind: Any = draw(st.sampled_from(sorted(DEFAULTS)))
    default = draw(st.just(REQUIRED) | st.none() | DEFAULTS[kind])
    return VariableSpec(name, kind, default, draw(WORDS))


@st.composite
def prompts(draw: st.DrawFn) -> PromptSpec:
    kind: Any = draw(st.sampled_from(["chat", "text"]))
    roles = st.sampled_from(["system", "developer", "user", "assistant"])
    found = draw(st.lists(st.builds(PromptMessage, roles, TEXTS), min_size=1, max_size=3))
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    tools = draw(st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True), unique=True, max_size=2))
    return PromptSpec(
        name=draw(st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,2}", fullmatch=True)),
        messages=tuple(found) if kind == "chat" else (PromptMessage("user", found[0].text),),
        type=kind,
        variables=tuple(draw(variables(name)) for name in names),
        output_schema=draw(st.none() | st.dictionaries(WORDS, JSON, max_size=2)),
        tools=tuple({"name": name, "parameters": draw(st.dictionaries(WORDS, JSON, max_size=2))} for name in tools),
        params=draw(st.dictionaries(st.sampled_from(["temperature", "stop", "seed"]), JSON, max_size=2)),
        metadata=draw(st.dictionaries(WORDS, JSON, max_size=2)),
        description=draw(WORDS),
    )


@given(prompts())
def test_a_prompt_written_as_a_file_reads_back_equal(spec: PromptSpec) -> None:
    again = parse_prompt_file(format_prompt_file(spec), "any.md")
    assert again == spec
    assert again.digest == spec.digest


@given(prompts())
def test_a_prompt_stored_as_a_document_reads_back_with_the_same_digests(spec: PromptSpec) -> None:
    document: Any = parse_json(canonical_json(spec.document()))
    again = prompt_from_document(spec.name, document)
    assert again.digest == spec.digest
    assert again.contract_digest == spec.contract_digest


@given(st.lists(WORDS, max_size=4), WORDS, WORDS)
def test_rendering_is_substitution(values: list[str], before: str, between: str) -> None:
    before, between = (text.replace("{", "(").replace("}", ")") for text in (before, between))
    names = list(string.ascii_lowercase[: len(values)])
    template = before + between.join(f"{{{{{name}}}}}" for name in names)
    prompt = compile_prompt([("user", template)], variables=[VariableSpec(name) for name in names])
    assert prompt.render(dict(zip(names, values, strict=True)))[0]["content"] == before + between.join(values)


_PLAIN = st.sampled_from(
    [
        "{{a}}",
        "{{ b }}",
        "{{{a}}}",
        "{{&b}}",
        "{{! said }}",
        "{{n}}",
        "{{#xs}}\n- {{.}}\n{{/xs}}\n",
        "{{#xs}}{{.}}, {{.}}{{/xs}}",
        "{{#xs}}x{{/xs}}",
        "{{#xs}}{{a}}{{/xs}}",
        "{{#xs}}\n{{/xs}}\n",
        "{{^xs}}none{{/xs}}",
        "{{#a}}{{.}}{{/a}}",
    ]
)


@given(
    st.lists(_PLAIN | WORDS.map(lambda text: text.replace("{", "(").replace("}", ")")), max_size=6).map("".join),
    st.dictionaries(st.sampled_from(["a", "b"]), WORDS),
    st.lists(WORDS, max_size=4) | st.lists(JSON, max_size=3) | st.none(),
    st.none() | st.integers(-5, 5),
)
def test_templates_of_texts_are_filled_as_the_template_engine_fills_them(
    template: str, texts: dict[str, str], items: Any, number: Any
) -> None:
    variables = [
        VariableSpec("a"), VariableSpec("b", default="b's default"), VariableSpec("xs", "array", ["x", "y"]),
        VariableSpec("n", "integer", None),
    ]  # fmt: skip
    values = {"a": "", **texts, **({} if items is None else {"xs": items}), **({} if number is None else {"n": number})}
    ours, engine = (compile_prompt([("user", template)], variables=variables) for _ in range(2))
    engine._plain = {}
    assert _told(ours, values) == _told(engine, values)


def test_the_usual_templates_need_no_template_engine() -> None:
    text = "You are {{who}}.\n{{#rules}}\n- {{.}}\n{{/rules}}\n"
    prompt = compile_prompt([("system", text)], variables=[VariableSpec("who"), VariableSpec("rules", "array")])
    prompt._render_template = None if prompt._render_template is None else _no_engine
    [message] = prompt.render({"who": "Ann", "rules": ["be brief", "{{who}}"]})
    assert message["content"] == "You are Ann.\n- be brief\n- {{who}}\n"


def _no_engine(*_: object, **__: object) -> str:
    raise AssertionError("the template engine was asked")


def _told(prompt: Any, values: dict[str, Any]) -> Any:
    try:
        return prompt.render(values)
    except Exception as error:  # noqa: BLE001 - the same error of either is what is asked
        return type(error), str(error)


@given(st.text(max_size=80), st.sampled_from(["mustache", "jinja2"]))
def test_any_text_compiles_or_is_refused_by_an_error_of_ours(template: str, syntax: Any) -> None:
    from tetrad.prompts import PromptError

    try:
        compile_prompt([("user", template)], syntax=syntax).render({})
    except PromptError as error:
        refused = error.code
    else:
        return
    assert refused in {"prompt_syntax", "prompt_variables", "prompt_limit"}
