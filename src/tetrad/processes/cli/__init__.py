"""The `tetrad` command."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; end with 0 (done), 1 (failed), 2 (used wrongly) or 130 (interrupted)."""
    if sys.argv[1:2] == ["rollback"] and "_TETRAD_COMPLETE" not in os.environ:
        from tetrad.processes.cli import _hurry

        code = _hurry.run(sys.argv[2:])
        if code is not None:
            sys.exit(code)
    from tetrad.processes.cli._app import run

    sys.exit(run(sys.argv[1:]))


__all__ = ["main"]
