"""Digests of rows, places of rows, shapes and differences."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from tetrad.datasets import Shape, content_keys, dataset_digest, diff_values, order_digest, place
from tetrad.kernel import digest_json

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/dataset_digest.json").read_text("utf-8"))


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_datasets_have_the_digests_of_the_golden_vectors(case: dict) -> None:
    digests = [bytes.fromhex(digest_json(row)[7:]) for row in case["rows"]]
    keys = [str(row[case["key"]]) for row in case["rows"]] if case["key"] else list(content_keys(digests))
    assert dataset_digest(zip(keys, digests, strict=True)) == case["digest"]
    assert order_digest(keys) == case["order"]


def test_a_key_cannot_run_into_a_digest() -> None:
    one = dataset_digest([("ab", b"c" * 32), ("d", b"e" * 32)])
    other = dataset_digest([("a", b"b" + b"c" * 31), ("cd", b"e" * 32)])
    assert one != other
    assert order_digest(["a", "bc"]) != order_digest(["ab", "c"])


def test_rows_that_stand_twice_have_two_keys() -> None:
    a, b = b"a" * 32, b"b" * 32
    assert list(content_keys([a, b, a, a])) == [a.hex(), b.hex(), f"{a.hex()}.1", f"{a.hex()}.2"]


def test_an_insertion_moves_no_other_row() -> None:
    keys = [f"k{n}" for n in range(100)]
    known = dict(zip(keys, place(keys, {}), strict=True))
    new = place([*keys[:50], "new", *keys[50:]], known)
    assert [p for k, p in zip([*keys[:50], "new", *keys[50:]], new, strict=True) if k != "new"] == list(known.values())


def test_moving_one_row_moves_only_that_row() -> None:
    keys = [f"k{n}" for n in range(100)]
    known = dict(zip(keys, place(keys, {}), strict=True))
    turned = [keys[-1], *keys[:-1]]
    moved = [key for key, position in zip(turned, place(turned, known), strict=True) if known[key] != position]
    assert moved == [keys[-1]]


def test_a_used_up_gap_places_all_anew() -> None:
    positions = place(["a", "x", "y", "b"], {"a": 1, "b": 3})
    assert positions == sorted(set(positions))


def test_a_shape_says_what_all_rows_fulfil() -> None:
    shape = Shape()
    for row in (
        {"q": "a", "n": 1, "tags": ["x"]},
        {"q": "b", "n": 1.5, "tags": [], "note": None},
        {"q": "c", "n": 2, "tags": [1]},
    ):
        shape.add(row)
    assert shape.schema() == {
        "type": "object",
        "properties": {
            "n": {"type": "number"},
            "note": {"type": "null"},
            "q": {"type": "string"},
            "tags": {"type": "array", "items": {"type": ["integer", "string"]}},
        },
        "required": ["n", "q", "tags"],
    }
    assert Shape().schema() == {}


def test_a_deep_or_wide_row_has_a_short_schema() -> None:
    deep: object = "x"
    for _ in range(100):
        deep = [deep]
    shape = Shape()
    shape.add({"deep": deep, "wide": {f"f{n}": n for n in range(1000)}})
    assert len(json.dumps(shape.schema())) < 2000


@pytest.mark.parametrize(
    ("old", "new", "changes"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("/a", 1, 2)]),
        ({"a": True}, {"a": 1}, [("/a", True, 1)]),
        ({"a": None}, {}, [("/a", None, msgspec.UNSET)]),
        ({}, {"a/b~": 0}, [("/a~1b~0", msgspec.UNSET, 0)]),
        ({"m": [{"c": "x"}, {"c": "y"}]}, {"m": [{"c": "x"}, {"c": "z"}]}, [("/m/1/c", "y", "z")]),
        ({"m": [1]}, {"m": [1, 2]}, [("/m", [1], [1, 2])]),
    ],
)
def test_a_difference_names_the_fields(old: object, new: object, changes: list) -> None:
    assert [(change.path, change.old, change.new) for change in diff_values(old, new)] == changes
