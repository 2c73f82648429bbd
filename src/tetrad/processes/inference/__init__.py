"""Embeddings behind a Unix socket: a small front that is always there, and a child with the model while it is used."""

from tetrad.processes.inference._command import main

__all__ = ["main"]
