"""Blob stores that are installed as extensions of the kind `blobs`, by the scheme of their URLs."""

from __future__ import annotations

from typing import Protocol

from tetrad.kit.blobs._open import OpenBlobs
from tetrad.kit.blobs._port import BlobStore
from tetrad.kit.extensions import Extensions, Kind


class BlobOpener(Protocol):
    """What a `blobs` extension is: a function from a URL to a store."""

    def __call__(self, url: str) -> BlobStore:
        """Open the store; raises `TetradError` where it cannot be."""
        ...


def installed_blobs(scheme: str) -> OpenBlobs:
    """Return what opens blob stores of a scheme; ours and strangers' are found the same way."""
    opener: OpenBlobs = Extensions([Kind("blobs", BlobOpener, "opens blob stores of a URL scheme")]).load(
        "blobs", scheme
    )
    return opener
