"""Become another program that dies with its parent. Run as a script, before anything of ours is imported.

Usage: `python -I -S _launch.py <parent pid> <signal> <program> [argument …]`. `prctl(PR_SET_PDEATHSIG)` outlives
`execve`, so any program can be started this way, and no code runs between fork and exec in a process with threads.
"""

import os
import sys

PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Ask the kernel for the signal, close the race with a parent that is gone already, then exec."""
    parent, number, program = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
            sys.stderr.write(f"prctl failed: {os.strerror(ctypes.get_errno())}\n")
            os._exit(71)
        if os.getppid() != parent:
            os._exit(0)
    try:
        os.execvp(program[0], program)  # noqa: S606 - a list of arguments, no shell
    except OSError as error:
        sys.stderr.write(f"cannot run {program[0]!r}: {error.strerror}\n")
        os._exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main(sys.argv[1:])
