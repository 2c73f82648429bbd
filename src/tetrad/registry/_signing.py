"""Ed25519 keys that sign evidence, and the check of a signature (RFC 8032)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

import msgspec

from tetrad.kernel import Digest, canonical_json
from tetrad.registry._evidence import (
    PAYLOAD_TYPE,
    Envelope,
    Signature,
    Statement,
    from_base64,
    pae,
    rfc3339,
    to_base64,
)
from tetrad.registry.errors import BadEvidence, BadSigningKey

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

RECEIPT_TYPE = "application/vnd.tetrad.evidence-receipt+json"
INSTALLATION = ""
_RAW_BYTES = 32


class SigningKey(msgspec.Struct, frozen=True):
    """A key that signs evidence. Its private half (base64 of 32 bytes) is there where it is the installation's own.

    `project` is empty for the installation's keys, which may state anything; keys of a project state `types` only.
    A retired key signs no more, and what it signed stands. What a revoked key signed stands if it came before
    `revoked_at`, by the time at which we received it: the time in a statement is chosen by whoever has the key.
    """

    id: str
    project: str
    name: str
    public: str
    created_at: datetime
    created_by: str
    types: tuple[str, ...] = ()
    private: str = ""
    retired_at: datetime | None = None
    revoked_at: datetime | None = None
    revoked_because: str = ""

    def __repr__(self) -> str:
        return f"SigningKey({self.id!r}, {self.name!r})"

    def signs(self) -> bool:
        """Tell whether new statements may be signed with it."""
        return self.retired_at is None and self.revoked_at is None

    def trusted_for(self, project: str, predicate_type: str, received_at: datetime) -> bool:
        """Tell whether what it signed counts in a project, given when it came."""
        if self.revoked_at is not None and received_at >= self.revoked_at:
            return False
        if self.project == INSTALLATION:
            return True
        return self.project == project and predicate_type in self.types


def new_key(project: str, name: str, *, at: datetime, by: str) -> SigningKey:
    """Make a key with both halves."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    return SigningKey(
        key_id(public), project, name, to_base64(public), at, by, private=to_base64(private.private_bytes_raw())
    )


def key_id(public: bytes) -> str:
    """Name a public key: hex SHA-256 of its DER SubjectPublicKeyInfo, as in-toto and Sigstore do."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PublicKey.from_public_bytes(public)
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def public_bytes(text: str) -> bytes:
    """Read a public Ed25519 key: PEM, or base64 of its 32 bytes; refuse anything else with `BadSigningKey`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    refusal = BadSigningKey("this is no public Ed25519 key", hint="PEM (openssl pkey -pubout), or base64 of 32 bytes")
    try:
        if "-----BEGIN" in text:
            key = load_pem_public_key(text.encode("utf-8"))
            if not isinstance(key, Ed25519PublicKey):
                raise refusal
            return key.public_bytes_raw()
        raw = from_base64(text.strip(), "key")
    except (BadEvidence, ValueError, TypeError, UnsupportedAlgorithm):
        raise refusal from None
    if len(raw) != _RAW_BYTES:
        raise refusal
    return raw


def public_pem(public: str) -> str:
    """Write a public key as PEM."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = Ed25519PublicKey.from_public_bytes(from_base64(public, "key"))
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")


def private_pem(key: SigningKey) -> str:
    """Write a private key as PEM (PKCS 8, not encrypted: the file must be 0600)."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return _private(key).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode("ascii")


def read_private_pem(text: str, *, at: datetime) -> SigningKey:
    """Read a private Ed25519 key in PEM; refuse anything else with `BadSigningKey`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(text.encode("utf-8"), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise BadSigningKey(
            "this is no private Ed25519 key", hint="PEM, as `openssl genpkey -algorithm ed25519` writes"
        )
    public = key.public_key().public_bytes_raw()
    return SigningKey(key_id(public), "", "file", to_base64(public), at, "", private=to_base64(key.private_bytes_raw()))


def sign_statement(key: SigningKey, statement: Statement) -> Envelope:
    """Put a statement into an envelope and sign it."""
    body = statement.body()
    signature = _private(key).sign(pae(PAYLOAD_TYPE, body))
    return Envelope(to_base64(body), PAYLOAD_TYPE, (Signature(to_base64(signature), key.id),))


def verifying_keys(envelope: Envelope, keys: Iterable[SigningKey]) -> list[SigningKey]:
    """Return which keys have signed an envelope. Signatures that are malformed, or by others, are passed over."""
    message = pae(envelope.payloadType, envelope.body())
    found = []
    for key in keys:
        for signature in envelope.signatures:
            hinted = not signature.keyid or signature.keyid == key.id
            if hinted and _verifies(key, signature.sig, message):
                found.append(key)
                break
    return found


def make_receipt(key: SigningKey, facts: Mapping[str, object]) -> str:
    """Sign what only we know of an envelope: the project that it is for, when it came, from whom, when it expires."""
    return f"{key.id}:{to_base64(_private(key).sign(pae(RECEIPT_TYPE, canonical_json(dict(facts)))))}"


def receipt_key(receipt: str, facts: Mapping[str, object], keys: Mapping[str, SigningKey]) -> SigningKey | None:
    """Return the installation's key that signed a receipt; None where none did, or not for these facts."""
    name, _, signature = receipt.partition(":")
    key = keys.get(name)
    if key is None or key.project != INSTALLATION:
        return None
    return key if _verifies(key, signature, pae(RECEIPT_TYPE, canonical_json(dict(facts)))) else None


def receipt_facts(
    project: str, digest: Digest, received_at: datetime, received_by: str, expires_at: datetime | None
) -> dict[str, object]:
    """Return what a receipt says."""
    return {
        "project": project,
        "digest": digest,
        "received_at": rfc3339(received_at),
        "received_by": received_by,
        "expires_at": rfc3339(expires_at) if expires_at else None,
    }


def _private(key: SigningKey) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not key.private:
        raise BadSigningKey(f"the private half of {key.id[:16]} is not here", hint="sign where it is kept")
    return Ed25519PrivateKey.from_private_bytes(from_base64(key.private, "key"))


def _verifies(key: SigningKey, signature: str, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        Ed25519PublicKey.from_public_bytes(from_base64(key.public, "key")).verify(
            from_base64(signature, "signature"), message
        )
    except (InvalidSignature, BadEvidence):
        return False
    return True
