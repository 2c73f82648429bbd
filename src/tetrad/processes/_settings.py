"""Every setting of the product, in the order of the reference page."""

from __future__ import annotations

import importlib

from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.settings import BadSettings, Settings, SettingsTable, load_settings

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
    "tetrad.tools._settings",
    "tetrad.processes.worker._settings",
    "tetrad.processes.inference._settings",
    "tetrad.processes.tools._settings",
)

_OF_GATEWAYS = ("tetrad.processes.gateway._settings", "tetrad.limits._settings")


def all_tables() -> tuple[SettingsTable, ...]:
    """Return the settings tables of all slices and processes."""
    return _tables(_TABLES)


def _tables(modules: tuple[str, ...]) -> tuple[SettingsTable, ...]:
    return (INSTALLATION, *(importlib.import_module(module).SETTINGS for module in modules))


def product_settings(**overrides: object) -> Settings:
    """Load and check all settings; what a command line gave goes first."""
    return load_settings(all_tables(), overrides=overrides)


def gateway_settings(**overrides: object) -> Settings:
    """Load and check what a gateway goes by, without importing slices that it does not use.

    Only where something is wrong are all settings loaded: `tetrad.toml` may set what another process goes by, and what
    nobody knows is to be told as it is everywhere.
    """
    try:
        return load_settings(_tables(_OF_GATEWAYS), overrides=overrides)
    except BadSettings:
        return product_settings(**overrides)
