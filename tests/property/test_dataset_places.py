"""What waits on disk says the same as the pure rules in memory, whatever the rows."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from tetrad.datasets import Shape, dataset_digest, merge_schemas, order_digest, place
from tetrad.datasets._scratch import Scratch
from tetrad.datasets.ports import Member

keys = st.lists(st.text(alphabet="aàé😀z~|b", min_size=1, max_size=3), unique=True, max_size=12)
leaves = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, width=16) | st.text(max_size=2)
rows = st.dictionaries(
    st.sampled_from("abc"),
    st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2)
    ),
    max_size=3,
)


def digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@given(before=keys, after=keys, changed=st.sets(st.integers(0, 11)), squeeze=st.booleans())
def test_rows_on_disk_are_placed_and_compared_as_the_rules_say(
    before: list[str], after: list[str], changed: set[int], squeeze: bool
) -> None:
    step = 1 if squeeze else 1 << 20
    old = {key: Member(key, digest(key), step * (n + 1)) for n, key in enumerate(before)}
    new = {key: digest(key + "!" if n in changed else key) for n, key in enumerate(after)}
    scratch = Scratch()
    for n, (key, value) in enumerate(new.items(), 1):
        scratch.add(n, key, value)
    scratch.seal()
    assert scratch.digest() == dataset_digest(new.items())
    assert scratch.order() == order_digest(after)
    scratch.compare(sorted(old.values(), key=lambda member: member.key.encode()))
    positions = dict(zip(after, place(after, {key: member.position for key, member in old.items()}), strict=True))
    wanted = {key: Member(key, new[key], positions[key]) for key in after}
    assert list(scratch.begun()) == sorted(
        (member for key, member in wanted.items() if old.get(key) != member), key=lambda member: member.key.encode()
    )
    assert sorted(scratch.ended()) == sorted(key for key, member in old.items() if wanted.get(key) != member)
    scratch.close()


@given(first=st.lists(rows, max_size=4), second=st.lists(rows, max_size=4))
def test_merged_schemas_are_the_schema_of_all_rows(first: list[dict], second: list[dict]) -> None:
    one, other, both = Shape(), Shape(), Shape()
    for row in first:
        one.add(row)
        both.add(row)
    for row in second:
        other.add(row)
        both.add(row)
    merged = merge_schemas(one.schema(), other.schema())
    assert merged is None or merged == both.schema()


@given(st.lists(keys, min_size=1, max_size=4))
def test_equal_rows_are_counted_in_their_order(groups: list[list[str]]) -> None:
    texts = [text for group in groups for text in group]
    scratch = Scratch()
    for n, text in enumerate(texts, 1):
        scratch.add(n, digest(text).hex(), digest(text))
    scratch.seal()
    scratch.number_equals()
    seen: dict[str, int] = {}
    wanted = []
    for text in texts:
        count = seen[text] = seen.get(text, -1) + 1
        wanted.append(digest(text).hex() + (f".{count}" if count else ""))
    assert list(scratch.keys()) == wanted
    scratch.close()
