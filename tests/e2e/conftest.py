"""A running product for each file of journeys: what one file leaves behind is never another's surprise."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from support.product import Product, keep_a_home_to_move, running_product


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Start the home that products are moved from before the time of the first test that needs one begins."""
    if "product" in getattr(item, "fixturenames", ()) and "first_ten_minutes" not in item.path.parts:
        keep_a_home_to_move(item.config._tmp_path_factory.getbasetemp())  # type: ignore[attr-defined]
    return (yield)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Lend the product as `make up` starts it in a home that was used before, moved here."""
    with running_product(tmp_path_factory.mktemp("product")) as running:
        yield running
