"""Public prices of hosted models, from `genai-prices`."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

from tetrad.models._model import ModelPrice, PriceTier

SOURCE = "genai-prices"
_TOKEN_KEYS = ("input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok")
_UNIT_KEYS = {
    "input_audio_mtok": ("audio_input", 1),
    "output_audio_mtok": ("audio_output", 1),
    "input_image_mtok": ("image_input", 1),
    "output_image_mtok": ("image_output", 1),
    "requests_kcount": ("request", 1000),
    "audio_hours": ("second", 3600),
}
"""What the list says besides tokens of text: our name of it, and how many of ours one of theirs is."""
_PLACES = Decimal("1e-12")


class PublicPrices:
    """`PriceList` over the data that comes with the `genai-prices` package; it calls nobody."""

    def price(self, provider: str, model: str, at: datetime) -> ModelPrice | None:
        """Return the list's price in US dollars, None where it has none for this provider and model."""
        if not provider or not model:
            return None
        from genai_prices.data_snapshot import get_snapshot

        try:
            _, found = get_snapshot().find_provider_model(model, None, provider, None)
        except LookupError:
            return None
        return _converted(found.get_prices(at))


def _converted(listed: Any) -> ModelPrice | None:
    values = {name: value for name, value in vars(listed).items() if value is not None and not name.startswith("_")}
    units = _units(values)
    if "input_mtok" not in values:
        # What hears and answers in text is paid by the time that it hears.
        return ModelPrice("0", "0", source=SOURCE, units=units) if set(units) == {"second"} else None
    base = {name: _base(values.get(name)) for name in _TOKEN_KEYS}
    starts = sorted({tier.start for name in _TOKEN_KEYS for tier in getattr(values.get(name), "tiers", ())})
    tiers = tuple(
        PriceTier(
            start,
            _text(_at(values["input_mtok"], start)) or "0",
            _text(_at(values.get("output_mtok"), start)) or "0",
            _text(_at(values.get("cache_read_mtok"), start)),
            _text(_at(values.get("cache_write_mtok"), start)),
        )
        for start in starts
    )
    # Models without a price of output (embeddings) have no output.
    return ModelPrice(
        _text(base["input_mtok"]) or "0",
        _text(base["output_mtok"]) or "0",
        _text(base["cache_read_mtok"]),
        _text(base["cache_write_mtok"]),
        tiers=tiers,
        source=SOURCE,
        unpriced=tuple(sorted(set(values) - set(_TOKEN_KEYS) - set(_UNIT_KEYS))),
        units=units,
    )


def _units(values: dict[str, Any]) -> dict[str, str]:
    found = {}
    for theirs, (ours, many) in _UNIT_KEYS.items():
        price = _base(values.get(theirs))
        if price is not None:
            found[ours] = f"{(Decimal(price) / many).quantize(_PLACES).normalize():f}"
    return found


def _base(value: Any) -> Decimal | None:
    price: Decimal | None = getattr(value, "base", value)
    return price


def _at(value: Any, start: int) -> Decimal | None:
    price = _base(value)
    for tier in getattr(value, "tiers", ()):
        if tier.start <= start:
            price = tier.price
    return price


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"
