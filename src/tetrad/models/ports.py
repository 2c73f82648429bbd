"""What models ask of others: a store, a reader of weights' files, a list of prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, BinaryIO, Protocol

from tetrad.kernel import Principal
from tetrad.models._model import ModelPrice, ModelRecord, PriceEntry, WeightsFacts

Source = Callable[[], BinaryIO]
"""Opens a file for reading and seeking; whoever calls it closes it."""


class ModelStore(Protocol):
    """Records of models and lines of the local price table."""

    def add(self, record: ModelRecord) -> ModelRecord:
        """Keep a record, or return the one that is there."""
        ...

    def get(self, project: str, digest: str) -> ModelRecord | None: ...

    def add_upload(self, project: str, digest: str, size: int, at: datetime, by: str) -> None:
        """Note that a project has sent a file; forget those that nobody asked for in a week."""
        ...

    def uploads(self, project: str, digests: Sequence[str]) -> set[str]:
        """Return which files a project has sent that belong to no model yet."""
        ...

    def drop_uploads(self, project: str, digests: Sequence[str]) -> None: ...

    def add_price(self, entry: PriceEntry) -> None: ...

    def remove_price(self, project: str, price_id: str) -> bool: ...

    def prices(self, project: str | None, model: str | None) -> Sequence[PriceEntry]:
        """Return the lines of a project and those of every project; None: the lines of all projects."""
        ...


class Auditor(Protocol):
    """The audit log; `tetrad.identity.Audit.record` fulfils it."""

    def __call__(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append an event; raises where it cannot."""
        ...


class WeightsReader(Protocol):
    """Reads what the files of a model say of themselves."""

    def __call__(self, sources: Mapping[str, Source], *, allow_pickle: bool = False) -> WeightsFacts:
        """Return the facts of files by path; raise `BadModel` where they are damaged or do not fit together."""
        ...


class PriceList(Protocol):
    """Public prices of hosted models."""

    def price(self, provider: str, model: str, at: datetime) -> ModelPrice | None:
        """Return the list's price at a time, None where it has none."""
        ...
