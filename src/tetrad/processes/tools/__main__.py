"""`python -m tetrad.processes.tools`."""

from __future__ import annotations

import sys

from tetrad.processes.tools import main

if __name__ == "__main__":
    sys.exit(main())
