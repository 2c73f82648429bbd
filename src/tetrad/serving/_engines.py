"""Engines as values: what is wanted, what is there, and the rules by which one becomes the other."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import msgspec

from tetrad.kernel import Digest, digest_json, parse_digest
from tetrad.serving._model import Kind
from tetrad.serving.errors import BadEngineSpec

EngineState: TypeAlias = Literal[
    "planned",
    "provisioning",
    "loading",
    "warming",
    "ready",
    "degraded",
    "sleeping",
    "draining",
    "stopped",
    "failed",
]
EngineEvent: TypeAlias = Literal[
    "provision",  # the files are being checked and the machine measured
    "spawned",  # the process runs
    "healthy",  # it answers and lists its name
    "warmed",  # it made a token in time
    "stalled",  # requests in flight and no progress, or no answer to probes
    "recovered",  # progress again
    "slept",  # it gave its memory back
    "woke",
    "exited",  # the process is gone and will be started again
    "drain",  # no more requests, please
    "drained",  # the process is gone because we wanted it so
    "gave_up",  # it cannot work, or failed too often
]

_NEXT: dict[EngineState, dict[EngineEvent, EngineState]] = {
    "planned": {"provision": "provisioning", "drain": "draining", "gave_up": "failed"},
    "provisioning": {"spawned": "loading", "drain": "draining", "exited": "planned", "gave_up": "failed"},
    "loading": {"healthy": "warming", "drain": "draining", "exited": "planned", "gave_up": "failed"},
    "warming": {"warmed": "ready", "drain": "draining", "exited": "planned", "gave_up": "failed"},
    "ready": {
        "stalled": "degraded",
        "slept": "sleeping",
        "drain": "draining",
        "exited": "planned",
        "gave_up": "failed",
    },
    "degraded": {"recovered": "ready", "drain": "draining", "exited": "planned", "gave_up": "failed"},
    "sleeping": {
        "woke": "ready",
        "stalled": "degraded",
        "drain": "draining",
        "exited": "planned",
        "gave_up": "failed",
    },
    "draining": {"drained": "stopped"},
    "stopped": {"provision": "provisioning"},
    "failed": {"provision": "provisioning", "drain": "draining"},
}
SERVING_STATES: frozenset[EngineState] = frozenset({"ready", "degraded", "sleeping"})
"""States in which calls may go to the engine."""


class IllegalTransition(BadEngineSpec):
    """An event that cannot happen in this state: a fault in the supervisor, never in the engine."""

    code = "illegal_transition"
    status = 500


def next_state(state: EngineState, event: EngineEvent) -> EngineState:
    """Return what follows; raise `IllegalTransition` for what cannot happen."""
    try:
        return _NEXT[state][event]
    except KeyError:
        raise IllegalTransition(f"an engine that is {state} cannot have {event!r}") from None


def possible_events(state: EngineState) -> frozenset[EngineEvent]:
    """Return the events that may follow."""
    return frozenset(_NEXT[state])


class EngineProbes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How its health is judged.

    Ready is: health, its name in the list of models, and a token for `prompt` within `warm_s`. Afterwards it is looked
    at every `interval_s`; with requests in flight and no progress for `stall_s` it is degraded, and after the same time
    again it is restarted.
    """

    prompt: str = "Say OK."
    load_s: float = 120.0
    warm_s: float = 30.0
    interval_s: float = 2.0
    answer_s: float = 5.0
    stall_s: float = 30.0


class EngineSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is wanted of an engine; pure data, named by `digest`.

    `model` is the digest of the weights, `served_name` the name by which clients ask for it. `ctx` is the context of
    one slot in tokens, `slots` the number of requests at once, `max_queue` how many more may wait. `threads` 0 means:
    measure. `sleep_s` 0 means: never give memory back.
    """

    name: str
    kind: str
    model: str
    served_name: str
    kinds: tuple[Kind, ...] = ("chat",)
    ctx: int = 2048
    slots: int = 2
    max_queue: int = 64
    threads: int = 0
    sleep_s: int = 0
    drain_s: float = 20.0
    flags: dict[str, str] = {}
    probes: EngineProbes = EngineProbes()

    @property
    def digest(self) -> Digest:
        """Name the spec by its content; the instance's own name is no part of it."""
        content = msgspec.to_builtins(self)
        del content["name"]
        return digest_json(content)


_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_SERVED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@-]{0,126}")
_LIMITS: dict[str, tuple[float, float]] = {
    "ctx": (128, 10_000_000),
    "slots": (1, 1024),
    "max_queue": (0, 100_000),
    "threads": (0, 1024),
    "sleep_s": (0, 7 * 86_400),
    "drain_s": (0, 3600),
}


def check_spec(spec: EngineSpec) -> EngineSpec:
    """Return the spec, or raise `BadEngineSpec` naming the field and its limits."""
    if not _NAME.fullmatch(spec.name):
        raise BadEngineSpec(f"{spec.name[:80]!r} is no engine name", hint="a-z, 0-9, `.`, `_` and `-`, at most 63")
    if not _SERVED.fullmatch(spec.served_name):
        raise BadEngineSpec(f"{spec.served_name[:80]!r} is no model name", hint="such as local/smollm2-135m")
    if not spec.kinds:
        raise BadEngineSpec(f"engine {spec.name!r} serves no kind of call", hint="kinds: chat, embeddings")
    parse_digest(spec.model)
    for field, (low, high) in _LIMITS.items():
        value = getattr(spec, field)
        if not low <= value <= high:
            raise BadEngineSpec(f"engine {spec.name!r} has {field} {value}", hint=f"from {low:g} to {high:g}")
    if len(spec.flags) > 64 or any(len(k) + len(v) > 1000 for k, v in spec.flags.items()):
        raise BadEngineSpec(
            f"engine {spec.name!r} has too many or too long flags", hint="at most 64 of 1000 characters"
        )
    return spec


class EngineCaps(msgspec.Struct, frozen=True):
    """What a kind of engine can do."""

    openai: bool = True
    anthropic: bool = False
    responses: bool = False
    embeddings: bool = False
    rerank: bool = False
    lora: Literal["none", "scale", "hot"] = "none"
    sleep: bool = False
    speculation: bool = False
    metrics: bool = False


class EngineIdentity(msgspec.Struct, frozen=True):
    """The exact engine, for a release's model part: equal identities on equal input make reproduction possible."""

    kind: str
    build: str
    flags: dict[str, str] = {}


class EngineMetrics(msgspec.Struct, frozen=True, gc=False):
    """One look at an engine, in the same words for every kind. `progress` only grows while it works."""

    running: int = 0
    waiting: int = 0
    progress: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    sleeping: bool = False


class EngineEndpoint(msgspec.Struct, frozen=True):
    """Where an engine listens; the secret lives as long as its process and is never stored."""

    base_url: str
    secret: str = ""

    def __repr__(self) -> str:
        return f"EngineEndpoint({self.base_url!r})"


class EngineReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the worker tells control about one engine."""

    name: str
    spec_digest: str
    state: EngineState
    reason: str = ""
    endpoint: EngineEndpoint | None = None
    served: tuple[str, ...] = ()
    identity: EngineIdentity | None = None
    pid: int | None = None
    restarts: int = 0
    metrics: EngineMetrics | None = None
    first_token_s: float | None = None
    rss_bytes: int = 0

    @property
    def serving(self) -> bool:
        """Whether calls may go there."""
        return self.state in SERVING_STATES and self.endpoint is not None
