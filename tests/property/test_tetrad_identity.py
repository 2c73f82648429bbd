"""Identity does not depend on order, machine or storage, and nothing else has the same."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from tetrad.code import CodeFile, MemorySource, parse_ignore, tree_digest
from tetrad.datasets import Shape, content_keys, dataset_digest, diff_values, order_digest, place
from tetrad.kernel import canonical_json, digest_bytes, digest_json
from tetrad.registry import SemVer
from tetrad.releases import build_manifest

names = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="/\\:"), min_size=1, max_size=6
).filter(lambda name: name not in (".", ".."))
paths = st.lists(names, min_size=1, max_size=3).map("/".join)
files = st.dictionaries(paths, st.tuples(st.binary(max_size=8), st.booleans()), max_size=8)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
rows = st.dictionaries(st.text(max_size=3), json_values, max_size=3)
digests = st.integers(0, 15).map(lambda n: f"sha256:{n:064x}")


def tree(files: Mapping[str, tuple[bytes, bool]], order: random.Random) -> str:
    entries = [CodeFile(path, digest_bytes(data), mark, len(data)) for path, (data, mark) in files.items()]
    order.shuffle(entries)
    return tree_digest(entries)


@given(files, files, st.randoms())
def test_two_trees_have_one_digest_exactly_when_they_are_equal(one: dict, other: dict, order: random.Random) -> None:
    assert tree(one, order) == tree(dict(reversed(one.items())), order)
    assert (tree(one, order) == tree(other, order)) == (one == other)


@given(files)
def test_an_ignored_file_changes_nothing_and_a_kept_one_does(found: dict) -> None:
    assume(not any(path.startswith(f"{folder}/") for path in found for folder in found))
    source = MemorySource({**found, "tetrad.lock": (b"x", False)})
    listed = {file.path for file in source.walk(parse_ignore(), max_files=100)}
    assert listed == {path for path in found if not parse_ignore().excludes(path)}
    assert "tetrad.lock" not in listed


@given(
    st.lists(st.tuples(st.text(max_size=4), st.binary(min_size=32, max_size=32)), unique_by=lambda m: m[0], max_size=6),
    st.randoms(),
)
def test_a_datasets_digest_does_not_depend_on_order_but_its_order_digest_does(
    members: list, order: random.Random
) -> None:
    shuffled = list(members)
    order.shuffle(shuffled)
    assert dataset_digest(members) == dataset_digest(shuffled)
    assert (order_digest(k for k, _ in members) == order_digest(k for k, _ in shuffled)) == (members == shuffled)
    if members:
        assert dataset_digest(members[1:]) != dataset_digest(members)
        changed = [(members[0][0] + "x", members[0][1]), *members[1:]]
        assert dataset_digest(changed) != dataset_digest(members)


@given(st.lists(st.binary(min_size=1, max_size=2), max_size=20))
def test_content_keys_are_unique_and_count_what_stands_twice(contents: list) -> None:
    keys = list(content_keys(contents))
    assert len(set(keys)) == len(keys)
    assert sorted(key.partition(".")[0] for key in keys) == sorted(content.hex() for content in contents)


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)), st.sets(st.integers(12, 20)), st.randoms())
def test_places_rise_and_move_as_few_rows_as_can_be(
    turned: list, removed: set, added: set, order: random.Random
) -> None:
    before = {f"k{n}": position for n, position in enumerate(place([f"k{n}" for n in range(12)], {}))}
    keys = [f"k{n}" for n in turned if n not in removed] + [f"k{n}" for n in added]
    kept = [key for key in keys if key in before]
    insertions = [key for key in keys if key not in before]
    for key in insertions:
        keys.remove(key)
        keys.insert(order.randint(0, len(keys)), key)
    positions = dict(zip(keys, place(keys, before), strict=True))
    values = [positions[key] for key in keys]
    assert values == sorted(set(values))
    assert all(value > 0 for value in values)
    stayed = sum(positions[key] == before[key] for key in kept)
    longest = [1] * len(kept)
    for i, key in enumerate(kept):
        longest[i] += max((longest[j] for j in range(i) if before[kept[j]] < before[key]), default=0)
    assert stayed >= max(longest, default=0)


def patched(value: Any, changes: list) -> Any:
    import copy

    import msgspec

    value = copy.deepcopy(value)
    for change in changes:
        if change.path == "":
            value = change.new
            continue
        at, *_ = [value]
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in change.path[1:].split("/")]
        for part in parents:
            at = at[int(part)] if isinstance(at, list) else at[part]
        if change.new is msgspec.UNSET:
            del at[last]
        elif isinstance(at, list):
            at[int(last)] = change.new
        else:
            at[last] = change.new
    return value


@given(rows, rows)
def test_a_difference_turns_the_old_row_into_the_new_one(old: dict, new: dict) -> None:
    changes = list(diff_values(old, new))
    assert canonical_json(patched(old, changes)) == canonical_json(new)
    assert (changes == []) == (canonical_json(old) == canonical_json(new))


@given(st.lists(rows, max_size=5), st.randoms())
def test_a_schema_does_not_depend_on_the_order_of_rows(found: list, order: random.Random) -> None:
    shuffled = list(found)
    order.shuffle(shuffled)
    one, other = Shape(), Shape()
    for row in found:
        one.add(row)
    for row in shuffled:
        other.add(row)
    assert one.schema() == other.schema()


parts = st.fixed_dictionaries(
    {"role": st.sampled_from(["a", "b"]), "name": st.sampled_from(["x", "y"]), "digest": digests}
)
manifests = st.fixed_dictionaries(
    {
        "app": st.sampled_from(["a", "b"]),
        "code": st.fixed_dictionaries({"digest": digests, "tree": digests, "patch": st.none() | digests}),
        "data": st.lists(parts, max_size=4, unique_by=lambda part: tuple(part.values())),
        "model": st.lists(parts, max_size=3, unique_by=lambda part: tuple(part.values())),
        "prompt": st.lists(parts, max_size=3, unique_by=lambda part: tuple(part.values())),
        "graph": st.just([{"step": "answer", "sampling": {}, "next": []}]),
    }
)


def shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, list):
        return order.sample(value, len(value))
    if isinstance(value, dict):
        items = list(value.items())
        order.shuffle(items)
        return {name: shuffled(inner, order) for name, inner in items}
    return value


@given(manifests, st.randoms())
def test_the_same_parts_are_the_same_release_in_any_order(manifest: dict, order: random.Random) -> None:
    assert digest_json(build_manifest(**manifest)) == digest_json(build_manifest(**shuffled(manifest, order)))


@given(manifests, st.sampled_from(["code", "data", "model", "prompt"]), st.randoms())
def test_another_part_or_another_role_is_another_release(manifest: dict, what: str, order: random.Random) -> None:
    before = digest_json(build_manifest(**manifest))
    other = "sha256:" + "f" * 64
    if what == "code":
        changed = {**manifest, "code": {**manifest["code"], "tree": other}}
    else:
        changed = {**manifest, what: [*manifest[what], {"role": "a", "name": "z", "digest": other}]}
    assert digest_json(build_manifest(**changed)) != before
    if what != "code" and manifest[what]:
        swapped = [{**part, "role": "b" if part["role"] == "a" else "a"} for part in manifest[what]]
        key = lambda part: (part["role"], part["name"], part["digest"])  # noqa: E731
        if sorted(swapped, key=key) != sorted(manifest[what], key=key):
            assert digest_json(build_manifest(**{**manifest, what: swapped})) != before


versions = st.builds(
    SemVer,
    st.integers(0, 3),
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["", "a", "a.1", "1", "rc.10", "rc.9"]),
)


@given(versions, versions, versions)
def test_version_numbers_are_in_one_order(a: SemVer, b: SemVer, c: SemVer) -> None:
    assert SemVer.parse(str(a)) == a
    assert (a < b) + (a == b) + (a > b) == 1
    assert not (a < b and b < c) or a < c
    for part in ("major", "minor", "patch"):
        assert a < a.bump(part)


def plainly_matches(pattern: list[str], path: list[str]) -> bool:
    """Match as the words of the syntax say, without any cleverness."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        shortest = 1 if len(pattern) == 1 else 0
        return any(plainly_matches(pattern[1:], path[taken:]) for taken in range(shortest, len(path) + 1))
    return bool(path) and name_matches(pattern[0], path[0]) and plainly_matches(pattern[1:], path[1:])


def name_matches(pattern: str, name: str) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "*":
        return any(name_matches(pattern[1:], name[taken:]) for taken in range(len(name) + 1))
    return bool(name) and pattern[0] in ("?", name[0]) and name_matches(pattern[1:], name[1:])


pieces = st.text("ab*?", min_size=1, max_size=4)


@given(
    st.lists(st.just("**") | pieces, min_size=2, max_size=5),
    st.lists(st.text("ab", min_size=1, max_size=3), min_size=1, max_size=5),
)
def test_a_pattern_means_what_the_syntax_says(pattern: list[str], path: list[str]) -> None:
    wanted = plainly_matches(pattern, path)
    assert parse_ignore("/" + "/".join(pattern)).matches("/".join(path), folder=False) == wanted
