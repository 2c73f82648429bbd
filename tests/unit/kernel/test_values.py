"""Digests, ids, clocks, money, usage, principals and errors keep their promises."""

from __future__ import annotations

import pickle
import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tetrad import kernel
from tetrad.kernel import (
    Conflict,
    FixedClock,
    InvalidInput,
    MissingExtra,
    Money,
    Overloaded,
    Principal,
    SystemClock,
    TetradError,
    Usage,
    assign,
    bucket,
    digest_bytes,
    digest_json,
    new_id,
    new_span_id,
    new_trace_id,
    parse_digest,
    short,
    uuid7,
)

EMPTY = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_a_digest_is_the_sha_256_of_the_bytes() -> None:
    assert digest_bytes(b"") == EMPTY
    assert digest_bytes(memoryview(b"abc")) == digest_bytes(bytearray(b"abc"))
    assert digest_json({}) == digest_bytes(b"{}")
    assert short(EMPTY) == "e3b0c44298fc"


@pytest.mark.parametrize(
    "text", ["", "sha256:", EMPTY.upper(), EMPTY + "0", EMPTY + "\n", EMPTY[7:], "md5:" + "0" * 64]
)
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_digest(text)
    assert caught.value.code == "bad_digest"


def test_ids_of_many_threads_are_distinct_and_each_thread_sees_them_rise() -> None:
    found: list[list[uuid.UUID]] = []

    def make() -> None:
        found.append([uuid7() for _ in range(3000)])

    threads = [threading.Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(own == sorted(own) for own in found)
    assert len({one for own in found for one in own}) == 12_000
    assert {(one.version, one.variant) for own in found for one in own} == {(7, uuid.RFC_4122)}


def test_ids_keep_rising_when_the_clock_runs_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    first = uuid7()
    monkeypatch.setattr("time.time_ns", lambda: 1_000_000)
    later = [uuid7() for _ in range(5000)]
    assert [first, *later] == sorted([first, *later])


def test_an_id_tells_its_time_and_its_kind() -> None:
    before = SystemClock().now_ns() // 1_000_000
    made = new_id("key")
    assert made.startswith("key_")
    assert before <= int(made.removeprefix("key_")[:12], 16) <= SystemClock().now_ns() // 1_000_000 + 5_000
    assert len(new_trace_id()) == 32
    assert len(new_span_id()) == 16


def test_a_fixed_clock_moves_only_when_told_to() -> None:
    clock = FixedClock(datetime(2026, 5, 1, 12, 0, 0, 123456, tzinfo=UTC))
    assert clock.now_ns() == int(clock.now().timestamp()) * 10**9 + 123_456_000
    clock.advance(timedelta(minutes=1))
    clock.advance(0.5)
    assert clock.monotonic() == 60.5
    assert clock.now() == datetime(2026, 5, 1, 12, 1, 0, 623456, tzinfo=UTC)


def test_the_system_clock_tells_utc_and_never_runs_backwards() -> None:
    clock = SystemClock()
    first = clock.monotonic()
    assert clock.now().tzinfo is UTC
    assert clock.monotonic() >= first
    assert abs(clock.now_ns() / 1e9 - clock.now().timestamp()) < 5


def test_sums_of_money_are_exact_where_floats_and_short_decimals_are_not() -> None:
    assert Money.parse("0.1") + Money.parse("0.2") == Money.parse("0.3")
    large, small = Money(Decimal(10) ** 17), Money(Decimal("0.000000000001"))
    assert (large + small) - large == small
    assert str(Money.parse("0.000000000001")) == "0.000000000001 USD"


def test_a_product_of_money_is_rounded_half_to_even_at_twelve_places() -> None:
    assert Money.parse("0.000000000001") * Decimal("0.5") == Money.parse("0")
    assert Money.parse("0.000000000003") * Decimal("0.5") == Money.parse("0.000000000002")
    assert Money.parse("2.5") * 3 == Money.parse("7.5")


@pytest.mark.parametrize("text", ["", "1e3", "NaN", "1_000", " 1", "1,5", "0x1", "٣", "1.0000000000001", "9" * 30])
def test_what_is_no_plain_decimal_is_no_money(text: str) -> None:
    with pytest.raises(InvalidInput):
        Money.parse(text)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Money(1.5),  # type: ignore[arg-type]
        lambda: Money(Decimal("Infinity")),
        lambda: Money(Decimal("1e-13")),
        lambda: Money(Decimal("1e19")),
        lambda: Money(Decimal(1), "usd"),
        lambda: Money(Decimal(1)) * 1.5,  # type: ignore[operator]
        lambda: Money(Decimal(1)) + Money(Decimal(1), "EUR"),
        lambda: Money(Decimal(1)) < Money(Decimal(1), "EUR"),
        lambda: Money(Decimal(10) ** 18) * 2,
    ],
)
def test_money_refuses_floats_other_currencies_and_what_it_cannot_hold(make: Callable[[], object]) -> None:
    with pytest.raises(InvalidInput) as caught:
        make()
    assert caught.value.code == "bad_money"


def test_money_compares_within_its_currency() -> None:
    assert Money.parse("1") < Money.parse("2") <= Money.parse("2.00")
    assert Money.parse("3") > Money.parse("2")
    assert hash(Money.parse("2.0")) == hash(Money.parse("2.00"))


def test_usage_adds_up_without_counting_twice() -> None:
    usage = Usage(input=10, cache_read=5, cache_write=3, output=7, reasoning=2)
    assert (usage.input_total, usage.output_total, usage.total) == (18, 9, 27)
    assert usage + usage == Usage(20, 10, 6, 14, 4)


def test_a_principal_enters_its_projects_only() -> None:
    everywhere = Principal("k1", "key", "admin", frozenset({"admin"}))
    one = Principal("k2", "key", "app", frozenset({"data"}), frozenset({"default"}))
    assert everywhere.may_enter("any")
    assert one.may_enter("default")
    assert not one.may_enter("other")
    assert not Principal("k3", "key", "none", frozenset(), frozenset()).may_enter("default")


def test_an_error_crosses_processes_whole() -> None:
    error = Overloaded("too many calls", hint="wait", code="rate_limited", retry_after_s=1.5)
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.message, copy.hint, copy.code, copy.status, copy.retry_after_s) == (
        Overloaded,
        "too many calls",
        "wait",
        "rate_limited",
        429,
        1.5,
    )
    extra = pickle.loads(pickle.dumps(MissingExtra("S3", "s3")))
    assert (extra.message, extra.hint) == ("S3 needs the extra `s3`", "pip install 'tetrad[s3]'")


def test_every_kind_of_error_has_its_own_code_and_a_fitting_status() -> None:
    kinds = [value for value in vars(kernel).values() if isinstance(value, type) and issubclass(value, TetradError)]
    codes = [kind.code for kind in kinds]
    assert len(set(codes)) == len(codes) > 8
    assert all(400 <= kind.status < 600 for kind in kinds)
    assert Conflict("x").status == 409


def test_assignment_follows_the_written_formula() -> None:
    import hashlib

    head = int.from_bytes(hashlib.sha256(b"salt\x1funit").digest()[:8], "big")
    assert bucket("unit", "salt") == head * 1_000_000 // 2**64


def test_assignment_takes_the_share_that_it_was_given() -> None:
    units = [f"session-{number}" for number in range(20_000)]
    share = sum(assign(unit, "rollout-1", 100_000) for unit in units) / len(units)
    assert abs(share - 0.1) < 0.01
    both = sum(assign(u, "rollout-1", 500_000) and assign(u, "rollout-2", 500_000) for u in units) / len(units)
    assert abs(both - 0.25) < 0.02
