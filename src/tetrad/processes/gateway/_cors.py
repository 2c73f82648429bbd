"""Which pages in browsers may read what the data plane answers (the Fetch standard, "HTTP-CORS protocol").

Keys are sent in headers that a page sets itself; nothing here says that a browser may add its own credentials.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tetrad.kernel import new_trace_id
from tetrad.processes.gateway._origins import origins_of
from tetrad.processes.gateway._request_ids import id_header

VARY = (b"vary", b"origin")
_METHODS = b"GET, POST, DELETE"
_PARTS = ("limit", "remaining", "reset")
_LIMITS = (
    *(f"x-ratelimit-{part}-{what}" for what in ("requests", "tokens") for part in _PARTS),
    *(
        f"anthropic-ratelimit-{what}-{part}"
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
        for part in _PARTS
    ),
)
_EXPOSED = (
    b"x-request-id, request-id, retry-after, retry-after-ms, x-should-retry, age, content-disposition, "
    b"mcp-session-id, mcp-protocol-version, x-tetrad-trace-id, x-tetrad-release, x-tetrad-binding, x-tetrad-route, "
    b"x-tetrad-attempts, x-tetrad-unused-variables, x-tetrad-cache, x-tetrad-cache-similarity, x-tetrad-dropped, "
    b"x-tetrad-estimated, x-tetrad-output, x-tetrad-step, x-tetrad-overhead-ms, idempotent-replayed, "
) + ", ".join(_LIMITS).encode()
"""What pages may read besides what browsers always show: what the official clients look at, and our own."""
_MAX_AGE = b"7200"
"""Seconds for which a browser need not ask again; Chromium keeps no answer for longer."""
_OPEN = ("/v1/", "/openai/", "/mcp/")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_MAX_ASKED = 64


class Cors:
    """The pages of `origins` may read answers, those of no other. Origins are compared whole, as bytes."""

    def __init__(self, origins: frozenset[bytes]) -> None:
        self._allowed = {
            origin: ((b"access-control-allow-origin", origin), VARY, (b"access-control-expose-headers", _EXPOSED))
            for origin in origins
        }

    @staticmethod
    def covers(path: str) -> bool:
        """Tell whether pages may read a path at all: models, files and tools, and not how the gateway does."""
        return path.startswith(_OPEN) or path == "/mcp"

    def headers(self, path: str, request: Mapping[bytes, bytes]) -> tuple[tuple[bytes, bytes], ...]:
        """Return what is added to an answer."""
        if not self.covers(path):
            return ()
        return self._allowed.get(request.get(b"origin", b""), (VARY,))

    def preflight(
        self, method: str, path: str, request: Mapping[bytes, bytes]
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes] | None:
        """Answer a browser that asks whether a page may call; None where it is no such question.

        The answer to a page that may not says so by what it lacks, as the standard has it.
        """
        if method != "OPTIONS" or b"access-control-request-method" not in request or not self.covers(path):
            return None
        if request.get(b"origin", b"") not in self._allowed:
            return 403, [id_header(new_trace_id(), "openai")], b""
        told = [
            (b"access-control-allow-methods", _METHODS),
            (b"access-control-max-age", _MAX_AGE),
            id_header(new_trace_id(), "openai"),
        ]
        asked = [each.strip() for each in request.get(b"access-control-request-headers", b"").split(b",")]
        names = [name for name in asked[:_MAX_ASKED] if _TOKEN.fullmatch(name)]
        if names:
            told.append((b"access-control-allow-headers", b", ".join(names)))
        return 200, told, b""


def cors_of(listed: str) -> Cors | None:
    """Return what a setting asks for; None where it names nobody. Raises `BadSettings` for what is no origin."""
    origins = origins_of(listed)
    return Cors(origins) if origins else None
