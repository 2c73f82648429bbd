"""Projects, keys, people, secrets: frozen values and pure rules."""

from __future__ import annotations

import re
import secrets as entropy
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Literal, get_args

from tetrad.identity.errors import BadKeyRequest, BadName
from tetrad.kernel import Principal

ContentPolicy = Literal["off", "redacted", "full"]
Priority = Literal["high", "normal", "low"]
Role = Literal["viewer", "reviewer", "editor", "admin"]
KeyState = Literal["active", "expired", "revoked"]

DEFAULT_PROJECT = "default"
LOCAL_ADMIN = "admin@localhost"
KEY_SCOPES = ("data", "control", "admin", "pin")
ROLES: tuple[Role, ...] = get_args(Role)
CONTENT_POLICIES: tuple[ContentPolicy, ...] = get_args(ContentPolicy)
PRIORITIES: tuple[Priority, ...] = get_args(Priority)
PRIORITY_LABEL = "priority"
"""The label of a key that says whose calls a gateway turns away last when it has too much to do."""
MAX_TITLE_CHARS = 100
MAX_EMAIL_CHARS = 254
MAX_SECRET_BYTES = 16 * 1024

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM_CHARS, _CHECK_CHARS = 43, 6  # 32 bytes and a CRC-32 in base 62
_SECRET = re.compile(r"tetrad_([a-z]{3,10})_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_SECRET_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,127}")
MAX_PATTERNS = 100
MAX_LABELS = 32
MAX_LABEL_CHARS = 256
_PATTERN = re.compile(r"[A-Za-z0-9*?][A-Za-z0-9._:/@+*?\[\]-]{0,199}")
_LABEL = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,186}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Project:
    """A wall between apps: what is in one is not seen from another. `name` is its identity and never changes."""

    name: str
    title: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key; its secret is not. `id` stays when the secret is rotated.

    `project` None means all projects. `content` says what of the traffic under this key may be kept. `models` are
    patterns of what it may name as `model`, all of it where there is none; `labels` are for people to find keys by.
    """

    id: str
    project: str | None
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    created_by: str
    content: ContentPolicy = "full"
    read_only: bool = False
    ending: str = ""
    expires_at: datetime | None = None
    rotated_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None
    team: str = ""
    models: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)

    def state(self, now: datetime) -> KeyState:
        """Tell whether the key works."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "active"

    def principal(self) -> Principal:
        """Return the actor behind the key."""
        projects = None if self.project is None else frozenset({self.project})
        return Principal(self.id, "key", self.name, scopes_granted(self.scopes), projects, self.read_only)


KeySort = Literal["created", "name", "last_used", "expires"]
KEY_SORTS: tuple[KeySort, ...] = get_args(KeySort)
KeyPlace = tuple[str | datetime, str]
"""Where a key stands in an order: what it is sorted by, and its id."""
NEVER_USED = datetime(1970, 1, 1, tzinfo=UTC)
"""Where a key that was never used stands among those that were: before all of them."""
NEVER_ENDS = datetime(9999, 12, 31, tzinfo=UTC)
"""Where a key without an end stands among those with one: behind all of them."""


@dataclass(frozen=True, slots=True)
class KeySearch:
    """Which keys are listed, and in which order; of equal ones, the id decides in the same direction.

    `contains` is a part of the name, whatever its case, or all that is known of the secret: its ending; or the
    beginning of an id, from `key_` on. With `ids` only those are listed.
    """

    contains: str = ""
    ids: tuple[str, ...] = ()
    state: KeyState | None = None
    sort: KeySort = "created"
    descending: bool = True

    def place(self, key: ApiKey) -> KeyPlace:
        """Return where a key stands in this order."""
        if self.sort == "name":
            return key.name, key.id
        if self.sort == "last_used":
            return key.last_used_at or NEVER_USED, key.id
        if self.sort == "expires":
            return key.expires_at or NEVER_ENDS, key.id
        return key.created_at, key.id


@dataclass(frozen=True, slots=True)
class KeySecret:
    """One secret of a key, by its hash; an older one ends at `expires_at`, when the grace of its rotation does."""

    hash: str
    key_id: str
    created_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A key and its secret, which is shown this once."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"IssuedKey({self.key.id!r}, secret hidden)"


@dataclass(frozen=True, slots=True)
class KeyGrant:
    """What gateways must know of one secret. `project` is empty for keys of all projects, which call no models."""

    hash: str
    key_id: str
    project: str
    scopes: tuple[str, ...]
    content: ContentPolicy
    expires_ns: int
    team: str = ""
    models: tuple[tuple[str, ...], ...] = ()
    """Lists of patterns, the key's own and its team's; of each, one must match what a call names as `model`."""
    priority: Priority = "normal"
    batch: str = ""
    """The batch whose lines are called with it."""
    background: bool = False
    """Whether our own worker calls with it what the key asked for in the background."""


