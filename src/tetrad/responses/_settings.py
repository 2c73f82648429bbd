"""Limits on kept responses."""

from __future__ import annotations

from tetrad.kit.settings import Setting, Settings, SettingsTable
from tetrad.responses._model import ResponseLimits

KEEP_DAYS = Setting(
    "response_keep_days", int, 30, "Days that a stored response is kept after its conversation went on.",
    minimum=1, maximum=3650,
)  # fmt: skip
MAX_KEPT = Setting(
    "response_max", int, 100_000, "Responses that a project keeps; more are answered unstored.", minimum=1
)
MAX_BYTES = Setting(
    "response_max_bytes", int, 16 * 2**20, "Largest response that is kept, with its input.", minimum=1024
)
CONVERSATION_BYTES = Setting(
    "response_conversation_bytes", int, 32 * 2**20, "Largest conversation that is put together.", minimum=1024
)
MAX_TURNS = Setting("response_max_turns", int, 500, "Turns of one conversation.", minimum=1, maximum=2000)

MAX_ITEMS = Setting(
    "response_conversation_items", int, 5000, "Items of one conversation that is an object of its own.", minimum=1
)

BACKGROUND_MAX = Setting(
    "response_background_max", int, 200, "Responses in the background that a project has under way.", minimum=1
)
BACKGROUND_S = Setting(
    "response_background_s", int, 3600, "Seconds that a response in the background may take, its wait included.",
    minimum=1, maximum=43_200,
)  # fmt: skip
EVENT_BYTES = Setting(
    "response_event_bytes", int, 16 * 2**20,
    "Bytes of events kept of a streamed response in the background; past them the rest comes at its end.",
    minimum=1024,
)  # fmt: skip
EVENTS_S = Setting(
    "response_events_s", int, 3600,
    "Seconds that the events of a streamed response in the background are kept after it has ended.",
    minimum=1, maximum=30 * 86_400,
)  # fmt: skip

SETTINGS = SettingsTable(
    "Stored responses",
    (
        KEEP_DAYS,
        MAX_KEPT,
        MAX_BYTES,
        CONVERSATION_BYTES,
        MAX_TURNS,
        MAX_ITEMS,
        BACKGROUND_MAX,
        BACKGROUND_S,
        EVENT_BYTES,
        EVENTS_S,
    ),
)


def limits_from(settings: Settings) -> ResponseLimits:
    """Read the limits on kept responses."""
    return ResponseLimits(*(settings.get(setting) for setting in SETTINGS.settings))
