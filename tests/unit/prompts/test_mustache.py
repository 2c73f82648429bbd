"""The Mustache subset: what it renders, and what it refuses before anything is rendered."""

from __future__ import annotations

import pytest

from tetrad.prompts import PromptError, VariableSpec, compile_prompt


def render(template: str, values: dict[str, object], types: dict[str, str]) -> str:
    variables = [VariableSpec(name, kind) for name, kind in types.items()]  # type: ignore[arg-type]
    return compile_prompt([("user", template)], variables=variables).render(values)[0]["content"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("Hello {{name}}!", "Hello Ada!"),
        ("Hello {{ name }}!", "Hello Ada!"),
        ("{{{name}}} {{&name}} {{& name }}", "Ada Ada Ada"),
        ("{{user.first}} {{user.age}} {{user.tags}}", 'Ada 36 ["x", true, null]'),
        ("{{#items}}<{{.}}>{{/items}}", "<1><2>"),
        ("{{#rows}}{{k}}={{name}};{{/rows}}", "a=Ada;b=Ada;"),
        ("{{#user}}{{first}}{{/user}}", "Ada"),
        ("{{#yes}}on{{/yes}}{{^yes}}off{{/yes}}", "on"),
        ("{{#no}}on{{/no}}{{^no}}off{{/no}}", "off"),
        ("{{#empty}}x{{/empty}}{{^empty}}empty{{/empty}}", "empty"),
        ("{{#zero}}zero is something{{/zero}}", "zero is something"),
        ("{{#rows}}{{#items}}{{k}}{{.}}{{/items}}{{/rows}}", "a1a2b1b2"),
        ("a{{! a comment\nof two lines }}b", "ab"),
        ("{% if x %} {{name}} {# kept #} {%- raw -%}", "{% if x %} Ada {# kept #} {%- raw -%}"),
        ("<b>&amp; {{markup}}", '<b>&amp; <i>"&"</i>'),
        ("{{#user}}{{missing.deep}}{{/user}}", None),
        ("{{#rows}}{{#note}}!{{/note}}{{^note}}-{{/note}}{{/rows}}", "--"),
        ("{ {name} } {{name}}}", "{ {name} } Ada}"),
    ],
)
def test_templates_render_as_the_specification_says(template: str, expected: str | None) -> None:
    values: dict[str, object] = {
        "name": "Ada",
        "user": {"first": "Ada", "age": 36, "tags": ["x", True, None]},
        "items": [1, 2],
        "rows": [{"k": "a"}, {"k": "b"}],
        "yes": True,
        "no": False,
        "empty": [],
        "zero": 0,
        "markup": '<i>"&"</i>',
    }
    named = {bool: "boolean", str: "string", int: "integer", list: "array", dict: "object"}
    types = {name: named[type(value)] for name, value in values.items()}
    if expected is None:
        with pytest.raises(PromptError, match=r"'missing\.deep'") as caught:
            render(template, values, types)
        assert caught.value.code == "prompt_variables"
    else:
        assert render(template, values, types) == expected


def test_tags_alone_on_their_line_leave_no_empty_line() -> None:
    template = "Rules:\n{{#rules}}\n- {{.}}\n{{/rules}}\n  {{! note }}  \nEnd\n{{^rules}}\nnone\n{{/rules}}"
    assert (
        render(template, {"rules": ["be kind", "be brief"]}, {"rules": "array"})
        == "Rules:\n- be kind\n- be brief\nEnd\n"
    )
    assert render(template, {"rules": []}, {"rules": "array"}) == "Rules:\nEnd\nnone\n"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("one\n{{other}}", "message 1 (user), line 2: the variable 'other' is not declared"),
        ("{{#name}}\n\nx", "line 1: the section 'name' is never closed"),
        ("x{{/name}}", "closes a section that is not open"),
        ("{{#name}}\n{{/other}}", "line 2: {{/other}} closes the section 'name' of line 1"),
        ("a\n\n{{name", "line 3: a tag opens here and never closes"),
        ("{{> header}}", "is included here and is not resolved"),
        ("{{=<% %>=}}", "other delimiters are not in the Mustache subset"),
        ("{{.}}", "stands outside every section"),
        ("{{a b}}", "'a b' is no name for a variable"),
        ("{{}}", "'' is no name for a variable"),
        ("{{name()}}", "is no name for a variable"),
        ("{{name}\x02}", "control character"),
        ("{{#name}}" * 17 + "{{/name}}" * 17, "nested deeper than 16 levels"),
    ],
)
def test_a_broken_template_is_refused_with_its_line(template: str, said: str) -> None:
    with pytest.raises(PromptError) as caught:
        compile_prompt([("user", template)], variables=[VariableSpec("name")])
    assert said in caught.value.message


def test_a_variable_may_carry_any_name_that_is_not_reserved() -> None:
    for name in ("s0", "values", "items", "get", "class", "namespace", "x" * 64):
        template = "{{#list}}{{" + name + "}}{{/list}}"
        assert render(template, {name: "v", "list": [1]}, {name: "string", "list": "array"}) == "v"
    for name in ("_look", "if", "true", "range", "a-b", "1a", "", "x" * 65):
        with pytest.raises(PromptError):
            VariableSpec(name)
