"""Where packages come from on this machine: the settings of pip and uv."""

from __future__ import annotations

import configparser
import os
import re
import sys
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PYPI = "https://pypi.org/simple"


@dataclass(frozen=True)
class IndexSettings:
    """Where packages come from, as pip and uv were told on this machine."""

    indexes: tuple[str, ...] = (PYPI,)
    find_links: tuple[str, ...] = ()
    cert: str | None = None
    proxy: str | None = None
    trusted_hosts: frozenset[str] = frozenset()
    timeout_s: float = 30.0
    retries: int = 5
    first_backoff_s: float = 0.5

    @classmethod
    def from_machine(cls, environ: Mapping[str, str] | None = None) -> IndexSettings:
        """Read `UV_*` and `PIP_*` variables, then pip's configuration files; the first that says something wins.

        One option is taken whole from one place, as pip does: `PIP_EXTRA_INDEX_URL` hides the `extra-index-url` of
        `pip.conf`.
        """
        env = os.environ if environ is None else environ
        files = _pip_files(env)

        def said(uv: tuple[str, ...], option: str) -> str:
            variables = (*uv, "PIP_" + option.upper().replace("-", "_"))
            return next((env[name] for name in variables if env.get(name)), files.get(option, ""))

        default = said(("UV_DEFAULT_INDEX", "UV_INDEX_URL"), "index-url").strip()
        extra = said(("UV_INDEX", "UV_EXTRA_INDEX_URL"), "extra-index-url").split()
        links = said(("UV_FIND_LINKS",), "find-links").replace(",", " ").split()
        offline = said(("UV_NO_INDEX",), "no-index").strip().lower() in ("1", "true", "yes", "on")
        named = [_without_name(url) for url in (default or PYPI, *extra)]
        return cls(
            indexes=() if offline else tuple(dict.fromkeys(named)),
            find_links=tuple(dict.fromkeys(links)),
            cert=said(("SSL_CERT_FILE",), "cert").strip() or env.get("REQUESTS_CA_BUNDLE") or None,
            proxy=said((), "proxy").strip() or None,
            trusted_hosts=frozenset(said(("UV_INSECURE_HOST",), "trusted-host").split()),
            timeout_s=_number(said(("UV_HTTP_TIMEOUT", "PIP_TIMEOUT", "PIP_DEFAULT_TIMEOUT"), "timeout"), 30.0),
            retries=int(_number(said(("UV_HTTP_RETRIES",), "retries"), 5)),
        )


def _without_name(url: str) -> str:
    """Drop uv's `name=` before an index URL."""
    match = re.match(r"^[A-Za-z0-9._-]+=(?=[a-z]+://|/)", url)
    return (url[match.end() :] if match else url).rstrip("/")


def _number(text: str, default: float) -> float:
    try:
        return max(0.0, float(text))
    except ValueError:
        return default


def _pip_files(env: Mapping[str, str]) -> dict[str, str]:
    """Merge pip's configuration files, `[global]` and `[install]`, later ones over earlier ones."""
    named = env.get("PIP_CONFIG_FILE", "")
    if named == os.devnull:
        return {}
    home = Path(env.get("HOME") or os.path.expanduser("~"))  # noqa: PTH111 - Path.home() ignores the given environment
    config_home = Path(env.get("XDG_CONFIG_HOME") or home / ".config")
    places = [Path(folder) / "pip" / "pip.conf" for folder in (env.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")]
    places += [Path("/etc/pip.conf"), home / ".pip" / "pip.conf", config_home / "pip" / "pip.conf"]
    if sys.platform == "darwin":
        places.append(home / "Library" / "Application Support" / "pip" / "pip.conf")
    if env.get("VIRTUAL_ENV"):
        places.append(Path(env["VIRTUAL_ENV"]) / "pip.conf")
    if named:
        places.append(Path(named))
    merged: dict[str, str] = {}
    for place in places:
        parser = configparser.RawConfigParser()
        try:
            parser.read(place, "utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip itself says what is wrong with its files; a broken one must not stop us
        for section in ("global", "install"):
            if parser.has_section(section):
                merged.update({key.replace("_", "-"): value for key, value in parser.items(section)})
    return merged


def shown(url: str) -> str:
    """Name a URL for people, without its credentials."""
    parts = urllib.parse.urlsplit(url)
    if "@" not in parts.netloc:
        return url
    return urllib.parse.urlunsplit(parts._replace(netloc="***@" + parts.netloc.rpartition("@")[2]))
