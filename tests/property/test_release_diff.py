"""Differences: nothing between equals, and enough of what differs to make the one from the other."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tetrad.code import CodeFile
from tetrad.datasets import Row
from tetrad.kernel import Digest, canonical_json, digest_bytes, digest_json
from tetrad.registry import RefEntry, had_before
from tetrad.releases._diff import changes, diff_files, diff_messages, diff_rows, pair_parts
from tetrad.releases._lock import drift, format_lock, lock_of, read_lock
from tetrad.releases._text_diff import Hunk, diff_text

LINES = st.lists(st.sampled_from(["", "a", "b", "be kind", "be brief", "é — 語"]), max_size=12)
TEXTS = LINES.map("\n".join) | st.text(max_size=60)
MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXTS}), max_size=6
)
ROWS = st.lists(st.fixed_dictionaries({"q": st.sampled_from("abcdef"), "a": st.integers(0, 3)}), max_size=10)
FILES = st.dictionaries(
    st.sampled_from(["a.py", "b.py", "lib/c.py", "d"]), st.tuples(st.sampled_from([b"1", b"2"]), st.booleans())
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def applied(old: str, hunks: tuple[Hunk, ...]) -> str:
    lines = old.split("\n")
    for hunk in reversed(hunks):
        start = hunk.old_start - 1
        assert tuple(lines[start : start + len(hunk.old)]) == hunk.old
        lines[start : start + len(hunk.old)] = hunk.new
    return "\n".join(lines)


def inverse(hunk: Hunk) -> Hunk:
    return Hunk(hunk.new_start, hunk.old_start, hunk.new, hunk.old)


@given(TEXTS, TEXTS)
def test_hunks_make_the_new_text_from_the_old_one_and_back(old: str, new: str) -> None:
    hunks = diff_text(old, new)
    assert applied(old, hunks) == new
    assert applied(new, tuple(inverse(hunk) for hunk in hunks)) == old
    assert (hunks == ()) is (old == new)


@given(TEXTS, TEXTS)
def test_words_hold_both_texts(old: str, new: str) -> None:
    for hunk in diff_text(old, new):
        if hunk.words:
            assert "".join(w.text for w in hunk.words if w.op != "insert") == "\n".join(hunk.old)
            assert "".join(w.text for w in hunk.words if w.op != "delete") == "\n".join(hunk.new)


@given(MESSAGES, MESSAGES)
def test_changes_of_messages_lead_from_one_list_to_the_other(
    old: list[dict[str, str]], new: list[dict[str, str]]
) -> None:
    found = diff_messages(old, new)
    assert diff_messages(old, old) == ()
    assert bool(found) is (old != new)
    gone = {each.old_place for each in found if each.old_place}
    come = {each.new_place for each in found if each.new_place}
    left = [message for place, message in enumerate(old, 1) if place not in gone]
    assert left == [message for place, message in enumerate(new, 1) if place not in come]
    for each in found:
        if each.change == "changed":
            before, after = old[each.old_place - 1], new[each.new_place - 1]
            assert applied(before["content"], each.hunks) == after["content"]
            assert (each.old_role or each.role, each.role) == (before["role"], after["role"])


def rows(values: list[dict[str, Any]], *, named: bool) -> list[Row]:
    seen: dict[str, int] = {}
    made = []
    for position, value in enumerate(values):
        digest = digest_json(value)
        count = seen[digest] = seen.get(digest, 0) + 1
        content_key = digest.removeprefix("sha256:") + (f".{count - 1}" if count > 1 else "")
        made.append(Row(f"row-{position}" if named else content_key, digest, position + 1, value))
    return made


@given(ROWS, ROWS, st.booleans())
def test_changes_of_rows_add_up(old: list[dict[str, Any]], new: list[dict[str, Any]], named: bool) -> None:
    before, after = rows(old, named=named), rows(new, named=named)
    assert diff_rows(before, before) == ()
    found = diff_rows(before, after)
    count = {kind: sum(each.change == kind for each in found) for kind in ("added", "removed", "changed")}
    assert len(after) - len(before) == count["added"] - count["removed"]
    assert bool(found) is (old != new)
    assert all(each.fields for each in found if each.change == "changed")


@given(FILES, FILES)
def test_changes_of_files_lead_from_one_tree_to_the_other(
    old: dict[str, tuple[bytes, bool]], new: dict[str, tuple[bytes, bool]]
) -> None:
    def files(tree: dict[str, tuple[bytes, bool]]) -> dict[str, CodeFile]:
        return {path: CodeFile(path, digest_bytes(data), mode, len(data)) for path, (data, mode) in tree.items()}

    before, after = files(old), files(new)
    rebuilt = dict(before)
    for each in diff_files(before.values(), after.values()):
        if each.change == "removed":
            assert rebuilt.pop(each.path).digest == each.old_digest
        else:
            rebuilt[each.path] = after[each.path]
            assert after[each.path].digest == each.new_digest
    assert rebuilt == after
    assert diff_files(before.values(), before.values()) == ()


@given(JSON, JSON)
def test_values_differ_where_their_canonical_forms_do(old: Any, new: Any) -> None:
    assert (changes(old, new) == ()) is (canonical_json(old) == canonical_json(new))


PARTS = st.lists(st.tuples(st.sampled_from(["x", "y"]), st.sampled_from("abc")), unique=True, max_size=5)


@given(PARTS, PARTS)
def test_every_part_is_in_one_pair_and_the_same_name_is_its_own_partner(
    old: list[tuple[str, str]], new: list[tuple[str, str]]
) -> None:
    pairs = pair_parts(old, new, lambda part: part[0], lambda part: part[1])
    assert sorted(left for left, _ in pairs if left) == sorted(old)
    assert sorted(right for _, right in pairs if right) == sorted(new)
    assert all((part, part) in pairs for part in old if part in new)
    assert all(left[0] == right[0] for left, right in pairs if left and right)


NAMES = [Digest(f"sha256:{digit * 64}") for digit in "abcd"]


def moves(path: list[Digest]) -> list[RefEntry]:
    from datetime import UTC, datetime

    at = datetime(2026, 1, 1, tzinfo=UTC)
    befores = [None, *path]
    return [
        RefEntry("p", seq, "a/r", befores[seq - 1], new, "k", "", at, "", "", "", "") for seq, new in enumerate(path, 1)
    ]


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=12))
def test_rolling_back_again_and_again_ends_and_never_goes_forward(path: list[Digest]) -> None:
    path = [digest for index, digest in enumerate(path) if index == 0 or digest != path[index - 1]]
    seen = [path[-1]]
    while had := had_before(moves(path)):
        assert had[0] in path
        assert had[0] not in seen, "never a release that was left behind"
        assert len(set(had)) == len(had)
        path = [*path, had[0]]
        seen.append(had[0])
    assert path[-1] == path[0], "the way back ends where the ref began"


PART = st.fixed_dictionaries(
    {"role": st.sampled_from(["r", "s"]), "name": st.sampled_from("ab"), "digest": st.sampled_from(NAMES)}
)


def manifest(parts: list[dict[str, Any]], tree: Digest, sampling: dict[str, Any], commit: str) -> dict[str, Any]:
    unique = {(part["role"], part["name"]): part for part in parts}
    code = {"digest": digest_json([tree, commit]), "tree": tree, "patch": None, "git": {"commit": commit}}
    listed = [unique[key] for key in sorted(unique)]
    return {
        "app": "bot", "code": code, "data": listed, "model": [], "prompt": [],
        "graph": [{"step": "answer", "sampling": sampling}],
    }  # fmt: skip


MANIFESTS = st.builds(
    manifest, st.lists(PART, max_size=3), st.sampled_from(NAMES),
    st.dictionaries(st.sampled_from("tk"), st.none() | st.booleans() | st.integers(0, 2)),
    st.sampled_from(["c1", "c2"]),
)  # fmt: skip


@given(MANIFESTS, MANIFESTS)
def test_a_lock_drifts_exactly_where_it_says_something_else(left: dict[str, Any], right: dict[str, Any]) -> None:
    one, two = lock_of(left), lock_of(right)
    assert read_lock(format_lock(one)) == one
    assert drift(one, one) == []
    assert bool(drift(one, two)) is (format_lock(one) != format_lock(two))


@given(MANIFESTS)
def test_a_lock_does_not_depend_on_the_commit_that_it_will_be_in(found: dict[str, Any]) -> None:
    committed = {**found, "code": {**found["code"], "git": {"commit": "other"}, "digest": NAMES[0]}}
    assert format_lock(lock_of(committed)) == format_lock(lock_of(found))
