"""Where rows come from: folders as the Hugging Face Hub has them, DVC's pointers, references to a Hub's commit.

Only local files are read. What pointers and references say is kept with its digests in the lineage of the version.
"""

from __future__ import annotations

import fnmatch
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from tetrad.datasets._formats import ENDINGS, Format
from tetrad.datasets.errors import BadSource
from tetrad.kernel import TetradError, parse_json
from tetrad.kit.plain_yaml import parse_yaml

MAX_FILES = 1000
MAX_FOLDER_ENTRIES = 20_000
MAX_NOTE_BYTES = 256 * 1024
SPLITS = ("train", "validation", "test", "dev", "eval")
_CHUNK = 1 << 20
_HUB = re.compile(
    r"hf://(?:datasets/)?([A-Za-z0-9][\w.-]{0,95}(?:/[A-Za-z0-9][\w.-]{0,95})?)@([0-9a-f]{40})(?:/([^?#]{1,500}))?"
)
_MD5 = re.compile(r"[0-9a-f]{32}")


class DataFile(msgspec.Struct, frozen=True):
    """One file of rows: where it is, what it is called in its folder, how it is written."""

    path: Path
    name: str
    form: Format


class Folder(msgspec.Struct, frozen=True):
    """A folder's data files of one configuration and split, and what is known of their origin."""

    files: tuple[DataFile, ...]
    provenance: Mapping[str, Any]


def hub_reference(text: str) -> dict[str, Any]:
    """Read `hf://[datasets/]org/name@<commit>[/path]`; a branch or tag is refused, since it can move."""
    match = _HUB.fullmatch(text)
    if match is None or (match[3] and ".." in match[3].split("/")):
        raise BadSource(
            f"{text[:200]!r} names no commit of a Hub's dataset",
            hint="hf://datasets/org/name@<40 hex digits>[/path]; a branch can move, a commit cannot",
        )
    return {"hf": {"repo": match[1], "commit": match[2], **({"path": match[3]} if match[3] else {})}}


def read_pointer(path: Path, out: str = "") -> tuple[DataFile, dict[str, Any]]:
    """Follow a `.dvc` file or `dvc.lock` to the data, prove it by DVC's digest, and return both.

    `out` names the output of a `dvc.lock` (or of a `.dvc` file with several). The data is looked for beside the pointer
    and in DVC's cache. `BadSource` where it is not there or is not what the pointer says.
    """
    pointers = _dvc_outs(path)
    chosen = [each for each in pointers if not out or each.get("path") == out]
    if len(chosen) != 1:
        names = ", ".join(str(each.get("path")) for each in pointers[:10])
        raise BadSource(f"{path.name} has no output {out!r}" if out else f"{path.name} has several outputs", hint=names)
    pointer = chosen[0]
    name, md5 = pointer.get("path"), pointer.get("md5")
    if not isinstance(name, str) or not isinstance(md5, str) or not _MD5.fullmatch(md5):
        raise BadSource(
            f"{path.name} points to no single file by MD5", hint="folders (`.dir`) are imported file by file"
        )
    found = _dvc_data(path, name, md5)
    actual, size = _digest_of(found, "md5")
    if actual != md5 or (isinstance(pointer.get("size"), int) and pointer["size"] != size):
        raise BadSource(
            f"{found.name} is not what {path.name} points to: MD5 {actual}, {size} bytes", hint="dvc checkout"
        )
    kept = {"pointer": path.name, "path": name, "md5": md5, "size": size}
    return DataFile(found, name, _form_of(name)), {"dvc": kept}


def _dvc_outs(path: Path) -> list[Mapping[str, Any]]:
    told = _yaml(path)
    outs: list[Any] = list(told.get("outs") or []) if isinstance(told, Mapping) else []
    stages = told.get("stages") if isinstance(told, Mapping) else None
    if isinstance(stages, Mapping):
        for stage in stages.values():
            outs += (stage.get("outs") or []) if isinstance(stage, Mapping) else []
    found = [each for each in outs if isinstance(each, Mapping)]
    if not found:
        raise BadSource(f"{path.name} points to nothing", hint="a .dvc file or dvc.lock lists `outs`")
    return found


def _dvc_data(pointer: Path, name: str, md5: str) -> Path:
    beside = _inside(pointer.parent, name)
    if beside.is_file():
        return beside
    for folder in (pointer.parent, *pointer.parent.resolve().parents):
        cache = folder / ".dvc" / "cache"
        for place in (cache / "files" / "md5" / md5[:2] / md5[2:], cache / md5[:2] / md5[2:]):
            if place.is_file():
                return place
    raise BadSource(f"the data of {pointer.name} is not here", hint=f"dvc pull {pointer.name}")


