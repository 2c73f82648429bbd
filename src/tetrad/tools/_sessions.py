"""Ids of sessions that work in every gateway worker, for one key, and tell nothing of the server's own id."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import time
from collections.abc import Callable, Mapping

import msgspec

from tetrad.kernel import TetradError
from tetrad.kit.seal import Keyring, SealBroken
from tetrad.tools.errors import ServerBroken, SessionUnknown

_PURPOSE = b"tetrad tool session"
_VISIBLE = re.compile(rb"[\x21-\x7e]{1,512}")
_MOST = 1024
MOST_COMBINED = 4096
"""Of the characters of an id for several servers: it is sent with every request, and heads of requests are bounded."""
ALL = ""
"""Stands for a server's name where all of them are meant; no server can be called so."""
_RELOAD_S = 2.0


class Sessions:
    """Seal the session ids of servers into ours, and open them again; nothing is kept anywhere.

    A sealed id is bound to project, server and key: with another of these it opens nothing.
    """

    def __init__(self, keyring: Callable[[], Keyring]) -> None:
        self._load = keyring
        self._source: Keyring | None = None
        self._primary = b""
        self._ring: Keyring | None = None
        self._loaded_at = 0.0

    def seal(self, project: str, server: str, key: str, identity: bytes) -> bytes:
        """Return our id for a server's; raises `ServerBroken` for an id that MCP does not allow."""
        if not _VISIBLE.fullmatch(identity):
            raise ServerBroken("the MCP server's session id is too long, or has characters that it may not have")
        box = self._keyring().seal(identity, _bound_to(project, server, key))
        return base64.urlsafe_b64encode(box).rstrip(b"=")

    def unseal(self, project: str, server: str, key: str, given: bytes) -> bytes:
        """Return the server's id; raises `SessionUnknown` for everything that we did not seal for that key."""
        return self._opened(given, _bound_to(project, server, key), _MOST)

    def _opened(self, given: bytes, purpose: bytes, most: int) -> bytes:
        try:
            if len(given) > most:
                raise ValueError
            box = base64.b64decode(given + b"=" * (-len(given) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error):
            raise _unknown() from None
        try:
            return self._keyring().unseal(box, purpose)
        except SealBroken:
            if time.monotonic() - self._loaded_at < _RELOAD_S:
                raise _unknown() from None
        self._ring = None  # the keys may have been rotated since
        try:
            return self._keyring().unseal(box, purpose)
        except SealBroken:
            raise _unknown() from None

    def seal_many(self, project: str, key: str, sessions: Mapping[str, tuple[str, str]]) -> bytes:
        """Return one id for the sessions of several servers: the server's id and its revision of MCP, by server."""
        box = self._keyring().seal(msgspec.json.encode(sessions), _bound_to(project, ALL, key))
        return base64.urlsafe_b64encode(box).rstrip(b"=")

    def unseal_many(self, project: str, key: str, given: bytes) -> dict[str, tuple[str, str]]:
        """Return what `seal_many` sealed for that key; raises `SessionUnknown` for all else."""
        opened = self._opened(given, _bound_to(project, ALL, key), MOST_COMBINED)
        return msgspec.json.decode(opened, type=dict[str, tuple[str, str]])

    def _keyring(self) -> Keyring:
        """Return our keys, made anew where the installation's own were rotated."""
        try:
            if self._source is None or self._ring is None:
                self._source = self._load()
                self._primary = b""
                self._loaded_at = time.monotonic()
            if self._ring is None or self._source.primary != self._primary:
                self._primary = self._source.primary
                self._ring = self._source.derived(_PURPOSE)
        except OSError as error:
            raise TetradError(f"the sealing key cannot be read: {error}", code="seal_key_unreadable") from None
        return self._ring


def session_label(key: str, identity: bytes) -> str:
    """Return what a session is called on spans: the same for all of it, and nothing that anybody could use."""
    return "mcp-" + hashlib.sha256(key.encode() + b"\0" + identity).hexdigest()[:24]


def _bound_to(project: str, server: str, key: str) -> bytes:
    return b"\0".join((b"tetrad.tool-session.v1", project.encode(), server.encode(), key.encode()))


def _unknown() -> SessionUnknown:
    return SessionUnknown("there is no such session of this key and server", hint="begin a new one with `initialize`")
