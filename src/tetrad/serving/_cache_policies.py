"""How the answers of each app are cached, as people set it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from tetrad.kernel import Clock, InvalidInput
from tetrad.serving._model import CachePolicy

MAX_TTL_S = 31 * 86_400
LOWEST_THRESHOLD = 0.8
"""Below it two texts are hardly about the same thing, whatever the embedding model."""
OTHER_CALLS = "-"
"""Stands for an app's name where calls are meant that go to no app, or to one without a policy of its own."""


class BadCachePolicy(InvalidInput):
    """Answers cannot be cached that way."""

    code = "bad_cache_policy"


class CachePolicyStore(Protocol):
    """Keep policies by project and app."""

    def all(self) -> dict[tuple[str, str], CachePolicy]:
        """Return every policy of every project."""
        ...

    def change(
        self, project: str, app: str, change: Callable[[CachePolicy | None], CachePolicy | None]
    ) -> CachePolicy | None:
        """Replace one policy by what `change` makes of it, None for none, in one transaction; return the new one."""
        ...


class CachePolicies:
    """Policies of all projects; `on_change` hears of every change, `refuse_unknown_app` raises for apps that are not.

    `clear` and `drop` make what was cached unreachable, in every gateway, with the next route table.
    """

    def __init__(
        self,
        store: CachePolicyStore,
        clock: Clock,
        *,
        on_change: Callable[[], Any] = lambda: None,
        refuse_unknown_app: Callable[[str, str], Any] = lambda _project, _app: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_change = on_change
        self._refuse_unknown_app = refuse_unknown_app

    def all(self) -> dict[str, CachePolicy]:
        """Return every policy as a route table names it: by `project/app`, with no app for a project's other calls."""
        return {f"{project}/{app}": policy for (project, app), policy in self._store.all().items()}

    def of_project(self, project: str) -> Mapping[str, CachePolicy]:
        """Return a project's policies by app; what holds for its other calls is always among them."""
        found = {app or OTHER_CALLS: policy for (owner, app), policy in self._store.all().items() if owner == project}
        return {OTHER_CALLS: CachePolicy(), **found}

    def put(self, project: str, app: str, policy: CachePolicy) -> CachePolicy:
        """Set a policy; what is cached stays reachable. Raises `BadCachePolicy`, and for an app that is not there."""
        if not 1 <= policy.ttl_s <= MAX_TTL_S:
            raise BadCachePolicy(f"an answer cannot be kept for {policy.ttl_s} s", hint=f"1 to {MAX_TTL_S} s (31 days)")
        if not LOWEST_THRESHOLD <= policy.threshold <= 1:
            raise BadCachePolicy(
                f"{policy.threshold} is no threshold of similarity", hint=f"a cosine from {LOWEST_THRESHOLD} to 1"
            )
        name = self._checked(project, app)

        def change(known: CachePolicy | None) -> CachePolicy:
            return msgspec.structs.replace(policy, generation=_generation(known))

        return self._changed(project, name, change) or policy

    def clear(self, project: str, app: str) -> str:
        """Make what was cached under a policy unreachable; return whose policy that is, an app's or `OTHER_CALLS`.

        An app without a policy of its own is cached under that of the project's other calls.
        """
        name = self._checked(project, app)
        if name and (project, name) not in self._store.all():
            name = ""
        self._changed(project, name, self._renewed)
        return name or OTHER_CALLS

    def drop(self, project: str, app: str) -> None:
        """Take an app's policy away; that of the project's other calls holds from then on, with nothing cached."""
        name = self._checked(project, app)
        if name:
            self._store.change(project, name, lambda _known: None)
            self._changed(project, "", self._renewed)  # else answers from before this policy would be reachable again
        else:
            self._changed(project, "", lambda known: self._renewed(CachePolicy(generation=_generation(known))))

    def _renewed(self, known: CachePolicy | None) -> CachePolicy:
        policy = known or CachePolicy()
        return msgspec.structs.replace(policy, generation=max(policy.generation + 1, self._clock.now_ns()))

    def _checked(self, project: str, app: str) -> str:
        if app == OTHER_CALLS:
            return ""
        self._refuse_unknown_app(project, app)
        return app

    def _changed(
        self, project: str, app: str, change: Callable[[CachePolicy | None], CachePolicy | None]
    ) -> CachePolicy | None:
        made = self._store.change(project, app, change)
        self._on_change()
        return made


def _generation(known: CachePolicy | None) -> int:
    return known.generation if known is not None else 0
