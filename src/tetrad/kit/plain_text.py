"""Texts of others, fit for a terminal."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return text on one line without what could steer a terminal: others chose it."""
    return "".join(character if character.isprintable() else " " for character in text)
