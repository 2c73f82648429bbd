"""The audit log: what was done, by whom, provably unchanged."""

from __future__ import annotations

from typing import Any

from tetrad.identity._chain import AuditCheck, AuditEntry, AuditFilter, AuditHead, check_chain
from tetrad.identity._service._context import Context, append
from tetrad.kernel import Principal


class Audit:
    """One chain per project (`project` is its name), and one (None) of the installation."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def record(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append what another slice did. `action` is `noun.verb`; `detail` is JSON without secrets."""
        with self._context.store.write() as rows:
            append(rows, self._context.clock, actor.id, action, target, project, detail)

    def list(
        self, project: str | None, *, before: int | None = None, limit: int = 50, only: AuditFilter | None = None
    ) -> list[AuditEntry]:
        """List entries, the newest first; all, or those that a filter lets through."""
        with self._context.store.read() as rows:
            return rows.audit_entries(project or "", before, limit, only)

    def check(self, project: str | None, exported: tuple[int, str] | None = None) -> AuditCheck:
        """Go through the whole chain of a project and tell whether it is as it was written.

        `exported` is a head (number and hash of an entry) that was noted elsewhere: what led to it must still be there.
        """
        noted = AuditHead(*exported) if exported is not None else None
        with self._context.store.read() as rows:
            return check_chain(rows.audit_chain(project or ""), rows.audit_head(project or ""), noted)

    def head(self, project: str | None) -> tuple[int, str]:
        """Return where the chain of a project ends: the number and the hash of its newest entry."""
        with self._context.store.read() as rows:
            head = rows.audit_head(project or "")
        return head.seq, head.hash
