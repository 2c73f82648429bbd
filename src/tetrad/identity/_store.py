"""Identity's tables and the SQL on them, the same on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from tetrad.identity._chain import AuditEntry, AuditEvent, AuditFilter, AuditHead, linked
from tetrad.identity._model import (
    NEVER_ENDS,
    NEVER_USED,
    ApiKey,
    KeyPlace,
    KeySearch,
    KeySecret,
    KeySort,
    KeyState,
    Membership,
    Person,
    Project,
    Role,
    SecretInfo,
    Session,
    SignInLink,
    Team,
)
from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata, upsert

EVERYWHERE = "*"  # stands for "all projects" where a primary key cannot hold NULL; no project can be named so
_CHAIN_STEP = 1000
_ID_PREFIX = "key_"  # all ids begin so: less than this is a part of a name

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("title", sa.String(100), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
)
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("project", sa.String(63), sa.ForeignKey("projects.name"), nullable=True),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("scopes", JsonText, nullable=False),
    sa.Column("content", sa.String(16), nullable=False),
    sa.Column("read_only", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("ending", sa.String(8), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(64), nullable=False),
    sa.Column("expires_at", Timestamp, nullable=True),
    sa.Column("rotated_at", Timestamp, nullable=True),
    sa.Column("revoked_at", Timestamp, nullable=True),
    sa.Column("last_used_at", Timestamp, nullable=True),
    sa.Column("team", sa.String(63), nullable=False, server_default=sa.text("''")),
    sa.Column("models", JsonText, nullable=False, server_default="[]"),
    sa.Column("labels", JsonText, nullable=False, server_default="{}"),
    sa.Index(None, "project", "id"),
)
teams = sa.Table(
    "teams",
    metadata,
    sa.Column("project", sa.String(63), sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("title", sa.String(100), nullable=False),
    sa.Column("models", JsonText, nullable=False),
    sa.Column("labels", JsonText, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(64), nullable=False),
)
team_members = sa.Table(
    "team_members",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("team", sa.String(63), primary_key=True),
    sa.Column("person_id", sa.String(64), sa.ForeignKey("people.id"), primary_key=True),
    sa.ForeignKeyConstraint(["project", "team"], ["teams.project", "teams.name"]),
)
api_key_secrets = sa.Table(
    "api_key_secrets",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("key_id", sa.String(64), sa.ForeignKey("api_keys.id"), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=True),
    sa.Index(None, "key_id"),
)
people = sa.Table(
    "people",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("email", sa.String(254), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("email"),
)
memberships = sa.Table(
    "memberships",
    metadata,
    sa.Column("person_id", sa.String(64), sa.ForeignKey("people.id"), primary_key=True),
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("role", sa.String(16), nullable=False),
)
sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("person_id", sa.String(64), sa.ForeignKey("people.id"), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("seen_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Index(None, "person_id"),
)
sign_in_links = sa.Table(
    "sign_in_links",
    metadata,
    sa.Column("hash", sa.String(64), primary_key=True),
    sa.Column("email", sa.String(254), nullable=False),
    sa.Column("name", sa.String(100), nullable=False),
    sa.Column("role", sa.String(16), nullable=True),
    sa.Column("project", sa.String(63), nullable=True),
    sa.Column("created_by", sa.String(64), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("expires_at", Timestamp, nullable=False),
    sa.Column("used_at", Timestamp, nullable=True),
)
provider_secrets = sa.Table(
    "provider_secrets",
    metadata,
    sa.Column("project", sa.String(63), sa.ForeignKey("projects.name"), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("sealed", sa.LargeBinary, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("updated_at", Timestamp, nullable=False),
    sa.Column("updated_by", sa.String(64), nullable=False),
)
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("actor", sa.String(64), nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("target", sa.String(300), nullable=False),
    sa.Column("detail", JsonText, nullable=False),
    sa.Column("previous", sa.String(71), nullable=False),
    sa.Column("hash", sa.String(71), nullable=False),
)
audit_heads = sa.Table(
    "audit_heads",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.String(71), nullable=False),
)


class SqlIdentityStore:
    """Identity's rows in one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def read(self) -> Iterator[SqlRows]:
        with self._database.read() as connection:
            yield SqlRows(connection)

    @contextmanager
    def write(self) -> Iterator[SqlRows]:
        with self._database.write() as connection:
            yield SqlRows(connection)


