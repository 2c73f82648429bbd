"""Show what would be fetched: `python -m tetrad.kit.package_index uv '>=0.9'`."""

from __future__ import annotations

import sys

from ._index import PackageIndex
from ._settings import shown

if __name__ == "__main__":
    wheel = PackageIndex().find(*sys.argv[1:3])
    print(f"{wheel.filename}  {shown(wheel.url)}")  # noqa: T201 - the command's answer
