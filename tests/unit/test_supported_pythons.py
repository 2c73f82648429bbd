"""Every Python that the product names is one that it can be installed for, without a compiler."""

from __future__ import annotations

import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[2]
PACKAGES = ("pyproject.toml", "sdk/python/pyproject.toml")
LOCKED: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]


def project(path: str) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / path).read_text("utf-8"))["project"]
    return found


def named_by(path: str) -> list[tuple[int, int]]:
    found = [
        re.fullmatch(r"Programming Language :: Python :: (3)\.(\d+)", line) for line in project(path)["classifiers"]
    ]
    return sorted((int(word[1]), int(word[2])) for word in found if word)


SUPPORTED = named_by(PACKAGES[0])


def locked(reference: dict[str, Any]) -> dict[str, Any]:
    """Return the one package of the lock that a dependency means."""
    version = reference.get("version")
    (found,) = [p for p in LOCKED if p["name"] == reference["name"] and version in (None, p["version"])]
    return found


def needed(python: tuple[int, int], machine: str) -> list[dict[str, Any]]:
    """Return every package that the product and its extras bring on Linux."""
    about = {
        "extra": "",
        "python_version": "{}.{}".format(*python),
        "python_full_version": "{}.{}.0".format(*python),
        "platform_machine": machine,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
    }
    (own,) = [package for package in LOCKED if package["name"] == "tetrad"]
    waiting = [*own["dependencies"], *itertools.chain(*own["optional-dependencies"].values())]
    found: dict[tuple[str, str, tuple[str, ...]], dict[str, Any]] = {}
    while waiting:
        reference = waiting.pop()
        if "marker" in reference and not Marker(reference["marker"]).evaluate(about):
            continue
        package, extras = locked(reference), reference.get("extra", [])
        if (key := (package["name"], package["version"], tuple(extras))) not in found:
            found[key] = package
            waiting += package.get("dependencies", [])
            waiting += itertools.chain(*(package["optional-dependencies"][extra] for extra in extras))
    return list(found.values())


def installable(python: tuple[int, int], machine: str) -> set[Tag]:
    """Return the tags of wheels for Debian 12, whose C library is the oldest that is tested."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(36, 4, -1)] + [f"manylinux2014_{machine}"]
    return {*cpython_tags(python, platforms=platforms), *compatible_tags(python, platforms=platforms)}


def wheels(package: dict[str, Any]) -> Iterator[frozenset[Tag]]:
    for wheel in package.get("wheels", ()):
        yield parse_wheel_filename(wheel["url"].rpartition("/")[2])[3]


def test_both_packages_name_the_same_pythons_from_the_oldest_that_they_ask_for() -> None:
    assert len(SUPPORTED) > 1
    for path in PACKAGES:
        assert named_by(path) == SUPPORTED, path
        oldest = SpecifierSet(project(path)["requires-python"])
        assert "{}.{}.0".format(*SUPPORTED[0]) in oldest
        assert f"{SUPPORTED[0][0]}.{SUPPORTED[0][1] - 1}.0" not in oldest


@pytest.mark.parametrize("page", ["tutorials/first-ten-minutes.md", "how-to/run-as-a-service.md"])
def test_pages_that_say_how_to_install_name_them_too(page: str) -> None:
    first, last = ("{}.{}".format(*python) for python in (SUPPORTED[0], SUPPORTED[-1]))
    assert f"Python {first} to {last}" in (ROOT / "docs" / page).read_text("utf-8")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("python", SUPPORTED, ids=lambda python: "{}.{}".format(*python))
def test_nothing_that_the_product_needs_is_compiled_where_it_is_supported(
    python: tuple[int, int], machine: str
) -> None:
    fit = installable(python, machine)
    packages = needed(python, machine)
    assert {"numpy", "chdb", "psycopg-binary", "xllamacpp"} <= {package["name"] for package in packages}
    assert [f"{p['name']} {p['version']}" for p in packages if not any(tags & fit for tags in wheels(p))] == []
