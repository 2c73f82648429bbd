"""Limits and addresses of the control plane's HTTP server; apart from `kit.http`, so that reading them stays light."""

from __future__ import annotations

from tetrad.kit.home import CONTROL_PORT
from tetrad.kit.settings import Setting, Settings, SettingsTable

ALLOWED_HOSTS = Setting(
    "allowed_hosts",
    str,
    "",
    "Names, besides loopback's, by which browsers and clients may call the control plane; commas between, "
    "`*.example.com` for all below a domain",
)
ALLOWED_ORIGINS = Setting(
    "allowed_origins",
    str,
    "",
    "Other origins whose pages may call the control plane, such as `https://tetrad.example.com`; commas between",
)
MAX_BODY_BYTES = Setting(
    "max_body_bytes", int, 16 * 2**20, "Largest request body of the control plane's API", minimum=1024, maximum=2**30
)
MAX_INTERNAL_BODY_BYTES = Setting(
    "max_internal_body_bytes", int, 64 * 2**20, "Largest request body between our own processes", minimum=2**20
)
BODY_IDLE_TIMEOUT_S = Setting(
    "body_idle_timeout_s", float, 15.0, "Longest silence in the middle of a request body, in seconds", minimum=0.1
)
BODY_TOTAL_TIMEOUT_S = Setting(
    "body_total_timeout_s", float, 300.0, "Longest time for a whole request body, in seconds", minimum=0.1
)
HEAD_TIMEOUT_S = Setting(
    "head_timeout_s", float, 15.0, "Seconds for a client to send the head of a request", minimum=0.1
)
MAX_CONCURRENT_REQUESTS = Setting(
    "max_concurrent_requests", int, 512, "Requests that the control plane handles at once", minimum=1
)

SETTINGS = SettingsTable(
    "Control plane HTTP",
    (
        ALLOWED_HOSTS,
        ALLOWED_ORIGINS,
        MAX_BODY_BYTES,
        MAX_INTERNAL_BODY_BYTES,
        BODY_IDLE_TIMEOUT_S,
        BODY_TOTAL_TIMEOUT_S,
        HEAD_TIMEOUT_S,
        MAX_CONCURRENT_REQUESTS,
    ),
)


def session_cookie(settings: Settings) -> str:
    """Return the name of the console's cookie. The port is in it: browsers share cookies among a host's ports."""
    return f"tetrad_session_{settings.get(CONTROL_PORT)}"
