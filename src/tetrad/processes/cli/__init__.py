"""The `tetrad` command."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run the command line; end with 0 (done), 1 (failed), 2 (used wrongly) or 130 (interrupted)."""
    make_printable(sys.stdout, sys.stderr)
    if sys.argv[1:2] == ["rollback"] and "_TETRAD_COMPLETE" not in os.environ:
        from tetrad.processes.cli import _hurry

        code = _hurry.run(sys.argv[2:])
        if code is not None:
            sys.exit(code)
    from tetrad.processes.cli._app import run

    sys.exit(run(sys.argv[1:]))


def make_printable(*streams: object) -> None:
    """Let every text be printed, whatever the terminal's encoding: a sign that it lacks must not end a command.

    Where the locale names no encoding, ASCII is only a guess, and a file's name came as bytes: they leave as they came.
    """
    for stream in streams:
        if not isinstance(stream, io.TextIOWrapper):
            continue
        if stream.encoding.lower() in ("ascii", "us-ascii", "ansi_x3.4-1968"):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
        else:
            stream.reconfigure(errors="backslashreplace")


__all__ = ["main"]
