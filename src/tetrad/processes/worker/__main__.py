"""`python -m tetrad.processes.worker`."""

from __future__ import annotations

import sys

from tetrad.processes.worker import main

if __name__ == "__main__":
    sys.exit(main())
