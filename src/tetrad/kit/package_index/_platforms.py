"""Which platform tags run on this machine (PEP 600, PEP 656)."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from pathlib import Path


def platform_tags() -> list[str]:
    """Return the platform tags that run here, the most specific first, `any` last."""
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "darwin":
        return [*_macos_tags("arm64" if machine == "aarch64" else machine), "any"]
    glibc = _glibc()
    tags: list[str] = []
    if glibc:
        for minor in range(glibc[1], 4, -1):
            tags.append(f"manylinux_{glibc[0]}_{minor}_{machine}")
            if (legacy := {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}.get(minor)) is not None:
                tags.append(f"{legacy}_{machine}")
    elif musl := _musl(machine):
        tags += [f"musllinux_{musl[0]}_{minor}_{machine}" for minor in range(musl[1], -1, -1)]
    return [*tags, f"linux_{machine}", "any"]


def _macos_tags(machine: str) -> list[str]:
    parts = platform.mac_ver()[0].split(".")
    major, minor = int(parts[0] or 11), int(parts[1]) if len(parts) > 1 else 0
    versions = [(number, 0) for number in range(major, 10, -1)] if major > 10 else []
    if machine == "x86_64":
        versions += [(10, number) for number in range(minor if major == 10 else 16, 3, -1)]
    return [f"macosx_{x}_{y}_{arch}" for x, y in versions for arch in (machine, "universal2")]


def _glibc() -> tuple[int, int] | None:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        return None
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if name == "glibc" and match else None


def _musl(machine: str) -> tuple[int, int] | None:
    for loader in sorted(Path("/lib").glob(f"ld-musl-{machine}*.so.1")):
        said = subprocess.run([str(loader)], capture_output=True, text=True, check=False).stderr
        if match := re.search(r"Version (\d+)\.(\d+)", said):
            return int(match[1]), int(match[2])
    return None
