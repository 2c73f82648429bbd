"""The keys that sign evidence: the installation's own, and those of others that a project trusts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec

from tetrad.kernel import Clock, Principal
from tetrad.kit.seal import Keyring, SealBroken
from tetrad.registry._evidence import SIGNED_OUTSIDE, check_words, to_base64
from tetrad.registry._signing import INSTALLATION, SigningKey, key_id, new_key, public_bytes
from tetrad.registry.errors import BadSigningKey, SigningKeyNotFound
from tetrad.registry.ports import Auditor, EvidenceStore

MAX_NAME_CHARS = 100
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EvidenceLimits:
    """What is refused as too much."""

    max_envelope_bytes: int = 256 << 10
    max_keys: int = 200


class SigningKeys:
    """The keys whose statements count, per project. What is in the store is sealed: a planted key is not trusted."""

    def __init__(
        self, store: EvidenceStore, keyring: Keyring, clock: Clock, audit: Auditor | None, limits: EvidenceLimits
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._clock = clock
        self._audit = audit
        self._limits = limits

    def first_start(self, actor: Principal) -> SigningKey:
        """Make the installation's signing key where none can sign; again, it changes nothing."""
        return self._replace(actor, lambda active: active)

    def rotate(self, actor: Principal) -> SigningKey:
        """Let a new key sign for the installation from now on; what older ones signed stands."""
        self._note(actor, "signing_key.rotated", "installation", None)
        return self._replace(actor, lambda _: None)

    def _replace(self, actor: Principal, keep: Any) -> SigningKey:
        chosen: list[SigningKey] = []

        def decide(known: list[tuple[str, bytes]]) -> Sequence[tuple[str, bytes, Any]]:
            now = self._clock.now()
            ours = [key for key in self._unsealed(INSTALLATION, known) if key.signs()]
            kept = keep(ours[-1] if ours else None)
            if kept is not None:
                chosen.append(kept)
                return []
            made = new_key(INSTALLATION, f"installation {now:%Y-%m-%d}", at=now, by=actor.id)
            chosen.append(made)
            ended = [msgspec.structs.replace(key, retired_at=now) for key in ours]
            return [self._sealed(key) for key in (*ended, made)]

        self._store.change_keys(INSTALLATION, decide)
        return chosen[-1]

    def trust(
        self, project: str, name: str, public: str, *, actor: Principal, types: Iterable[str] = SIGNED_OUTSIDE
    ) -> SigningKey:
        """Let a key of others, such as a CI runner's, state test results or provenance in a project."""
        chosen = tuple(sorted(set(types)))
        if not chosen or not set(chosen) <= set(SIGNED_OUTSIDE):
            raise BadSigningKey("such a key cannot state this", hint=f"any of {', '.join(SIGNED_OUTSIDE)}")
        if not 1 <= len(name) <= MAX_NAME_CHARS or not name.isprintable():
            raise BadSigningKey(f"{name[:80]!r} is no name of a key", hint=f"1 to {MAX_NAME_CHARS} characters")
        raw = public_bytes(public)
        key = SigningKey(key_id(raw), project, name, to_base64(raw), self._clock.now(), actor.id, chosen)

        def decide(known: list[tuple[str, bytes]]) -> Sequence[tuple[str, bytes, Any]]:
            if any(each == key.id for each, _ in known):
                raise BadSigningKey(f"the key {key.id[:16]} is known already", hint="revoked keys stay revoked")
            if len(known) >= self._limits.max_keys:
                raise BadSigningKey("the project has too many keys", hint=f"at most {self._limits.max_keys}")
            return [self._sealed(key)]

        self._note(actor, "signing_key.trusted", key.id, project, name=name, types=list(chosen))
        self._store.change_keys(project, decide)
        return key

    def revoke_key(self, project: str | None, name: str, *, actor: Principal, reason: str) -> SigningKey:
        """Trust a key no more: what comes from now on, or came after, does not count. `project` None: ours.

        When the installation's own key is revoked, a new one takes its place.
        """
        words = check_words(reason, "reason")
        changed: list[SigningKey] = []

        def decide(known: list[tuple[str, bytes]]) -> Sequence[tuple[str, bytes, Any]]:
            found = [key for key in self._unsealed(project or INSTALLATION, known) if key.id == name]
            if not found:
                raise SigningKeyNotFound(f"there is no signing key {name[:80]!r}", hint="`tetrad evidence keys`")
            key = found[0]
            if key.revoked_at is None:
                key = msgspec.structs.replace(key, revoked_at=self._clock.now(), revoked_because=words)
            changed.append(key)
            return [self._sealed(key)]

        self._note(actor, "signing_key.revoked", name, project, reason=words[:500])
        self._store.change_keys(project or INSTALLATION, decide)
        if project is None:
            self.first_start(actor)
        return changed[-1]

    def keys(self, project: str | None, transaction: Any = None) -> list[SigningKey]:
        """Return the keys whose statements count in a project: its own and the installation's (None: only those)."""
        projects = [INSTALLATION] if project is None else [INSTALLATION, project]
        rows = self._store.keys(projects, transaction)
        return [key for owner, name, sealed in rows for key in self._unsealed(owner, [(name, sealed)])]

    def boxes(self) -> list[bytes]:
        """Return every sealed signing key as it is kept, to tell with which key it was sealed."""
        return [sealed for _, _, sealed in self._store.every_key()]

    def reseal(self) -> int:
        """Seal with the keyring's primary key what an older one sealed; return how many that were."""
        done = 0

        def decide(project: str, known: list[tuple[str, bytes]]) -> Sequence[tuple[str, bytes, Any]]:
            nonlocal done
            old = [(name, sealed) for name, sealed in known if not self._keyring.is_current(sealed)]
            found = [self._sealed(key) for key in self._unsealed(project, old)]
            done += len(found)
            return found

        projects = {project for project, _, sealed in self._store.every_key() if not self._keyring.is_current(sealed)}
        for project in sorted(projects):
            self._store.change_keys(project, partial(decide, project))
        return done

    def _sealed(self, key: SigningKey) -> tuple[str, bytes, Any]:
        return key.id, self._keyring.seal(msgspec.json.encode(key), _aad(key.project, key.id)), key.created_at

    def _unsealed(self, project: str, rows: Iterable[tuple[str, bytes]]) -> Iterator[SigningKey]:
        """The seal proves that control wrote the row: a key that somebody put into the database is not trusted."""
        for name, sealed in rows:
            try:
                yield msgspec.json.decode(self._keyring.unseal(sealed, _aad(project, name)), type=SigningKey)
            except SealBroken as error:
                _logger.warning("the signing key %s is not trusted: %s", name[:16], error.message)

    def _signer(self, transaction: Any = None) -> SigningKey:
        ours = [key for key in self.keys(None, transaction) if key.signs() and key.private]
        if not ours:
            raise BadSigningKey("the installation has no key to sign with", hint="start the control plane again")
        return ours[-1]

    def _note(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        if self._audit is not None:
            self._audit(actor, action, target, project, **detail)


def _aad(project: str, name: str) -> bytes:
    return f"tetrad signing key/{project}/{name}".encode()
