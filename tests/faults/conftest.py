"""Products that break: those that do not break at their first start share a home that had one."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from support.product import keep_a_home_to_move


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Start the home that products are moved from before the time of the first test that needs one begins."""
    if "product" in getattr(item, "fixturenames", ()):
        keep_a_home_to_move(item.config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]
    return (yield)
