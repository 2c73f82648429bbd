"""What the supervisor of one machine can be told."""

from __future__ import annotations

from tetrad.kit.settings import Setting, SettingsTable

GATEWAY_WORKERS = Setting("gateway_workers", int, 1, "Gateway processes; each uses one core.", minimum=1, maximum=256)
READY_TIMEOUT_S = Setting("ready_timeout_s", float, 120.0, "Longest wait for a process to become ready.", minimum=1)
STOP_TIMEOUT_S = Setting("stop_timeout_s", float, 30.0, "Longest wait for a process to drain and end.", minimum=0)
LIVENESS_S = Setting(
    "liveness_s", float, 60.0, "Seconds without an answer after which a process is replaced; 0: never.", minimum=0
)
SETTINGS = SettingsTable("Supervisor", (GATEWAY_WORKERS, READY_TIMEOUT_S, STOP_TIMEOUT_S, LIVENESS_S))
