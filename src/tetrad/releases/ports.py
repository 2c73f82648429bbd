"""What releases ask of others: a store of apps, a reader of prompt files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from tetrad.kernel import Digest, Principal
from tetrad.releases._model import App, Message, ResolvedVariable


class PromptVersion(msgspec.Struct, frozen=True):
    """A prompt as a release pins it.

    `version` is the number that the registry gave it; `semver` is the number that the app's author asked for, empty
    where none was asked for. `params` are its defaults, `request` is what its tools and output schema add to a
    request, `examples` names the dataset of its few-shot examples, `closure` is what it includes.
    """

    name: str
    digest: Digest
    contract: Digest
    semver: str
    version: str
    syntax: str
    messages: tuple[Message, ...]
    variables: tuple[ResolvedVariable, ...]
    params: Mapping[str, Any] = {}
    request: Mapping[str, Any] = {}
    closure: tuple[Digest, ...] = ()
    description: str = ""
    examples: str = ""


class Prompts(Protocol):
    """Prompts of the projects, as releases need them."""

    def check(
        self, project: str, name: str, data: bytes, *, where: str, reason: str = "", expected_outcome: str = ""
    ) -> PromptVersion:
        """Read a prompt file without keeping it; raise a `TetradError` that names file and line."""
        ...

    def put(
        self, project: str, name: str, data: bytes, *, actor: Principal, where: str, reason: str, expected_outcome: str
    ) -> PromptVersion:
        """Keep the prompt of a file as a version; the same again is the version that is there."""
        ...

    def version(self, project: str, name: str, semver: str | None) -> PromptVersion:
        """Return a version that the project has; raise `NotFound`."""
        ...

    def get(self, project: str, digest: str, name: str) -> PromptVersion:
        """Return the prompt that a release pins by digest and name; raise `NotFound`."""
        ...


class CodeSighting(msgspec.Struct, frozen=True):
    """Callers of an app that announced code: the digest of their tree, who they are, how often, when last."""

    tree: str
    key_id: str
    service: str
    requests: int
    last_seen: datetime


class CodeSightings(Protocol):
    """What is known of the code that runs where the app's users deployed it. The running product reads traces."""

    def announced(self, project: str, app: str, *, last_s: int) -> Sequence[CodeSighting]:
        """Return what callers announced in the last seconds, the newest first, at most 100; none is an empty list."""
        ...


class AppStore(Protocol):
    """The apps of all projects."""

    def put(self, app: App) -> None:
        """Keep an app; of one that is there only the description changes."""
        ...

    def get(self, project: str, name: str) -> App | None: ...

    def list(self, project: str | None, *, limit: int, after: tuple[str, str]) -> Sequence[App]:
        """Return apps of one project, or of all, in the order of (project, name), from behind `after`."""
        ...
