"""Models and their prices: frozen values and pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from tetrad.kernel import Digest, digest_json
from tetrad.models.errors import BadPrice

HOSTED_SCHEMA = "tetrad.model.hosted/1"
WEIGHTS_SCHEMA = "tetrad.model.weights/1"
Kind = Literal["weights", "adapter", "provider"]
Derivation = Literal["none", "finetune", "distil", "quantise", "prune", "merge"]
DERIVATIONS: tuple[Derivation, ...] = ("none", "finetune", "distil", "quantise", "prune", "merge")


class WeightsFile(msgspec.Struct, frozen=True):
    """One file of a model's weights."""

    path: str
    digest: Digest
    size: int


class AdapterFacts(msgspec.Struct, frozen=True):
    """What an adapter says of itself. `base_model` is the name that its trainer gave the base: a hint, no identity.

    `checked` says by what it was compared with its base: `shapes`, `architecture`, or nothing.
    """

    type: str = ""
    rank: int = 0
    alpha: float = 0.0
    targets: tuple[str, ...] = ()
    base_model: str = ""
    checked: str = ""


class WeightsFacts(msgspec.Struct, frozen=True):
    """What the weights say of themselves; zero and empty mean that they say nothing.

    `dtypes` counts values by their type, `config` is the digest of `config.json`. `pickled` weights run code of their
    maker where they are loaded.
    """

    format: str = ""
    architecture: str = ""
    parameters: int = 0
    quantisation: str = ""
    context_length: int = 0
    licence: str = ""
    tokenizer: Digest | None = None
    chat_template: Digest | None = None
    details: Mapping[str, Any] = {}
    dtypes: Mapping[str, int] = {}
    config: Digest | None = None
    adapter: AdapterFacts | None = None
    pickled: bool = False


class ModelRecord(msgspec.Struct, frozen=True):
    """A model by digest: everything that follows from its bytes, or from who hosts it."""

    project: str
    digest: Digest
    kind: Kind
    size: int
    created_at: datetime
    created_by: str
    files: tuple[WeightsFile, ...] = ()
    facts: WeightsFacts = WeightsFacts()
    base: Digest | None = None
    derivation: Derivation = "none"
    provider: str = ""
    provider_model: str = ""
    snapshot: str = ""
    immutable: bool = True

    @property
    def reproduction_cap(self) -> str:
        """The best level at which answers can be had again: `R2` (statistical) where others host, empty for no cap."""
        return "R2" if self.kind == "provider" else ""

    @property
    def wants_canary(self) -> bool:
        """Tell whether what answers may change unseen, so that a probe should ask it the same again and again."""
        return not self.immutable


class ModelVersion(msgspec.Struct, frozen=True):
    """A named version of a model."""

    name: str
    semver: str
    record: ModelRecord
    author: str
    author_name: str
    created_at: datetime
    licence: str = ""
    source: Mapping[str, Any] = {}
    reason: str = ""
    expected_outcome: str = ""

    @property
    def digest(self) -> Digest:
        """The model's identity."""
        return self.record.digest


class PriceTier(msgspec.Struct, frozen=True):
    """Prices of a whole call whose input has more than `start` tokens."""

    start: int
    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None


class ModelPrice(msgspec.Struct, frozen=True):
    """Decimal texts per million tokens. `source` says who says so; `unpriced` names charges that are not by token."""

    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None
    currency: str = "USD"
    tiers: tuple[PriceTier, ...] = ()
    source: str = ""
    valid_from: datetime | None = None
    valid_to: datetime | None = None
    unpriced: tuple[str, ...] = ()
    units: dict[str, str] = {}
    """What else has a price, by the names that gateways charge by (`audio_input` by the million, `second` each, …)."""


class PriceEntry(msgspec.Struct, frozen=True):
    """A line of the local price table; an empty project is every project's."""

    id: str
    project: str
    model: str
    price: ModelPrice
    created_at: datetime
    created_by: str


def weights_digest(files: Iterable[WeightsFile]) -> Digest:
    """Name weights: a single file by its own SHA-256 (as OCI and model hubs do), several by their list."""
    ordered = sorted(files, key=lambda file: file.path)
    if len(ordered) == 1:
        return ordered[0].digest
    return digest_json(weights_document(ordered))


def weights_document(files: Iterable[WeightsFile]) -> dict[str, Any]:
    """Return the JSON document that lists the files of sharded weights."""
    ordered = sorted(files, key=lambda file: file.path)
    return {
        "schema": WEIGHTS_SCHEMA,
        "files": [{"path": file.path, "digest": file.digest, "size": file.size} for file in ordered],
    }


def hosted_document(provider: str, model: str, snapshot: str, *, immutable: bool) -> dict[str, Any]:
    """Return the JSON document that is a hosted model's identity: whose, which, of which date, and may it change."""
    document: dict[str, Any] = {
        "schema": HOSTED_SCHEMA,
        "provider": provider,
        "model": model,
        "immutable": immutable,
    }
    if snapshot:
        document["snapshot"] = snapshot
    return document


def check_price(text: str) -> str:
    """Return a price as a plain decimal that is not negative, or refuse with `BadPrice`."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if len(text) > 32 or not value.is_finite() or value < 0:
        raise BadPrice(f"{text[:40]!r} is no price", hint="write a decimal such as 0.15, per million tokens")
    return f"{value:f}"


def current_price(entries: Iterable[PriceEntry], at: datetime) -> ModelPrice | None:
    """Choose the price that holds at a time: the project's own before everybody's, the later begun before the older."""

    def rank(entry: PriceEntry) -> tuple[bool, float, str]:
        begun = entry.price.valid_from.timestamp() if entry.price.valid_from else float("-inf")
        return entry.project != "", begun, entry.id

    holding = [
        entry
        for entry in entries
        if (entry.price.valid_from is None or entry.price.valid_from <= at)
        and (entry.price.valid_to is None or at < entry.price.valid_to)
    ]
    return max(holding, key=rank).price if holding else None
