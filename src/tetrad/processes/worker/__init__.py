"""The worker: engine children and durable jobs."""

from tetrad.processes.worker._command import main

__all__ = ["main"]
