"""What the request pipeline needs of the outside world."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import msgspec

from tetrad.kernel import Usage
from tetrad.serving._engines import EngineCaps, EngineEndpoint, EngineIdentity, EngineMetrics, EngineSpec
from tetrad.serving._form import Form
from tetrad.serving._model import LimitMeasure as LimitMeasure  # noqa: PLC0414 - rules are part of this door
from tetrad.serving._model import LimitPeriod as LimitPeriod  # noqa: PLC0414 - rules are part of this door
from tetrad.serving._model import LimitRule as LimitRule  # noqa: PLC0414 - rules are part of this door
from tetrad.serving._model import LimitSubject as LimitSubject  # noqa: PLC0414 - rules are part of this door
from tetrad.serving._model import ModelEntry, TemplateSyntax, Upstream, Variable
from tetrad.serving._operations import Operation
from tetrad.serving._tool_servers import OnChange as OnChange  # noqa: PLC0414 - MCP servers are part of this door
from tetrad.serving._tool_servers import Surface as Surface  # noqa: PLC0414 - MCP servers are part of this door
from tetrad.serving._tool_servers import ToolAccess as ToolAccess  # noqa: PLC0414 - MCP servers are part of this door
from tetrad.serving._tool_servers import ToolServerRoute as ToolServerRoute  # noqa: PLC0414 - as above


@lru_cache(maxsize=4096)
def _named(model: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(model))


class ModelCall(msgspec.Struct, frozen=True, gc=False):
    """One call of a model, in the words of the client's protocol, which the operation names.

    `fields` is the whole request body by top-level name, ready to be sent: model, messages and the release's parameters
    are in place. `usage_asked` tells whether the client itself asked for usage at the end of a stream. `headers` are
    those of the client that its protocol means for the upstream. With `strict` nothing may be dropped in translation;
    None leaves that to the upstream's setting. `unsaid` are parameters of the release that the client's protocol cannot
    say, by their names in chat completions.
    A `form` is the body of an operation that takes one; `fields` are its texts, of which only `model` is sent anew.
    `maker` tells a translation who answers, since some of what is answered goes back to its maker only.
    """

    operation: Operation
    fields: dict[str, msgspec.Raw]
    stream: bool = False
    usage_asked: bool = False
    headers: tuple[tuple[bytes, bytes], ...] = ()
    strict: bool | None = None
    unsaid: dict[str, msgspec.Raw] = {}
    batch: bool = False
    """Nobody waits for it: where calls queue, others go first."""
    form: Form | None = None
    maker: str = ""

    def asking(self, model: str) -> ModelCall:
        """Return the same call of another model, by the name that its upstream knows."""
        fields = {**self.fields, "model": _named(model)}
        return ModelCall(
            self.operation,
            fields,
            self.stream,
            self.usage_asked,
            self.headers,
            self.strict,
            self.unsaid,
            self.batch,
            self.form,
        )


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What an answer turned out to be; `output` is a JSON array of the answer's messages, as the client got them.

    `priced` is false where tokens of text do not tell what it cost: `units` says what else was used, by the names of
    `tetrad.serving.UNITS`, its tokens being part of `usage`.
    """

    usage: Usage | None = None
    response_model: str = ""
    response_id: str = ""
    finish_reasons: tuple[str, ...] = ()
    output: bytes = b""
    first_chunk_ns: int = 0
    error_type: str = ""
    error_message: str = ""
    truncated: bool = False
    attributes: dict[str, str] = {}
    priced: bool = True
    units: dict[str, Decimal] = {}
    events: int = 0
    """The number of the event that would come next, of a stream whose protocol numbers its events."""


