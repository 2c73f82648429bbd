"""What must hold for every value: canonical JSON, digests, ids, money, assignment."""

from __future__ import annotations

import contextlib
import json
import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tetrad.kernel import (
    WHOLE,
    DoubtfulUsage,
    InvalidInput,
    Money,
    NotCanonical,
    assign,
    bucket,
    canonical_json,
    digest_bytes,
    digest_json,
    parse_digest,
    parse_json,
    usage_of_parts,
    uuid7,
)
from tetrad.kernel.canonical_json import MAX_SAFE_INTEGER

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_SAFE_INTEGER, MAX_SAFE_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    | text
)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5))
amounts = st.decimals(-(10**17), 10**17, places=12, allow_nan=False, allow_infinity=False)


def same(one: object, other: object) -> bool:
    """Compare as JSON does: 1 is 1.0, but true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@given(values)
def test_canonical_json_is_json_that_says_the_same(value: object) -> None:
    assert same(parse_json(canonical_json(value)), value)


@given(values)
def test_canonical_json_of_what_it_wrote_is_what_it_wrote(value: object) -> None:
    once = canonical_json(value)
    assert canonical_json(parse_json(once)) == once
    assert digest_json(value) == digest_bytes(once) == parse_digest(digest_json(value))


@given(st.dictionaries(text, scalars, max_size=8), st.randoms(use_true_random=False))
def test_the_order_in_which_keys_were_put_does_not_matter(value: dict[str, object], random: object) -> None:
    items = list(value.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    assert canonical_json(dict(items)) == canonical_json(value)


@given(st.dictionaries(text, st.just(0), min_size=2, max_size=8))
def test_keys_stand_in_the_order_of_their_utf_16_code_units(value: dict[str, int]) -> None:
    written = list(json.loads(canonical_json(value)))
    assert written == sorted(value, key=lambda key: key.encode("utf-16-be"))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back_as_the_same_double_in_its_shortest_form(value: float) -> None:
    written = canonical_json(value).decode()
    assert float(written) == value
    digits = written.partition("e")[0].replace("-", "").replace(".", "").strip("0")
    assert len(digits) <= 17
    mantissa, _, exponent = written.partition("e")
    size = abs(value)
    assert bool(exponent) == (size != 0 and not 1e-6 <= size < 1e21)
    assert not mantissa.endswith(".0")


@given(st.floats() | st.integers() | st.text(max_size=5) | st.binary(max_size=3))
def test_a_value_is_written_or_refused_but_never_guessed_at(value: object) -> None:
    try:
        written = canonical_json(value)
    except NotCanonical:
        unclear = isinstance(value, bytes) or (isinstance(value, float) and not math.isfinite(value))
        unclear = unclear or (isinstance(value, int) and abs(value) > MAX_SAFE_INTEGER)
        unclear = unclear or (isinstance(value, str) and any(0xD800 <= ord(char) < 0xE000 for char in value))
        assert unclear
    else:
        assert parse_json(written) == value


@given(st.binary(max_size=60))
def test_reading_never_fails_in_any_other_way(data: bytes) -> None:
    with contextlib.suppress(InvalidInput):
        canonical_json(parse_json(data))


@given(st.integers(1, 300))
def test_ids_rise(count: int) -> None:
    made = [uuid7() for _ in range(count)]
    assert made == sorted(set(made))


@given(text, text, st.integers(0, WHOLE), st.integers(0, WHOLE))
def test_raising_a_weight_never_moves_anyone_back(unit: str, salt: str, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert assign(unit, salt, low) <= assign(unit, salt, high)
    assert 0 <= bucket(unit, salt) < WHOLE
    assert not assign(unit, salt, 0)
    assert assign(unit, salt, WHOLE)


@given(amounts, amounts, amounts)
def test_sums_of_money_do_not_depend_on_the_order(a: Decimal, b: Decimal, c: Decimal) -> None:
    x, y, z = Money(a), Money(b), Money(c)
    assert (x + y) + z == x + (y + z) == (z + x) + y
    assert (x + y) - y == x
    assert (x < y) == (a < b)


@given(amounts)
def test_money_survives_being_written(amount: Decimal) -> None:
    shown, _, currency = str(Money(amount)).partition(" ")
    assert Money.parse(shown, currency) == Money(amount)


@given(amounts, st.integers(-1000, 1000))
def test_money_times_a_number_is_money_added_that_often(amount: Decimal, times: int) -> None:
    money = Money(amount.scaleb(-4).quantize(Decimal("1e-12")))
    total = Money(Decimal(0))
    for _ in range(abs(times)):
        total = total + money if times > 0 else total - money
    assert money * times == total


counts = st.integers(0, 50)


@given(counts, counts, counts, counts, counts, st.none() | st.integers(0, 200))
def test_no_part_that_is_told_of_a_usage_makes_its_whole_smaller(
    read: int, made: int, cached: int, written: int, reasoning: int, total: int | None
) -> None:
    usage = usage_of_parts(read, made, cached=cached, written=written, reasoning=reasoning, total=total)
    assert usage.input_total >= max(read, cached + written)
    assert usage.output_total >= max(made, reasoning)
    assert (usage.cache_read, usage.cache_write, usage.reasoning) == (cached, written, reasoning)
    assert min(usage.input, usage.output) >= 0
    doubtful = isinstance(usage, DoubtfulUsage)
    assert usage.plausible is not doubtful
    assert not doubtful or (usage.possible and (cached + written > read or reasoning > made))


@given(st.lists(st.integers(-50, 50), min_size=5, max_size=5).filter(lambda each: min(each) < 0))
def test_a_usage_with_less_than_nothing_in_it_is_never_believed(said: list[int]) -> None:
    read, made, cached, written, reasoning = said
    usage = usage_of_parts(read, made, cached=cached, written=written, reasoning=reasoning)
    assert not usage.plausible
    assert not (isinstance(usage, DoubtfulUsage) and usage.possible)
