"""The files in which AWS's tools keep profiles: `~/.aws/config` and `~/.aws/credentials`.

Source: "Shared config and credentials files" (docs.aws.amazon.com/sdkref: file format, location).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tetrad.adapters.providers._identity import NoIdentity, read_bounded, variable

MAX_FILE = 1 << 20
_SECTION = re.compile(
    r"\[\s*(?:(profile|sso-session|services)\s+)?(?:\"([^\"]+)\"|'([^']+)'|([^\]]+?))\s*\]\s*(?:[#;].*)?"
)
_COMMENT = re.compile(r"\s[#;].*")
_WHOLE = frozenset(("credential_process",))
"""What is a command, in which a mark may stand that begins a comment elsewhere."""
Section = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class AwsFiles:
    """What both files say, by the names of profiles and of sign-in sessions; the values may be secrets."""

    profiles: Mapping[str, Section]
    sessions: Mapping[str, Section]


async def read_files(environ: Mapping[str, str], *, needed: bool) -> AwsFiles:
    """Read both files anew; one that is not there says nothing. Raises `NoIdentity` for what cannot be read.

    A default place that may not be looked into counts as empty unless a profile is `needed`: the home folder of a
    service is often somebody else's.
    """
    profiles: dict[str, dict[str, str]] = {}
    sessions: dict[str, dict[str, str]] = {}
    for name, default in (("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")):
        named = variable(environ, name)
        path = _path(named, environ) if named else aws_folder(environ, default)
        if path is None:
            continue
        what = f"the file that {name} names" if named else f"~/.aws/{default}"
        text = await _text(path, what, strict=bool(named) or needed)
        for kind, section, found in parse(text, what, prefixed=default == "config"):
            (sessions if kind == "sso-session" else profiles).setdefault(section, {}).update(found)
    return AwsFiles(profiles, sessions)


def aws_folder(environ: Mapping[str, str], *parts: str) -> Path | None:
    """Return a path in `~/.aws`, None where the environment names no home."""
    home = variable(environ, "HOME", "USERPROFILE")
    return Path(home, ".aws", *parts) if home else None


def parse(text: str, what: str, *, prefixed: bool) -> list[tuple[str, str, dict[str, str]]]:
    """Return kind, name and values of each section; raises `NoIdentity` that names a line and quotes none of it.

    `prefixed`: profiles other than `default` are written `[profile NAME]`, as in the file `config`. There `[profile
    default]` goes before `[default]`, wherever it stands.
    """
    found: list[tuple[str, str, dict[str, str]]] = []
    values: dict[str, str] | None = None
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.strip()
        if not plain or plain[0] in "#;":
            continue
        if plain[0] == "[":
            values = {}
            match = _SECTION.fullmatch(plain)
            if match is None:
                raise _unread(what, number)
            kind, name = match[1] or "", match[2] or match[3] or match[4]
            if kind == "services" or (prefixed and not kind and name != "default") or (kind and not prefixed):
                continue  # tools leave out what is none of theirs; so do we, and its lines with it
            found.append((kind, name, values))
        elif line[0].isspace() and values:
            continue  # what belongs to the line before, such as `s3 =`; none of it is about credentials
        else:
            key, mark, value = plain.partition("=")
            if not mark or values is None or not key.strip():
                raise _unread(what, number)
            key, value = key.strip().lower(), value.strip()
            values[key] = value if key in _WHOLE else _COMMENT.sub("", value).strip()
    return sorted(found, key=lambda each: each[0] == "profile")


def _path(text: str, environ: Mapping[str, str]) -> Path:
    home = variable(environ, "HOME", "USERPROFILE")
    return Path(home, text[2:]) if text.startswith("~/") and home else Path(text)


async def _text(path: Path, what: str, *, strict: bool) -> str:
    try:
        return (await asyncio.to_thread(read_bounded, path, MAX_FILE)).decode()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except PermissionError:
        if not strict:
            return ""
    except (OSError, ValueError):
        pass  # told below, without the reason, which may quote what the file holds
    raise NoIdentity(
        f"{what} cannot be read", hint=f"a text file of at most {MAX_FILE:,} bytes that the gateway's user may read"
    )


def _unread(what: str, number: int) -> NoIdentity:
    return NoIdentity(
        f"line {number} of {what} is neither a section nor a value", hint="`[profile NAME]`, then lines `name = value`"
    )