class Answer(Protocol):
    """An answer that is being read, in the client's protocol. Its reader reads it until `done`, or closes it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    """What of the upstream's headers the client should see; never its length, its connection or its secrets.

    A stream that names a `content-type` is none of events: it is passed on as it comes.
    """
    stream: bool
    done: bool
    """True once the piece that `read` just returned is the last one that matters to the client."""
    received_ns: int
    """When the upstream had done its part: the head of a stream, the end of anything else."""
    dropped: tuple[str, ...]
    """What of the request its protocol could not say to the upstream, by field, and of a whole answer to the client;
    empty where nothing was translated."""

    async def read(self) -> bytes:
        """Return the next piece. Raises `TetradError` where the upstream fails; may be cancelled at any time."""
        ...

    def outcome(self) -> Outcome:
        """Tell what is known of the answer; complete once `done`, partial after an error."""
        ...

    def close(self) -> None:
        """Give up an answer that is not done, or let one that is done finish on its own. Never waits."""
        ...


class Endpoint(Protocol):
    """One upstream, ready to be called many times at once."""

    async def call(self, call: ModelCall) -> Answer:
        """Send a call; return its answer, good or bad, once it has begun (a stream) or is whole (anything else).

        Raises `TetradError` where there is no answer to pass on: unreachable, too slow, broken, credential refused.
        Cancelling it closes the connection to the upstream at once.
        """
        ...


class PassedAnswer(Protocol):
    """An upstream's answer as it comes."""

    status: int
    headers: list[tuple[bytes, bytes]]

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end; raises `TetradError` where it breaks off."""
        ...

    def close(self) -> None:
        """Give up. Harmless when called again."""
        ...


class BatchEndpoint(Protocol):
    """An endpoint whose upstream has batches: what would be sent can be had, and what came elsewhere can be read."""

    async def rendered(self, call: ModelCall) -> tuple[str, bytes]:
        """Return the path and the body that `call` would send; nothing is sent. Raises `TetradError` as `call` does."""
        ...

    async def answered(self, call: ModelCall, status: int, body: bytes) -> Answer:
        """Return the answer to a call that was made elsewhere, as `call` would."""
        ...

    async def ask(
        self, method: str, path: str, content_type: str = "", pieces: AsyncIterator[bytes] | None = None
    ) -> PassedAnswer:
        """Send a request of the upstream's batch API with its login; whoever has the answer closes it."""
        ...


class Provider(Protocol):
    """A protocol that upstreams speak. Adapters register by `Upstream.adapter`."""

    def endpoint(self, upstream: Upstream) -> Endpoint:
        """Prepare calls to an upstream; cheap, without I/O. Raises `InvalidInput` for an upstream that cannot be."""
        ...

    async def close(self) -> None:
        """End all connections."""
        ...


Handler: TypeAlias = Callable[[ModelCall], Awaitable[Answer]]


class Stage(Protocol):
    """Something that every call passes on its way to the upstream.

    Stages are bound once per route table, so one that has nothing to do for a model returns `following` and costs
    nothing per call.
    """

    def bind(self, model: ModelEntry, upstream: Upstream, following: Handler) -> Handler:
        """Return what to call instead of `following`."""
        ...


class SharedAnswers(Protocol):
    """Where the workers of one or more machines find each other's cached answers. Losing any of it is no loss."""

    level: str
    """What it is called in traces and metrics: `disk`, `server`."""

    async def get(self, names: Sequence[str]) -> list[bytes | None]:
        """Return what was put under each name, whole, or None.

        A store in the network answers within a fraction of a second, with nothing where it is slow or away. Raises
        `OSError` where the store cannot be read.
        """
        ...

    async def put(self, name: str, data: bytes, ttl_s: float) -> None:
        """Keep bytes under a name, all or nothing, in the place of earlier ones; the store bounds itself.

        Nobody wants them after `ttl_s`. Raises `OSError` where the store takes none.
        """
        ...


class SimilarQuestions(Protocol):
    """Questions by their meaning, in partitions that never mix. It may be slow or gone: then nothing is similar."""

    failures: int
    """How often it could not be asked."""

    async def find(self, partition: str, text: str, threshold: float) -> tuple[bytes, float] | None:
        """Return the key of the nearest question of the partition and its cosine, where that reaches the threshold.

        Never raises, and never takes longer than its deadline.
        """
        ...

    async def add(self, partition: str, text: str, key: bytes, ttl_s: int) -> None:
        """Remember a question for a while. Never raises."""
        ...


class Remembered(msgspec.Struct, frozen=True):
    """What was said up to and with a response: a JSON array of items, the oldest first.

    `upstream` gave the last of them; `native`: it speaks Responses itself, and may keep them too.
    """

    items: msgspec.Raw
    upstream: str = ""
    native: bool = False