def read_folder(folder: Path, *, config: str = "", split: str = "train") -> Folder:
    """Find the data files of a folder as the Hub lays it out.

    The `configs` in the front matter of `README.md` say which files belong to which configuration and split; without
    them the names of files and folders do. Nothing outside of the folder is read, wherever links and patterns point.
    """
    entries = list(_entries(folder))
    configs = _configs(folder)
    if configs:
        patterns, config = _patterns(configs, config, split)
        names = [name for name in entries if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    else:
        data = [name for name in entries if PurePosixPath(name).suffix in ENDINGS and not _is_note(name)]
        names = [name for name in data if _split_of(name) == split] or ([] if any(map(_split_of, data)) else data)
    if not names:
        raise BadSource(f"{folder.name!r} has no data files of the split {split!r}", hint="name another with --split")
    if len(names) > MAX_FILES:
        raise BadSource(f"{len(names)} data files", hint=f"at most {MAX_FILES} at once")
    files = tuple(DataFile(_inside(folder, name), name, _form_of(name)) for name in sorted(names))
    listed = [{"path": file.name, "sha256": _digest_of(file.path, "sha256")[0]} for file in files]
    return Folder(files, {"folder": {"name": folder.name, "config": config, "split": split, "files": listed}})


def _entries(folder: Path) -> Iterator[str]:
    if not folder.is_dir():
        raise BadSource(f"{str(folder)!r} is no folder")
    for number, path in enumerate(sorted(folder.rglob("*"))):
        if number >= MAX_FOLDER_ENTRIES:
            raise BadSource(f"{folder.name!r} has more than {MAX_FOLDER_ENTRIES} entries")
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not any(part.startswith(".") for part in name.split("/")):
            yield name


def _configs(folder: Path) -> list[Mapping[str, Any]]:
    readme = folder / "README.md"
    if readme.is_file():
        text = _text(_inside(folder, "README.md"))
        match = re.match(r"---\r?\n(.*?)\r?\n---(?:\r?\n|$)", text, re.DOTALL)
        told = _parsed_yaml(match[1], "README.md") if match else {}
        configs = told.get("configs") if isinstance(told, Mapping) else None
        if isinstance(configs, list):
            return [each for each in configs if isinstance(each, Mapping)]
    return []


def _patterns(configs: Sequence[Mapping[str, Any]], config: str, split: str) -> tuple[list[str], str]:
    by_name = {str(each.get("config_name", "default")): each for each in configs}
    marked = next((name for name, each in by_name.items() if each.get("default") is True), "")
    name = config or marked or ("default" if "default" in by_name else next(iter(by_name)))
    if name not in by_name:
        raise BadSource(f"the folder has no configuration {name!r}", hint=", ".join(sorted(by_name)))
    base = str(by_name[name].get("data_dir", "")).strip("/")
    told = by_name[name].get("data_files", f"{base}/**" if base else "**")
    found: list[str] = []
    for each in told if isinstance(told, list) else [told]:
        if isinstance(each, Mapping):
            if str(each.get("split", "train")) == split:
                path = each.get("path", [])
                found += [str(one) for one in (path if isinstance(path, list) else [path])]
        else:
            found.append(str(each))
    for pattern in found:
        if pattern.startswith(("/", "~")) or ".." in pattern.split("/") or "://" in pattern:
            raise BadSource(f"{pattern!r} points out of the folder", hint="data files lie inside of the folder")
    return [pattern.removeprefix("./").replace("**/", "*") for pattern in found], name


def _split_of(name: str) -> str:
    """Return the split that a file's name or folder says, as the Hub's libraries read it; empty for none."""
    parts = re.split(r"[/._\s-]+", name.lower())
    said = next((split for split in SPLITS if split in parts), "")
    return {"dev": "validation", "eval": "test"}.get(said, said)


def _is_note(name: str) -> bool:
    return PurePosixPath(name).name in ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")


def _form_of(name: str) -> Format:
    form = ENDINGS.get(PurePosixPath(name).suffix.lower())
    if form is None:
        raise BadSource(f"{name!r} is no file of rows", hint=", ".join(sorted(ENDINGS)))
    return form


def _inside(folder: Path, name: str) -> Path:
    """Return a file below a folder, or refuse one that is not, whatever `..` and links make of its name."""
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise BadSource(f"{name!r} lies outside of {folder.name!r}", hint="data files lie inside of the folder")
    return path


def _digest_of(path: Path, kind: str) -> tuple[str, int]:
    # DVC names files by MD5: we compare with its name, and name nothing by it ourselves.
    state, size = hashlib.new(kind, usedforsecurity=False), 0
    try:
        with path.open("rb") as data:
            while chunk := data.read(_CHUNK):
                state.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise BadSource(f"{path.name} cannot be read: {error.strerror}") from None
    return state.hexdigest(), size


def _text(path: Path) -> str:
    try:
        with path.open("rb") as data:
            return data.read(MAX_NOTE_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise BadSource(f"{path.name} cannot be read: {error.strerror}") from None


def _yaml(path: Path) -> Any:
    return _parsed_yaml(_text(path), path.name)


def _parsed_yaml(text: str, where: str) -> Any:
    try:
        return parse_yaml(text, where=where).value
    except TetradError as error:
        raise BadSource(error.message, hint=error.hint) from None


def check_provenance(text: str) -> dict[str, Any]:
    """Read what a client says of a file's origin: a JSON object of `hf`, `dvc` or `folder`, as this module makes it."""
    told = parse_json(text, where="provenance")
    if not isinstance(told, dict) or not told or set(told) - {"hf", "dvc", "folder"}:
        raise BadSource("provenance is an object with `hf`, `dvc` or `folder`")
    if "hf" in told:
        given = told["hf"] if isinstance(told["hf"], dict) else {}
        path = f"/{given['path']}" if given.get("path") else ""
        hub_reference(f"hf://{given.get('repo')}@{given.get('commit')}{path}")
    if "dvc" in told and not (isinstance(told["dvc"], dict) and _MD5.fullmatch(str(told["dvc"].get("md5")))):
        raise BadSource("`dvc` names a file by its MD5")
    return told
