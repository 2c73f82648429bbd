"""Every setting of the product, in the order of the reference page."""

from __future__ import annotations

import importlib

from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.settings import Settings, SettingsTable, load_settings

_TABLES = (
    "tetrad.processes.standalone._settings",
    "tetrad.processes.gateway._settings",
    "tetrad.processes.control._settings",
    "tetrad.kit.egress",
    "tetrad.identity._settings",
    "tetrad.registry._settings",
    "tetrad.code._settings",
    "tetrad.datasets._settings",
    "tetrad.models._settings",
    "tetrad.prompts._settings",
    "tetrad.releases._settings",
    "tetrad.changes._settings",
    "tetrad.responses._settings",
    "tetrad.batches._settings",
    "tetrad.traces._settings",
    "tetrad.serving._settings",
    "tetrad.limits._settings",
    "tetrad.processes.worker._settings",
    "tetrad.processes.inference._settings",
)


def all_tables() -> tuple[SettingsTable, ...]:
    """Return the settings tables of all slices and processes."""
    return (INSTALLATION, *(importlib.import_module(module).SETTINGS for module in _TABLES))


def product_settings(**overrides: object) -> Settings:
    """Load and check all settings; what a command line gave goes first."""
    return load_settings(all_tables(), overrides=overrides)