class SqlRows:
    """One transaction; see `tetrad.identity.ports` for what each method promises."""

    def __init__(self, connection: sa.Connection) -> None:
        self._do = connection.execute
        self._connection = connection

    # Projects

    def project(self, name: str) -> Project | None:
        row = self._do(sa.select(projects).where(projects.c.name == name)).mappings().one_or_none()
        return None if row is None else Project(**row)

    def projects(self, after: str, limit: int) -> list[Project]:
        chosen = sa.select(projects).where(projects.c.name > after).order_by(projects.c.name).limit(limit)
        return [Project(**row) for row in self._do(chosen).mappings()]

    def count_projects(self) -> int:
        return int(self._do(sa.select(sa.func.count()).select_from(projects)).scalar_one())

    def add_project(self, project: Project) -> bool:
        row = {"name": project.name, "title": project.title, "created_at": project.created_at}
        return insert_or_ignore(self._connection, projects, row) == 1

    # Keys

    def key(self, key_id: str) -> ApiKey | None:
        row = self._do(sa.select(api_keys).where(api_keys.c.id == key_id)).mappings().one_or_none()
        return None if row is None else _key(row)

    def lock_key(self, key_id: str) -> ApiKey | None:
        chosen = sa.select(api_keys).where(api_keys.c.id == key_id).with_for_update()
        row = self._do(chosen).mappings().one_or_none()
        return None if row is None else _key(row)

    def keys(self, project: str | None, before: str | None, limit: int) -> list[ApiKey]:
        chosen = sa.select(api_keys).where(_of(api_keys.c.project, project)).order_by(api_keys.c.id.desc()).limit(limit)
        if before is not None:
            chosen = chosen.where(api_keys.c.id < before)
        return [_key(row) for row in self._do(chosen).mappings()]

    def find_keys(
        self,
        project: str | None,
        search: KeySearch,
        after: KeyPlace | None,
        limit: int,
        now: datetime,
    ) -> list[ApiKey]:
        keys, by = api_keys.c, _KEY_ORDERS[search.sort]
        chosen = sa.select(api_keys).where(_of(keys.project, project), *_in_state(search.state, now))
        if search.contains:
            found = [keys.name.icontains(search.contains, autoescape=True), keys.ending == search.contains]
            if search.contains.startswith(_ID_PREFIX):
                found.append(keys.id.startswith(search.contains, autoescape=True))
            chosen = chosen.where(sa.or_(*found))
        if search.ids:
            chosen = chosen.where(keys.id.in_(search.ids))
        if after is not None:
            value, key_id = after
            if search.descending:
                behind = sa.or_(by < value, sa.and_(by == value, keys.id < key_id))
            else:
                behind = sa.or_(by > value, sa.and_(by == value, keys.id > key_id))
            chosen = chosen.where(behind)
        order = (by.desc(), keys.id.desc()) if search.descending else (by, keys.id)
        return [_key(row) for row in self._do(chosen.order_by(*order).limit(limit)).mappings()]

    def count_working_keys(self, project: str | None, now: datetime, *, team: str | None = None) -> int:
        chosen = sa.select(sa.func.count()).where(_of(api_keys.c.project, project), *_works(api_keys, now))
        if team is not None:
            chosen = chosen.where(api_keys.c.team == team)
        return int(self._do(chosen.where(api_keys.c.revoked_at.is_(None))).scalar_one())

    def add_key(self, key: ApiKey, secret: KeySecret) -> None:
        self._do(api_keys.insert().values(_key_row(key)))
        self.add_key_secret(secret)

    def save_key(self, key: ApiKey) -> None:
        row = {name: value for name, value in _key_row(key).items() if name != "last_used_at"}
        self._do(api_keys.update().where(api_keys.c.id == key.id).values(row))

    def key_by_secret(self, secret_hash: str) -> tuple[ApiKey, KeySecret] | None:
        found = self._keys_with_secrets(api_key_secrets.c.hash == secret_hash)
        return found[0] if found else None

    def secrets_of(self, key_id: str) -> list[KeySecret]:
        chosen = sa.select(api_key_secrets).where(api_key_secrets.c.key_id == key_id)
        return [KeySecret(**row) for row in self._do(chosen.order_by(api_key_secrets.c.created_at)).mappings()]

    def add_key_secret(self, secret: KeySecret) -> None:
        self._do(
            api_key_secrets.insert().values(
                hash=secret.hash, key_id=secret.key_id, created_at=secret.created_at, expires_at=secret.expires_at
            )
        )

    def end_key_secrets(self, key_id: str, at: datetime) -> None:
        ends = api_key_secrets.c.expires_at
        later = sa.or_(ends.is_(None), ends > at)
        self._do(api_key_secrets.update().where(api_key_secrets.c.key_id == key_id, later).values(expires_at=at))

    def working_keys(self, now: datetime) -> list[tuple[ApiKey, KeySecret]]:
        return self._keys_with_secrets(
            api_keys.c.revoked_at.is_(None), *_works(api_keys, now), *_works(api_key_secrets, now)
        )

    def note_key_use(self, used: Mapping[str, datetime]) -> None:
        for key_id, at in sorted(used.items()):  # one order for all, so that writers cannot wait for each other
            before = sa.or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < at)
            self._do(api_keys.update().where(api_keys.c.id == key_id, before).values(last_used_at=at))

    def _keys_with_secrets(self, *conditions: sa.ColumnElement[bool]) -> list[tuple[ApiKey, KeySecret]]:
        of_secret = [column.label(f"secret_{column.name}") for column in api_key_secrets.c]
        joined = api_keys.join(api_key_secrets, api_key_secrets.c.key_id == api_keys.c.id)
        chosen = sa.select(*api_keys.c, *of_secret).select_from(joined).where(*conditions)
        out = []
        for row in self._do(chosen.order_by(api_keys.c.id)).mappings():
            secret = {name.removeprefix("secret_"): row[name] for name in row if name.startswith("secret_")}
            key = {name: row[name] for name in row if not name.startswith("secret_")}
            out.append((_key(key), KeySecret(**secret)))
        return out

    # Teams

    def team(self, project: str, name: str) -> Team | None:
        row = self._do(sa.select(teams).where(*_team_of(project, name))).mappings().one_or_none()
        return None if row is None else _team(row)

    def teams(self, project: str | None, after: str, limit: int) -> list[Team]:
        chosen = sa.select(teams).where(teams.c.name > after).order_by(teams.c.name, teams.c.project).limit(limit)
        if project is not None:
            chosen = chosen.where(teams.c.project == project)
        return [_team(row) for row in self._do(chosen).mappings()]

    def count_teams(self, project: str) -> int:
        return int(self._do(sa.select(sa.func.count()).where(teams.c.project == project)).scalar_one())

    def put_team(self, team: Team) -> None:
        row = {name: getattr(team, name) for name in Team.__dataclass_fields__}
        row |= {"models": list(team.models), "labels": dict(team.labels)}
        upsert(self._connection, teams, row, key=("project", "name"))

    def delete_team(self, project: str, name: str) -> None:
        self._do(api_keys.update().where(api_keys.c.project == project, api_keys.c.team == name).values(team=""))
        mine = (team_members.c.project == project, team_members.c.team == name)
        self._do(team_members.delete().where(*mine))
        self._do(teams.delete().where(*_team_of(project, name)))

    def team_members(self, project: str, name: str) -> list[Person]:
        joined = people.join(team_members, team_members.c.person_id == people.c.id)
        mine = (team_members.c.project == project, team_members.c.team == name)
        chosen = sa.select(*people.c).select_from(joined).where(*mine).order_by(people.c.email)
        return [Person(**row) for row in self._do(chosen).mappings()]

    def add_team_member(self, project: str, name: str, person_id: str) -> bool:
        row = {"project": project, "team": name, "person_id": person_id}
        return insert_or_ignore(self._connection, team_members, row) == 1

    def delete_team_member(self, project: str, name: str, person_id: str) -> bool:
        mine = (team_members.c.project == project, team_members.c.team == name, team_members.c.person_id == person_id)
        return self._do(team_members.delete().where(*mine)).rowcount == 1

    # People

    def person(self, person_id: str) -> Person | None:
        row = self._do(sa.select(people).where(people.c.id == person_id)).mappings().one_or_none()
        return None if row is None else Person(**row)

    def person_by_email(self, email: str) -> Person | None:
        row = self._do(sa.select(people).where(people.c.email == email)).mappings().one_or_none()
        return None if row is None else Person(**row)

    def add_person(self, person: Person) -> bool:
        row = {"id": person.id, "email": person.email, "name": person.name, "created_at": person.created_at}
        return insert_or_ignore(self._connection, people, row) == 1

    def memberships(self, person_id: str) -> list[Membership]:
        chosen = sa.select(memberships).where(memberships.c.person_id == person_id).order_by(memberships.c.project)
        return [
            Membership(None if row["project"] == EVERYWHERE else row["project"], row["role"])
            for row in self._do(chosen).mappings()
        ]

    def put_membership(self, person_id: str, membership: Membership) -> None:
        row = {"person_id": person_id, "project": membership.project or EVERYWHERE, "role": membership.role}
        upsert(self._connection, memberships, row, key=("person_id", "project"))

    def members(self, project: str | None) -> list[tuple[Person, Role]]:
        joined = people.join(memberships, memberships.c.person_id == people.c.id)
        chosen = sa.select(*people.c, memberships.c.role).select_from(joined)
        found = self._do(
            chosen.where(memberships.c.project == (project or EVERYWHERE)).order_by(people.c.email)
        ).mappings()
        return [(Person(**{name: row[name] for name in Person.__dataclass_fields__}), row["role"]) for row in found]

    def delete_membership(self, person_id: str, project: str | None) -> bool:
        mine = (memberships.c.person_id == person_id, memberships.c.project == (project or EVERYWHERE))
        return self._do(memberships.delete().where(*mine)).rowcount == 1

    def add_link(self, link: SignInLink) -> None:
        row = {name: getattr(link, name) for name in SignInLink.__dataclass_fields__}
        self._do(sign_in_links.insert().values(**row, used_at=None))

    def take_link(self, link_hash: str, now: datetime) -> SignInLink | None:
        # One statement decides the race: the database lets a single update find `used_at` empty.
        free = (sign_in_links.c.hash == link_hash, sign_in_links.c.used_at.is_(None), sign_in_links.c.expires_at > now)
        if self._do(sign_in_links.update().where(*free).values(used_at=now)).rowcount != 1:
            return None
        row = self._do(sa.select(sign_in_links).where(sign_in_links.c.hash == link_hash)).mappings().one()
        return SignInLink(**{name: row[name] for name in SignInLink.__dataclass_fields__})

    def session(self, session_hash: str) -> tuple[Session, Person] | None:
        row = self._do(sa.select(sessions).where(sessions.c.hash == session_hash)).mappings().one_or_none()
        person = None if row is None else self.person(row["person_id"])
        return None if row is None or person is None else (Session(**row), person)

    def add_session(self, session: Session) -> None:
        row = {name: getattr(session, name) for name in Session.__dataclass_fields__}
        self._do(sessions.insert().values(row))

    def touch_session(self, session_hash: str, seen_at: datetime) -> None:
        self._do(sessions.update().where(sessions.c.hash == session_hash).values(seen_at=seen_at))

    def delete_session(self, session_hash: str) -> bool:
        return self._do(sessions.delete().where(sessions.c.hash == session_hash)).rowcount == 1

    def forget_ended(self, now: datetime, idle_since: datetime) -> None:
        self._do(sessions.delete().where(sa.or_(sessions.c.expires_at <= now, sessions.c.seen_at <= idle_since)))
        self._do(sign_in_links.delete().where(sign_in_links.c.expires_at <= now))

    # Provider secrets

    def secret(self, project: str, name: str) -> tuple[SecretInfo, bytes] | None:
        mine = (provider_secrets.c.project == project, provider_secrets.c.name == name)
        row = self._do(sa.select(provider_secrets).where(*mine)).mappings().one_or_none()
        return None if row is None else _secret(row)

    def secrets(self, project: str, after: str, limit: int) -> list[SecretInfo]:
        mine = (provider_secrets.c.project == project, provider_secrets.c.name > after)
        chosen = sa.select(provider_secrets).where(*mine).order_by(provider_secrets.c.name).limit(limit)
        return [_secret(row)[0] for row in self._do(chosen).mappings()]

    def sealed_secrets(self) -> list[tuple[SecretInfo, bytes]]:
        chosen = sa.select(provider_secrets).order_by(provider_secrets.c.project, provider_secrets.c.name)
        return [_secret(row) for row in self._do(chosen.with_for_update()).mappings()]

    def count_secrets(self, project: str) -> int:
        chosen = sa.select(sa.func.count()).where(provider_secrets.c.project == project)
        return int(self._do(chosen).scalar_one())

    def put_secret(self, info: SecretInfo, sealed: bytes) -> None:
        row = {name: getattr(info, name) for name in SecretInfo.__dataclass_fields__}
        upsert(self._connection, provider_secrets, {**row, "sealed": sealed}, key=("project", "name"))

    def delete_secret(self, project: str, name: str) -> bool:
        mine = (provider_secrets.c.project == project, provider_secrets.c.name == name)
        return self._do(provider_secrets.delete().where(*mine)).rowcount == 1

    # Audit log

    def append_audit(self, event: AuditEvent) -> AuditEntry:
        first = AuditHead()
        insert_or_ignore(
            self._connection, audit_heads, {"project": event.project, "seq": first.seq, "hash": first.hash}
        )
        mine = audit_heads.c.project == event.project
        row = self._do(sa.select(audit_heads.c.seq, audit_heads.c.hash).where(mine).with_for_update()).one()
        entry = linked(event, AuditHead(row.seq, row.hash))
        self._do(
            audit_log.insert().values(
                project=event.project,
                seq=entry.seq,
                at=event.at,
                actor=event.actor,
                action=event.action,
                target=event.target,
                detail=dict(event.detail),
                previous=entry.previous,
                hash=entry.hash,
            )
        )
        self._do(audit_heads.update().where(mine).values(seq=entry.seq, hash=entry.hash))
        return entry

    def audit_entries(
        self, project: str, before: int | None, limit: int, only: AuditFilter | None = None
    ) -> list[AuditEntry]:
        chosen = sa.select(audit_log).where(audit_log.c.project == project)
        if only is not None:
            chosen = chosen.where(*_lets_through(only))
        if before is not None:
            chosen = chosen.where(audit_log.c.seq < before)
        return [_entry(row) for row in self._do(chosen.order_by(audit_log.c.seq.desc()).limit(limit)).mappings()]

    def audit_chain(self, project: str) -> Iterator[AuditEntry]:
        mine, after = audit_log.c.project == project, None
        while True:
            chosen = sa.select(audit_log).where(mine).order_by(audit_log.c.seq).limit(_CHAIN_STEP)
            if after is not None:
                chosen = chosen.where(audit_log.c.seq > after)
            rows = self._do(chosen).mappings().all()
            yield from (_entry(row) for row in rows)
            if len(rows) < _CHAIN_STEP:
                return
            after = rows[-1]["seq"]

    def audit_head(self, project: str) -> AuditHead:
        row = self._do(sa.select(audit_heads).where(audit_heads.c.project == project)).one_or_none()
        return AuditHead() if row is None else AuditHead(row.seq, row.hash)


