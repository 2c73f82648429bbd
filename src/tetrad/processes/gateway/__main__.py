"""`python -m tetrad.processes.gateway`."""

from __future__ import annotations

import sys

from tetrad.processes.gateway import main

if __name__ == "__main__":
    sys.exit(main())
