"""A folder and the registry are kept in step, and nobody's text is lost."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from tetrad.kernel import InvalidInput, NotFound
from tetrad.prompts import PromptMoved, _sync, format_prompt_file, read_prompt_file
from tetrad.prompts._sync import STATE, SyncReport, sync_folder
from tetrad.prompts.ports import RemotePrompt


class MemoryRemote:
    """A registry in memory; its digests are those of the files' content, with a number."""

    def __init__(self) -> None:
        self.kept: dict[str, list[tuple[RemotePrompt, str]]] = {}
        self.commits: list[str] = []

    def newest(self) -> Sequence[RemotePrompt]:
        return [versions[-1][0] for versions in self.kept.values()]

    def text(self, name: str, digest: str) -> str:
        for version, text in self.kept.get(name, ()):
            if version.digest == digest:
                return text
        raise NotFound(f"no {name} at {digest}")

    def commit(self, name: str, text: str, *, expected: str, reason: str) -> RemotePrompt:
        versions = self.kept.setdefault(name, [])
        current = versions[-1][0].digest if versions else ""
        if current != expected:
            raise PromptMoved(name, None)
        spec = read_prompt_file(text, f"{name}.md")
        made = RemotePrompt(name, f"1.{len(versions)}.0", f"{spec.digest}/{len(versions)}", spec.source.digest)
        versions.append((made, format_prompt_file(spec)))
        self.commits.append(name)
        return made

    def edit(self, name: str, text: str) -> None:
        versions = self.kept.get(name)
        self.commit(name, text, expected=versions[-1][0].digest if versions else "", reason="")


def prompt(name: str, *lines: str) -> str:
    return f"---\nname: {name}\n---\n# system\n\n" + "\n".join(lines) + "\n"


TEN = [f"Line {n}." for n in range(10)]


def changed(lines: list[str], at: int, text: str) -> list[str]:
    return [*lines[:at], text, *lines[at + 1 :]]


@pytest.fixture
def remote() -> MemoryRemote:
    return MemoryRemote()


def sync(folder: Path, remote: MemoryRemote, **more: bool) -> SyncReport:
    return sync_folder(folder, remote, project="default", **more)


def kinds(report: SyncReport) -> list[tuple[str, str]]:
    return [(action.kind, action.name) for action in report.actions]


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in folder.rglob("*") if path.is_file()
    }


@pytest.fixture
def synced(tmp_path: Path, remote: MemoryRemote) -> Path:
    (tmp_path / "a-one.md").write_text(prompt("a-one", *TEN))
    assert kinds(sync(tmp_path, remote)) == [("push", "a-one")]
    return tmp_path


def test_what_is_new_goes_to_the_other_side_and_doing_it_again_changes_nothing(
    tmp_path: Path, remote: MemoryRemote
) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "here.md").write_text(prompt("a-here", "Here."))
    (tmp_path / "README.md").write_text("# About\n\nNo prompt.\n")
    remote.edit("a-there", prompt("a-there", "There."))
    report = sync(tmp_path, remote)
    assert kinds(report) == [("pull", "a-there"), ("push", "a-here")]
    assert report.clean
    assert (tmp_path / "a-there.md").read_text() == prompt("a-there", "There.")
    before = files(tmp_path), list(remote.commits)
    again = sync(tmp_path, remote)
    assert (again.actions, again.clean) == ((), True)
    assert (files(tmp_path), remote.commits) == before


def test_a_dry_run_says_what_would_be_done_and_does_nothing(tmp_path: Path, remote: MemoryRemote) -> None:
    (tmp_path / "here.md").write_text(prompt("a-here", "Here."))
    remote.edit("a-there", prompt("a-there", "There."))
    before = files(tmp_path)
    assert kinds(sync(tmp_path, remote, dry_run=True)) == [("pull", "a-there"), ("push", "a-here")]
    assert files(tmp_path) == before
    assert remote.commits == ["a-there"]


def test_a_change_on_one_side_is_taken_by_the_other(synced: Path, remote: MemoryRemote) -> None:
    (synced / "a-one.md").write_text(prompt("a-one", *changed(TEN, 1, "Mine.")))
    assert kinds(sync(synced, remote)) == [("push", "a-one")]
    remote.edit("a-one", prompt("a-one", *changed(TEN, 1, "Theirs.")))
    assert kinds(sync(synced, remote)) == [("pull", "a-one")]
    assert (synced / "a-one.md").read_text() == prompt("a-one", *changed(TEN, 1, "Theirs."))


