"""Hash the files of a model, send those that control has not, and name them: what the commands share."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tetrad.kernel import InvalidInput
from tetrad.kit.api_client import ApiClient
from tetrad.kit.settings import load_settings
from tetrad.models._folder import ArchiveLimits
from tetrad.models._settings import MAX_ARCHIVE_BYTES, MAX_ARCHIVE_RATIO, MAX_FILES, SETTINGS

_CHUNK = 1 << 20
_PROGRESS_FROM_BYTES = 8 << 20
_ANSWER_TIMEOUT_S = 3_600.0
Advance = Callable[[int], None]


def archive_limits() -> ArchiveLimits:
    """Read the limits on folders and archives from this machine's settings."""
    settings = load_settings([SETTINGS], partial=True)
    return ArchiveLimits(settings.get(MAX_FILES), settings.get(MAX_ARCHIVE_BYTES), settings.get(MAX_ARCHIVE_RATIO))


def send_files(client: ApiClient, base: str, files: Mapping[str, Path]) -> dict[str, str]:
    """Return the digests of files by path, after control has all of them; memory is bounded.

    What control has already is not sent again: of a stopped import, and of other models with the same files.
    """
    sizes = {path: _size(file) for path, file in files.items()}
    with _progress("hashing", sum(sizes.values())) as advance:
        digests = {path: _digest(file, advance) for path, file in files.items()}
    missing = set(client.post(f"{base}/missing-model-files", {"digests": sorted(set(digests.values()))})["missing"])
    wanted = {digests[path]: path for path in files if digests[path] in missing}
    with _progress("sending", sum(sizes[path] for path in wanted.values())) as advance:
        for digest, path in wanted.items():
            client.upload(
                f"{base}/model-files", _pieces(files[path], advance), content_type="application/octet-stream",
                answer_timeout_s=_ANSWER_TIMEOUT_S, digest=digest,
            )  # fmt: skip
    return digests


def name_model(client: ApiClient, base: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """Import files that control has."""
    made: dict[str, Any] = client.request("POST", f"{base}/model-imports", body=body, timeout_s=_ANSWER_TIMEOUT_S)
    return made


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError as error:
        raise _unreadable(file, error) from None


def _digest(file: Path, advance: Advance) -> str:
    whole = hashlib.sha256()
    for piece in _pieces(file, advance):
        whole.update(piece)
    return f"sha256:{whole.hexdigest()}"


def _pieces(file: Path, advance: Advance) -> Iterator[bytes]:
    try:
        with file.open("rb") as data:
            while piece := data.read(_CHUNK):
                yield piece
                advance(len(piece))
    except OSError as error:
        raise _unreadable(file, error) from None


def _unreadable(file: Path, error: OSError) -> InvalidInput:
    return InvalidInput(f"{str(file)!r} cannot be read: {error.strerror}", hint="check the file and its permissions")


@contextmanager
def _progress(what: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    shown = sys.stderr.isatty() and total >= _PROGRESS_FROM_BYTES
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda count: progress.advance(task, count)
