"""What an installation asks of its prompts."""

from __future__ import annotations

from typing import cast

from tetrad.kit.settings import BadSettings, Setting, Settings, SettingsTable
from tetrad.prompts._policy import PromptPolicy, Strictness

_CHOICES = ("off", "warn", "refuse")
_KNOWN = frozenset({"description", "reason", "expected_outcome"})

NAMING = Setting(
    "prompt_naming", str, "warn", "what happens to a prompt whose name is not {feature}-{purpose}", choices=_CHOICES
)
DOCUMENTATION = Setting(
    "prompt_documentation", str, "warn", "what happens to a prompt whose documentation is missing", choices=_CHOICES
)
FIELDS = Setting(
    "prompt_documentation_fields",
    str,
    "description",
    "what a prompt's documentation is, divided by commas: description, reason, expected_outcome, metadata.NAME",
)

SETTINGS = SettingsTable("Prompts", (NAMING, DOCUMENTATION, FIELDS))


def policy_from(settings: Settings) -> PromptPolicy:
    """Read the policy, or raise `BadSettings` for a field that is none."""
    fields = tuple(part.strip() for part in settings.get(FIELDS).split(",") if part.strip())
    for field in fields:
        if field not in _KNOWN and not field.startswith("metadata."):
            raise BadSettings(
                f"{FIELDS.variable} names {field!r}, which is no field",
                hint=f"fields are {', '.join(sorted(_KNOWN))} and metadata.NAME",
            )
    return PromptPolicy(
        cast("Strictness", settings.get(NAMING)), cast("Strictness", settings.get(DOCUMENTATION)), fields
    )
