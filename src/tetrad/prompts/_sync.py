"""Keep a folder of prompt files in step with the registry, both ways."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from tetrad.kernel import InvalidInput, TetradError, parse_json
from tetrad.prompts._file import read_prompt_file
from tetrad.prompts._limits import MAX_FILE_BYTES
from tetrad.prompts._model import PLACEHOLDER, ROLES
from tetrad.prompts._plan import Action, LocalPrompt, Synced, decide, in_order
from tetrad.prompts.errors import PromptError
from tetrad.prompts.ports import PromptRemote, RemotePrompt

STATE: Final = ".tetrad-prompts.json"
CONFLICT: Final = ".conflict"
FORMAT: Final = 1
MAX_FILES: Final = 5_000
_HEADINGS: Final = frozenset(f"# {role}" for role in (*ROLES, PLACEHOLDER))


class BadSyncState(InvalidInput):
    """The file that says what was synced last cannot be read, or is another project's."""

    code = "bad_sync_state"


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What was done, or with a dry run would be. `problems` are files that could not be read or committed."""

    actions: tuple[Action, ...]
    problems: tuple[str, ...]

    @property
    def conflicts(self) -> tuple[Action, ...]:
        """What a person has to decide."""
        return tuple(action for action in self.actions if action.kind in ("conflict", "unresolved"))

    @property
    def clean(self) -> bool:
        """Folder and registry say the same now."""
        return not self.conflicts and not self.problems


def sync_folder(
    folder: Path,
    remote: PromptRemote,
    *,
    project: str,
    dry_run: bool = False,
    wanted: Callable[[str], bool] = lambda _name: True,
    reason: str = "synced from files",
) -> SyncReport:
    """Bring a folder and the registry together; doing it again changes nothing.

    Each prompt is compared with what both said last (`.tetrad-prompts.json`): what changed on one side goes to the
    other, what changed on both is merged line by line. What cannot be merged is written beside the file as
    `FILE.conflict` with both sides, and neither the file nor the registry is touched. A deleted file deletes nothing.
    Writes are atomic, and the state is kept after each step, so that a sync that was killed goes on where it was.
    `wanted` chooses among the prompts of the registry that have no file here.
    """
    if not folder.is_dir():
        raise InvalidInput(f"{str(folder)!r} is no folder", hint="name the folder of the prompt files")
    state = _read_state(folder, project)
    locals_, problems = read_folder(folder)
    taken = {local.file for local in locals_.values()}
    there = {each.name: each for each in remote.newest()}
    broken = {entry.file for entry in state.values()} & {problem.partition(":")[0] for problem in problems}
    names = {*locals_, *state, *(name for name in there if wanted(name))}
    actions: list[Action] = []
    for name in _ordered(names, locals_, problems):
        base = state.get(name)
        if base is not None and name not in locals_ and base.file in broken:
            continue  # its file is there and cannot be read; that was said already
        marker = base is not None and base.conflict is not None and (folder / (base.file + CONFLICT)).exists()
        if base is not None and not marker:
            base = state[name] = base.decided(removed=name not in locals_ if base.conflict else base.removed)
        try:
            action = decide(base, locals_.get(name), there.get(name), _texts(remote, name), name=name, marker=marker)
            if action.kind == "pull" and name not in locals_ and _occupied(folder, action.file, taken):
                problems.append(f"{action.file}: stands where the prompt {name!r} of the registry belongs")
                continue
            if not dry_run:
                _apply(folder, action, locals_.get(name), there.get(name), remote, state, reason)
                _write_state(folder, project, state)
        except TetradError as error:
            file = locals_[name].file if name in locals_ else f"{name}.md"
            message = error.message if error.message.startswith(file) else f"{file}: {error.message}"
            problems.append(f"{message} ({error.hint})" if error.hint else message)
            continue
        if action.kind not in ("same", "forget"):
            actions.append(action)
    return SyncReport(tuple(actions), tuple(problems))


def _ordered(names: set[str], locals_: dict[str, LocalPrompt], problems: list[str]) -> list[str]:
    """Return names so that what is included is committed first."""
    try:
        order = in_order(locals_)
    except PromptError as error:
        problems.append(f"{error.message} ({error.hint})")
        order = sorted(locals_)
    return [*sorted(names - set(order)), *order]


def _texts(remote: PromptRemote, name: str) -> Callable[[str], str]:
    return lambda digest: remote.text(name, digest)


def _occupied(folder: Path, file: str, taken: set[str]) -> bool:
    return file in taken or (folder / file).exists()


def _apply(
    folder: Path,
    action: Action,
    local: LocalPrompt | None,
    there: RemotePrompt | None,
    remote: PromptRemote,
    state: dict[str, Synced],
    reason: str,
) -> None:
    name, file = action.name, action.file
    if action.kind == "forget":
        state.pop(name, None)
    elif action.kind in ("adopt", "pull"):
        assert there is not None  # noqa: S101 - decided so
        if action.kind == "pull":
            _write_over(_within(folder, file), local.text if local else None, action.text)
        state[name] = Synced(file, there.source, there.digest)
    elif action.kind in ("push", "merge"):
        made = remote.commit(name, action.text, expected=there.digest if there else "", reason=reason)
        if action.kind == "merge":
            _write_over(_within(folder, file), local.text if local else None, action.text)
        state[name] = Synced(file, made.source, made.digest)
    elif action.kind == "removed":
        state[name] = replace(state[name], removed=True)
    elif action.kind == "conflict":
        assert there is not None  # noqa: S101 - decided so
        base = state.get(name, Synced(file, "", ""))
        # The file first: a state that knows of a conflict without its file would look decided.
        marker = _within(folder, file + CONFLICT)
        if marker.exists() and marker.read_bytes() != action.text.encode():
            raise PromptError(f"{file}{CONFLICT} is in the way", hint="move it, then sync again")
        _write_new(marker, action.text)
        state[name] = replace(base, file=file, conflict=(there.source, there.digest))


def read_folder(folder: Path) -> tuple[dict[str, LocalPrompt], list[str]]:
    """Read the prompt files of a folder, by name; files that are none are passed over, broken ones are problems.

    A prompt file is named `*.md` and begins with front matter or a role heading. Hidden folders and links are not
    followed.
    """
    found: dict[str, LocalPrompt] = {}
    problems: list[str] = []
    for count, path in enumerate(_markdown(folder)):
        if count >= MAX_FILES:
            raise InvalidInput(
                f"{str(folder)!r} has more than {MAX_FILES} Markdown files", hint="name a smaller folder"
            )
        file = path.relative_to(folder).as_posix()
        try:
            with path.open("rb") as opened:
                data = opened.read(MAX_FILE_BYTES + 1)
            if len(data) > MAX_FILE_BYTES:
                raise PromptError(f"{file}: more than {MAX_FILE_BYTES:,} bytes", hint="a prompt file is text")
            text = data.decode("utf-8")
            if not _is_prompt(text):
                continue
            spec = read_prompt_file(text, file)
        except UnicodeDecodeError as error:
            problems.append(f"{file}: not UTF-8 at byte {error.start}")
        except OSError as error:
            problems.append(f"{file}: cannot be read: {error.strerror}")
        except TetradError as error:
            problems.append(f"{error.message} ({error.hint})")
        else:
            if spec.name in found:
                problems.append(f"{file}: {found[spec.name].file} is the prompt {spec.name!r} already")
            else:
                found[spec.name] = LocalPrompt(spec.name, file, text, spec)
    return found, problems


def _markdown(folder: Path) -> Iterator[Path]:
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(root) / name
            if name.endswith(".md") and not path.is_symlink() and path.is_file():  # a pipe would never end
                yield path


def _is_prompt(text: str) -> bool:
    first = next((line.rstrip() for line in text.removeprefix("\ufeff").splitlines() if line.strip()), "")
    return first == "---" or first in _HEADINGS


def _within(folder: Path, file: str) -> Path:
    """Return where a file of the folder is written; refuse a way there by a link, which may lead anywhere."""
    path = folder
    for part in file.split("/"):
        path /= part
        if path.is_symlink():
            raise PromptError(
                f"{file}: {part!r} is a symbolic link", hint="put the file itself there; none is followed"
            )
    return path


def _write_over(path: Path, seen: str | None, text: str) -> None:
    """Write a file that says what we saw a moment ago; refuse one that somebody changed meanwhile."""
    try:
        now: str | None = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        now = None
    if now != seen:
        raise PromptError("the file changed while it was synced", hint="sync again")
    _write_new(path, text)


def _write_new(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(text.encode("utf-8"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _read_state(folder: Path, project: str) -> dict[str, Synced]:
    path = folder / STATE
    try:
        document: Any = parse_json(path.read_bytes(), where=str(path))
    except FileNotFoundError:
        return {}
    hint = "take it back from Git, or delete it: then what differs on both sides is a conflict"
    try:
        if document["format"] != FORMAT:
            raise BadSyncState(
                f"{str(path)!r} has the format {document['format']!r}", hint=f"this version reads {FORMAT}"
            )
        if document["project"] != project:
            raise BadSyncState(
                f"{str(path)!r} is of the project {document['project']!r}, not of {project!r}",
                hint="name its project with --project, or another folder",
            )
        return {
            name: Synced(
                _inside(entry["file"]), entry["source"], entry["version"], bool(entry.get("removed", False)),
                (entry["conflict"]["source"], entry["conflict"]["version"]) if entry.get("conflict") else None,
            )
            for name, entry in document["prompts"].items()
        }  # fmt: skip
    except (KeyError, TypeError, AttributeError):
        raise BadSyncState(f"{str(path)!r} is not what a sync wrote", hint=hint) from None


def _inside(file: str) -> str:
    if file.startswith("/") or "\\" in file or any(part in ("", ".", "..") for part in file.split("/")):
        raise BadSyncState(f"{file!r} is no file of the folder", hint="delete the state file and sync again")
    return file


def _write_state(folder: Path, project: str, state: dict[str, Synced]) -> None:
    prompts: dict[str, Any] = {}
    for name, entry in sorted(state.items()):
        prompts[name] = {"file": entry.file, "source": entry.source, "version": entry.version}
        if entry.removed:
            prompts[name]["removed"] = True
        if entry.conflict:
            prompts[name]["conflict"] = {"source": entry.conflict[0], "version": entry.conflict[1]}
    text = json.dumps({"format": FORMAT, "project": project, "prompts": prompts}, indent=1, ensure_ascii=False) + "\n"
    path = folder / STATE
    if not path.exists() or path.read_text("utf-8") != text:
        _write_new(path, text)
