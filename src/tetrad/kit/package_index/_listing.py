"""Read what an index offers: PEP 503 pages, PEP 691 documents, folders."""

from __future__ import annotations

import hashlib
import html.parser
import json
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ._versions import normalized


@dataclass(frozen=True)
class Wheel:
    """A wheel that an index offers. `hashes` maps `sha256` and the like to hex digits; a local file may have none."""

    project: str
    version: str
    filename: str
    url: str
    hashes: Mapping[str, str] = field(default_factory=dict)
    requires_python: str = ""
    yanked: bool = False
    size: int | None = None

    @property
    def local(self) -> Path | None:
        """The file, where it lies on this machine already."""
        return local_path(self.url)


def local_path(url: str) -> Path | None:
    """Return the path that a `file:` URL or a bare path names, else None."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    return Path(url).expanduser() if parts.scheme == "" else None


def _wheel(
    filename: str, url: str, *, hashes: Mapping[str, str], requires_python: str = "", yanked: bool = False,
    size: int | None = None,
) -> Wheel | None:  # fmt: skip
    parts = filename.removesuffix(".whl").split("-")
    if not filename.endswith(".whl") or len(parts) not in (5, 6):
        return None
    return Wheel(normalized(parts[0]), parts[1], filename, url, hashes, requires_python, yanked, size)


class _Links(html.parser.HTMLParser):
    """Collect the anchors of a PEP 503 page."""

    def __init__(self, base: str) -> None:
        super().__init__()
        self.base = base
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        href = values.get("href")
        if tag == "base" and href:
            self.base = urllib.parse.urljoin(self.base, href)
        elif tag == "a" and href:
            self.found.append((href, values))


def read_html(text: str, base: str) -> list[Wheel]:
    """Return the wheels of a PEP 503 page."""
    links = _Links(base)
    links.feed(text)
    wheels = []
    for href, values in links.found:
        url, _, fragment = urllib.parse.urljoin(links.base, href).partition("#")
        filename = urllib.parse.unquote(url.partition("?")[0].rpartition("/")[2])
        name, _, value = fragment.partition("=")
        wheel = _wheel(
            filename,
            url,
            hashes={name: value.lower()} if name in hashlib.algorithms_guaranteed and value else {},
            requires_python=values.get("data-requires-python") or "",
            yanked="data-yanked" in values,
        )
        if wheel:
            wheels.append(wheel)
    return wheels


def read_json(text: str, base: str) -> list[Wheel]:
    """Return the wheels of a PEP 691 document."""
    wheels = []
    for entry in json.loads(text)["files"]:
        wheel = _wheel(
            entry["filename"],
            urllib.parse.urljoin(base, entry["url"]),
            hashes={name: value.lower() for name, value in entry.get("hashes", {}).items()},
            requires_python=entry.get("requires-python") or "",
            yanked=bool(entry.get("yanked", False)),
            size=entry.get("size"),
        )
        if wheel:
            wheels.append(wheel)
    return wheels


def read_folder(folder: Path) -> list[Wheel]:
    """Return the wheels that lie in a folder."""
    found = (_wheel(path.name, path.as_uri(), hashes={}) for path in sorted(folder.glob("*.whl")))
    return [wheel for wheel in found if wheel]
