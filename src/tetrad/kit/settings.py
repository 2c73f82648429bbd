"""Settings as data: typed tables that slices declare, merged from the environment and `tetrad.toml`.

Precedence: explicit overrides, then `TETRAD_*` variables, then `tetrad.toml`, then the default.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from tetrad.kernel import InvalidInput

T = TypeVar("T")
PREFIX = "TETRAD_"
CONFIG_NAME = "tetrad.toml"


class BadSettings(InvalidInput):
    """A setting is unknown, unreadable or out of its limits."""

    code = "bad_settings"


@dataclass(frozen=True, slots=True)
class Setting(Generic[T]):
    """One setting: its name in `tetrad.toml` (`gateway_port`); the variable is `TETRAD_GATEWAY_PORT`."""

    name: str
    type: type[T]
    default: T | None
    help: str
    secret: bool = False
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    check: Callable[[T], object] | None = None
    """Raises `BadSettings` for what the setting cannot be."""

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return PREFIX + self.name.upper()


@dataclass(frozen=True, slots=True)
class SettingsTable:
    """The settings of one slice, in the order in which people read them."""

    title: str
    settings: tuple[Setting[Any], ...]


class Settings:
    """Checked values by name; `settings["gateway_port"]` or, typed, `settings.get(GATEWAY_PORT)`."""

    def __init__(
        self, values: Mapping[str, Any], sources: Mapping[str, str], tables: tuple[SettingsTable, ...]
    ) -> None:
        self._values = dict(values)
        self.sources = dict(sources)
        self.tables = tables

    def get(self, setting: Setting[T]) -> T:
        """Return the value of a declared setting."""
        return self._values[setting.name]  # type: ignore[no-any-return]

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def shown(self) -> dict[str, str]:
        """Return every value for people, secrets covered."""
        covered = {s.name for table in self.tables for s in table.settings if s.secret}
        return {
            name: "[set]" if name in covered and value else "" if value is None else str(value)
            for name, value in self._values.items()
        }


def load_settings(
    tables: Iterable[SettingsTable],
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
    partial: bool = False,
) -> Settings:
    """Merge and check all settings.

    `tetrad.toml` is read from `TETRAD_CONFIG`, else from the working folder, else from `TETRAD_HOME`. Raises
    `BadSettings` naming the setting, where it was set, the value and what is allowed; unknown names are refused, with
    the nearest known one. With `partial`, `tetrad.toml` may set what these tables do not declare.
    """
    env = os.environ if environ is None else environ
    ordered = tuple(tables)
    known = {s.name: s for table in ordered for s in table.settings}
    from_file, config_path = _read_config(env, known, partial=partial)
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, setting in known.items():
        if overrides and overrides.get(name) is not None:
            raw, source = overrides[name], "command line"
        elif env.get(setting.variable, "") != "":
            raw, source = env[setting.variable], setting.variable
        elif name in from_file:
            raw, source = from_file[name], str(config_path)
        else:
            values[name], sources[name] = setting.default, "default"
            continue
        values[name], sources[name] = _checked(setting, raw, source), source
    return Settings(values, sources, ordered)


def _read_config(
    env: Mapping[str, str], known: Mapping[str, Setting[Any]], *, partial: bool
) -> tuple[dict[str, Any], Path | None]:
    home = env.get(PREFIX + "HOME", "")
    named = env.get(PREFIX + "CONFIG", "")
    if named:
        path: Path | None = _place("config", named)
        if path is not None and not path.is_file():
            raise BadSettings(f"TETRAD_CONFIG names {named!r}, which is no file", hint="correct or unset the variable")
    else:
        places = [Path(CONFIG_NAME), *([_place("home", home) / CONFIG_NAME] if home else [])]
        path = next((place for place in places if place.is_file()), None)
    if path is None:
        return {}, None
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadSettings(f"{path} is not TOML: {error}", hint="correct the file") from None
    except OSError as error:
        raise BadSettings(f"{path} cannot be read: {error.strerror}", hint="check the file's permissions") from None
    for name in document:
        if name not in known and not partial:
            raise BadSettings(f"{path} sets {name!r}, which is no setting", hint=_nearest(name, known))
    return document, path


def _place(name: str, raw: str) -> Path:
    found: Path = _checked(Setting(name, Path, None, ""), raw, PREFIX + name.upper())
    return found


def _nearest(name: str, known: Mapping[str, object]) -> str:
    import difflib

    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else "`tetrad settings` lists the known ones"


def _checked(setting: Setting[Any], raw: Any, source: str) -> Any:
    try:
        value = _PARSERS[setting.type](raw)
    except BadSettings as error:
        raise BadSettings(f"{source} sets {setting.name}: {error.message}", hint=error.hint) from None
    except (KeyError, TypeError, ValueError):
        raise BadSettings(
            f"{source} sets {setting.name} to {_shown(setting, raw)}, which is no {_NAMES[setting.type]}",
            hint=setting.help,
        ) from None
    if setting.choices and value not in setting.choices:
        raise BadSettings(
            f"{source} sets {setting.name} to {_shown(setting, raw)}", hint=f"one of {', '.join(setting.choices)}"
        )
    low, high = setting.minimum, setting.maximum
    if (low is not None and value < low) or (high is not None and value > high):
        bounds = " and ".join(
            part
            for part in (
                f"at least {low:g}" if low is not None else "",
                f"at most {high:g}" if high is not None else "",
            )
            if part
        )
        raise BadSettings(f"{source} sets {setting.name} to {_shown(setting, raw)}", hint=f"it must be {bounds}")
    if setting.check is not None:
        try:
            setting.check(value)
        except BadSettings as error:
            raise BadSettings(f"{source} sets {setting.name}: {error.message}", hint=error.hint) from None
    return value


def _shown(setting: Setting[Any], raw: Any) -> str:
    return "a hidden value" if setting.secret else repr(raw)


def _boolean(raw: Any) -> bool:
    if isinstance(raw, bool):
        return raw
    return {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}[
        str(raw).strip().lower()
    ]


def _integer(raw: Any) -> int:
    if isinstance(raw, (bool, float)):
        raise TypeError
    return int(str(raw).strip().replace("_", ""))


def _number(raw: Any) -> float:
    if isinstance(raw, bool):
        raise TypeError
    value = float(raw)
    if value != value or value in (float("inf"), float("-inf")):
        raise ValueError
    return value


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError
    return raw


def _path(raw: str) -> Path:
    try:
        return Path(raw).expanduser().absolute()
    except RuntimeError:
        raise BadSettings(f"{raw!r} begins with the folder of a user that is not known", hint="write it out") from None
    except FileNotFoundError:  # only the working folder is asked for
        raise BadSettings(
            f"{raw!r} is meant from the working folder, and that is gone",
            hint="go to a folder that exists, or write a path that begins with /",
        ) from None


_PARSERS: dict[type, Callable[[Any], Any]] = {
    bool: _boolean,
    int: _integer,
    float: _number,
    str: _text,
    Path: lambda raw: _path(_text(raw)),
}
_NAMES: dict[type, str] = {bool: "yes or no", int: "whole number", float: "number", str: "text", Path: "path"}
