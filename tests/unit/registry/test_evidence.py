"""Envelopes, statements and signatures, held against the published formats."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tetrad.kernel import Digest, digest_bytes
from tetrad.registry import (
    TEST_RESULT,
    BadEvidence,
    BadSigningKey,
    SigningKey,
    Statement,
    new_key,
    read_envelope,
    read_statement,
    sign_statement,
)
from tetrad.registry._evidence import MAX_SUBJECTS, pae, read_predicate
from tetrad.registry._signing import (
    key_id,
    private_pem,
    public_bytes,
    public_pem,
    read_private_pem,
    verifying_keys,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SUBJECT = digest_bytes(b"release")
# RFC 8032, section 7.1, test 1.
RFC_PRIVATE = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def statement(**predicate: Any) -> Statement:
    return Statement(TEST_RESULT, (("release", SUBJECT),), predicate or {"result": "PASSED", "suite": {"name": "s"}})


def test_what_is_signed_is_what_the_dsse_specification_says() -> None:
    # The example of the specification's protocol.md.
    encoded = pae("http://example.com/HelloWorld", b"hello world")
    assert encoded == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("ü", b"") == "DSSEv1 2 ü 0 ".encode()


def test_signatures_are_ed25519_as_in_rfc_8032() -> None:
    key = SigningKey(
        key_id(RFC_PUBLIC), "", "rfc", base64.b64encode(RFC_PUBLIC).decode(), NOW, "x",
        private=base64.b64encode(RFC_PRIVATE).decode(),
    )  # fmt: skip
    assert verifying_keys(sign_statement(key, statement()), [key]) == [key]
    spki = bytes.fromhex("302a300506032b6570032100") + RFC_PUBLIC
    assert key.id == digest_bytes(spki).removeprefix("sha256:")


def test_a_statement_is_an_in_toto_statement_and_reads_back() -> None:
    made = statement()
    document = json.loads(made.body())
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["subject"] == [{"name": "release", "digest": {"sha256": SUBJECT.removeprefix("sha256:")}}]
    assert read_statement(made.body()) == made


def test_other_keys_and_other_alphabets_of_base64() -> None:
    one, other = (new_key("p", name, at=NOW, by="x") for name in ("one", "other"))
    envelope = sign_statement(one, statement())
    assert verifying_keys(envelope, [other]) == []
    assert verifying_keys(envelope, [other, one]) == [one]
    document = envelope.document()
    for part in (document["signatures"][0], document):
        name = "sig" if "sig" in part else "payload"
        part[name] = part[name].replace("+", "-").replace("/", "_")
    document["signatures"][0]["keyid"] = ""  # a hint, and may be left out
    assert verifying_keys(read_envelope(document), [one]) == [one]


@pytest.mark.parametrize(
    "change",
    [
        lambda e: e | {"payloadType": "text/plain"},
        lambda e: e | {"signatures": []},
        lambda e: e | {"signatures": e["signatures"] * 9},
        lambda e: e | {"payload": 1},
        lambda e: {"payload": e["payload"]},
        lambda e: [e],
        lambda e: e | {"payloadType": "\ud800"},
        lambda e: e | {"payload": "\ud800"},
        lambda _: None,
    ],
)
def test_what_is_no_envelope_is_refused(change: Any) -> None:
    envelope = sign_statement(new_key("p", "k", at=NOW, by="x"), statement()).document()
    with pytest.raises(BadEvidence):
        read_envelope(change(envelope))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"_type":"https://in-toto.io/Statement/v0.1","subject":[],"predicateType":"x","predicate":{}}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"x","predicate":{}}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha1":"aa"}}],"predicateType":"x","predicate":{}}',
        b'{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"zz"}}],"predicateType":"x","predicate":{}}',
        statement().body().replace(b'"predicate":', b'"predicate":{},"predicate":'),
        statement().body().replace(b'"PASSED"', b"NaN"),
        statement().body().replace(b'"PASSED"', b'"\\ud800"'),
        statement().body().replace(b'"predicate":{', b'"predicate":[{').replace(b"}}", b"}}]", 1),
    ],
)
def test_a_statement_that_two_could_read_differently_is_refused(body: bytes) -> None:
    with pytest.raises(BadEvidence):
        read_statement(body)


def test_a_statement_has_not_too_many_subjects() -> None:
    many = tuple((str(number), Digest(f"sha256:{number:064x}")) for number in range(MAX_SUBJECTS + 1))
    with pytest.raises(BadEvidence):
        read_statement(Statement(TEST_RESULT, many, {}).body())


def test_fields_that_we_do_not_know_are_let_through_and_wrong_ones_are_not() -> None:
    fine = {"result": "PASSED", "suite": {"name": "s", "more": 1}, "url": "https://ci.example/1", "configuration": []}
    assert read_predicate(TEST_RESULT, fine) is not None
    with pytest.raises(BadEvidence, match="result"):
        read_predicate(TEST_RESULT, {"result": "passed", "suite": {"name": "s"}})
    assert read_predicate("https://slsa.dev/provenance/v1", {"anything": 1}) is None


def test_keys_are_read_and_written_as_pem() -> None:
    key = new_key("p", "k", at=NOW, by="x")
    again = read_private_pem(private_pem(key), at=NOW)
    assert (again.id, again.public, again.private) == (key.id, key.public, key.private)
    assert public_bytes(public_pem(key.public)) == public_bytes(key.public)


@pytest.mark.parametrize(
    "text", ["", "x", "AAAA", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "ü" * 44]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(BadSigningKey):
        public_bytes(text)
    with pytest.raises(BadSigningKey):
        read_private_pem(text, at=NOW)


def test_another_kind_of_key_is_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    curve = ec.generate_private_key(ec.SECP256R1())
    public = curve.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    private = curve.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with pytest.raises(BadSigningKey):
        public_bytes(public)
    with pytest.raises(BadSigningKey):
        read_private_pem(private, at=NOW)
