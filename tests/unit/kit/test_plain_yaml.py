"""YAML that can only be read one way."""

from __future__ import annotations

import pytest

from tetrad.kit.plain_yaml import BadYaml, parse_yaml


def test_values_are_json_and_lines_are_known() -> None:
    read = parse_yaml(
        "a: 1\nb: [yes, 0x1f, 1e3, -2.5, ~, true, 2026-01-01]\nc:\n  d: 'null'\n  e: !  7\n", where="f", first_line=10
    )
    assert read.value == {
        "a": 1,
        "b": ["yes", 31, 1000.0, -2.5, None, True, "2026-01-01"],
        "c": {"d": "null", "e": "7"},
    }
    assert (read.line("a"), read.line("c", "d"), read.line("c", "x", "y"), read.line("b", 3)) == (10, 13, 12, 11)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2", "f:2: the key 'a' stands twice"),
        ("a: {b: 1, b: 2}", "'b' stands twice"),
        ("a: &x 1\nb: *x", "f:1: the anchor &x"),
        ("b: *x", "f:1"),
        ("a: !!python/name:os.system", "the tag"),
        ("a: !custom x", "the tag"),
        ("<<: {a: 1}", "a merge key"),
        ("? [a]\n: b", "a key that is no text"),
        ("--- a\n--- b", "f:2: a second document"),
        ("%YAML 1.1\n---\na: 1", "a YAML directive"),
        ("a: .nan", "no JSON number"),
        ("a: 1e999", "larger than any JSON number"),
        ("a: " + "9" * 41, "more than 40 digits"),
        ("a: [1", "not YAML"),
        ("a:\n\t- b", "f:2: not YAML"),
        ("a: b: c", "f:1: not YAML"),
        ("a: \x00", "f:1: not YAML"),
        ("[" * 70 + "]" * 70, "nested deeper than 64 levels"),
        ("[" * 100_000, "nested deeper than 64 levels"),
        ("x" * 262_145, "more than 262,144 bytes"),
        ("[" + "a," * 60_000 + "a]", "more than 50,000 values"),
    ],
)
def test_what_could_be_read_two_ways_or_grow_is_refused_with_its_line(text: str, said: str) -> None:
    with pytest.raises(BadYaml) as caught:
        parse_yaml(text, where="f")
    assert said in caught.value.message
    assert caught.value.hint
