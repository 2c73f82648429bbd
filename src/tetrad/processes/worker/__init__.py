"""The worker: engine children and durable jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tetrad.processes.worker._command import main

if TYPE_CHECKING:
    from tetrad.processes.worker._jobs import jobs_url, known_jobs

__all__ = ["jobs_url", "known_jobs", "main"]


def __getattr__(name: str) -> Any:
    """Import the durable jobs (DBOS, SQLAlchemy) only for who asks: gateways read this package's settings."""
    if name in ("jobs_url", "known_jobs"):
        from tetrad.processes.worker import _jobs

        return getattr(_jobs, name)
    raise AttributeError(name)