class Turn(msgspec.Struct, frozen=True):
    """A request that is being answered: what the client sent (a JSON array of items), and what it goes on from."""

    project: str
    key_id: str
    upstream: str
    native: bool
    input: msgspec.Raw
    previous: str = ""


class Deferred(msgspec.Struct, frozen=True):
    """A request that is to be answered in the background.

    `shown` is the response, a JSON object, as it stands until then. `body` is what is to be called, without its input,
    with `headers`; an app as its `release`. `stream`: best as a stream. `events`: the client follows its events.
    A request of the same key with the same `idempotency` is the same request, if it has the same `fingerprint`.
    """

    id: str
    turn: Turn
    shown: bytes
    body: msgspec.Raw
    headers: dict[str, str]
    release: str = ""
    conversation: str = ""
    stream: bool = False
    events: bool = False
    app: str = ""
    model: str = ""
    idempotency: str = ""
    fingerprint: str = ""


class Following(Protocol):
    """The events of a response in the background, as they come. Before the first is read it may become another's."""

    response: str

    async def read(self) -> bytes:
        """Return the next piece of the stream, whole server-sent events; empty at its end. Raises `TetradError`."""
        ...

    def close(self) -> None:
        """Follow no longer. May be called again."""
        ...


class Memory(Protocol):
    """Where conversations are kept, outside the gateway. Every method takes a bounded time."""

    async def recall(self, project: str, response: str) -> Remembered:
        """Return a conversation; raises `RequestRefused` where it is gone and `Unavailable` where nobody can tell."""
        ...

    async def recall_kept(self, project: str, conversation: str) -> Remembered:
        """Return what a conversation that clients name holds; raises as `recall` does."""
        ...

    async def extend(self, project: str, conversation: str, response: str, items: Sequence[msgspec.Raw]) -> None:
        """Add what a response added to such a conversation; again, it changes nothing.

        Raises `TetradError` where it is not added.
        """
        ...

    async def keep(self, turn: Turn, response: str, body: bytes) -> None:
        """Keep a response by its id; again, it changes nothing. Raises `TetradError` where it is not kept."""
        ...

    async def begin(self, asked: Deferred) -> bytes:
        """Have a request answered in the background, and return its response as it stands.

        That is the one which was begun before, where the client asked before.

        Raises `RequestRefused` where it may not be, and `Unavailable` where nobody can take it.
        """
        ...

    def follow(self, project: str, response: str) -> Following:
        """Return the events of a response from the first on; nothing is asked before they are read.

        They take as long as the response does. Raises `TetradError` where there are too many who follow.
        """
        ...


class Prompt(Protocol):
    """A compiled prompt."""

    @property
    def is_static(self) -> bool:
        """Tell whether it renders to the same messages whatever the values."""
        ...

    def render(self, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Return the messages; raises `TetradError` where the values do not fit."""
        ...


PromptCompiler: TypeAlias = Callable[[Sequence[tuple[str, str]], TemplateSyntax, Sequence[Variable]], Prompt]


class RunningEngine(Protocol):
    """A started engine: one process that we own, with an endpoint of its own."""

    pid: int | None
    endpoint: EngineEndpoint

    async def healthy(self) -> bool:
        """Tell whether it answers its health probe; never raises for an engine that does not."""
        ...

    async def served_names(self) -> tuple[str, ...]:
        """Return the names of the models that it lists."""
        ...

    async def warm(self, prompt: str, deadline_s: float) -> float:
        """Make one token; return the seconds it took. Raises `EngineFailed` past the deadline."""
        ...

    async def metrics(self) -> EngineMetrics:
        """Look at it once."""
        ...

    async def stop(self, deadline_s: float) -> None:
        """Drain, then terminate, then kill; returns when the process is gone. May be called again."""
        ...

    async def ended(self) -> str:
        """Wait until the process is gone; return why."""
        ...


class EngineAdapter(Protocol):
    """A kind of engine that we can start, watch, drain and stop."""

    kind: str
    caps: EngineCaps

    async def provision(self, spec: EngineSpec) -> EngineIdentity:
        """Check files and machine before anything is started; raises `EngineUnusable` where it can never work."""
        ...

    async def start(self, spec: EngineSpec, identity: EngineIdentity) -> RunningEngine:
        """Start the process; returns once it listens, not yet loaded. Raises `EngineFailed`."""
        ...
