"""What calls cost, against sums done by hand."""

from __future__ import annotations

from decimal import Context, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import Usage
from tetrad.serving import Price, Tier
from tetrad.serving._pricing import Pricer
from tetrad.serving._unit_pricing import pricer_of
from tetrad.serving.errors import BadRouteTable

MINI = Price("0.15", "0.6", cache_read="0.075")
SONNET = Price("3", "15", cache_read="0.3", cache_write="3.75", tiers=(Tier(200_000, "6", "22.5", "0.6", "7.5"),))


@pytest.mark.parametrize(
    ("price", "usage", "cost"),
    [
        # 1,000 x 0.15 + 500 x 0.60 = 150 + 300 = 450 millionths
        (MINI, Usage(input=1000, output=500), "0.00045"),
        # 200 x 0.15 + 800 x 0.075 + 100 x 0.60 = 30 + 60 + 60 = 150 millionths
        (MINI, Usage(input=200, cache_read=800, output=100), "0.00015"),
        # reasoning costs what output costs: 10 x 0.15 + (5 + 95) x 0.60 = 1.5 + 60 = 61.5 millionths
        (MINI, Usage(input=10, output=5, reasoning=95), "0.0000615"),
        # 1 x 0.15 millionths, not rounded
        (MINI, Usage(input=1), "0.00000015"),
        # 100 x 3 + 50,000 x 0.30 + 10,000 x 3.75 + 200 x 15 = 300 + 15,000 + 37,500 + 3,000 = 55,800 millionths
        (SONNET, Usage(input=100, cache_read=50_000, cache_write=10_000, output=200), "0.0558"),
        # at the start of the tier the base price holds: 200,000 x 3 = 600,000 millionths
        (SONNET, Usage(input=200_000), "0.6"),
        # one past it, the tier holds for all: 200,001 x 6 + 10 x 22.50 = 1,200,006 + 225 = 1,200,231 millionths
        (SONNET, Usage(input=200_001, output=10), "1.200231"),
        # the cache counts towards the tier: 1 x 6 + 200,000 x 0.60 = 120,006 millionths
        (SONNET, Usage(input=1, cache_read=200_000), "0.120006"),
        # no price of its own for the cache: 10 x 2 + 10 x 2 = 40 millionths
        (Price("2", "8"), Usage(cache_read=10, cache_write=10), "0.00004"),
        (Price("0", "0"), Usage(input=10, output=10), "0"),
        (Price("3", "15", max_input_tokens=100), Usage(input=101), None),
    ],
)
def test_a_call_costs_what_a_sum_by_hand_says(price: Price, usage: Usage, cost: str | None) -> None:
    assert Pricer(price).cost(usage) == cost


def test_the_most_that_a_call_may_cost_takes_the_dearest_way_through_the_cache() -> None:
    # 1,000 x 3.75 + 100 x 15 = 5,250 millionths; reading from the cache would be cheaper
    assert Pricer(SONNET).most(1000, 100) == "0.00525"
    # 1,000 x 0.15 + 100 x 0.60 = 210 millionths
    assert Pricer(MINI).most(1000, 100) == "0.00021"
    assert Pricer(Price("3", "15", max_input_tokens=100)).most(101, 1) is None


@pytest.mark.parametrize("text", ["", "free", "-1", "NaN", "Infinity"])
def test_what_is_no_price_breaks_its_model_and_is_never_nothing(text: str) -> None:
    with pytest.raises(BadRouteTable, match="is no price"):
        Pricer(Price(text, "1"))
    with pytest.raises(BadRouteTable, match="is no price"):
        Pricer(Price("1", "1", tiers=(Tier(10, "1", text),)))


SOUND = Price("2.5", "10", units={"audio_input": "40", "audio_output": "80"})
D = Decimal


