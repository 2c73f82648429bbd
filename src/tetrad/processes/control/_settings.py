"""What control can be told, besides what its slices can."""

from __future__ import annotations

from tetrad.kit.http_settings import SETTINGS as HTTP
from tetrad.kit.settings import Setting, SettingsTable

EXAMPLE_APP = Setting("example_app", bool, True, "Make the example app `assistant` at the first start.")
SETTINGS = SettingsTable("Control", (*HTTP.settings, EXAMPLE_APP))
