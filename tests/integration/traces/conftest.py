from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from support.spans import Kept, kept_traces

_projects = itertools.count(1)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    """Lend one embedded store per module: opening costs most of a second, and projects keep tests apart."""
    with kept_traces(tmp_path_factory.mktemp("traces")) as opened:
        yield opened


@pytest.fixture
def project() -> str:
    """Return a project of this test's own."""
    return f"project-{next(_projects)}"
