"""Threads on lines, rows and the whole: where they are after a push, who may change them, what is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.changes import P, Site, wire_changes
from support.evidence import ADA, BEA, CAT
from tetrad.changes import Anchor, BadChange, CommentNotFound, NotYours, PartPatch, Thread, TooManyChanges, _comments
from tetrad.kernel import Digest
from tetrad.kit.db import Database

LONG = "---\nname: bot-system\nvariables:\n  tone: {default: kind}\n---\n# system\n\nBe {{tone}}.\n\nOne.\n\nTwo.\n"


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    return wire_changes(database, tmp_path)


def prompt_digest(site: Site, number: int = 1, *, base: bool = False) -> Digest:
    request = site.changes.get(P, number)
    manifest = site.changes.base_manifest(request) if base else site.changes.manifest(request)
    return Digest(manifest["prompt"][0]["digest"])


def on_line(site: Site, line: int, *, base: bool = False) -> Anchor:
    return Anchor("prompt", "prompt.system", prompt_digest(site, base=base), 1, line)


def only(site: Site) -> Thread:
    [thread] = site.changes.comments.threads(P, 1)
    return thread


@pytest.mark.parametrize("draft", [True, False])
def test_a_line_is_found_again_after_a_push_until_it_changes(site: Site, draft: bool) -> None:
    site.open(PartPatch("prompt.system", content=LONG), draft=draft)
    made = site.changes.comments.add(P, 1, "which two?", actor=BEA, anchor=on_line(site, 5))
    assert made.first.anchor is not None
    assert (made.first.anchor.quote, made.place and made.place.state) == ("Two.", "current")
    longer = LONG.replace("One.\n", "Zero.\n\nOne.\n")
    site.changes.push(P, 1, [PartPatch("prompt.system", content=longer)], actor=ADA, expected_revision=1)
    place = only(site).place
    assert place is not None
    assert (place.state, place.message, place.line) == ("moved", 1, 7)
    site.changes.push(
        P, 1, [PartPatch("prompt.system", content=LONG.replace("Two.", "2."))], actor=ADA, expected_revision=2
    )
    place = only(site).place
    assert place is not None
    assert place.state == "outdated"


def test_a_line_of_the_base_is_commented_on_too(site: Site) -> None:
    site.open()
    made = site.changes.comments.add(P, 1, "this was good", actor=BEA, anchor=on_line(site, 1, base=True))
    assert made.place is not None
    assert made.place.state == "outdated"  # in the candidate it is another line
    assert made.first.anchor is not None
    assert made.first.anchor.quote == "Be {{tone}}."


def test_a_row_is_current_until_its_content_changes(site: Site) -> None:
    tetrads = site.gated.tetrads
    site.open()
    entry = site.changes.manifest(site.changes.get(P, 1))["data"][0]
    key = tetrads.datasets.rows(tetrads.datasets.by_digest(P, entry["digest"]))[0].key
    anchor = Anchor("row", "data.fewshot", Digest(entry["digest"]), row=key)
    made = site.changes.comments.add(P, 1, "too short", actor=BEA, anchor=anchor)
    assert made.first.anchor is not None
    assert (made.first.anchor.quote, made.place and made.place.state) == (
        '{"input":"Hi","output":"Hello!"}', "current",
    )  # fmt: skip
    site.changes.push(P, 1, [PartPatch("data.fewshot", None)], actor=ADA, expected_revision=1)
    place = only(site).place
    assert place is not None
    assert place.state == "outdated"


@pytest.mark.parametrize(
    ("anchor", "words"),
    [
        (Anchor("prompt", "prompt.system", Digest("sha256:" + "0" * 64), 1, 1), "is not sha256"),
        (Anchor("prompt", "data.fewshot", Digest("sha256:" + "0" * 64), 1, 1), "has no prompt"),
        (Anchor("row", "model.primary", Digest("sha256:" + "0" * 64), row="x"), "has no row"),
    ],
)
def test_an_anchor_to_nothing_is_refused(site: Site, anchor: Anchor, words: str) -> None:
    site.open()
    with pytest.raises(BadChange, match=words):
        site.changes.comments.add(P, 1, "here?", actor=BEA, anchor=anchor)
    with pytest.raises(BadChange, match="1 lines"):
        site.changes.comments.add(P, 1, "here?", actor=BEA, anchor=on_line(site, 99))
    assert site.changes.comments.threads(P, 1) == []


def test_threads_are_answered_resolved_and_reopened(site: Site) -> None:
    site.open()
    thread = site.changes.comments.add(P, 1, "why?", actor=BEA).first.id
    site.changes.comments.add(P, 1, "because", actor=ADA, reply_to=thread)
    done = site.changes.comments.resolve(P, 1, thread, actor=ADA)
    assert [each.body for each in done.comments] == ["why?", "because"]
    assert (done.first.resolved_by, done.first.resolved_at is not None) == (ADA.id, True)
    assert site.changes.find(P)[0][1].unresolved == 0
    assert site.changes.comments.resolve(P, 1, thread, actor=CAT) == done
    site.changes.comments.resolve(P, 1, thread, actor=BEA, resolved=False)
    counts = site.changes.find(P)[0][1]
    assert (counts.comments, counts.unresolved) == (2, 1)
    with pytest.raises(CommentNotFound):
        site.changes.comments.add(P, 1, "hm", actor=BEA, reply_to="cmt_nothing")
    with pytest.raises(CommentNotFound):
        site.changes.comments.resolve(P, 1, done.comments[1].id, actor=ADA)  # an answer is no thread


def test_one_edits_ones_own_comment_and_its_history_is_kept(site: Site) -> None:
    site.open()
    first = site.changes.comments.add(P, 1, "one", actor=BEA).first.id
    with pytest.raises(NotYours):
        site.changes.comments.edit(P, 1, first, "mine", actor=CAT)
    edited = site.changes.comments.edit(P, 1, first, "two", actor=BEA)
    assert (edited.first.body, [each.body for each in edited.first.history]) == ("two", ["one"])
    for number in range(19):
        site.changes.comments.edit(P, 1, first, f"again {number}", actor=BEA)
    with pytest.raises(TooManyChanges, match="edited 20 times"):
        site.changes.comments.edit(P, 1, first, "once more", actor=BEA)
    for bad in ("", " \n", "x" * 10_001):
        with pytest.raises(BadChange):
            site.changes.comments.edit(P, 1, first, bad, actor=BEA)


def test_all_comments_together_have_a_limit(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.open()
    monkeypatch.setattr(_comments, "MAX_TOTAL_CHARS", 10)
    first = site.changes.comments.add(P, 1, "12345", actor=BEA).first.id
    site.changes.comments.edit(P, 1, first, "54321", actor=BEA)
    for refused in (
        lambda: site.changes.comments.add(P, 1, "6", actor=BEA),
        lambda: site.changes.comments.edit(P, 1, first, "6", actor=BEA),
    ):
        with pytest.raises(TooManyChanges, match="have 10 characters"):
            refused()


def test_text_is_kept_as_it_was_given_and_said_once_per_key(site: Site) -> None:
    site.open()
    hostile = "<script>alert(1)</script> \x1b[31m \u202e [x](javascript:1)"
    one = site.changes.comments.add(P, 1, hostile, actor=BEA, key="k")
    again = site.changes.comments.add(P, 1, hostile, actor=BEA, key="k")
    assert (one.first.body, again) == (hostile, one)
    assert len(site.changes.comments.threads(P, 1)) == 1
