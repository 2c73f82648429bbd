"""What the parts of the service share: store, clock, policy, and the news that keys or projects changed."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tetrad.identity._chain import AuditEvent
from tetrad.identity._service._policy import IdentityPolicy
from tetrad.identity.errors import ProjectNotFound
from tetrad.identity.ports import IdentityStore, Rows
from tetrad.kernel import Clock, Principal, canonical_json

log = logging.getLogger("tetrad.identity")
MAX_DETAIL_BYTES = 8 * 1024


@dataclass(slots=True)
class Context:
    """Shared by the parts of one `Identity`."""

    store: IdentityStore
    clock: Clock
    policy: IdentityPolicy
    listeners: list[Callable[[], None]] = field(default_factory=list)

    def changed(self) -> None:
        """Tell listeners that what gateways know of keys is out of date. Called after the change is durable."""
        for listener in self.listeners:
            try:
                listener()
            except Exception:  # what changed has changed, whatever a listener trips over
                log.exception("a listener to changes of keys failed; gateways may not know of the change yet")

    def note(self, rows: Rows, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append to the audit log, in the transaction of what it tells about."""
        append(rows, self.clock, actor.id, action, target, project, detail)


def append(
    rows: Rows, clock: Clock, actor: str, action: str, target: str, project: str | None, detail: Mapping[str, Any]
) -> None:
    """Append one event; text is cut to what the log holds."""
    kept: Mapping[str, Any] = detail
    if len(canonical_json(dict(detail))) > MAX_DETAIL_BYTES:
        kept = {"left_out": f"the detail is longer than {MAX_DETAIL_BYTES} bytes"}
    event = AuditEvent(project or "", clock.now(), actor[:64], action[:64], target[:300], kept)
    rows.append_audit(event)


def existing_project(rows: Rows, project: str) -> str:
    """Return the project's name, or refuse in the words that hide whether others may enter it."""
    if rows.project(project) is None:
        raise no_project(project)
    return project


def no_project(project: str) -> ProjectNotFound:
    """Return the one refusal for projects that are not there or not the caller's."""
    return ProjectNotFound(f"there is no project {project[:80]!r}", hint="`tetrad project list` shows yours")
