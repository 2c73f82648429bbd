"""Models and their prices: frozen values and pure rules."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal

import msgspec

from tetrad.kernel import UNITS, Digest, digest_json
from tetrad.models.errors import BadPrice

MAX_PRICE_DIGITS = 30
_PRICED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
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
    """What else has a price, by the names of `tetrad.kernel.UNITS` (`audio_input` by the million, `second` each, …)."""
    batch: str | None = None
    """What part of this price a call costs in the provider's own batches, such as 0.5; None where nobody says it."""


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


def check_priced(model: str) -> str:
    """Return the name of a model as clients ask for it, such as `bedrock/Claude-4:0`, or refuse with `BadPrice`.

    Providers name models with capitals and colons, which names of the registry do not have.
    """
    if not _PRICED.fullmatch(model):
        raise BadPrice(
            f"{model[:140]!r} is no name of a model",
            hint="as clients ask for it, such as openai/gpt-5-mini: letters, digits and . _ : / @ + -; at most 128",
        )
    return model


def check_price(text: str) -> str:
    """Return a price as a plain decimal that is not negative, or refuse with `BadPrice`."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    # an exponent makes a long text of a short one, and gateways take none of more digits
    if len(text) > 32 or not value.is_finite() or value < 0 or abs(value.adjusted()) > MAX_PRICE_DIGITS:
        raise _no_price(text)
    plain = f"{value:f}"
    if len(plain) > MAX_PRICE_DIGITS:
        raise _no_price(text)
    return plain


def _no_price(text: str) -> BadPrice:
    return BadPrice(f"{text[:40]!r} is no price", hint=f"a decimal such as 0.15, of at most {MAX_PRICE_DIGITS} digits")


def check_units(units: Mapping[str, str]) -> dict[str, str]:
    """Return the prices of what is no token of text as plain decimals, or refuse with `BadPrice`."""
    for name in units:
        if name not in UNITS:
            raise BadPrice(f"{name[:40]!r} has no price here", hint=f"besides tokens of text: {', '.join(UNITS)}")
    return {name: check_price(text) for name, text in units.items()}


def check_batch(text: str) -> str:
    """Return what part of a price batches cost, of 0 to 1, or refuse with `BadPrice`."""
    part = check_price(text)
    if Decimal(part) > 1:
        raise BadPrice(f"batches would cost {part[:40]} times the price", hint="say the part of it: 0.5 is half of it")
    return part


def next_change(entries: Iterable[PriceEntry], after: datetime) -> datetime | None:
    """Return the first moment after `after` at which one of the prices begins or ends, None where none does."""
    moments = (moment for entry in entries for moment in (entry.price.valid_from, entry.price.valid_to))
    return min((moment for moment in moments if moment is not None and moment > after), default=None)


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
