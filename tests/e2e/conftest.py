"""One running product for the journeys that only look at it; those that break things start their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.product import Product, running_product


@pytest.fixture(scope="session")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Lend the product as `make up` starts it."""
    with running_product(tmp_path_factory.mktemp("product")) as running:
        yield running
