"""A newcomer has no home yet: each of these files sees a first start of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.product import Product, running_product


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """Lend the product as `make up` starts it where it never ran."""
    with running_product(tmp_path_factory.mktemp("product"), fresh=True) as running:
        yield running
