"""What models ask of others: a store, a reader of weights' files, a list of prices."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from tetrad.models._model import ModelPrice, ModelRecord, PriceEntry, WeightsFacts


class ModelStore(Protocol):
    """Records of models and lines of the local price table."""

    def add(self, record: ModelRecord) -> ModelRecord:
        """Keep a record, or return the one that is there."""
        ...

    def get(self, project: str, digest: str) -> ModelRecord | None: ...

    def add_price(self, entry: PriceEntry) -> None: ...

    def remove_price(self, project: str, price_id: str) -> bool: ...

    def prices(self, project: str, model: str | None) -> Sequence[PriceEntry]:
        """Return the lines of a project and those of every project."""
        ...


class WeightsReader(Protocol):
    """Reads what a file of weights says of itself."""

    def __call__(self, path: Path) -> WeightsFacts:
        """Return the facts; raise `BadModel` where the file is damaged."""
        ...


class PriceList(Protocol):
    """Public prices of hosted models."""

    def price(self, provider: str, model: str, at: datetime) -> ModelPrice | None:
        """Return the list's price at a time, None where it has none."""
        ...
