"""End with 0 when gateway and control plane both say that they are ready."""  # noqa: INP001 - a script in an image

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

PORTS = (("TETRAD_GATEWAY_PORT", "8400"), ("TETRAD_CONTROL_PORT", "8401"))


def main() -> int:
    """Ask both; say on stderr which one does not answer."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for variable, default in PORTS:
        url = f"http://127.0.0.1:{os.environ.get(variable) or default}/readyz"
        try:
            with opener.open(url, timeout=2) as answer:
                answer.read()
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()
            sys.stderr.write(f"{url}: {error}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
