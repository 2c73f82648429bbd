"""Find the Chromium that the console's journeys run in."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@functools.cache
def find_chromium() -> Path | None:
    """Return the browser: `CHROMIUM_PATH`, else one on PATH, else the one that Playwright downloaded, else None."""
    named = os.environ.get("CHROMIUM_PATH")
    if named:
        return Path(named) if Path(named).is_file() else None
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return Path(found)
    browsers = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    folder = Path(browsers) if browsers else Path.home() / ".cache" / "ms-playwright"
    return next(iter(sorted(folder.glob("chromium-*/chrome-linux*/chrome"), reverse=True)), None)
