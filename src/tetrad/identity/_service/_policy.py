"""The settings of identity as one value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from tetrad.identity import _settings as named
from tetrad.kit.home import CONTROL_PORT, reachable_host
from tetrad.kit.http_settings import session_cookie
from tetrad.kit.settings import Settings


@dataclass(frozen=True, slots=True)
class IdentityPolicy:
    """How long things live and how many there may be."""

    session_idle: timedelta = timedelta(hours=12)
    session_max: timedelta = timedelta(days=7)
    link_life: timedelta = timedelta(minutes=10)
    key_grace: timedelta = timedelta(hours=24)
    console_url: str = "http://127.0.0.1:8401"
    cookie_name: str = "tetrad_session"
    max_projects: int = 1000
    max_keys: int = 1000
    max_secrets: int = 200
    max_teams: int = 200

    @classmethod
    def from_settings(cls, settings: Settings) -> IdentityPolicy:
        """Read the policy."""
        own_url = f"http://{reachable_host(settings)}:{settings.get(CONTROL_PORT)}"
        return cls(
            session_idle=timedelta(hours=settings.get(named.SESSION_IDLE_HOURS)),
            session_max=timedelta(hours=settings.get(named.SESSION_MAX_HOURS)),
            link_life=timedelta(minutes=settings.get(named.SIGN_IN_LINK_MINUTES)),
            key_grace=timedelta(hours=settings.get(named.KEY_GRACE_HOURS)),
            console_url=(settings.get(named.CONSOLE_URL) or own_url).rstrip("/"),
            cookie_name=session_cookie(settings),
            max_projects=settings.get(named.MAX_PROJECTS),
            max_keys=settings.get(named.MAX_KEYS_PER_PROJECT),
            max_secrets=settings.get(named.MAX_SECRETS_PER_PROJECT),
            max_teams=settings.get(named.MAX_TEAMS_PER_PROJECT),
        )
