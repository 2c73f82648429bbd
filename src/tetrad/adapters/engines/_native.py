"""Why llama.cpp's native library cannot be loaded on a machine, and what to install there."""

from __future__ import annotations

import re

from tetrad.serving import EngineUnusable

_MISSING = re.compile(r"((lib[\w+-]+)\.so[\w.]*): cannot open shared object file")
_OLD = re.compile(r"version [`'](GLIBC(?:XX)?_[\d.]+)' not found")
_PACKAGES = {"libgomp": ("libgomp1", "libgomp"), "libstdc++": ("libstdc++6", "libstdc++")}
"""Which package brings a library: of Debian, of Fedora."""


def not_loaded(said: str) -> EngineUnusable:
    """Return the failure of a child whose last words are `said`: what is missing, and how to get it."""
    if found := _MISSING.search(said):
        debian, fedora = _PACKAGES.get(found[2], ("", ""))
        how = (
            f"`apt-get install {debian}`, on Fedora `dnf install {fedora}`"
            if debian
            else "install the system's package that brings it"
        )
        return EngineUnusable(
            f"llama.cpp needs {found[1]}, which is not on this machine", hint=f"{how}; then start Tetrad again"
        )
    if found := _OLD.search(said):
        return EngineUnusable(
            f"llama.cpp needs {found[1]}, and this machine's C library is older",
            hint="use a newer release of the system, or models of a provider",
        )
    if "No module named" in said:
        return EngineUnusable("llama.cpp is not installed", hint="pip install xllamacpp, then start Tetrad again")
    return EngineUnusable(
        f"llama.cpp cannot be loaded: {said}", hint="install Tetrad again; `tetrad logs worker` and the log say more"
    )
