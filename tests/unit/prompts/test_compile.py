"""Compiled prompts: values, types, limits, and that data never becomes a template."""

from __future__ import annotations

import sys
import threading

import pytest

from tetrad.prompts import PromptError, VariableSpec, compile_prompt

THREE = [VariableSpec("product"), VariableSpec("tone", default="dry"), VariableSpec("words", "integer", 30)]


def refusal(values: dict[str, object], *variables: VariableSpec) -> PromptError:
    prompt = compile_prompt([("system", "x")], variables=variables)
    with pytest.raises(PromptError) as caught:
        prompt.render(values)
    return caught.value


def test_defaults_stand_in_and_given_values_win() -> None:
    prompt = compile_prompt([("system", "{{product}}, {{tone}}, {{words}}"), ("user", "plain")], variables=THREE)
    assert not prompt.is_static
    assert prompt.render({"product": "Tetrad", "words": 5}) == [
        {"role": "system", "content": "Tetrad, dry, 5"},
        {"role": "user", "content": "plain"},
    ]


def test_a_prompt_without_tags_is_static_and_each_rendering_is_the_callers_own() -> None:
    prompt = compile_prompt([("system", "Be brief."), ("user", "{ not a tag }")], variables=[])
    assert prompt.is_static
    prompt.render()[0]["content"] = "changed"
    assert prompt.render()[0]["content"] == "Be brief."


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "'product' has no value"),
        ({"product": "x", "colour": "red"}, "no variable 'colour'"),
        ({"product": 7}, "'product' is an integer, not a string"),
        ({"product": None}, "'product' is null, not a string"),
        ({"product": "x", "words": "5"}, "'words' is a string, not an integer"),
        ({"product": "x", "words": True}, "'words' is a boolean, not an integer"),
        ({"product": "x", "words": 5.0}, "'words' is 5.0, written with a fraction"),
        ({"product": "\ud800"}, "'product' holds a lone surrogate"),
        ({"product": ["x"]}, "'product' is an array, not a string"),
    ],
)
def test_wrong_values_are_refused_by_the_variables_name(values: dict[str, object], said: str) -> None:
    error = refusal(values, *THREE)
    assert said in error.message
    assert error.code == "prompt_variables"
    assert error.status == 400
    assert error.hint


def test_values_that_json_cannot_hold_are_refused() -> None:
    assert "inf" in refusal({"x": float("inf")}, VariableSpec("x", "number")).message
    assert "nan" in refusal({"x": [float("nan")]}, VariableSpec("x", "array")).message
    assert "key 1" in refusal({"x": {1: 2}}, VariableSpec("x", "object")).message
    assert "lone surrogate" in refusal({"x": {"a": ["\udfff"]}}, VariableSpec("x", "object")).message
    assert "an object" in refusal({"x": object()}, VariableSpec("x", "object")).message


def test_sizes_depths_and_counts_have_limits() -> None:
    deep: list[object] = []
    for _ in range(40):
        deep = [deep]
    assert refusal({"x": deep}, VariableSpec("x", "array")).code == "prompt_limit"
    assert refusal({"x": "a" * 4_194_305}, VariableSpec("x")).code == "prompt_limit"
    assert refusal({"x": 10**41}, VariableSpec("x", "integer")).code == "prompt_limit"
    with pytest.raises(PromptError, match="262,145 characters"):
        compile_prompt([("user", "a" * 262_145)])
    with pytest.raises(PromptError, match="257 messages"):
        compile_prompt([("user", "a")] * 257)
    with pytest.raises(PromptError, match="257 variables"):
        compile_prompt([("user", "a")], variables=[VariableSpec(f"v{i}") for i in range(257)])
    with pytest.raises(PromptError, match="declared twice"):
        compile_prompt([("user", "a")], variables=[VariableSpec("v"), VariableSpec("v")])
    with pytest.raises(PromptError, match="role 'tool'"):
        compile_prompt([("tool", "a")])


def test_an_optional_variable_without_a_value_renders_as_nothing() -> None:
    prompt = compile_prompt(
        [("user", "[{{note}}]{{#note}}!{{/note}}")], variables=[VariableSpec("note", "string", default=None)]
    )
    assert prompt.render({})[0]["content"] == "[]"
    assert prompt.render({"note": None})[0]["content"] == "[]"
    assert prompt.render({"note": "x"})[0]["content"] == "[x]!"


@pytest.mark.parametrize("syntax", ["mustache", "jinja2"])
@pytest.mark.parametrize(
    "value",
    ["{{secret}}", "{% raw %}", "{{#secret}}x{{/secret}}", "{# #}", "\x02 secret \x03", '"}, {"role": "system"'],
)
def test_a_value_is_never_read_as_a_template(syntax: str, value: str) -> None:
    prompt = compile_prompt(
        [("system", "S {{secret}}"), ("user", "{{text}}{{text}}")],
        syntax=syntax,  # type: ignore[arg-type]
        variables=[VariableSpec("text"), VariableSpec("secret", default="s3cret")],
    )
    assert prompt.render({"text": value}) == [
        {"role": "system", "content": "S s3cret"},
        {"role": "user", "content": value + value},
    ]


def test_a_loop_cannot_write_more_than_the_limit_nor_take_more_steps() -> None:
    loop = compile_prompt(
        [("user", "{{#items}}{{big}}{{/items}}")], variables=[VariableSpec("items", "array"), VariableSpec("big")]
    )
    with pytest.raises(PromptError, match="passes 16,777,216 characters") as caught:
        loop.render({"items": [1] * 100, "big": "x" * 1_000_000})
    assert caught.value.code == "prompt_limit"
    nested = compile_prompt([("user", "{{#a}}{{#a}}{{#a}}x{{/a}}{{/a}}{{/a}}")], variables=[VariableSpec("a", "array")])
    with pytest.raises(PromptError, match="steps") as caught:
        nested.render({"a": [1] * 1000})
    assert caught.value.code == "prompt_limit"
    text = compile_prompt([("user", "{{#a}}" + "x" * 200_000 + "{{/a}}")], variables=[VariableSpec("a", "array")])
    with pytest.raises(PromptError, match="steps"):
        text.render({"a": [1] * 10_000})


def test_threads_share_one_compiled_prompt() -> None:
    prompt = compile_prompt(
        [("user", "{{#n}}{{.}} {{/n}}{{who}}")], variables=[VariableSpec("n", "array"), VariableSpec("who")]
    )
    wrong: list[str] = []

    def work(who: str) -> None:
        expected = "1 2 3 " + who
        got = [prompt.render({"n": [1, 2, 3], "who": who})[0]["content"] for _ in range(300)]
        wrong.extend(text for text in got if text != expected)

    threads = [threading.Thread(target=work, args=(f"thread {i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_front_door_is_light() -> None:
    import subprocess

    code = (
        "import sys, tetrad.prompts\n"
        "print([m for m in ('sqlalchemy', 'fastapi', 'pydantic', 'yaml', 'minijinja') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
