"""The data plane: answers the OpenAI protocol by the newest route table. No SQL, no framework, no heavy imports."""

from __future__ import annotations

from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a gateway worker, or with `--workers` a master that keeps several; see `_command`."""
    from tetrad.processes.gateway._command import main as command

    return command(argv)


__all__ = ["main"]
