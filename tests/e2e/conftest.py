"""A running product for each file of journeys: what one file leaves behind is never another's surprise."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.product import Product, running_product


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Lend the product as `make up` starts it."""
    with running_product(tmp_path_factory.mktemp("product")) as running:
        yield running
