"""Where the installation of a home answers while one runs there: its supervisor knows, whatever it was started with."""

from __future__ import annotations

from typing import Any

from tetrad.kit.home import CONTROL_URL, GATEWAY_PORT, Home, control_address, reachable_host, read_state
from tetrad.kit.process_identity import ProcessIdentity
from tetrad.kit.settings import Settings


def running_state(home: Home) -> dict[str, Any] | None:
    """Return what the supervisor of a home last wrote about itself; None where none runs, whatever an old one left."""
    try:
        state = read_state(home)
        if state is None or not ProcessIdentity(int(state["pid"]), int(state["started_ticks"])).alive():
            return None
    except (OSError, KeyError, TypeError, ValueError):  # another user's, or no supervisor wrote it
        return None
    return state


def running_control(settings: Settings) -> str:
    """Return the URL of control: `TETRAD_CONTROL_URL`, else where it answers in this home, else as it is set."""
    return settings.get(CONTROL_URL) or _told(settings, "control_url") or control_address(settings)


def running_gateway(settings: Settings) -> str:
    """Return the URL of the gateway: where it answers in this home, else as it is set."""
    return _told(settings, "gateway_url") or f"http://{reachable_host(settings)}:{settings.get(GATEWAY_PORT)}"


def _told(settings: Settings, name: str) -> str:
    url = (running_state(Home.of(settings)) or {}).get(name)
    return url if isinstance(url, str) else ""
