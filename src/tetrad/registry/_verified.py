"""The part of a verification that depends on bytes alone, remembered: gates read the same evidence many times."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import msgspec

from tetrad.kernel import Digest, InvalidInput, canonical_json, digest_bytes, parse_json
from tetrad.registry._evidence import Statement, read_envelope, read_statement
from tetrad.registry._signing import INSTALLATION, SigningKey, receipt_facts, receipt_key, verifying_keys
from tetrad.registry.ports import EvidenceRow

MAX_REMEMBERED_BYTES = 16 << 20


class Verified(msgspec.Struct, frozen=True):
    """Which keys have signed a row's envelope and its receipt. Whether they are trusted is asked anew each time."""

    statement: Statement | None
    signers: tuple[str, ...] = ()
    receiver: str = ""
    problem: str = ""


class Verifier:
    """Verify rows, each once. Safe to use from many threads."""

    def __init__(self, max_bytes: int = MAX_REMEMBERED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._known: OrderedDict[Digest, tuple[Verified, int]] = OrderedDict()

    def verify(self, row: EvidenceRow, keys: Sequence[SigningKey]) -> Verified:
        """Return what the signatures of a row prove, given these public keys.

        What is remembered is named by the digest of everything that went in, so a row or a key that was changed in any
        place is verified anew.
        """
        facts = receipt_facts(row.project, row.digest, row.received_at, row.received_by, row.expires_at)
        said = [facts, row.receipt, digest_bytes(row.envelope.encode("utf-8", "surrogatepass"))]
        name = digest_bytes(canonical_json([said, [[key.project, key.id, key.public] for key in keys]]))
        with self._lock:
            found = self._known.get(name)
            if found is not None:
                self._known.move_to_end(name)
                return found[0]
        verified = _verify(row, facts, keys)
        with self._lock:
            if name not in self._known:
                self._known[name] = (verified, len(row.envelope))
                self._bytes += len(row.envelope)
            while self._bytes > self._max_bytes and self._known:
                self._bytes -= self._known.popitem(last=False)[1][1]
        return verified


def _verify(row: EvidenceRow, facts: dict[str, object], keys: Sequence[SigningKey]) -> Verified:
    try:
        envelope = read_envelope(parse_json(row.envelope, where="the envelope"))
        statement = read_statement(envelope.body())
    except InvalidInput as error:
        return Verified(None, problem=f"it was changed: {error.message}")
    receiver = receipt_key(row.receipt, facts, {key.id: key for key in keys if key.project == INSTALLATION})
    if envelope.digest != row.digest or receiver is None:
        return Verified(statement, problem="it was changed after it was received")
    return Verified(statement, tuple(key.id for key in verifying_keys(envelope, keys)), receiver.id)
