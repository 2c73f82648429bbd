"""What releases ask of others: a store of apps, a reader of prompt files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from tetrad.kernel import Digest, Principal
from tetrad.releases._model import App, Message, ResolvedRelease, ResolvedVariable
from tetrad.releases._reproduction import Reproduction


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


class Current(msgspec.Struct, frozen=True):
    """What something is made of, as its name means it now; `moved` where that is not the digest `was` that is pinned.

    The same digest can have moved too: a dataset's rows in another order.
    """

    kind: str
    role: str
    name: str
    version: str
    digest: str
    was: str
    moved: bool = True


class RebuildOrder(msgspec.Struct, frozen=True):
    """An artifact that is to be made again: how it was made (`dataset.filter`), and of what it is to be made now."""

    project: str
    work: str
    kind: str
    name: str
    digest: str
    version: str
    inputs: tuple[Current, ...]
    reason: str
    expected_outcome: str = ""


class Remade(msgspec.Struct, frozen=True):
    """What came out; `new` is False where it was there already, or came out the same."""

    digest: str
    version: str
    new: bool


class Rebuilder(Protocol):
    """Makes one kind of artifact again, of what its inputs are now. Registered by the work that it does.

    It keeps what it makes as the next version of the same name and records the activity with its lineage, also where
    the same digest comes out, so that the artifact is known to be made of today's inputs. Asked twice, or by two at
    once, it makes nothing twice. It moves no ref. It raises `TetradError` where it cannot, keeping nothing half-made.
    """

    def rebuild(self, order: RebuildOrder, *, actor: Principal) -> Remade:
        """Make the artifact again; returns when it is durable."""
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


class RequestRenderer(Protocol):
    """Turns what a client sends into what a model is sent. The running product renders as its gateway does."""

    def render(self, release: ResolvedRelease, messages: bytes, variables: bytes, *, model: str, seed: int) -> bytes:
        """Return the body of one isolated request: no stream, no prompt cache, `seed` where the release sets none.

        `messages` is a JSON array, `variables` a JSON object or empty. The same arguments give the same bytes. Raises
        `TetradError` for values that do not fit the prompt.
        """
        ...


class TracedRequest(msgspec.Struct, frozen=True):
    """What a client sent: its messages (a JSON array) and variables (a JSON object, or empty), whole and unredacted."""

    trace: str
    messages: str
    variables: str


class RecordedTraffic(Protocol):
    """What clients asked a release. The running product reads traces."""

    def newest(self, project: str, release: str, *, limit: int) -> Sequence[TracedRequest]:
        """Return the newest chat requests whose content was kept whole, the newest first; none is an empty list."""
        ...


class Work(msgspec.Struct, frozen=True):
    """How a durable job stands; `state` is queued, running, done, failed or cancelled."""

    state: str
    done: int = 0
    total: int = 0
    message: str = ""
    error: str = ""
    hint: str = ""


class Worker(Protocol):
    """Durable jobs, as reproductions need them."""

    def ask(self, reproduction: str) -> None:
        """Have a reproduction done; asking again changes nothing. Raises `Unavailable` where jobs cannot be had."""
        ...

    def look(self, reproduction: str) -> Work | None:
        """Return how its job stands, None where there is none."""
        ...


class ReproductionStore(Protocol):
    """The reproductions and recordings that were asked for. Each method is one transaction."""

    def add(self, row: Reproduction) -> Reproduction:
        """Keep a row, or return the one that has its id."""
        ...

    def get(self, reproduction: str) -> Reproduction | None: ...

    def newest(self, project: str, release: str, *, limit: int, before: str | None) -> list[Reproduction]:
        """Return rows of a release, newest first; `before` is the `seq` to go on from."""
        ...

    def recording(self, project: str, release: str) -> str:
        """Return the digest of the newest recording of a release, empty where there is none."""
        ...

    def unfinished(self, project: str, *, since: datetime) -> int:
        """Count rows that were asked for since a time and have not ended."""
        ...

    def end(self, reproduction: str, values: Mapping[str, Any]) -> Reproduction | None:
        """Set how a row ended, unless it has ended before; return the row as it is then."""
        ...


class Repeated(msgspec.Struct, frozen=True):
    """A suite that was evaluated again: within its tolerance or not, and by which statistic."""

    suite: str
    within: bool
    statistic: str


class Evaluations(Protocol):
    """Evaluates a release again, for level R2: the statistical one. No executor ships yet, so R2 cannot be proven.

    An adapter runs the suite's cases and scorers on the release, and compares with a signed result by a test of
    equivalence that the suite names, never by likeness of texts.
    """

    def suites(self, project: str) -> Sequence[str]:
        """Return the digests of the suites that it can execute."""
        ...

    def repeat(self, project: str, release: str, suite: str, metrics: Mapping[str, float]) -> Repeated:
        """Evaluate again and compare with what was measured; raise `TetradError` where that cannot be."""
        ...
