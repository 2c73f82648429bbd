"""The priority of a key is a label, which reaches the gateways, and which not everybody may raise."""

from __future__ import annotations

import contextlib

import pytest

from support.identity import ADMIN, make_identity
from tetrad.identity.errors import BadKeyRequest
from tetrad.kernel import Conflict, Principal
from tetrad.kit.db import Database

EDITOR = Principal("key_editor", "key", "editor", frozenset({"admin"}), frozenset({"default"}))


def test_an_administrator_raises_a_key_and_a_project_may_only_lower_its_own(database: Database) -> None:
    identity = make_identity(database)
    with contextlib.suppress(Conflict):
        identity.projects.create(ADMIN, "default", "default")
    keys = identity.keys
    with pytest.raises(BadKeyRequest):
        keys.create(EDITOR, "default", "bot", ["data"], labels={"priority": "high"})
    with pytest.raises(BadKeyRequest):
        keys.create(ADMIN, "default", "bot", ["data"], labels={"priority": "urgent"})
    key = keys.create(EDITOR, "default", "bot", ["data"], labels={"priority": "low"}).key

    def granted() -> str:
        [grant] = [each for each in identity.key_entries() if each.key_id == key.id]
        return grant.priority

    assert granted() == "low"
    with pytest.raises(BadKeyRequest) as refused:
        keys.change(EDITOR, "default", key.id, labels={"priority": "high"})
    assert refused.value.status == 403
    keys.change(ADMIN, "default", key.id, labels={"priority": "high"})
    assert granted() == "high"
    keys.change(EDITOR, "default", key.id, labels={"priority": "high", "cost-centre": "42"})
    assert granted() == "high", "what an administrator gave stays when the rest changes"
    keys.change(EDITOR, "default", key.id, labels={})
    assert granted() == "normal"
