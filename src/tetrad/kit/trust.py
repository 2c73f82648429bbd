"""Which certificates a client of this installation's own processes believes."""

from __future__ import annotations

import ssl


def believed(base_url: str) -> ssl.SSLContext | bool:
    """Return what a client of `base_url` passes as `verify`: the usual authorities where its calls are encrypted.

    Where they are plain HTTP nothing needs them, and to read them takes longer than most calls: such a client believes
    nobody, so that a call which strays to an encrypted address is refused instead of unchecked.
    """
    if base_url.lower().startswith("http://"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return True