def _of(column: sa.Column[Any], project: str | None) -> sa.ColumnElement[bool]:
    return column.is_(None) if project is None else column == project


def _lets_through(only: AuditFilter) -> list[sa.ColumnElement[bool]]:
    log = audit_log.c
    wanted: list[sa.ColumnElement[bool]] = []
    if only.actor:
        wanted.append(log.actor == only.actor)
    if only.action:
        wanted.append(log.action.startswith(only.action, autoescape=True))
    if only.target:
        wanted.append(log.target.icontains(only.target, autoescape=True))
    if only.since is not None:
        wanted.append(log.at >= only.since)
    if only.until is not None:
        wanted.append(log.at < only.until)
    return wanted


_KEY_ORDERS: dict[KeySort, sa.ColumnElement[Any]] = {
    "created": api_keys.c.created_at,
    "name": api_keys.c.name,
    "last_used": sa.func.coalesce(api_keys.c.last_used_at, sa.literal(NEVER_USED, Timestamp)),
    "expires": sa.func.coalesce(api_keys.c.expires_at, sa.literal(NEVER_ENDS, Timestamp)),
}


def _in_state(state: KeyState | None, now: datetime) -> list[sa.ColumnElement[bool]]:
    revoked, ends = api_keys.c.revoked_at, api_keys.c.expires_at
    if state is None:
        return []
    if state == "revoked":
        return [revoked.is_not(None)]
    return [revoked.is_(None), ends <= now if state == "expired" else sa.or_(ends.is_(None), ends > now)]


def _works(table: sa.Table, now: datetime) -> tuple[sa.ColumnElement[bool], ...]:
    return (sa.or_(table.c.expires_at.is_(None), table.c.expires_at > now),)


def _key(row: Mapping[Any, Any]) -> ApiKey:
    return ApiKey(**{**row, "scopes": tuple(row["scopes"]), "models": tuple(row["models"])})


def _key_row(key: ApiKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in ApiKey.__dataclass_fields__} | {
        "scopes": list(key.scopes),
        "models": list(key.models),
        "labels": dict(key.labels),
    }


def _team_of(project: str, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return teams.c.project == project, teams.c.name == name


def _team(row: Mapping[Any, Any]) -> Team:
    return Team(**{**row, "models": tuple(row["models"])})


def _secret(row: Mapping[Any, Any]) -> tuple[SecretInfo, bytes]:
    return SecretInfo(**{name: row[name] for name in SecretInfo.__dataclass_fields__}), bytes(row["sealed"])


def _entry(row: Mapping[Any, Any]) -> AuditEntry:
    event = AuditEvent(row["project"], row["at"], row["actor"], row["action"], row["target"], row["detail"])
    return AuditEntry(event, row["seq"], row["previous"], row["hash"])
