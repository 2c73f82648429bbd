"""Version numbers, names, globs and the log's chain."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from tetrad.kernel import Digest
from tetrad.registry import (
    GENESIS,
    BadName,
    BadVersion,
    RefEntry,
    SemVer,
    check_log,
    check_name,
    check_simple_name,
    entry_hash,
    glob_matches,
    governs,
)


def test_numbers_follow_each_other_as_semver_says() -> None:
    ordered = [
        "0.9.9", "1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11",
        "1.0.0-rc.1", "1.0.0", "1.0.1", "1.2.0", "1.10.0", "2.0.0",
    ]  # fmt: skip
    assert [str(version) for version in sorted(map(SemVer.parse, reversed(ordered)))] == ordered


@pytest.mark.parametrize(
    "text", ["1.0", "v1.0.0", "1.0.0+build", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0\n", "", "1" * 70]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(BadVersion):
        SemVer.parse(text)


def test_a_bump_raises_one_part_and_clears_those_behind() -> None:
    assert [str(SemVer(1, 2, 3).bump(part)) for part in ("major", "minor", "patch")] == ["2.0.0", "1.3.0", "1.2.4"]
    assert str(SemVer(2, 0, 0, "rc.1").bump("patch")) == "2.0.0"


@pytest.mark.parametrize(
    "name", ["", "A", "a/", "/a", "a//b", "../a", "a b", "a" * 129, "a/b/c/d/e", "-a", "a.", "ä", "a\n"]
)
def test_names_are_plain(name: str) -> None:
    with pytest.raises(BadName) as caught:
        check_name(name)
    assert "lower-case" in caught.value.hint


def test_a_simple_name_has_no_parts() -> None:
    assert check_name("local/smollm2-135m") == "local/smollm2-135m"
    with pytest.raises(BadName):
        check_simple_name("a/b")


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*/production", "app/production", True),
        ("*/production", "app/x/production", False),
        ("**/production", "app/x/production", True),
        ("app/*", "app/staging", True),
        ("app/*", "apps/staging", False),
        ("app/prod.ction", "app/production", False),
    ],
)
def test_a_star_stays_within_a_part(pattern: str, name: str, matches: bool) -> None:
    assert glob_matches(pattern, name) is matches


@pytest.mark.parametrize(
    ("pattern", "name", "governed"),
    [
        ("*/production", "bindings/production", True),
        ("*/production", "bindings/production/bot", True),
        ("bindings/production", "bindings/production/bot", True),
        ("bindings/*", "bindings/staging/bot", True),
        ("bindings/production/bot", "bindings/production/bot", True),
        ("bindings/production/bot", "bindings/production", False),
        ("bindings/production/bot", "bindings/production/cat", False),
        ("*/production", "bindings/staging/production", False),
        ("*/production", "bot/production/x", False),
    ],
)
def test_what_one_app_binds_is_governed_like_its_environment(pattern: str, name: str, governed: bool) -> None:
    assert governs(pattern, name) is governed


def chain(length: int) -> list[RefEntry]:
    entries: list[RefEntry] = []
    last = GENESIS
    for seq in range(1, length + 1):
        entry = RefEntry(
            "default", seq, "a/production", None, Digest(f"sha256:{seq:064}"), "key_1", "Ann",
            datetime(2026, 1, 1, 0, 0, seq, tzinfo=UTC), "because", "", last, "",
        )  # fmt: skip
        entry = msgspec.structs.replace(entry, hash=entry_hash(entry))
        entries.append(entry)
        last = entry.hash
    return entries


def test_a_whole_chain_is_sound() -> None:
    entries = chain(4)
    check = check_log(entries, (4, entries[-1].hash))
    assert (check.sound, check.entries, check.head) == (True, 4, entries[-1].hash)
    assert check_log([], (0, GENESIS)).sound


@pytest.mark.parametrize("field", [name for name in RefEntry.__struct_fields__ if name not in ("hash", "prev_hash")])
def test_no_field_of_an_entry_can_be_changed_unseen(field: str) -> None:
    entries = chain(4)
    old = getattr(entries[1], field)
    new = {"seq": 7, "at": datetime(2026, 1, 2, tzinfo=UTC), "old": Digest("sha256:" + "a" * 64)}.get(field, f"{old}x")
    entries[1] = msgspec.structs.replace(entries[1], **{field: new})
    assert check_log(entries).broken_at == 2


def test_entries_cannot_be_taken_out_or_cut_off_unseen() -> None:
    entries = chain(4)
    head = (4, entries[-1].hash)
    assert check_log([*entries[:1], *entries[2:]], head).broken_at == 2
    assert check_log(entries[:3], head).broken_at == 4
    assert check_log([], head).broken_at == 1
    rewritten = msgspec.structs.replace(entries[1], reason="other")
    rewritten = msgspec.structs.replace(rewritten, hash=entry_hash(rewritten))
    assert check_log([entries[0], rewritten, *entries[2:]], head).broken_at == 3
