"""The release manifest, and a release resolved to what a request needs: frozen values and pure rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from tetrad.kernel import Digest, canonical_json
from tetrad.releases.errors import BadPart, Unservable

MANIFEST_SCHEMA = "tetrad.release/1"
STEP = "answer"
EXAMPLE_ROLES = ("system", "developer", "user", "assistant")
MAX_EXAMPLES = 200
MAX_EXAMPLE_CHARS = 200_000


class App(msgspec.Struct, frozen=True):
    """One LLM application of a project."""

    project: str
    name: str
    description: str
    default_ref: str
    created_at: datetime
    created_by: str


class Message(msgspec.Struct, frozen=True):
    """A role and a text: a template in a prompt, a literal in an example."""

    role: str
    text: str


class ResolvedVariable(msgspec.Struct, frozen=True):
    """A variable of the prompt; required where it has no default. `default` is JSON."""

    name: str
    type: str = "string"
    required: bool = True
    default: Any = None
    description: str = ""


class ResolvedStep(msgspec.Struct, frozen=True):
    """A step of a chain as a request needs it; `inputs` say what feeds its variables."""

    name: str
    inputs: Mapping[str, str]
    model: str
    prompt_name: str
    prompt_version: str
    syntax: str
    messages: tuple[Message, ...]
    variables: tuple[ResolvedVariable, ...]
    params: Mapping[str, Any] = {}
    on_violation: str = "error"
    repair: bool = False
    examples: tuple[Message, ...] = ()


class ResolvedRelease(msgspec.Struct, frozen=True):
    """A release as a request needs it. `code_digest` is the tree that a running program announces."""

    digest: Digest
    project: str
    app: str
    model: str
    model_digest: Digest
    model_kind: str
    prompt_name: str = ""
    prompt_version: str = ""
    prompt_digest: Digest | None = None
    syntax: str = "mustache"
    messages: tuple[Message, ...] = ()
    variables: tuple[ResolvedVariable, ...] = ()
    examples: tuple[Message, ...] = ()
    params: Mapping[str, Any] = {}
    code_digest: str = ""
    code_artifact: str = ""
    code_dirty: bool = False
    adapters: tuple[Digest, ...] = ()
    on_violation: str = "error"
    repair: bool = False
    steps: tuple[ResolvedStep, ...] = ()
    """Of a chain, in their order; its messages are theirs, its variables are its own."""


def refuse_unservable(resolved: ResolvedRelease) -> None:
    """Refuse with `Unservable` a release that no engine serves as it is pinned.

    Answering without an adapter that the release pins would be another release.
    """
    if resolved.adapters:
        raise Unservable(
            f"the release {resolved.digest} loads {len(resolved.adapters)} adapters, which no engine serves yet",
            hint="merge the adapter into its base, register the result as a model, and pin that one",
        )


def _order(part: Mapping[str, Any]) -> tuple[str, str, str]:
    return part["role"], part["name"], part["digest"]


def build_manifest(
    *,
    app: str,
    code: Mapping[str, Any],
    data: Iterable[Mapping[str, Any]],
    model: Iterable[Mapping[str, Any]],
    prompt: Iterable[Mapping[str, Any]],
    graph: Iterable[Mapping[str, Any]],
    config: Mapping[str, Sequence[Any]] | None = None,
) -> dict[str, Any]:
    """Return the manifest whose canonical bytes are the release; the order in which parts are given does not matter.

    Time, author, reason, endpoints, secrets and traffic are never in it.
    """
    settings = {"guardrails": [], "retrieval": [], "tools": [], **(config or {})}
    return {
        "schema": MANIFEST_SCHEMA,
        "app": app,
        "code": dict(code),
        "data": sorted((dict(part) for part in data), key=_order),
        "model": sorted((dict(part) for part in model), key=_order),
        "prompt": sorted((dict(part) for part in prompt), key=_order),
        "graph": sorted((dict(step) for step in graph), key=lambda step: str(step["step"])),
        "config": {name: sorted(values, key=canonical_json) for name, values in settings.items()},
    }


def examples_of(rows: Iterable[tuple[str, Mapping[str, Any]]], *, what: str) -> tuple[Message, ...]:
    """Turn few-shot rows (name, row) into messages.

    A row is `{"input": text, "output": text}`, a question and its answer, or `{"messages": [{"role", "content"}, …]}`;
    other fields are notes. Anything else raises `BadPart` with the row's name.
    """
    found: list[Message] = []
    size = 0
    for name, row in rows:
        for message in _example(row, f"{what}: the row {name}"):
            size += len(message.text)
            if size > MAX_EXAMPLE_CHARS:
                raise BadPart(f"{what} has more than {MAX_EXAMPLE_CHARS} characters", hint="keep fewer examples")
            found.append(message)
    return tuple(found)


def _example(row: Mapping[str, Any], what: str) -> list[Message]:
    if "messages" in row:
        messages = row["messages"]
        if not isinstance(messages, list) or not messages:
            raise BadPart(f"{what}: messages is a list of messages", hint='[{"role": "user", "content": "…"}, …]')
        for message in messages:
            whole = isinstance(message, Mapping) and isinstance(message.get("content"), str)
            if not whole or message.get("role") not in EXAMPLE_ROLES:
                raise BadPart(f"{what}: a message has a role and a text", hint=f"roles are {', '.join(EXAMPLE_ROLES)}")
        return [Message(message["role"], message["content"]) for message in messages]
    question, answer = row.get("input"), row.get("output")
    if isinstance(question, str) and isinstance(answer, str):
        return [Message("user", question), Message("assistant", answer)]
    raise BadPart(f"{what} is no example", hint='write {"input": "…", "output": "…"} or {"messages": […]}')
