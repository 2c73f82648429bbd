"""API keys: made, rotated, revoked, recognised."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from tetrad.identity._chain import micros
from tetrad.identity._model import (
    CONTENT_POLICIES,
    ApiKey,
    ContentPolicy,
    IssuedKey,
    KeyGrant,
    KeyPlace,
    KeySearch,
    KeySecret,
    Team,
    check_labels,
    check_models,
    check_priority,
    check_scopes,
    check_title,
    hash_secret,
    key_kind,
    mint_secret,
    priority_of,
    secret_is_well_formed,
)
from tetrad.identity._service._context import Context, existing_project, log
from tetrad.identity._service._teams import existing_team
from tetrad.identity.errors import BadKeyRequest, KeyEnded, KeyNotFound, KeyRefused, LimitReached
from tetrad.identity.ports import Rows
from tetrad.kernel import Principal, TetradError, new_id

MAX_GRACE = timedelta(days=30)
MAX_LIFE = timedelta(days=3650)
NOTE_USE_EVERY_S = 60.0
_MAX_SECRETS = 5
_MAX_UNNOTED = 10_000
_ALL_TEAMS = 1_000_000


class Keys:
    """API keys of projects (`project` is its name) and of the whole installation (`project` None)."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._used: dict[str, datetime] = {}
        self._noted_at = context.clock.monotonic()
        self._lock = threading.Lock()

    def create(
        self,
        actor: Principal,
        project: str | None,
        name: str,
        scopes: Iterable[str],
        *,
        expires_at: datetime | None = None,
        content: ContentPolicy = "full",
        read_only: bool = False,
        team: str = "",
        models: Iterable[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> IssuedKey:
        """Make a key and return its secret, which nobody can be shown again."""
        context, now = self._context, self._context.clock.now()
        given = check_scopes(scopes, project)
        _check_end(expires_at, now)
        if content not in CONTENT_POLICIES:
            raise BadKeyRequest(f"{content[:40]!r} is no content policy", hint=f"one of {', '.join(CONTENT_POLICIES)}")
        check_priority(labels or {}, {}, actor.projects is None)
        secret = mint_secret(key_kind(given))
        key = ApiKey(
            id=new_id("key"), project=project, name=check_title(name, "a key"), scopes=given, created_at=now,
            created_by=actor.id, content=content, read_only=read_only, ending=secret[-4:], expires_at=expires_at,
            team=team, models=check_models(models), labels=check_labels(labels or {}),
        )  # fmt: skip
        with context.store.write() as rows:
            if project is not None:
                existing_project(rows, project)
            _check_team(rows, project, team)
            if rows.count_working_keys(project, now) >= context.policy.max_keys:
                raise LimitReached(
                    f"{context.policy.max_keys} keys work already", hint="revoke some, or raise max_keys_per_project"
                )
            rows.add_key(key, KeySecret(hash_secret(secret), key.id, now))
            context.note(
                rows, actor, "key.created", key.id, project, name=key.name, scopes=list(given), content=content,
                read_only=read_only, expires_at=None if expires_at is None else expires_at.isoformat(),
                team=team, models=list(key.models),
            )  # fmt: skip
        context.changed()
        return IssuedKey(key, secret)

    def rotate(
        self, actor: Principal, project: str | None, key_id: str, *, grace: timedelta | None = None
    ) -> IssuedKey:
        """Give a key a new secret; the old one works on until the grace ends. The id and all else stay."""
        context, now = self._context, self._context.clock.now()
        wait = context.policy.key_grace if grace is None else grace
        if not timedelta(0) <= wait <= MAX_GRACE:
            raise BadKeyRequest(f"a grace of {wait} is out of bounds", hint=f"0 to {MAX_GRACE.days} days")
        with context.store.write() as rows:
            key = rows.lock_key(key_id)
            if key is None or key.project != project:
                raise _no_key(key_id)
            if key.state(now) != "active":
                raise KeyEnded(f"the key {key.name!r} is {key.state(now)}", hint="make a new key")
            working = [each for each in rows.secrets_of(key_id) if each.expires_at is None or each.expires_at > now]
            if len(working) >= _MAX_SECRETS and wait > timedelta(0):
                raise BadKeyRequest(
                    f"{len(working)} secrets of the key {key.name!r} work already", hint="rotate with a grace of 0"
                )
            secret = mint_secret(key_kind(key.scopes))
            rows.end_key_secrets(key_id, now + wait)
            rows.add_key_secret(KeySecret(hash_secret(secret), key_id, now))
            rotated = replace(key, ending=secret[-4:], rotated_at=now)
            rows.save_key(rotated)
            context.note(rows, actor, "key.rotated", key_id, project, grace_s=int(wait.total_seconds()))
        context.changed()
        return IssuedKey(rotated, secret)

    def change(
        self,
        actor: Principal,
        project: str | None,
        key_id: str,
        *,
        team: str | None = None,
        models: Iterable[str] | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> ApiKey:
        """Change a key's team, what it may call, or its labels; what is None stays. Its secrets stay."""
        context, now = self._context, self._context.clock.now()
        with context.store.write() as rows:
            key = rows.lock_key(key_id)
            if key is None or key.project != project:
                raise _no_key(key_id)
            if key.state(now) != "active":
                raise KeyEnded(f"the key {key.name!r} is {key.state(now)}", hint="make a new key")
            if team is not None:
                _check_team(rows, project, team)
            changed = replace(
                key,
                team=key.team if team is None else team,
                models=key.models if models is None else check_models(models),
                labels=key.labels if labels is None else check_labels(labels),
            )
            if changed == key:
                return key
            check_priority(changed.labels, key.labels, actor.projects is None)
            rows.save_key(changed)
            context.note(
                rows, actor, "key.changed", key_id, project, team=changed.team, models=list(changed.models),
                labels=dict(changed.labels),
            )  # fmt: skip
        context.changed()
        return changed

    def revoke(self, actor: Principal, project: str | None, key_id: str) -> ApiKey:
        """End a key and all its secrets at once, for good. Revoking twice changes nothing."""
        context, now = self._context, self._context.clock.now()
        with context.store.write() as rows:
            key = rows.lock_key(key_id)
            if key is None or key.project != project:
                raise _no_key(key_id)
            if key.revoked_at is not None:
                return key
            revoked = replace(key, revoked_at=now)
            rows.save_key(revoked)
            context.note(rows, actor, "key.revoked", key_id, project, name=key.name)
        context.changed()
        return revoked

    def list(self, project: str | None, *, before: str | None = None, limit: int = 50) -> list[ApiKey]:
        """List keys, ended ones too, the newest first."""
        with self._context.store.read() as rows:
            return rows.keys(project, before, limit)

    def find(
        self,
        project: str | None,
        search: KeySearch,
        *,
        after: KeyPlace | None = None,
        limit: int = 50,
    ) -> Sequence[ApiKey]:
        """Search the keys, ended ones too; `after` is the place (`search.place`) of the last one of the page before."""
        with self._context.store.read() as rows:
            return rows.find_keys(project, search, after, limit, self._context.clock.now())

    def recognise(self, secret: str) -> ApiKey:
        """Return the working key that a secret belongs to, or raise `KeyRefused`, in the same words for all reasons."""
        if not secret_is_well_formed(secret):
            raise KeyRefused(
                "this is no key of Tetrad's: it is mistyped, cut short, or of another product",
                hint="send the whole key, which begins with `tetrad_`",
            )
        now = self._context.clock.now()
        # Found by the hash of 256 random bits: how long the index takes tells nothing that helps to guess a secret.
        with self._context.store.read() as rows:
            found = rows.key_by_secret(hash_secret(secret))
        if (
            found is None
            or found[0].state(now) != "active"
            or (found[1].expires_at is not None and found[1].expires_at <= now)
        ):
            raise KeyRefused(
                "this key does not work",
                hint="it was revoked, rotated, has expired, or belongs to another installation",
            )
        self._note_use(found[0], now)
        return found[0]

    def grants(self) -> tuple[KeyGrant, ...]:
        """Return what gateways must know: one row per working secret."""
        now = self._context.clock.now()
        with self._context.store.read() as rows:
            working = rows.working_keys(now)
            teams = {(team.project, team.name): team for team in rows.teams(None, "", _ALL_TEAMS)}
        return tuple(_grant(key, secret, teams.get((key.project or "", key.team))) for key, secret in working)

    def note_use(self, used: dict[str, datetime]) -> None:
        """Note when keys (by id) were last used, as gateways report it."""
        if used:
            with self._context.store.write() as rows:
                rows.note_key_use(used)

    def flush(self) -> None:
        """Write down what is remembered of keys' last use; call it before the process ends."""
        with self._lock:
            used, self._used = self._used, {}
            self._noted_at = self._context.clock.monotonic()
        self.note_use(used)

    def _note_use(self, key: ApiKey, now: datetime) -> None:
        with self._lock:
            if len(self._used) < _MAX_UNNOTED:
                self._used[key.id] = now
            due = self._context.clock.monotonic() - self._noted_at >= NOTE_USE_EVERY_S
        if due:
            try:
                self.flush()
            except TetradError:  # a key is good even when its use cannot be written down (a full disk)
                log.exception("the last use of keys could not be noted")


def _grant(key: ApiKey, secret: KeySecret, team: Team | None) -> KeyGrant:
    ends = [end for end in (key.expires_at, secret.expires_at) if end is not None]
    models = tuple(each for each in (key.models, team.models if team else ()) if each)
    expires_ns = micros(min(ends)) * 1_000 if ends else 0
    return KeyGrant(
        secret.hash,
        key.id,
        key.project or "",
        key.scopes,
        key.content,
        expires_ns,
        key.team,
        models,
        priority_of(key.labels),
    )


def _check_team(rows: Rows, project: str | None, team: str) -> None:
    if team and project is None:
        raise BadKeyRequest("a key of all projects is in no team", hint="teams belong to one project")
    if team and project is not None:
        existing_team(rows, project, team)


def _check_end(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is None:
        return
    if expires_at.tzinfo is None:
        raise BadKeyRequest(f"{expires_at} has no time zone", hint="such as 2027-01-01T00:00:00Z")
    if not now < expires_at <= now + MAX_LIFE:
        raise BadKeyRequest(f"{expires_at.isoformat()} cannot end a key", hint="a time within the next ten years")


def _no_key(key_id: str) -> KeyNotFound:
    return KeyNotFound(f"there is no key {key_id[:80]!r} here", hint="`tetrad key list` shows the project's keys")
