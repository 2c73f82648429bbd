"""What control can be told, besides what its slices can."""

from __future__ import annotations

from tetrad.kit.http_settings import SETTINGS as HTTP
from tetrad.kit.settings import Setting, SettingsTable

EXAMPLE_APP = Setting("example_app", bool, True, "Make the example app `assistant` at the first start.")
GATEWAY_URL = Setting(
    "gateway_url",
    str,
    "",
    "Where control and the worker reach a gateway, for the playground and for batches; empty: the one of this machine.",
)
PLAYGROUND_RUNS = Setting(
    "playground_runs", int, 16, "Playground calls under way at a time, past which more are refused.", minimum=1,
    maximum=1000,
)  # fmt: skip
PLAYGROUND_TIMEOUT_S = Setting(
    "playground_timeout_s", float, 180.0, "Seconds that one playground call may take.", minimum=1, maximum=3600
)
SETTINGS = SettingsTable("Control", (*HTTP.settings, EXAMPLE_APP, GATEWAY_URL, PLAYGROUND_RUNS, PLAYGROUND_TIMEOUT_S))
