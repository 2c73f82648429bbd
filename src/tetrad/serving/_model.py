"""The route table: everything a gateway needs to answer, compiled by control, immutable."""

from __future__ import annotations

from typing import Literal

import msgspec

from tetrad.serving._route_spec import ModelRoute
from tetrad.serving._tool_servers import ToolServerRoute

ROUTE_TABLE_AAD = b"tetrad.route-table.v1"
"""What a sealed route table is bound to, so that no other sealed box can stand in for one."""

ContentPolicy = Literal["off", "redacted", "full"]
TemplateSyntax = Literal["mustache", "jinja2"]
Kind = Literal["chat", "embeddings", "moderations", "rerank", "images", "transcriptions", "speech"]
Priority = Literal["high", "normal", "low"]
"""Whose calls are turned away last when a gateway has too much to do."""
LimitSubject = Literal["project", "team", "key", "app", "user", "model"]
LimitMeasure = Literal["requests", "tokens", "concurrency", "money"]
LimitPeriod = Literal["minute", "day", "week", "month", "total"]


class KeyEntry(msgspec.Struct, frozen=True, gc=False):
    """An API key as a gateway knows it: by the hash of its secret."""

    id: str
    project: str
    scopes: tuple[str, ...]
    expires_ns: int = 0
    content: ContentPolicy = "full"
    team: str = ""
    models: tuple[tuple[str, ...], ...] = ()
    """Lists of patterns; of each, one must match what a call names as `model`."""
    priority: Priority = "normal"
    batch: str = ""
    """The batch whose lines are called with it; their spans name it."""
    background: bool = False
    """Whether our own worker calls with it what the key asked for in the background."""


