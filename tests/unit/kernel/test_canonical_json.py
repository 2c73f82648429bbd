"""One value, one sequence of bytes: the vectors of RFC 8785 and what has no canonical form."""

from __future__ import annotations

import struct

import pytest

from tetrad.kernel import NotCanonical, canonical_json, digest_json, parse_json

# RFC 8785, appendix B: the bits of a double and how ECMAScript writes it.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "written"), NUMBERS)
def test_numbers_are_written_as_the_rfc_says(bits: str, written: str) -> None:
    value = struct.unpack(">d", bytes.fromhex(bits))[0]
    assert canonical_json(value) == written.encode()


@pytest.mark.parametrize("bits", ["7fffffffffffffff", "7ff0000000000000", "fff0000000000000"])
def test_what_is_no_number_is_refused(bits: str) -> None:
    value = struct.unpack(">d", bytes.fromhex(bits))[0]
    with pytest.raises(NotCanonical) as caught:
        canonical_json({"deep": [value]})
    assert "$.deep[0]" in caught.value.message
    assert caught.value.status == 422


def test_the_example_of_section_3_2_2_comes_out_byte_for_byte() -> None:
    source = (
        '{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],'
        '"string": "\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/",'
        '"literals": [null, true, false]}'
    )
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical_json(parse_json(source)).decode() == expected


def test_keys_are_sorted_by_utf_16_code_units() -> None:
    keys = ["€", "\r", "\ufb33", "1", "\U0001f600", "\x80", "ö"]
    expected = ["\r", "1", "\x80", "ö", "€", "\U0001f600", "\ufb33"]
    written = canonical_json(dict.fromkeys(keys, 0)).decode()
    assert [part.partition('":')[0].removeprefix('"') for part in written[1:-1].split(",")] == [
        "\\r" if key == "\r" else key for key in expected
    ]


def test_only_what_must_be_escaped_is_escaped() -> None:
    assert canonical_json('\b\t\n\f\r\x00\x1f\x7f"\\/\u2028é') == (
        b'"\\b\\t\\n\\f\\r\\u0000\\u001f\x7f\\"\\\\/' + "\u2028é".encode() + b'"'
    )


@pytest.mark.parametrize(
    "value",
    [2**53, -(2**53), "\ud800", {"\udfff": 1}, {1: 2}, b"bytes", {1, 2}, [1, (2, {"k": 1j})]],
    ids=repr,
)
def test_what_two_readers_could_understand_differently_is_refused(value: object) -> None:
    with pytest.raises(NotCanonical):
        canonical_json(value)


def test_nesting_has_a_limit_that_is_named() -> None:
    value: object = 1
    for _ in range(256):
        value = [value]
    assert canonical_json(value) == b"[" * 256 + b"1" + b"]" * 256
    with pytest.raises(NotCanonical, match="256"):
        canonical_json([value])


def test_equal_values_of_different_types_have_one_form() -> None:
    assert canonical_json([1.0, -0.0, (True,)]) == b"[1,0,[true]]"
    assert digest_json({"a": 1, "b": [2]}) == digest_json({"b": (2.0,), "a": 1.0})
    assert digest_json(True) != digest_json(1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b'{"a":1,"a":2}', "'a' stands twice"),
        (b"[NaN]", "NaN"),
        (b"[-Infinity]", "Infinity"),
        (b"[1e999]", "too large"),
        (b'{"a":}', "line 1, column 6"),
        (b'"\xff"', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'\xef\xbb\xbf{"a":1}', "malformed"),
        (b"[" * 200_000, "nested too deeply"),
        (b"1" * 5000, "malformed"),
        (b"", "malformed"),
        (b"{} {}", "malformed"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_json_that_is_not_clear_is_refused_with_the_reason(text: bytes, said: str) -> None:
    with pytest.raises(NotCanonical) as caught:
        parse_json(text, where="the body")
    assert said in caught.value.message


def test_whole_numbers_beyond_the_safe_range_are_kept_only_where_nothing_is_lost() -> None:
    assert canonical_json(parse_json("9007199254740992")) == b"9007199254740992"
    assert canonical_json(parse_json("38748553579695980")) == canonical_json(3.874855357969598e16)
    with pytest.raises(NotCanonical, match="9007199254740993"):
        canonical_json(parse_json("9007199254740993"))
