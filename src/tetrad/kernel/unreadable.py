"""What reading a stranger's JSON may raise."""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""msgspec tells text that is no UTF-8 by Python's own error, and nesting past Python's limit by another."""
