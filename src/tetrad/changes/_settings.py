"""Limits on change requests."""

from __future__ import annotations

from tetrad.changes._service import ChangeLimits
from tetrad.kit.settings import Setting, Settings, SettingsTable

MAX_OPEN = Setting(
    "change_max_open",
    int,
    200,
    "change requests of a project that are neither merged nor closed; their candidates are in the route table",
    minimum=1,
)
MAX_REVISIONS = Setting("change_max_revisions", int, 200, "pushes and rebases of one change request", minimum=1)
MAX_REVIEWS = Setting("change_max_reviews", int, 500, "reviews of one change request", minimum=1)
MAX_COMMENTS = Setting("change_max_comments", int, 500, "comments on one change request", minimum=1)

SETTINGS = SettingsTable("Change requests", (MAX_OPEN, MAX_REVISIONS, MAX_REVIEWS, MAX_COMMENTS))


def limits_from(settings: Settings) -> ChangeLimits:
    """Read the limits on change requests."""
    return ChangeLimits(*(settings.get(setting) for setting in SETTINGS.settings))
