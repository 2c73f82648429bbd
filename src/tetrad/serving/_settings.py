"""What engines can be told."""

from __future__ import annotations

from tetrad.kit.settings import Setting, SettingsTable

BUNDLED_MODEL = Setting("bundled_model", bool, True, "Serve the bundled model as `local/smollm2-135m`.")
ENGINE_CTX = Setting(
    "engine_ctx", int, 2048, "Context of one slot of the bundled model, in tokens.", minimum=128, maximum=8192
)
ENGINE_SLOTS = Setting(
    "engine_slots", int, 2, "Requests that the bundled model answers at once.", minimum=1, maximum=64
)
ENGINE_QUEUE = Setting("engine_queue", int, 64, "Requests that may wait for a slot; more are refused.", minimum=0)
ENGINE_THREADS = Setting(
    "engine_threads", int, 0, "Threads of the bundled model; 0: measure once and keep.", minimum=0, maximum=1024
)
ENGINE_SLEEP_S = Setting(
    "engine_sleep_s", int, 0, "Idle seconds after which its memory is given back; 0: never.", minimum=0
)
ENGINE_DRAIN_S = Setting("engine_drain_s", float, 20.0, "Longest wait for requests in flight at the end.", minimum=0)
ENGINE_STALL_S = Setting(
    "engine_stall_s", float, 30.0, "Silence with requests in flight after which it is degraded.", minimum=0.1
)

SETTINGS = SettingsTable(
    "Engines",
    (
        BUNDLED_MODEL,
        ENGINE_CTX,
        ENGINE_SLOTS,
        ENGINE_QUEUE,
        ENGINE_THREADS,
        ENGINE_SLEEP_S,
        ENGINE_DRAIN_S,
        ENGINE_STALL_S,
    ),
)
