"""Which binding holds where: the names of refs, and what an app has instead of its environment's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from tetrad.bindings._model import Binding
from tetrad.kernel import Digest
from tetrad.registry import BINDINGS, BadName, check_simple_name


def ref_of(env: str, app: str = "") -> str:
    """Return the name of the ref that binds an environment, or one app in it; refuse names that cannot be."""
    name = f"{BINDINGS}/{check_simple_name(env, 'name of an environment')}"
    return f"{name}/{check_simple_name(app, 'name of an app')}" if app else name


def place_of(ref: str) -> tuple[str, str]:
    """Return (environment, app) of a ref such as `bindings/production`; the app is empty where it is for all."""
    first, _, rest = ref.partition("/")
    env, _, app = rest.partition("/")
    if first != BINDINGS or not env or "/" in app:
        raise BadName(f"{ref[:140]!r} binds no environment", hint=f"such as {BINDINGS}/production")
    return env, app


class Bound(msgspec.Struct, frozen=True):
    """What a ref of a binding points to. `problem` says why it cannot be used; then `binding` is None."""

    ref: str
    digest: Digest
    binding: Binding | None
    problem: str = ""


class BindingSet:
    """The bindings of a project at one moment, by the names of their refs. Immutable and pure."""

    def __init__(self, bound: Mapping[str, Bound] | None = None) -> None:
        self._bound = dict(bound or {})

    def effective(self, env: str, app: str) -> Bound | None:
        """Return what binds an app in an environment: what it has of its own, else what all have, else nothing.

        What an app has of its own stands for the whole: nothing is merged, so that one digest says all there is.
        """
        own = self._bound.get(f"{BINDINGS}/{env}/{app}")
        if own is not None and not (own.binding is not None and own.binding.inherit):
            return own
        return self._bound.get(f"{BINDINGS}/{env}")

    def __iter__(self) -> Iterator[Bound]:
        return iter(self._bound.values())

    def __len__(self) -> int:
        return len(self._bound)
