"""What is code and what is not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tetrad.code import BadCode, CodeFile, MemorySource, list_code, parse_ignore, tree_digest
from tetrad.kernel import digest_bytes

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/code_tree.json").read_text("utf-8"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_trees_have_the_digests_of_the_golden_vectors(case: dict) -> None:
    source = MemorySource({file["path"]: (file["text"].encode(), file["executable"]) for file in case["files"]})
    listed, _ = list_code(source)
    files = [
        CodeFile(f.path, digest_bytes(source.read(f.path, max_bytes=1000) or b""), f.executable, f.size) for f in listed
    ]
    assert [file.path for file in files] == case["kept"]
    assert tree_digest(files) == case["tree"]
    assert tree_digest(reversed(files)) == case["tree"]


@pytest.mark.parametrize(
    ("pattern", "line"), [("a//b", 1), ("/", 1), ("\n!", 2), ("ok\n\nsrc\\x", 3), ("x" * 1001, 1), ("\n" * 1001, 0)]
)
def test_a_bad_pattern_is_refused_with_its_line(pattern: str, line: int) -> None:
    with pytest.raises(BadCode) as caught:
        parse_ignore(pattern)
    assert caught.value.hint
    assert not line or f".tetradignore:{line}:" in caught.value.message


def test_a_class_with_expression_characters_stays_a_class() -> None:
    ignore = parse_ignore("[a^-]x\n[!.]y\n[unclosed")
    assert [name for name in ("ax", "^x", "-x", "bx") if ignore.excludes(name)] == ["ax", "^x", "-x"]
    assert [name for name in (".y", "zy", "/y") if ignore.excludes(name)] == ["zy"]
    assert ignore.excludes("[unclosed")


@pytest.mark.parametrize(
    ("pattern", "path"),
    [("*a" * 300 + "b", "a" * 900), ("**/a/" * 190 + "b", "a/" * 450 + "c"), ("*?" * 300 + "b", "a" * 900)],
)
@pytest.mark.timeout(10)
def test_no_pattern_makes_matching_slow(pattern: str, path: str) -> None:
    assert not parse_ignore(pattern).excludes(path)
