"""What operators do with responses in the background: look at them, and end them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from tetrad.kernel import Principal
from tetrad.responses._background import Background
from tetrad.responses._model import BackgroundRecord, RecordSearch, ResponseError, ResponseState, error_of
from tetrad.responses._service import Responses
from tetrad.responses.errors import ResponseNotFound
from tetrad.responses.ports import Auditor, RecordStore


class Records:
    """Responses in the background of all projects, without what was said in them. Safe to use from many threads."""

    def __init__(self, store: RecordStore, responses: Responses, background: Background, audit: Auditor) -> None:
        self._store = store
        self._responses = responses
        self._background = background
        self._audit = audit

    def search(
        self, project: str, search: RecordSearch, after: tuple[datetime, str] | None, limit: int
    ) -> list[BackgroundRecord]:
        """Return those that are searched for, by age, from a time and an id on."""
        return self._store.search(project, search, after, limit)

    def get(self, project: str, identity: str) -> tuple[BackgroundRecord, ResponseError | None]:
        """Return one with what went wrong; raises `ResponseNotFound`, for one that was answered at once too."""
        self._background.lapse(project, identity)
        kept = self._responses.get(project, identity)
        found = self._store.get(project, identity)
        if found is None:
            raise ResponseNotFound(f"the response {identity} was not answered in the background")
        try:
            return found, error_of(kept.response)
        except msgspec.MsgspecError:
            return found, None

    def cancel(self, actor: Principal, project: str, identity: str) -> tuple[BackgroundRecord, ResponseError | None]:
        """End one that has not ended, which is in the audit log before it happens; one that has stays as it is.

        Raises as `get` does.
        """
        found, _ = self.get(project, identity)
        if ResponseState(found.status).open:
            asked = {"status": found.status, "app": found.app, "model": found.model, "key": found.key_id}
            self._audit(actor, "response.cancelled", identity, project, **asked)
            self._background.cancel(project, identity)
        return self.get(project, identity)
