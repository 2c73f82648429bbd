"""Open the blob store that a setting names."""

from __future__ import annotations

import urllib.parse
from collections.abc import Callable
from pathlib import Path

from tetrad.kernel import InvalidInput
from tetrad.kit.blobs._local import LocalBlobs
from tetrad.kit.blobs._port import BlobStore

OpenBlobs = Callable[[str], BlobStore]


def open_blobs(url: str, *, default: Path, adapter: Callable[[str], OpenBlobs] | None = None) -> BlobStore:
    """Open a store by its URL; an empty one or a `file:` URL is a folder.

    `adapter` returns what opens the URLs of another scheme (`s3`), such as `Extensions.load` for the kind `blobs`.
    """
    scheme = urllib.parse.urlsplit(url).scheme
    if not url:
        return LocalBlobs(default)
    if scheme == "file":
        return LocalBlobs(Path(urllib.parse.unquote(urllib.parse.urlsplit(url).path)))
    if not scheme:
        return LocalBlobs(Path(url).expanduser().absolute())
    if adapter is None:
        raise InvalidInput(
            f"the blob store's URL starts with {scheme!r}", code="bad_settings", hint="file:///… or s3://bucket/prefix"
        )
    return adapter(scheme)(url)
