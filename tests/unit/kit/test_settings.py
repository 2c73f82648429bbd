"""Settings come from where they should, in the right order, and say what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tetrad.kit.settings import BadSettings, Setting, SettingsTable, load_settings

PORT = Setting("gateway_port", int, 8400, "Port of the gateway.", minimum=0, maximum=65535)
RATIO = Setting("sample_ratio", float, 0.5, "Share of calls.", minimum=0, maximum=1)
HOST = Setting("host", str, "127.0.0.1", "Address to listen on.")
OPEN = Setting("open_browser", bool, False, "Open the console.")
FOLDER = Setting("data_folder", Path, None, "Where data lies.")
LEVEL = Setting("log_level", str, "info", "How much to log.", choices=("debug", "info"))
TOKEN = Setting("token", str, "", "A secret.", secret=True)
TABLE = SettingsTable("All", (PORT, RATIO, HOST, OPEN, FOLDER, LEVEL, TOKEN))


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(environ: dict[str, str] | None = None, **overrides: Any) -> Any:
    return load_settings([TABLE], environ=environ or {}, overrides=overrides)


def test_defaults_stand_where_nothing_is_said() -> None:
    found = load()
    assert found.get(PORT) == 8400
    assert found.get(FOLDER) is None
    assert found.sources["gateway_port"] == "default"


def test_the_command_line_beats_variables_which_beat_the_file_which_beats_defaults(tmp_path: Path) -> None:
    (tmp_path / "tetrad.toml").write_text('gateway_port = 1\nhost = "file"\nlog_level = "debug"\n')
    found = load({"TETRAD_GATEWAY_PORT": "2", "TETRAD_HOST": "variable"}, gateway_port=3)
    assert (found.get(PORT), found.get(HOST), found.get(LEVEL), found.get(RATIO)) == (3, "variable", "debug", 0.5)
    assert found.sources["gateway_port"] == "command line"
    assert found.sources["host"] == "TETRAD_HOST"
    assert found.sources["log_level"].endswith("tetrad.toml")


def test_the_file_is_named_by_a_variable_else_lies_here_else_in_the_home(tmp_path: Path) -> None:
    home, named = tmp_path / "home", tmp_path / "named.toml"
    home.mkdir()
    (home / "tetrad.toml").write_text("gateway_port = 1")
    assert load({"TETRAD_HOME": str(home)}).get(PORT) == 1
    (tmp_path / "tetrad.toml").write_text("gateway_port = 2")
    assert load({"TETRAD_HOME": str(home)}).get(PORT) == 2
    named.write_text("gateway_port = 3")
    assert load({"TETRAD_HOME": str(home), "TETRAD_CONFIG": str(named)}).get(PORT) == 3


def test_an_empty_variable_says_nothing() -> None:
    assert load({"TETRAD_GATEWAY_PORT": ""}).get(PORT) == 8400


@pytest.mark.parametrize(
    ("text", "value"), [("1", True), ("TRUE", True), ("yes", True), ("off", False), (" 0 ", False)]
)
def test_yes_and_no_are_read_in_the_usual_words(text: str, value: bool) -> None:
    assert load({"TETRAD_OPEN_BROWSER": text}).get(OPEN) is value


def test_paths_are_made_absolute() -> None:
    assert load({"TETRAD_DATA_FOLDER": "sub/folder"}).get(FOLDER) == Path.cwd() / "sub/folder"
    assert load({"TETRAD_DATA_FOLDER": "~/x"}).get(FOLDER) == Path.home() / "x"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("TETRAD_GATEWAY_PORT", "eighty", "whole number"),
        ("TETRAD_GATEWAY_PORT", "80.5", "whole number"),
        ("TETRAD_GATEWAY_PORT", "70000", "at most 65535"),
        ("TETRAD_GATEWAY_PORT", "-1", "at least 0"),
        ("TETRAD_SAMPLE_RATIO", "nan", "number"),
        ("TETRAD_SAMPLE_RATIO", "2", "at most 1"),
        ("TETRAD_OPEN_BROWSER", "maybe", "yes or no"),
        ("TETRAD_LOG_LEVEL", "loud", "one of debug, info"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place_and_what_is_allowed(name: str, text: str, said: str) -> None:
    with pytest.raises(BadSettings) as caught:
        load({name: text})
    assert name in caught.value.message
    assert repr(text) in caught.value.message
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert caught.value.code == "bad_settings"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gateway_prot = 1", "did you mean 'gateway_port'?"),
        ("entirely_else = 1", "tetrad settings"),
        ("gateway_port = true", "whole number"),
        ("gateway_port = 1.5", "whole number"),
        ("host = 5", "text"),
        ("open_browser = 7", "yes or no"),
        ("gateway_port =", "is not TOML"),
        ("[gateway]\nport = 1", "no setting"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "tetrad.toml").write_text(text)
    with pytest.raises(BadSettings) as caught:
        load()
    assert "tetrad.toml" in caught.value.message
    assert said in f"{caught.value.message} {caught.value.hint}"


def test_a_named_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="TETRAD_CONFIG"):
        load({"TETRAD_CONFIG": str(tmp_path / "absent.toml")})


def test_a_process_that_knows_some_settings_leaves_the_others_alone(tmp_path: Path) -> None:
    (tmp_path / "tetrad.toml").write_text("gateway_port = 1\nof_another = 2\n")
    assert load_settings([TABLE], environ={}, partial=True).get(PORT) == 1


def test_secrets_are_never_shown() -> None:
    found = load({"TETRAD_TOKEN": "hunter2-hunter2"})
    assert found.get(TOKEN) == "hunter2-hunter2"
    assert "hunter2" not in str(found.shown())
    assert found.shown()["token"] == "[set]"
    assert found.shown()["data_folder"] == ""
    strict = SettingsTable("Strict", (Setting("token", str, "", "x", secret=True, choices=("a", "b")),))
    with pytest.raises(BadSettings) as caught:
        load_settings([strict], environ={"TETRAD_TOKEN": "hunter2-hunter2"})
    assert "hunter2" not in f"{caught.value.message} {caught.value.hint}"


def test_a_path_in_the_folder_of_an_unknown_user_is_told() -> None:
    with pytest.raises(BadSettings, match=r"TETRAD_DATA_FOLDER sets data_folder: .* a user that is not known"):
        load({"TETRAD_DATA_FOLDER": "~nobody-by-this-name/x"})
    with pytest.raises(BadSettings, match="TETRAD_HOME sets home: "):
        load({"TETRAD_HOME": "~nobody-by-this-name/x"})
