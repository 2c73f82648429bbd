"""What models cost, and when nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tetrad.kernel import UNITS, InvalidInput
from tetrad.models import BadPrice, ModelPrice, PriceEntry, PublicPrices, WeightsFile, current_price, weights_digest
from tetrad.models._model import check_batch, check_price, check_units
from tetrad.models._price_cli import read_price, shown_price
from tetrad.serving import Price
from tetrad.serving._unit_pricing import pricer_of

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def entry(number: int, price: str, project: str = "", begins: int | None = None, ends: int | None = None) -> PriceEntry:
    return PriceEntry(
        f"price_{number}", project, "m",
        ModelPrice(
            price, price,
            valid_from=None if begins is None else NOW + timedelta(days=begins),
            valid_to=None if ends is None else NOW + timedelta(days=ends),
        ),
        NOW, "key_1",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("entries", "price"),
    [
        ([], None),
        ([entry(1, "1")], "1"),
        ([entry(1, "1"), entry(2, "2", begins=-1)], "2"),
        ([entry(1, "1"), entry(2, "2", begins=1)], "1"),
        ([entry(1, "1", begins=-9, ends=0)], None),
        ([entry(1, "1", begins=0)], "1"),
        ([entry(1, "1", begins=-1), entry(2, "2", project="default", begins=-5)], "2"),
        ([entry(1, "1", begins=-1, ends=-1), entry(2, "2", begins=-3)], "2"),
    ],
)
def test_the_price_that_holds_is_the_projects_own_and_the_latest_begun(entries: list[PriceEntry], price: str) -> None:
    found = current_price(entries, NOW)
    assert (found.input if found else None) == price
    found = current_price(reversed(entries), NOW)
    assert (found.input if found else None) == price


@pytest.mark.parametrize(
    "text",
    ["", "free", "-1", "NaN", "Infinity", "1,5", "1" * 40, "1E999999999", "1E-999999", "1" * 31, "1." + "1" * 29],
)
def test_what_is_no_price_is_refused(text: str) -> None:
    with pytest.raises(BadPrice):
        check_price(text)


def test_prices_keep_every_digit() -> None:
    assert check_price("0.000000150") == "0.000000150"
    assert check_price("1E-7") == "0.0000001"


def test_the_public_list_knows_a_hosted_model() -> None:
    price = PublicPrices().price("openai", "gpt-4o-mini", NOW)
    assert price is not None
    assert (price.input, price.output, price.currency, price.source) == ("0.15", "0.6", "USD", "genai-prices")
    assert price.cache_read == "0.075"


def test_a_price_by_length_of_input_has_tiers() -> None:
    price = PublicPrices().price("google", "gemini-2.5-pro", NOW)
    assert price is not None
    assert [tier.start for tier in price.tiers] == [200_000]
    assert float(price.tiers[0].input) > float(price.input)


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model-x"), ("nobody", "gpt-4o"), ("", "gpt-4o"), ("openai", "")]
)
def test_an_unknown_model_has_an_unknown_price(provider: str, model: str) -> None:
    assert PublicPrices().price(provider, model, NOW) is None


def test_one_file_of_weights_is_named_by_its_own_digest() -> None:
    a = WeightsFile("a.gguf", "sha256:" + "a" * 64, 1)
    b = WeightsFile("b.gguf", "sha256:" + "b" * 64, 1)
    assert weights_digest([a]) == a.digest
    assert weights_digest([a, b]) == weights_digest([b, a]) not in (a.digest, b.digest)


def test_what_is_no_text_has_the_same_names_as_gateways_charge_by() -> None:
    units = check_units(dict.fromkeys(UNITS, "1E-7"))
    assert units == dict.fromkeys(UNITS, "0.0000001")
    pricer_of(Price("0", "0", units=units))
    for bad in ({"pixel": "1"}, {"image": "free"}, {"image": "-1"}, {"": "1"}):
        with pytest.raises(BadPrice) as caught:
            check_units(bad)
        assert caught.value.hint


def test_batches_cost_a_part_of_the_price() -> None:
    assert [check_batch(text) for text in ("0", "0.5", "1")] == ["0", "0.5", "1"]
    for text in ("50", "1.01", "half", "-0.5"):
        with pytest.raises(BadPrice):
            check_batch(text)


def test_a_price_is_typed_in_the_words_of_providers() -> None:
    assert read_price(["input:2.5", "output:10", "audio_input:40", "batch:0.5"]) == {
        "input": "2.5", "output": "10", "batch": "0.5", "units": {"audio_input": "40"},
    }  # fmt: skip
    assert read_price(["image:0.04"]) == {"input": "0", "output": "0", "units": {"image": "0.04"}}
    for bad in (
        ["input:1"],
        ["output:1", "image:1"],
        ["batch:0.5"],
        ["pixel:1"],
        ["image"],
        ["image:"],
        ["image:1"] * 2,
    ):
        with pytest.raises(InvalidInput) as caught:
            read_price(bad)
        assert caught.value.hint


def test_a_price_is_shown_whole() -> None:
    price = {
        "input": "2",
        "output": "8",
        "units": {"image": "0.04"},
        "batch": "0.5",
        "currency": "EUR",
        "source": "manual",
    }
    assert shown_price(price) == "2 / 8, image 0.04, batch 0.5 EUR (manual)"
    assert shown_price(None) == "unknown"
