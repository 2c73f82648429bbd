"""`python -m tetrad.processes.inference`."""

from __future__ import annotations

import sys

from tetrad.processes.inference import main

if __name__ == "__main__":
    sys.exit(main())
