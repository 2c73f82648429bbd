"""Recognise what looks like a secret, so that none gets into an artifact that is kept for good."""

from __future__ import annotations

import re

_BEGINNINGS = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"sk-[A-Za-z0-9_-]{12,}|(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{16,}"
    r"|github_pat_[A-Za-z0-9_]{16,}|glpat-[A-Za-z0-9_-]{12,}|xox[abeoprs]-[A-Za-z0-9-]{8,}|A[KS]IA[0-9A-Z]{16}"
    r"|AIza[A-Za-z0-9_-]{20,}|hf_[A-Za-z0-9]{16,}|npm_[A-Za-z0-9]{16,}|pypi-[A-Za-z0-9_-]{16,}|gsk_[A-Za-z0-9]{16,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}|tetrad_[a-z]+_[A-Za-z0-9]{10,}"
    r")|-----BEGIN|(?i:bearer\s)"
)
_RUN = re.compile(r"[A-Za-z0-9]{24,}")
_HEX = re.compile(r"[0-9a-fA-F]{32,}")


def looks_like_secret(text: str, *, address: bool = False) -> bool:
    """Tell whether a text has the beginning of a known kind of key, or a long run without sense in it.

    Such a run is 24 letters and digits in a row, of upper case, lower case and digits; and, but in an address, 32 hex
    digits: there they are often the number of an account.
    """
    if _BEGINNINGS.search(text):
        return True
    if any(_mixed(run) for run in _RUN.findall(text)):
        return True
    return not address and _HEX.search(text) is not None


def _mixed(run: str) -> bool:
    return any(c.islower() for c in run) and any(c.isupper() for c in run) and any(c.isdigit() for c in run)
