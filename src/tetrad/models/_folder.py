"""The files of a model in a folder of this machine, as the Hugging Face hub lays them out, or in an archive of one."""

from __future__ import annotations

import errno
import lzma
import os
import re
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Self

from tetrad.kit.plain_yaml import BadYaml, parse_yaml
from tetrad.models._origin import check_file_path
from tetrad.models._weights import FORMATS, PICKLED, is_weights
from tetrad.models.errors import BadModel

BESIDE = frozenset(
    {
        "config.json", "generation_config.json", "adapter_config.json", "tokenizer.json", "tokenizer_config.json",
        "tokenizer.model", "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
        "chat_template.jinja", "chat_template.json", "preprocessor_config.json", "quantize_config.json",
    }
)  # fmt: skip
"""What belongs to a model besides its weights; cards, licences and code do not."""

MAX_CARD_BYTES = 1 << 20
MAX_SEEN = 20_000
_COPY = 1 << 20
_FRONT = re.compile(r"---\r?\n(.*?)\r?\n---", re.DOTALL)
_LICENCE_LINE = re.compile(r"""^license:[ \t]*["']?([^"'#\r\n]{1,120}?)["']?[ \t]*(?:#.*)?$""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What is refused of a folder or an archive as too much."""

    max_files: int = 500
    max_bytes: int = 256 << 30
    max_ratio: int = 200


@dataclass(frozen=True, slots=True)
class FoundModel:
    """The files of a model by the path that they are kept under, the card's licence, and what was left out and why."""

    files: Mapping[str, Path]
    licence: str
    notes: tuple[str, ...]


@contextmanager
def opened_model(path: Path, limits: ArchiveLimits, *, scratch: Path | None = None) -> Iterator[FoundModel]:
    """Find the model at a path: one file of weights, a folder, or a tar or zip archive, which is unpacked meanwhile.

    Raises `BadModel` for links, for paths that lead out of the archive, and past the limits; nothing is left behind.
    """
    if path.is_dir():
        yield find_files(path, limits)
    elif not path.is_file():
        raise BadModel(f"{str(path)!r} is not there", hint="name a file of weights, a folder or an archive")
    elif is_weights(path.name) and not (path.suffix.lower() not in PICKLED and _is_archive(path)):
        yield FoundModel({path.name: path}, "", ())
    elif _is_archive(path):
        with tempfile.TemporaryDirectory(prefix="tetrad-model-", dir=scratch) as folder:
            unpack(path, Path(folder), limits)
            yield find_files(_inner(Path(folder)), limits)
    else:
        raise BadModel(
            f"{path.name!r} is neither weights nor an archive", hint=f"{', '.join(sorted(FORMATS))}, a folder, tar, zip"
        )


def _is_archive(path: Path) -> bool:
    if zipfile.is_zipfile(path):
        return True
    try:
        tarfile.open(path, tarinfo=_Member).close()
    except (tarfile.TarError, EOFError):
        return False
    return True


def _inner(folder: Path) -> Path:
    """Step into the one folder that an archive often has around everything."""
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def find_files(folder: Path, limits: ArchiveLimits) -> FoundModel:
    """Choose the files that are the model: one form of weights, and what its tokenizer and engine need beside it."""
    seen: dict[str, Path] = {}
    for path in _walk(folder):
        if len(seen) >= MAX_SEEN:
            raise BadModel(f"{str(folder)!r} has more than {MAX_SEEN} files", hint="name the model's own folder")
        seen[path.relative_to(folder).as_posix()] = path
    notes: list[str] = []
    weights = _one_form([name for name in seen if is_weights(name) and "/" not in name], notes)
    if not weights:
        raise BadModel(f"{str(folder)!r} has no weights", hint=f"looked for {', '.join([*FORMATS, *sorted(PICKLED)])}")
    chosen = [name for name in seen if name in weights or name in BESIDE or name.endswith(".safetensors.index.json")]
    if not any(name.endswith(".safetensors") for name in weights):
        chosen = [name for name in chosen if not name.endswith(".safetensors.index.json")]
    code = sorted(name for name in seen if name.endswith((".py", ".so", ".dll")))
    if code:
        notes.append(f"{code[0]} is code, which a model does not bring with it")
    if len(chosen) > limits.max_files:
        raise BadModel(f"a model of {len(chosen)} files", hint=f"at most {limits.max_files}: model_max_files")
    files = {check_file_path(name): seen[name] for name in sorted(chosen)}
    if sum(file.stat().st_size for file in files.values()) > limits.max_bytes:
        raise BadModel(f"a model of more than {limits.max_bytes} bytes", hint="raise model_max_archive_bytes")
    return FoundModel(files, card_licence(seen.get("README.md")), tuple(notes))


def _walk(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(place, name)
            if name.startswith(".") or not _is_regular(path, folder):
                continue
            yield path


def _is_regular(path: Path, folder: Path) -> bool:
    """The hub's own cache is made of links into its blobs; any other link of a model's file is refused."""
    if not path.is_symlink():
        return path.is_file()
    target = path.resolve()
    home = folder.resolve()
    cache = home.parent.parent if home.parent.name == "snapshots" else home
    if not target.is_file() or cache not in target.parents:
        raise BadModel(f"{path.name!r} is a link that leads out of the model's folder", hint="copy the file there")
    return True


def _one_form(names: list[str], notes: list[str]) -> set[str]:
    """Choose one form where the folder has the same weights in several: safetensors, GGUF, ONNX, pickles last."""
    forms: dict[str, list[str]] = {}
    for name in names:
        suffix = PurePosixPath(name).suffix.lower()
        forms.setdefault(FORMATS.get(suffix, "pickle"), []).append(name)
    for form in (*FORMATS.values(), "pickle"):
        if form not in forms:
            continue
        left = sorted(name for other, others in forms.items() if other != form for name in others)
        if left:
            notes.append(f"{left[0]} is left out: the folder has the weights as {form}")
        if form == "gguf" and len(forms[form]) > 1 and not all("-of-" in name for name in forms[form]):
            raise BadModel(
                f"the folder has {len(forms[form])} models in GGUF: {', '.join(sorted(forms[form])[:3])}",
                hint="name one of the files",
            )
        return set(forms[form])
    return set()


def card_licence(card: Path | None) -> str:
    """Return the licence that a model card names in its front matter, empty where it names none."""
    if card is None:
        return ""
    with card.open("rb") as file:
        text = file.read(MAX_CARD_BYTES).decode("utf-8", "replace")
    front = _FRONT.match(text)
    if front is None:
        return ""
    try:
        value = parse_yaml(front.group(1), where=card.name).value
    except BadYaml:  # cards are written freely; the one line is enough
        line = _LICENCE_LINE.search(front.group(1))
        return line.group(1).strip() if line else ""
    named = value.get("license") if isinstance(value, dict) else None
    if named == "other" and isinstance(value, dict):
        named = value.get("license_name") or named
    return named[:120] if isinstance(named, str) else ""


_HEADERS = (
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
)  # fmt: skip
_MAX_HEADER_BYTES = 1 << 20
_DAMAGED = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError,
    ValueError,
)  # fmt: skip


def unpack(archive: Path, folder: Path, limits: ArchiveLimits) -> None:
    """Unpack an archive into an empty folder: regular files only, below that folder, within the limits.

    Sizes are counted as bytes come out, whatever the archive claims.
    """
    budget = _Budget(limits, archive)
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, folder, budget)
        else:
            _untar(archive, folder, budget)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        name = Path(str(error.filename)).name[:80]
        raise BadModel(
            f"{archive.name!r} has {name!r} twice, or as a file and as a folder",
            hint="unpack it yourself, and look at it",
        ) from None
    except _DAMAGED as error:
        raise BadModel(f"{archive.name!r} is damaged: {str(error)[:200]}", hint="fetch it again") from None
    except OSError as error:
        # What is the machine's, such as a full disk, has another number; decompressors name none.
        if error.errno not in (None, errno.EINVAL):  # a place before the beginning of the file
            raise
        raise BadModel(f"{archive.name!r} is damaged: {str(error)[:200]}", hint="fetch it again") from None