@pytest.mark.parametrize(
    ("price", "usage", "units", "cost"),
    [
        (SOUND, Usage(input=1000, output=100), {"audio_input": D(400), "audio_output": D(60)}, "0.0227"),
        (SOUND, Usage(input=1000), {"image_input": D(1)}, None),
        (MINI, Usage(input=1000), {"audio_input": D(1)}, None),
        (MINI, None, {"image": D(2)}, None),
        (MINI, Usage(input=1_000_000), {"image": D(2)}, "0.15"),
        (Price("0", "0", units={"image": "0.04"}), Usage(input=9, output=900), {"image": D(3)}, "0.12"),
        (Price("0", "0", units={"second": "0.0001"}), None, {"second": D("8.25")}, "0.000825"),
        (Price("0", "0", units={"character": "15"}), None, {"character": D(2000)}, "0.03"),
        (Price("0", "0", units={"search_unit": "0.002"}), None, {"search_unit": D(1)}, "0.002"),
        (Price("0", "0", units={"character": "15", "request": "0.5"}), None, {"character": D(0)}, "0.5"),
        (Price("0", "0", units={"character": "15"}), None, {"second": D(1)}, None),
    ],
)
def test_what_is_no_text_costs_by_its_own_unit_or_nobody_knows_what(
    price: Price, usage: Usage | None, units: dict[str, Decimal], cost: str | None
) -> None:
    assert pricer_of(price).cost_of(usage, units) == cost


def test_thoughts_and_requests_may_have_prices_of_their_own() -> None:
    price = Price("1", "4", units={"reasoning": "2", "request": "0.005"})
    assert pricer_of(price).cost(Usage(input=1000, output=1000, reasoning=1000)) == "0.012"
    assert pricer_of(Price("1", "4")).cost(Usage(output=1000, reasoning=1000)) == "0.008"


def test_a_price_of_text_alone_stays_the_plain_one() -> None:
    assert type(pricer_of(MINI)) is Pricer


@pytest.mark.parametrize("units", [{"image": "cheap"}, {"image": "-1"}, {"pixel": "1"}])
def test_units_that_are_no_price_are_refused(units: dict[str, str]) -> None:
    with pytest.raises(BadRouteTable):
        pricer_of(Price("1", "1", units=units))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_sound_at_the_price_of_text_costs_what_text_costs(heard: int, read: int, spoken: int, written: int) -> None:
    price = Price("2", "8", units={"audio_input": "2", "audio_output": "8"})
    usage = Usage(input=heard + read, output=spoken + written)
    units = {"audio_input": D(heard), "audio_output": D(spoken)}
    assert pricer_of(price).cost_of(usage, units) == Pricer(Price("2", "8")).cost(usage)


RATES = st.decimals(0, 10**6, places=9).map(str) | st.sampled_from(["0", "1e-3", "3E+2", "2.50"])
COUNTS = st.integers(0, 10**12)


@given(RATES, RATES, st.none() | RATES, st.none() | RATES, st.builds(Usage, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS))
def test_costs_are_what_exact_decimals_say(
    given_: str, gave: str, read: str | None, write: str | None, usage: Usage
) -> None:
    exact = Context(prec=100)
    amount = Decimal(0)
    for rate, count in (
        (given_, usage.input), (gave, usage.output_total), (read or given_, usage.cache_read),
        (write or given_, usage.cache_write),
    ):  # fmt: skip
        amount = exact.add(amount, exact.multiply(Decimal(rate), Decimal(count)))
    cost = Pricer(Price(given_, gave, cache_read=read, cache_write=write)).cost(usage)
    assert cost is not None
    assert Decimal(cost) == exact.divide(amount, Decimal(10**6))
    assert "E" not in cost
    assert not ("." in cost and cost.endswith("0"))


@pytest.mark.parametrize("text", ["1e31", "1e-31", "0." + "1" * 40, "1e999999999"])
def test_a_price_of_absurd_size_is_refused(text: str) -> None:
    with pytest.raises(BadRouteTable, match="is no price"):
        Pricer(Price(text, "1"))