def test_changes_of_different_lines_are_merged(synced: Path, remote: MemoryRemote) -> None:
    (synced / "a-one.md").write_text(prompt("a-one", *changed(TEN, 1, "Mine.")))
    remote.edit("a-one", prompt("a-one", *changed(TEN, 8, "Theirs.")))
    report = sync(synced, remote)
    assert kinds(report) == [("merge", "a-one")]
    both = prompt("a-one", *changed(changed(TEN, 1, "Mine."), 8, "Theirs."))
    assert (synced / "a-one.md").read_text() == both
    assert remote.kept["a-one"][-1][1] == both
    assert sync(synced, remote).actions == ()


def test_the_same_change_on_both_sides_is_no_conflict(synced: Path, remote: MemoryRemote) -> None:
    (synced / "a-one.md").write_text(prompt("a-one", "Same."))
    remote.edit("a-one", prompt("a-one", "Same."))
    assert kinds(sync(synced, remote)) == [("adopt", "a-one")]
    assert sync(synced, remote).actions == ()


def test_a_conflict_shows_both_sides_and_touches_neither(synced: Path, remote: MemoryRemote) -> None:
    mine, theirs = (prompt("a-one", *changed(TEN, 4, text)) for text in ("Mine.", "Theirs."))
    (synced / "a-one.md").write_text(mine)
    remote.edit("a-one", theirs)
    report = sync(synced, remote)
    assert (kinds(report), report.clean) == ([("conflict", "a-one")], False)
    shown = (synced / "a-one.md.conflict").read_text()
    assert "<<<<<<< a-one.md\nMine.\n=======\nTheirs.\n>>>>>>> registry a-one@1.1.0" in shown
    assert (synced / "a-one.md").read_text() == mine
    assert remote.kept["a-one"][-1][1] == theirs
    before = files(synced)
    assert kinds(sync(synced, remote)) == [("unresolved", "a-one")]
    assert files(synced) == before
    (synced / "a-one.md").write_text(prompt("a-one", *changed(TEN, 4, "Mine and theirs.")))
    (synced / "a-one.md.conflict").unlink()
    assert kinds(sync(synced, remote)) == [("push", "a-one")]
    assert "Mine and theirs." in remote.kept["a-one"][-1][1]
    assert sync(synced, remote).clean


def test_two_files_that_nobody_synced_before_are_a_conflict(tmp_path: Path, remote: MemoryRemote) -> None:
    (tmp_path / "a-one.md").write_text(prompt("a-one", "Mine."))
    remote.edit("a-one", prompt("a-one", "Theirs."))
    assert kinds(sync(tmp_path, remote)) == [("conflict", "a-one")]
    shown = (tmp_path / "a-one.md.conflict").read_text()
    assert "Mine." in shown
    assert "Theirs." in shown


def test_a_conflict_file_of_somebody_else_is_not_written_over(synced: Path, remote: MemoryRemote) -> None:
    (synced / "a-one.md").write_text(prompt("a-one", "Mine."))
    (synced / "a-one.md.conflict").write_text("precious")
    remote.edit("a-one", prompt("a-one", "Theirs."))
    report = sync(synced, remote)
    assert "in the way" in report.problems[0]
    assert (synced / "a-one.md.conflict").read_text() == "precious"


def test_notes_in_the_front_matter_outlive_a_change_from_the_registry(synced: Path, remote: MemoryRemote) -> None:
    noted = prompt("a-one", *TEN).replace("name: a-one", "# keep it short\nname: a-one")
    (synced / "a-one.md").write_text(noted)
    remote.edit("a-one", prompt("a-one", *changed(TEN, 5, "Theirs.")))
    assert kinds(sync(synced, remote)) == [("pull", "a-one")]
    assert (synced / "a-one.md").read_text() == noted.replace("Line 5.", "Theirs.")


def test_a_deleted_file_deletes_nothing_and_a_later_change_is_shown(synced: Path, remote: MemoryRemote) -> None:
    (synced / "a-one.md").unlink()
    assert kinds(sync(synced, remote)) == [("removed", "a-one")]
    assert sync(synced, remote).actions == ()
    remote.edit("a-one", prompt("a-one", "Theirs."))
    assert kinds(sync(synced, remote)) == [("conflict", "a-one")]
    assert "Theirs." in (synced / "a-one.md.conflict").read_text()
    (synced / "a-one.md.conflict").unlink()
    assert sync(synced, remote).actions == ()
    assert sync(synced, remote).clean
    assert not (synced / "a-one.md").exists()


