"""A difference on a terminal: readable, complete, and unable to steer the terminal."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from tetrad.releases._diff import (
    CodeDiff,
    CodeSide,
    DataDiff,
    FileChange,
    ModelDiff,
    PartSide,
    PromptDiff,
    ReleaseDiff,
    ReleaseSide,
    RowDiff,
    ValueChange,
    diff_messages,
    judge_version,
)
from tetrad.releases._diff_text import render_diff
from tetrad.releases._diff_views import ReleaseDiffView
from tetrad.releases._summary import summarise

AT = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = (f"sha256:{digit * 64}" for digit in "ab")


def side(digest: str, *, dirty: bool = False, reason: str = "") -> ReleaseSide:
    return ReleaseSide(digest, "bot", 1, AT, "ann", reason, dirty)


def shown(diff: ReleaseDiff) -> str:
    return "\n".join(render_diff(ReleaseDiffView.of(diff).model_dump(mode="json")))


def everything() -> ReleaseDiff:
    messages = diff_messages(
        [{"role": "system", "content": "You are kind.\nBe brief."}],
        [{"role": "system", "content": "You are very kind.\nBe brief."}, {"role": "user", "content": "Hi"}],
    )
    code = CodeSide(OLD, OLD, "1" * 40, False, "", 3), CodeSide(NEW, NEW, "2" * 40, True, NEW, 3)
    return ReleaseDiff(
        old=side(OLD),
        new=side(NEW, dirty=True, reason="kinder"),
        prompt=(
            PromptDiff(
                "system",
                "changed",
                PartSide("tone", OLD, "1.0.0"),
                PartSide("tone", NEW, "1.0.1"),
                True,
                "major",
                "too-low",
                messages,
                (ValueChange("/who", "added", new={"type": "string"}),),
            ),
        ),
        model=(
            ModelDiff(
                "primary",
                "changed",
                PartSide("m", OLD, "1.0.0"),
                PartSide("m", NEW, "1.1.0"),
                (ValueChange("quantisation", "changed", "Q8_0", "Q4_K_M"), ValueChange("digest", "changed", OLD, NEW)),
            ),
        ),
        data=(
            DataDiff(
                "fewshot",
                "changed",
                PartSide("shots", OLD, "1.0.0"),
                PartSide("shots", NEW, "1.1.0"),
                2,
                3,
                added=1,
                changed=1,
                more=True,
                rows=(
                    RowDiff("k1", "changed", (ValueChange("/output", "changed", "a", "b"),)),
                    RowDiff("k2", "added", content={"input": "x"}),
                ),
            ),
        ),
        code=CodeDiff(
            *code,
            0,
            0,
            1,
            (FileChange("bot.py", "changed", OLD, NEW, 5, 9),),
            False,
            True,
            (ValueChange("/python", "changed", "3.11", "3.12"),),
        ),
        sampling=(ValueChange("/temperature", "changed", 0.2, 0.7),),
    )


def test_every_part_is_told_with_what_is_serious_about_it() -> None:
    text = click.unstyle(shown(everything()))
    for expected in (
        "DIRTY: holds changes that are in no commit", "prompt system: tone 1.0.0 → tone 1.0.1",
        "WHICH THE VERSION DOES NOT KEEP",
        "~ message 1 (system)", "- You are kind.", "+ You are very kind.", "+ message 2 (user)", "+ who:",
        '~ quantisation: "Q8_0" → "Q4_K_M"', "rows: 2 → 3 (1 added, 1 changed)", '~ output: "a" → "b"',
        "… and more rows", "~ bot.py (5 → 9 bytes)", "the lock file changed", "~ temperature: 0.2 → 0.7", "kinder",
    ):  # fmt: skip
        assert expected in text, expected
    assert "Be brief" not in text, "lines that stayed are not told"


def test_only_the_words_that_changed_stand_out() -> None:
    line = next(line for line in shown(everything()).splitlines() if "very" in line)
    assert click.style("very ", fg="green", bold=True, underline=True) in line
    assert click.style("You are ", fg="green", bold=False, underline=False) in line


def test_the_summary_is_a_line_for_each_part() -> None:
    assert summarise(everything()) == (
        (
            "prompt system: tone 1.0.0 → 1.0.1 (2 messages, 1 variable; the contract changed: at least major, "
            "MORE THAN THE VERSION SAYS)"
        ),
        "model primary: m 1.0.0 → 1.1.0 (other weights; quantisation: Q8_0 → Q4_K_M)",
        "data fewshot: shots 1.0.0 → 1.1.0 (rows: 1 added, 1 changed)",
        "code: files: 1 changed; commit 111111111111 → 222222222222; another lock file; another runtime",
        "sampling temperature: 0.2 → 0.7",
        "the new release bbbbbbbbbbbb holds changes that are in no commit",
    )


def test_nothing_that_others_wrote_steers_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x1b[2J"
    diff = ReleaseDiff(
        old=side(OLD, reason=evil),
        new=side(NEW),
        prompt=(
            PromptDiff(
                "system",
                "changed",
                PartSide("t", OLD),
                PartSide("t", NEW),
                messages=diff_messages([{"role": "user", "content": "x"}], [{"role": "user", "content": evil}]),
            ),
        ),
        data=(
            DataDiff(
                "eval", "changed", PartSide("d", OLD), PartSide("d", NEW), rows=(RowDiff(evil, "added", content=evil),)
            ),
        ),
        sampling=(ValueChange(f"/{evil}", "changed", evil, {evil: evil}),),
    )
    assert "\x1b]" not in shown(diff)
    assert "\x07" not in shown(diff)
    assert "\x1b[2J" not in shown(diff)


def test_a_release_beside_itself_is_one_line() -> None:
    assert click.unstyle(shown(ReleaseDiff(side(OLD), side(OLD)))).splitlines()[-1].startswith("nothing changed")
    assert summarise(ReleaseDiff(side(OLD), side(OLD))) == ("nothing: both are one release",)


def test_a_version_keeps_the_floor_or_does_not() -> None:
    assert judge_version("major", "1.4.0", "2.0.0") == "kept"
    assert judge_version("major", "1.4.0", "1.5.0") == "too-low"
    assert judge_version("minor", "1.4.0", "1.4.1") == "too-low"
    assert judge_version("patch", "1.4.0", "1.4.1") == "kept"
    assert judge_version("major", "2.0.0", "1.4.0") == "kept", "going back over a major version"
    assert judge_version("patch", "", "1.0.0") == "unknown"
