from __future__ import annotations

from pathlib import Path

import pytest

from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.home import Home
from tetrad.kit.settings import BadSettings, Settings, load_settings
from tetrad.kit.telemetry_db import TelemetryLimits
from tetrad.traces import TraceLimits
from tetrad.traces._settings import SETTINGS, limits_from, telemetry_limits, telemetry_url


def settings(**environ: str) -> Settings:
    return load_settings([INSTALLATION, SETTINGS], environ={f"TETRAD_{name.upper()}": v for name, v in environ.items()})


def test_defaults_of_the_settings_are_those_of_the_code() -> None:
    assert telemetry_limits(settings()) == TelemetryLimits()
    limits = limits_from(settings())
    assert (limits.keep_days, limits.ingest, limits.page_spans) == (90, TraceLimits().ingest, 1000)
    assert limits.rows.payload_bytes == TraceLimits().rows.payload_bytes


def test_what_is_older_than_what_is_kept_is_not_taken_in() -> None:
    assert limits_from(settings(traces_keep_days="7")).rows.keep_days == 7


def test_the_embedded_store_lies_in_the_home_unless_a_server_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path / "a home")
    assert telemetry_url(settings(), home) == f"chdb://{tmp_path}/a%20home/telemetry"
    named = settings(telemetry_url="https://u:p@ch:8443/tetrad")
    assert telemetry_url(named, home) == "https://u:p@ch:8443/tetrad"
    assert "u:p" not in named.shown()["telemetry_url"]


@pytest.mark.parametrize("value", ["0", "-1", "many", "99999"])
def test_impossible_values_are_refused(value: str) -> None:
    with pytest.raises(BadSettings, match="traces_keep_days"):
        settings(traces_keep_days=value)
