"""The Jinja2 subset: useful, and unable to build much out of little."""

from __future__ import annotations

import time

import pytest

from tetrad.prompts import PromptError, VariableSpec, compile_prompt

VARIABLES = [
    VariableSpec("items", "array", [1, 2, 3]),
    VariableSpec("rows", "array", [{"k": "a"}, {"k": "b"}]),
    VariableSpec("name", default="Ada"),
    VariableSpec("note", default=None),
]


def render(template: str, values: dict[str, object] | None = None) -> str:
    prompt = compile_prompt([("user", template)], syntax="jinja2", variables=VARIABLES)
    return prompt.render(values or {})[0]["content"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for i in items %}\n- {{ i }}/{{ loop.length }}\n{% endfor %}\nend", "- 1/3\n- 2/3\n- 3/3\nend"),
        ("{% if name == 'Ada' and not note %}yes{% elif name %}no{% else %}?{% endif %}", "yes"),
        ("{{ name | upper | replace('A', '4') }} {{ items|join(', ') }}", "4D4 1, 2, 3"),
        ("{{ rows|map(attribute='k')|join('+') }} {{ rows|tojson }}", 'a+b [{"k": "a"}, {"k": "b"}]'),
        ("{{ rows[0].k }}{{ rows[1]['k'] }} {{ {'x': {'y': 1}} }}", 'ab {"x": {"y": 1}}'),
        ("{{ note is none }} {{ note|default('x') }}|{{ note }}|{{ true }} {{ 1.5 }}", "true |"),
        ("{% raw %}{{ name }}{% endraw %}{# gone #}", "{{ name }}"),
        ("{{ '}}' ~ name }} {{ \"%}\" }} <{{ name }}>", "}}Ada %} <Ada>"),
        ("**bold** * 2 {{ range(3)|list }}", "**bold** * 2 [0, 1, 2]"),
        ("{{ items|length + 1 }} {{ items[-1] }} {{ 7 // 2 }} {{ 3 is not divisibleby(2) }}", "4 3 3 true"),
    ],
)
def test_what_prompts_need_is_there(template: str, expected: str) -> None:
    assert render(template).startswith(expected)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("a\n{{ missing }}", "line 2: the variable 'missing' is not declared"),
        ("a\n\n{% if %}", "line 3"),
        ("{% set x = name %}", "the statement 'set'"),
        ("{%- macro m() %}{% endmacro %}", "the statement 'macro'"),
        ("{% include 'x' %}", "the statement 'include'"),
        ("{% import 'x' as y %}", "the statement 'import'"),
        ("{# {% set x = 1 %} #}", "the statement 'set'"),
        ("{% for x in items recursive %}{{ loop(items) }}{% endfor %}", "recursive"),
        ("{{ 'x' * 1000000 }}", "`*`"),
        ("{{ 2 ** 9 }}", "`*`"),
        ("{{ name|indent(1000000) }}", "the filter 'indent'"),
        ("{{ name|format(1) }}", "the filter 'format'"),
        ("{{ items|map('indent', 9) }}", "`map` without `attribute=`"),
        ("{{ debug() }}", "'debug' cannot be called"),
        ("{{ name.upper() }}", "'upper' cannot be called"),
        ("{{ namespace(x=1) }}", "'namespace' cannot be called"),
        ("{{ " + " ~ ".join(["name"] * 25) + " }}", "more than 24 names"),
        ("{{ '" + "x" * 2100 + "' }}", "more than 2000 characters"),
        ("{{ name ", "never closes"),
        ("{{ name }\x00}", "control character"),
    ],
)
def test_what_could_do_harm_is_refused_when_it_is_compiled(template: str, said: str) -> None:
    with pytest.raises(PromptError) as caught:
        compile_prompt([("user", template)], syntax="jinja2", variables=VARIABLES)
    assert said in caught.value.message


def test_an_undefined_field_is_refused_by_its_line() -> None:
    with pytest.raises(PromptError) as caught:
        render("fine\n{{ rows[0].other }}")
    assert "message 1 (user), line 2" in caught.value.message
    assert caught.value.code == "prompt_variables"


@pytest.mark.parametrize(
    "template",
    [
        "{% for i in range(90000) %}{% for j in range(90000) %}x{% endfor %}{% endfor %}",
        "{% for i in range(20000) %}{{ name }}{% endfor %}",
        "{{ name|replace('', name) }}",
        "{{ range(90000)|join(name) }}",
        "{% for i in range(40000) %}" + "x" * 100_000 + "{% endfor %}",
    ],
)
def test_much_work_out_of_little_ends_soon_with_an_error(template: str) -> None:
    started = time.monotonic()
    with pytest.raises(PromptError) as caught:
        render(template, {"name": "x" * 1_000_000})
    assert caught.value.code == "prompt_limit"
    assert time.monotonic() - started < 5
