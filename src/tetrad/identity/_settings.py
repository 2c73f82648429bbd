"""How long sessions, links and old secrets live, and how much may exist."""

from __future__ import annotations

from tetrad.kit.settings import Setting, SettingsTable

SESSION_IDLE_HOURS = Setting(
    "session_idle_hours", float, 12.0, "Hours unused after which a console session ends.", minimum=0.01, maximum=8760
)
SESSION_MAX_HOURS = Setting(
    "session_max_hours",
    float,
    168.0,
    "Hours after which a console session ends in any case.",
    minimum=0.01,
    maximum=8760,
)
SIGN_IN_LINK_MINUTES = Setting(
    "sign_in_link_minutes", float, 10.0, "Minutes for which a sign-in link works.", minimum=0.1, maximum=1440
)
KEY_GRACE_HOURS = Setting(
    "key_grace_hours", float, 24.0, "Hours for which the old secret of a rotated key works on.", minimum=0, maximum=720
)
CONSOLE_URL = Setting("console_url", str, "", "Address of the console in sign-in links; empty: host and control port.")
MAX_PROJECTS = Setting("max_projects", int, 1000, "Projects of the installation.", minimum=1)
MAX_KEYS_PER_PROJECT = Setting("max_keys_per_project", int, 1000, "Keys of a project that still work.", minimum=1)
MAX_SECRETS_PER_PROJECT = Setting("max_secrets_per_project", int, 200, "Provider secrets of a project.", minimum=1)
MAX_TEAMS_PER_PROJECT = Setting("max_teams_per_project", int, 200, "Teams of a project.", minimum=1)

SETTINGS = SettingsTable(
    "Identity",
    (
        SESSION_IDLE_HOURS,
        SESSION_MAX_HOURS,
        SIGN_IN_LINK_MINUTES,
        KEY_GRACE_HOURS,
        CONSOLE_URL,
        MAX_PROJECTS,
        MAX_KEYS_PER_PROJECT,
        MAX_SECRETS_PER_PROJECT,
        MAX_TEAMS_PER_PROJECT,
    ),
)
