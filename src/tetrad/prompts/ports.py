"""What prompts ask of others: a log of what a reviewer allowed."""

from __future__ import annotations

from typing import Any, Protocol

from tetrad.kernel import Principal


class Audit(Protocol):
    """The audit log of the installation; identity fulfils it."""

    def record(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append what was done; durable when it returns."""
        ...