class LimitRule(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What one subject may use: calls or tokens a minute, calls at once, or money in a period.

    `name` says which subject; `*` means each of them on its own, and for models a pattern means all that match,
    together. `amount` counts calls or tokens, or for money 10^-12 of the currency. A rule that is not `hard` refuses
    nobody and only alerts. `unknown` says what becomes of a call whose price is not known.
    """

    id: str
    project: str
    subject: LimitSubject
    measure: LimitMeasure
    amount: int
    name: str = "*"
    period: LimitPeriod = "minute"
    currency: str = "USD"
    hard: bool = True
    unknown: Literal["refuse", "count"] = "refuse"


class Upstream(msgspec.Struct, frozen=True):
    """Where calls go: a provider's API, or an engine's server on this machine.

    `base_url` ends before `/chat/completions` (`https://api.example.com/v1`); `unix:///path#/v1` names a local socket.
    `state` is `ready`, or why calls cannot go there now; `provider` is the value of `gen_ai.provider.name`.
    """

    name: str
    base_url: str
    adapter: str = "openai"
    provider: str = "openai"
    secret: str = ""
    secrets: tuple[str, ...] = ()
    """More keys of the same provider; a refused one gives way to another."""
    headers: tuple[tuple[str, str], ...] = ()
    state: str = "ready"
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = 120.0
    idle_timeout_s: float = 60.0
    total_timeout_s: float = 600.0
    max_connections: int = 512
    operations: tuple[str, ...] = ("chat", "embeddings")
    """What it speaks natively, by the names of operations; everything else is translated, where there is a way."""
    translation: Literal["strict", "lossy"] = "lossy"
    """What to do with what a client says and this upstream's protocol cannot: refuse it, or leave it out and say so."""
    max_concurrency: int = 0
    """Most calls that a worker makes to it at once; 0: no limit but its connections."""
    max_queue: int = 64
    queue_target_s: float = 1.0
    auth: str = ""
    """How `secret` is used: bearer, header, query, sigv4, google, none, or one of `MACHINE_AUTHS`; empty: as the
    adapter usually does."""
    options: dict[str, str] = {}
    """What the adapter needs to know besides, such as a region or the version of an API."""
    egress: str | None = None
    """What `egress_allow` says, for what a project configured; None: what Tetrad itself put on this machine."""
    internal: bool = False
    """Whether an administrator of the installation put it inside the network."""
    ca: str = ""
    """PEM certificates that sign its own, in place of the system's."""
    batches: bool = False
    """Whether batches are handed over to its own batch API, where their lines can be."""
    batches_only: bool = False
    """Whether people said so: a batch that may be with it is not done in another way."""

    def __repr__(self) -> str:
        return f"Upstream({self.name!r}, {self.base_url!r})"


class Tier(msgspec.Struct, frozen=True, gc=False):
    """What a call costs in whole, per million tokens, once its input has more than `start` tokens."""

    start: int
    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None


class Price(msgspec.Struct, frozen=True, gc=False):
    """Decimal texts, per million tokens, in one currency.

    Tokens of the cache cost what `input` costs where they have no price of their own; reasoning costs what `output`
    costs. What an hour in the cache costs is not known where only the usual time has a price. Of `tiers`, in order, the
    last one that the input passes holds for the whole call. With `max_input_tokens`
    the price holds up to that many input tokens only; what a larger call costs is not known.
    """

    input: str
    output: str
    cache_read: str | None = None
    cache_write: str | None = None
    currency: str = "USD"
    max_input_tokens: int = 0
    tiers: tuple[Tier, ...] = ()
    cache_write_1h: str | None = None
    units: dict[str, str] = {}
    """What else has a price of its own, by the names of `tetrad.kernel.UNITS`."""
    batch: str | None = None
    """What part of this price a call costs in the provider's own batches, such as 0.5; None where nobody knows."""


class ModelEntry(msgspec.Struct, frozen=True):
    """A model that clients may name, such as `local/smollm2-135m`; those of every project where `project` is empty."""

    name: str
    upstream: str
    upstream_model: str
    kinds: tuple[Kind, ...] = ("chat",)
    price: Price | None = None
    digest: str = ""
    created_s: int = 0
    project: str = ""


class MessageTemplate(msgspec.Struct, frozen=True):
    """One message of a prompt; its text is a template, or static where it names no variable.

    With the role `placeholder` it stands for messages: those of the variable that its text names, or, for `messages`,
    those of the client, which else come last.
    """

    role: str
    text: str


_NO_DEFAULT = msgspec.Raw(b"")


class Variable(msgspec.Struct, frozen=True, omit_defaults=True):
    """A typed variable of a prompt; required where its default, a JSON value, is empty."""

    name: str
    type: Literal["string", "number", "integer", "boolean", "array", "object"] = "string"
    default: msgspec.Raw = _NO_DEFAULT
    description: str = ""

    def __post_init__(self) -> None:
        if self.default is not _NO_DEFAULT and not bytes(self.default):
            # only this very object is left out when encoding; an empty Raw of another identity would break the JSON
            msgspec.structs.force_setattr(self, "default", _NO_DEFAULT)


class ReleaseRoute(msgspec.Struct, frozen=True):
    """A release as the hot path needs it: what to put before the client's messages, and where to send them.

    `examples` follow the leading system messages of the prompt, literally. `params` are JSON values by name of the
    request's field.
    """

    digest: str
    project: str
    app: str
    model: str
    prompt_name: str = ""
    prompt_version: str = ""
    syntax: TemplateSyntax = "mustache"
    messages: tuple[MessageTemplate, ...] = ()
    variables: tuple[Variable, ...] = ()
    examples: tuple[MessageTemplate, ...] = ()
    params: dict[str, msgspec.Raw] = {}
    code_digest: str = ""
    fixed: tuple[str, ...] = ()
    """Names of `params` that a client may not override."""
    output: Literal["error", "report", "off"] = "error"
    """What happens to an answer that does not fit the output schema and the tools in `params`."""
    repair: bool = False
    """Whether the model gets a second try, told what was wrong."""
    steps: tuple[ReleaseRoute, ...] = ()
    """The steps of a chain, in their order, each with a prompt of its own; the release itself then has no messages,
    and its variables are those of the chain."""
    step: str = ""
    """The name of this step, within a chain."""
    inputs: dict[str, str] = {}
    """What feeds the variables of this step: `variables.NAME`, `STEP.text` or `STEP.output.FIELD`."""


class BindingTarget(msgspec.Struct, frozen=True):
    """Which model of the table answers for a release's model; `problem` says why none can.

    `secret` is sent instead of the upstream's own. All targets that name one `capacity` share `max_concurrency`: so
    many calls a gateway worker makes at once; 0 is no limit.
    """

    model: str = ""
    secret: str = ""
    max_concurrency: int = 0
    capacity: str = ""
    problem: str = ""

    def __repr__(self) -> str:
        return f"BindingTarget({self.model!r}, problem={self.problem!r})"


class BoundToolServer(msgspec.Struct, frozen=True):
    """Which registered MCP server a logical name means; `problem` says why none can be called by it."""

    server: str = ""
    problem: str = ""


class BindingRoute(msgspec.Struct, frozen=True):
    """A binding as the hot path needs it: `targets` by a release's model; one that is not there means itself.

    `ref` names it for people; `problem` says why nothing can be served through it. `tool_servers` are MCP servers by
    their logical names; one that is not there means itself.
    """

    ref: str
    digest: str
    targets: dict[str, BindingTarget] = {}
    problem: str = ""
    tool_servers: dict[str, BoundToolServer] = {}


class AppRoute(msgspec.Struct, frozen=True):
    """An app's refs, each the digest of a release, and which of the table's bindings holds for each of them."""

    project: str
    name: str
    refs: dict[str, str]
    default_ref: str = "production"
    bindings: dict[str, str] = {}


CacheUse = Literal["always", "asked", "never"]
"""Whose answers are cached: all that do not ask for the contrary, those that ask for it, or none."""
CacheSharing = Literal["project", "user", "unit"]
"""Who may get whose answers: everybody of the project, or only the user or unit that asked first."""
SemanticUse = Literal["off", "cold", "any"]
"""Whether a similar question is answered too: never, where the temperature says little variety is wanted, or always."""
SEMANTIC_THRESHOLD = 0.985
"""The cosine from which two questions pass for one, by default; see `benchmarks/semantic_cache.py`."""


class CachePolicy(msgspec.Struct, frozen=True):
    """How answers of an app are cached. A new `generation` makes everything that is cached unreachable."""

    use: CacheUse = "asked"
    ttl_s: int = 3600
    tools: bool = False
    shared_by: CacheSharing = "project"
    semantic: SemanticUse = "off"
    threshold: float = SEMANTIC_THRESHOLD
    generation: int = 0


class RouteTable(msgspec.Struct, frozen=True):
    """One immutable snapshot; `version` only grows.

    `keys` is by hex SHA-256 of the whole key; `apps` by `project/name`; `releases` by `project/digest`; `bindings` by
    `project/ref`; `models` and `upstreams` by name; `caches` by `project/app`, those of a project's other calls by
    `project/`. Versions are compared within one `epoch`; another epoch (a restored
    or replaced control plane) starts the count anew.
    """

    version: int
    made_ns: int
    keys: dict[str, KeyEntry] = {}
    upstreams: dict[str, Upstream] = {}
    models: dict[str, ModelEntry] = {}
    apps: dict[str, AppRoute] = {}
    releases: dict[str, ReleaseRoute] = {}
    epoch: str = ""
    bindings: dict[str, BindingRoute] = {}
    limits: tuple[LimitRule, ...] = ()
    routes: dict[str, ModelRoute] = {}
    """By `project/name`."""
    caches: dict[str, CachePolicy] = {}
    tool_servers: dict[str, ToolServerRoute] = {}
    """By `project/name`."""
    prices: dict[str, Price] = {}
    """By `project/model`: what a model that is of every project costs one that has a price of its own for it."""

    def secrets(self) -> set[str]:
        """Return what upstreams are called with and nobody may read in a log."""
        own = {secret for each in self.upstreams.values() for secret in (each.secret, *each.secrets)}
        bound = {target.secret for each in self.bindings.values() for target in each.targets.values()}
        return (own | bound) - {""}


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(RouteTable)


def encode_route_table(table: RouteTable) -> bytes:
    """Return the bytes that get sealed: JSON, because a table carries raw JSON (in msgpack it would be torn)."""
    return _encoder.encode(table)


def decode_route_table(data: bytes) -> RouteTable:
    """Read what `encode_route_table` wrote; raises `msgspec.MsgspecError` for anything else."""
    return _decoder.decode(data)
