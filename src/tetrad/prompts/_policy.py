"""What an installation asks of its prompts: names that say feature and purpose, and documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from tetrad.prompts._chain import ChainSpec
from tetrad.prompts._model import PromptSpec
from tetrad.prompts.errors import PolicyRefused

Strictness = Literal["off", "warn", "refuse"]
_CONVENTION: Final = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)+")


@dataclass(frozen=True, slots=True)
class PromptPolicy:
    """How strictly names and documentation are asked for.

    `fields` are `description`, `reason` and `expected_outcome` of the commit, and `metadata.NAME`.
    """

    naming: Strictness = "warn"
    documentation: Strictness = "warn"
    fields: tuple[str, ...] = ("description",)


def policy_problems(
    policy: PromptPolicy, spec: PromptSpec | ChainSpec, *, reason: str = "", expected_outcome: str = ""
) -> tuple[str, ...]:
    """Return what is amiss in words, as warnings; raise `PolicyRefused` where the policy refuses it."""
    naming: list[str] = []
    if policy.naming != "off" and not _CONVENTION.fullmatch(spec.name):
        naming.append(f"the name {spec.name!r} is not {{feature}}-{{purpose}}, such as support-triage")
    documentation = [
        f"{field} is empty"
        for field in policy.fields
        if policy.documentation != "off" and not _field(field, spec, reason, expected_outcome)
    ]
    refused = (naming if policy.naming == "refuse" else []) + (
        documentation if policy.documentation == "refuse" else []
    )
    if refused:
        raise PolicyRefused(
            f"the prompt {spec.name!r} is against the policy of this installation: {'; '.join(refused)}",
            hint="see the settings prompt_naming, prompt_documentation and prompt_documentation_fields",
        )
    return (*naming, *documentation)


def _field(field: str, spec: PromptSpec | ChainSpec, reason: str, expected_outcome: str) -> bool:
    if field.startswith("metadata."):
        return bool(spec.metadata.get(field.removeprefix("metadata.")))
    return bool(
        {"description": spec.description, "reason": reason, "expected_outcome": expected_outcome}[field].strip()
    )