@dataclass(frozen=True, slots=True)
class Team:
    """People and keys of a project that belong together; its keys may call only what `models` allows."""

    project: str
    name: str
    title: str
    models: tuple[str, ...]
    labels: Mapping[str, str]
    created_at: datetime
    created_by: str


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who signs in to the console."""

    id: str
    email: str
    name: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's role in a project, or in all of them (None)."""

    project: str | None
    role: Role


@dataclass(frozen=True, slots=True)
class Session:
    """A signed-in browser. Ends when unused for long, at `expires_at` at the latest, or by signing out."""

    hash: str
    person_id: str
    created_at: datetime
    seen_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SignInLink:
    """A link that signs one person in, once."""

    hash: str
    email: str
    name: str
    role: Role | None
    project: str | None
    created_by: str
    created_at: datetime
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class SecretInfo:
    """What may be told of a provider's secret."""

    project: str
    name: str
    version: int
    created_at: datetime
    updated_at: datetime
    updated_by: str


def mint_secret(kind: str) -> str:
    """Return a new random secret `tetrad_<kind>_<43 characters><6 of checksum>`.

    256 random bits in base 62, then the CRC-32 of all before, so that typing errors are told apart from refusals
    without a look into the database, and secret scanners find ours without false alarms.
    """
    body = f"tetrad_{kind}_{_base62(int.from_bytes(entropy.token_bytes(32), 'big'), _RANDOM_CHARS)}"
    return body + _check(body)


def secret_is_well_formed(secret: str) -> bool:
    """Tell whether a secret is whole; one that is not was mistyped, cut or never ours."""
    match = _SECRET.fullmatch(secret)
    return match is not None and match.group(3) == _check(secret[:-_CHECK_CHARS])


def hash_secret(secret: str) -> str:
    """Return the name under which a secret is kept: hex SHA-256.

    A fast hash is right here, unlike for passwords: the secret holds 256 random bits, so nobody can try them all.
    """
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def key_kind(scopes: Iterable[str]) -> str:
    """Return the word in a key's secret: its most powerful scope."""
    given = set(scopes)
    return next((scope for scope in ("admin", "control", "data", "pin") if scope in given), "data")


def scopes_granted(scopes: Iterable[str]) -> frozenset[str]:
    """Return what scopes allow in all: whoever administers also operates and reviews."""
    given = frozenset(scopes)
    if "admin" in given:
        given |= {"control"}
    return given | {"review"} if "control" in given else given


_ROLE_SCOPES: dict[Role, tuple[frozenset[str], bool]] = {
    "viewer": (frozenset({"control"}), True),
    "reviewer": (frozenset({"control", "review"}), True),
    "editor": (frozenset({"control", "review"}), False),
    "admin": (frozenset({"control", "review", "admin"}), False),
}


def person_principal(person: Person, memberships: Iterable[Membership], project: str | None) -> Principal:
    """Return the actor that a person is in a project, or (None) outside of any.

    Of a role in the project and one in all projects the stronger counts. Where that is the one in the project, the
    actor is none of the whole installation: a viewer of all projects who administers one must not pass for an
    administrator of all. Outside of projects somebody who only belongs to single ones may look around, and what that
    shows is limited to these.
    """
    held = tuple(memberships)
    everywhere = [each.role for each in held if each.project is None]
    inside = [each.role for each in held if each.project == project] if project is not None else []
    roles = [*everywhere, *inside] or (["viewer"] if project is None and held else [])
    strongest = max(roles, key=ROLES.index, default=None)
    projects = None if strongest in everywhere else frozenset(each.project for each in held if each.project is not None)
    if strongest is None:
        return Principal(person.id, "person", person.name, frozenset(), projects, read_only=True)
    scopes, read_only = _ROLE_SCOPES[strongest]
    return Principal(person.id, "person", person.name, scopes, projects, read_only)


def check_project_name(name: str) -> str:
    """Return a project's name, or refuse it."""
    if not _SLUG.fullmatch(name):
        raise BadName(
            f"{name[:80]!r} cannot name a project",
            hint="use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit",
        )
    return name


def check_team_name(name: str) -> str:
    """Return a team's name, or refuse it."""
    if not _SLUG.fullmatch(name):
        raise BadName(
            f"{name[:80]!r} cannot name a team",
            hint="use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit",
        )
    return name


