"""Who acts."""

from __future__ import annotations

from typing import Literal

import msgspec

PrincipalKind = Literal["key", "person", "process"]


class Principal(msgspec.Struct, frozen=True):
    """An authenticated actor: a key, a signed-in person, or one of our own processes.

    `projects` None means every project. `read_only` actors may use safe methods only. `id` is stable across rotation.
    """

    id: str
    kind: PrincipalKind
    name: str
    scopes: frozenset[str]
    projects: frozenset[str] | None = None
    read_only: bool = False

    def may_enter(self, project: str) -> bool:
        """Tell whether the actor belongs to a project."""
        return self.projects is None or project in self.projects