def test_a_file_that_cannot_be_read_stops_only_itself(synced: Path, remote: MemoryRemote) -> None:
    (synced / "a-one.md").write_text("---\nname: a-one\nnme: x\n---\n# system\n\nHi\n")
    (synced / "a-two.md").write_text(prompt("a-two", "Two."))
    report = sync(synced, remote)
    assert kinds(report) == [("push", "a-two")]
    assert report.problems[0].startswith("a-one.md:3: the key `nme` is unknown")
    assert not report.clean


def test_what_is_included_is_committed_first_and_circles_are_named(tmp_path: Path, remote: MemoryRemote) -> None:
    (tmp_path / "a.md").write_text(prompt("a-main", "{{> z-part}}"))
    (tmp_path / "z.md").write_text("---\nname: z-part\ntype: text\n---\nPart.\n")
    sync(tmp_path, remote)
    assert remote.commits == ["z-part", "a-main"]
    (tmp_path / "z.md").write_text("---\nname: z-part\ntype: text\n---\n{{> a-main}}\n")
    assert "a-main → z-part → a-main" in sync(tmp_path, remote, dry_run=True).problems[0]


def test_a_sync_that_was_killed_after_the_commit_goes_on(synced: Path, remote: MemoryRemote) -> None:
    state = (synced / STATE).read_text()
    (synced / "a-one.md").write_text(prompt("a-one", *changed(TEN, 1, "Mine.")))
    sync(synced, remote)
    (synced / STATE).write_text(state)
    assert kinds(sync(synced, remote)) == [("adopt", "a-one")]
    assert sync(synced, remote).actions == ()


@pytest.mark.parametrize(
    ("state", "complaint"),
    [
        ("{", "prompts.json"),
        ("[]", "not what a sync wrote"),
        ('{"format": 2}', "has the format 2"),
        ('{"format": 1, "project": "other", "prompts": {}}', "of the project 'other'"),
        (
            json.dumps(
                {"format": 1, "project": "default", "prompts": {"a": {"file": "../x", "source": "", "version": ""}}}
            ),
            "no file of the folder",
        ),
    ],
)
def test_a_state_that_cannot_be_trusted_is_refused(
    tmp_path: Path, remote: MemoryRemote, state: str, complaint: str
) -> None:
    (tmp_path / STATE).write_text(state)
    with pytest.raises(InvalidInput, match=complaint):
        sync(tmp_path, remote)


def test_links_are_not_followed(tmp_path: Path, remote: MemoryRemote) -> None:
    outside = tmp_path / "outside.md"
    outside.write_text(prompt("a-secret", "Secret."))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link.md").symlink_to(outside)
    assert sync(folder, remote).actions == ()


def test_nothing_is_written_by_way_of_a_link(tmp_path: Path, remote: MemoryRemote) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a-one.md").write_text(prompt("a-one", *TEN))
    sync(folder, remote)
    (folder / "sub" / "a-one.md").rename(outside / "a-one.md")
    before = files(outside)
    (folder / "sub").rmdir()
    (folder / "sub").symlink_to(outside)
    remote.edit("a-one", prompt("a-one", *changed(TEN, 1, "Theirs.")))
    sync(folder, remote)
    assert files(outside) == before
    (folder / STATE).unlink()
    (folder / "sub").unlink()
    (folder / "a-one.md").symlink_to(outside / "new.md")  # dangling: to be written through
    report = sync(folder, remote)
    assert files(outside) == before
    assert any("symbolic link" in problem for problem in report.problems)


def test_pipes_and_files_that_are_too_large_are_not_read(tmp_path: Path, remote: MemoryRemote) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    with (tmp_path / "big.md").open("wb") as big:
        big.write(b"# system\n\n")
        big.truncate(1 << 40)  # a hole: it takes no room, and would not fit into memory
    report = sync(tmp_path, remote)
    assert report.actions == ()
    (problem,) = report.problems
    assert "big.md: more than" in problem


def test_a_folder_of_too_many_files_is_refused(
    tmp_path: Path, remote: MemoryRemote, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sync, "MAX_FILES", 2)
    for name in ("a-one", "a-two", "a-three"):
        (tmp_path / f"{name}.md").write_text(prompt(name, "Hi."))
    with pytest.raises(InvalidInput, match="more than 2"):
        sync(tmp_path, remote)
    assert remote.commits == []
