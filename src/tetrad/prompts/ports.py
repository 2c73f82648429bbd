"""What prompts ask of others: a log of what a reviewer allowed, and a registry to keep a folder in step with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from tetrad.kernel import Principal


class Audit(Protocol):
    """The audit log of the installation; identity fulfils it."""

    def record(self, actor: Principal, action: str, target: str, project: str | None, **detail: Any) -> None:
        """Append what was done; durable when it returns."""
        ...


class RemotePrompt(msgspec.Struct, frozen=True):
    """The newest version of a prompt in the registry; `source` is the digest of what its file says."""

    name: str
    semver: str
    digest: str
    source: str


class PromptRemote(Protocol):
    """The registry, as a folder of prompt files is kept in step with it."""

    def newest(self) -> Sequence[RemotePrompt]:
        """Return the newest version of every prompt."""
        ...

    def text(self, name: str, digest: str) -> str:
        """Return a version as a file; raises `NotFound`."""
        ...

    def commit(self, name: str, text: str, *, expected: str, reason: str) -> RemotePrompt:
        """Make a version of a file, if the newest is still the `expected` digest (empty: none); 409 otherwise."""
        ...