class _Budget:
    def __init__(self, limits: ArchiveLimits, archive: Path) -> None:
        self._limits, self._name = limits, archive.name
        # Small archives may well become many times larger: headers and padding are mostly zeros.
        self._most = min(limits.max_bytes, max(archive.stat().st_size, 1 << 20) * limits.max_ratio)
        self._files = self._bytes = 0

    def file(self, name: str) -> str:
        self._files += 1
        # A model's folder has more files than the model; those are left out afterwards.
        if self._files > 10 * self._limits.max_files:
            raise BadModel(f"{self._name!r} has too many files", hint=f"at most {10 * self._limits.max_files}")
        return check_file_path(name.removeprefix("./"))

    def take(self, count: int) -> None:
        self._bytes += count
        if self._bytes > self._most:
            raise BadModel(
                f"{self._name!r} becomes larger than {self._most} bytes", hint="unpack it yourself, and look at it"
            )


def _unzip(archive: Path, folder: Path, budget: _Budget) -> None:
    with zipfile.ZipFile(archive) as opened:
        for member in opened.infolist():
            kind = stat.S_IFMT(member.external_attr >> 16)
            if member.is_dir():
                continue
            if kind not in (0, stat.S_IFREG):
                raise _no_file(member.filename)
            if member.flag_bits & 1:
                raise BadModel(f"{archive.name!r} is encrypted", hint="unpack it first")
            name = budget.file(member.filename)
            with opened.open(member) as source:
                _write(source, folder / name, budget)


class _Member(tarfile.TarInfo):
    """A member whose headers are of a sane size: those of long names and attributes are read into memory whole.

    `_proc_member` is the one step between a header and what it announces that every Python has; newer ones make
    members past `frombuf`.
    """

    def _proc_member(self, opened: tarfile.TarFile) -> Self:
        if self.type in _HEADERS and self.size > _MAX_HEADER_BYTES:
            raise BadModel(f"the archive has a header of {self.size} bytes", hint=f"at most {_MAX_HEADER_BYTES}")
        return super()._proc_member(opened)  # type: ignore[misc,no-any-return] # tarfile tells subclasses to override it


def _untar(archive: Path, folder: Path, budget: _Budget) -> None:
    with tarfile.open(archive, tarinfo=_Member) as opened:
        for member in opened:
            if member.isdir():
                continue
            source = opened.extractfile(member) if member.isreg() else None
            if source is None:
                raise _no_file(member.name)
            with source:
                _write(source, folder / budget.file(member.name), budget)


def _no_file(name: str) -> BadModel:
    return BadModel(f"{name[:80]!r} in the archive is no regular file", hint="links and devices are not unpacked")


def _write(source: object, path: Path, budget: _Budget) -> None:
    reader: BinaryIO = source  # type: ignore[assignment] # both archives hand out binary files
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        while chunk := reader.read(_COPY):
            budget.take(len(chunk))
            out.write(chunk)
