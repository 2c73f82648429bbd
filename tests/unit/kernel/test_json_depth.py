"""A document's depth is known on every Python alike, also where none could read the document."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import nests_deeper

documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)


def depth_of(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@given(documents, st.booleans(), st.booleans())
def test_only_what_opens_a_level_counts(value: Any, spread: bool, ascii_only: bool) -> None:
    document = json.dumps(value, indent=1 if spread else None, ensure_ascii=ascii_only).encode()
    depth = depth_of(value)
    assert not nests_deeper(document, depth)
    if depth:
        assert nests_deeper(document, depth - 1)


@pytest.mark.parametrize("text", ["[" * 300, "{" * 300, '"[' * 300, "\\[" * 300, "\n[\n" * 300])
def test_brackets_in_texts_open_nothing(text: str) -> None:
    assert not nests_deeper(json.dumps({text: [text]}).encode())
    assert not nests_deeper(json.dumps([[text]] * 300).encode())


@pytest.mark.parametrize("levels", [257, 3_000, 100_000])
def test_what_no_python_could_read_is_deeper(levels: int) -> None:
    assert nests_deeper(b"[" * levels + b"]" * levels)
    assert nests_deeper(b'{"a":' * levels + b"1" + b"}" * levels)
    assert not nests_deeper(b"[" * 256 + b"]" * 256)
    assert not nests_deeper(b"[" + b"[]," * levels + b"{}]")
