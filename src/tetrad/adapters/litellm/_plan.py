"""What an import would do: steps, the secrets that they need, and what becomes of every entry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from tetrad.kernel import InvalidInput

Outcome = Literal["taken", "changed", "left"]


class BadLiteLLMConfig(InvalidInput):
    """The file is no configuration of LiteLLM's proxy."""

    code = "bad_litellm_config"


@dataclass(frozen=True, slots=True)
class Finding:
    """What becomes of one entry: `taken` as it is, `changed` on the way, or `left` out; `to_do` says what remains."""

    where: str
    line: int
    outcome: Outcome
    what: str
    to_do: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the API that puts a thing, the same again when it is made again. `path` follows the project's."""

    kind: Literal["provider", "route", "limit", "budget", "cache"]
    name: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in order. `secrets` are the names to set, each with the variable that may hold its value."""

    steps: tuple[Step, ...]
    secrets: dict[str, str]
    findings: tuple[Finding, ...]
