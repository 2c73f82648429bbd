"""Signatures and event streams are Amazon's: by its published vectors, and as botocore makes and reads them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from support.fake_bedrock import event, failure, frame
from tetrad.adapters.providers._aws import MAX_FRAME, FrameReader, Signed, read_credential
from tetrad.kernel import FixedClock, InvalidInput
from tetrad.kit.upstream import BrokenAnswer
from tetrad.serving import Upstream

KEY, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
HOST = {"host": "example.amazonaws.com"}


def signed(token: str = "", **options: str) -> Signed:
    secret = json.dumps({"access_key_id": KEY, "secret_access_key": SECRET, "session_token": token})
    upstream = Upstream("up", "http://h", secret=secret, options={"region": "us-east-1", **options})
    return Signed(upstream, FixedClock(), "service")


@pytest.mark.parametrize(
    ("method", "target", "signature"),
    [
        ("GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        (
            "GET",
            "/?Param2=value2&Param1=value1",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        ("POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    ],
)
def test_the_published_vectors_are_met(method: str, target: str, signature: str) -> None:
    headers = dict(signed().sign(method, target, HOST, b"", NOW))
    assert headers["authorization"] == (
        f"AWS4-HMAC-SHA256 Credential={KEY}/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders=host;x-amz-date, Signature={signature}"
    )


@given(
    # nothing is called by dots alone, which botocore takes for steps of the path
    st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=40).filter(
        lambda name: name.strip(".") != ""
    ),
    st.binary(max_size=200),
    st.sampled_from(["", "a-token/+="]),
)
def test_signatures_are_those_that_botocore_makes(model: str, body: bytes, token: str) -> None:
    target = f"/model/{quote(model, safe='')}/converse"
    given_headers = {**HOST, "content-type": "application/json"}
    headers = dict(signed(token).sign("POST", target, given_headers, body, NOW))
    request = AWSRequest("POST", f"https://example.amazonaws.com{target}", given_headers, body)
    request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
    auth = SigV4Auth(Credentials(KEY, SECRET, token or None), "service", "us-east-1")
    request.headers["x-amz-date"] = request.context["timestamp"]
    if token:
        request.headers["x-amz-security-token"] = token
    text = auth.string_to_sign(request, auth.canonical_request(request))
    assert headers["authorization"].endswith(f"Signature={auth.signature(text, request)}")


@pytest.mark.parametrize(
    "text",
    [
        '{"access_key_id":"A","secret_access_key":"S","session_token":"T"}',
        '{"AccessKeyId":"A","SecretAccessKey":"S","SessionToken":"T","Expiration":"x"}',
        '{"aws_access_key_id":"A","aws_secret_access_key":"S","aws_session_token":"T"}',
        " A:S:T\n",
    ],
)
def test_a_credential_is_read_as_it_is_usually_written(text: str) -> None:
    found = read_credential(Upstream("up", "http://h", secret=text))
    assert (found.access_key_id, found.secret_access_key, found.session_token) == ("A", "S", "T")


@pytest.mark.parametrize("text", ["", "sk-1", "{}", '{"access_key_id": 1}', "A\nB:S", ":S", '{"access_key_id":"A"}'])
def test_what_is_no_credential_is_refused_without_being_told(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        read_credential(Upstream("up", "http://h", secret=text))
    assert caught.value.code == "bad_credential"
    assert "sk-1" not in caught.value.message


def test_a_region_is_read_from_the_address_and_demanded_where_it_is_not_there() -> None:
    upstream = Upstream("up", "https://bedrock-runtime.eu-central-1.amazonaws.com", secret="A:S")
    headers = dict(Signed(upstream, FixedClock(), "bedrock").sign("GET", "/", HOST, b"", NOW))
    assert "/eu-central-1/bedrock/" in headers["authorization"]
    with pytest.raises(InvalidInput, match="region"):
        Signed(Upstream("up", "http://h", secret="A:S"), FixedClock(), "bedrock")


@given(st.lists(st.tuples(st.sampled_from(["a", "metadata"]), st.binary(max_size=60)), max_size=5), st.data())
def test_messages_torn_anywhere_are_those_that_botocore_reads(
    items: list[tuple[str, bytes]], data: st.DataObject
) -> None:
    whole = b"".join(frame({":event-type": name, ":message-type": "event"}, payload) for name, payload in items)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    reader, found = FrameReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += reader.feed(whole[start:end])
    theirs = EventStreamBuffer()
    theirs.add_data(whole)
    assert [(each.headers, each.payload) for each in found] == [(each.headers, each.payload) for each in theirs]
    assert not reader.torn


@given(st.integers(0, 10_000), st.integers(0, 7))
def test_a_wrong_bit_is_never_passed_on(at: int, bit: int) -> None:
    whole = bytearray(event("contentBlockDelta", {"delta": {"text": "Hello"}}))
    whole[at % len(whole)] ^= 1 << bit
    reader = FrameReader()
    try:
        found = reader.feed(bytes(whole))
    except BrokenAnswer:
        return
    assert found == []
    assert reader.torn


def test_a_message_past_the_limit_and_headers_that_lie_are_refused() -> None:
    import struct
    import zlib

    prelude = struct.pack(">II", MAX_FRAME + 1, 0)
    with pytest.raises(BrokenAnswer, match="bytes"):
        FrameReader().feed(prelude + struct.pack(">I", zlib.crc32(prelude)))
    bad = frame({}, b"")
    prelude = struct.pack(">II", 16 + 3, 3)
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + b"\x05ab"
    with pytest.raises(BrokenAnswer, match="headers"):
        FrameReader().feed(body + struct.pack(">I", zlib.crc32(body)))
    assert FrameReader().feed(bad) == [({}, b"")]


def test_an_exception_is_told_with_its_kind() -> None:
    from tetrad.adapters.providers._aws_stream import event_stream_failed

    (found,) = FrameReader().feed(failure("modelTimeoutException", "too slow"))
    error = event_stream_failed(found)
    assert (error.code, error.status, error.message) == ("modeltimeoutexception", 504, "too slow")