def check_models(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return patterns of models' names, each once, or refuse them."""
    given = tuple(dict.fromkeys(patterns))
    if len(given) > MAX_PATTERNS:
        raise BadKeyRequest(f"{len(given)} patterns are too many", hint=f"at most {MAX_PATTERNS}; use * in them")
    for pattern in given:
        if not _PATTERN.fullmatch(pattern):
            raise BadKeyRequest(f"{pattern[:80]!r} is no pattern of models", hint="such as openai/gpt-* or app:support")
    return given


def check_priority(labels: Mapping[str, str], before: Mapping[str, str], everywhere: bool) -> None:
    """Refuse a label `priority` that is none, or a `high` that no administrator of the installation gives.

    Priorities divide what all projects share, so a project's own administrators may only give up theirs.
    """
    wanted = labels.get(PRIORITY_LABEL, "normal")
    if wanted not in PRIORITIES:
        raise BadKeyRequest(f"{wanted[:40]!r} is no priority", hint=f"one of {', '.join(PRIORITIES)}")
    if wanted == "high" and not everywhere and before.get(PRIORITY_LABEL) != "high":
        raise BadKeyRequest(
            "only administrators of the whole installation give a key the priority high",
            hint="ask one of them, or leave the label out",
            status=403,
        )


def priority_of(labels: Mapping[str, str]) -> Priority:
    """Return the priority that a key's labels name; `normal` where they name none."""
    found = labels.get(PRIORITY_LABEL, "")
    return next((each for each in PRIORITIES if each == found), "normal")


def check_labels(given: Mapping[str, str]) -> dict[str, str]:
    """Return labels in their order, or refuse them."""
    if len(given) > MAX_LABELS:
        raise BadKeyRequest(f"{len(given)} labels are too many", hint=f"at most {MAX_LABELS}")
    for name, value in given.items():
        if not _LABEL.fullmatch(name) or len(value) > MAX_LABEL_CHARS or not (value.isprintable() or not value):
            raise BadKeyRequest(
                f"{name[:70]!r} is no label", hint=f"a name of a-z, 0-9, _ . - and up to {MAX_LABEL_CHARS} characters"
            )
    return dict(sorted(given.items()))


def check_title(text: str, what: str) -> str:
    """Return a title for people, trimmed, or refuse it."""
    trimmed = text.strip()
    if not 1 <= len(trimmed) <= MAX_TITLE_CHARS or not trimmed.isprintable():
        raise BadName(
            f"{text[:80]!r} cannot be the name of {what}", hint=f"use 1 to {MAX_TITLE_CHARS} printable characters"
        )
    return trimmed


def check_email(text: str) -> str:
    """Return an address in lower case, or refuse it. Whether it receives mail is not asked."""
    lowered = text.strip().lower()
    if len(lowered) > MAX_EMAIL_CHARS or not _EMAIL.fullmatch(lowered):
        raise BadName(f"{text[:80]!r} is no e-mail address", hint="such as ada@example.com")
    return lowered


def check_secret_name(name: str) -> str:
    """Return a secret's name, or refuse it."""
    if not _SECRET_NAME.fullmatch(name):
        raise BadName(
            f"{name[:80]!r} cannot name a secret",
            hint="use 1 to 128 of A-Z, a-z, 0-9, `_`, `.` and `-`, beginning with a letter, such as OPENAI_API_KEY",
        )
    return name


def check_scopes(scopes: Iterable[str], project: str | None) -> tuple[str, ...]:
    """Return a key's scopes in their order, or refuse them."""
    given = set(scopes)
    unknown = given - set(KEY_SCOPES)
    if unknown or not given:
        raise BadKeyRequest(
            f"{', '.join(sorted(unknown))[:80]!r} is no scope" if unknown else "a key needs a scope",
            hint=f"any of {', '.join(KEY_SCOPES)}",
        )
    if project is None and "admin" not in given:
        raise BadKeyRequest("only keys with the scope admin may concern all projects", hint="name a project")
    if project is None and given & {"data", "pin"}:
        raise BadKeyRequest(
            "a key of all projects calls no models: its calls would belong to no project",
            hint="make a key of one project for data and pin",
        )
    if "pin" in given and "data" not in given:
        raise BadKeyRequest("the scope pin only adds to the scope data", hint="ask for both")
    return tuple(scope for scope in KEY_SCOPES if scope in given)


def _base62(number: int, width: int) -> str:
    out = []
    for _ in range(width):
        number, digit = divmod(number, 62)
        out.append(_DIGITS[digit])
    return "".join(reversed(out))


def _check(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CHECK_CHARS)
