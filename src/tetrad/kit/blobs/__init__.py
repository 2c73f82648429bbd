"""Immutable bytes by their digest: a folder here, object stores through adapters.

`tetrad.kit.blobs.conformance` is the suite that every adapter passes, ours and strangers'.
"""

from tetrad.kit.blobs._installed import BlobOpener, installed_blobs
from tetrad.kit.blobs._local import LocalBlobs
from tetrad.kit.blobs._open import OpenBlobs, open_blobs
from tetrad.kit.blobs._port import (
    BlobMismatch,
    BlobNotFound,
    BlobStat,
    BlobStore,
    BlobStoreFull,
    BlobStoreUnavailable,
)

__all__ = [
    "BlobMismatch",
    "BlobNotFound",
    "BlobOpener",
    "BlobStat",
    "BlobStore",
    "BlobStoreFull",
    "BlobStoreUnavailable",
    "LocalBlobs",
    "OpenBlobs",
    "installed_blobs",
    "open_blobs",
]
