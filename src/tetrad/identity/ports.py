"""What identity needs from others: a store with transactions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from tetrad.identity._chain import AuditEntry, AuditEvent, AuditFilter, AuditHead
from tetrad.identity._model import (
    ApiKey,
    KeyPlace,
    KeySearch,
    KeySecret,
    Membership,
    Person,
    Project,
    Role,
    SecretInfo,
    Session,
    SignInLink,
    Team,
)


class Shown(Protocol):
    """A credential: `kind` is `bearer` or `session`."""

    @property
    def kind(self) -> str: ...
    @property
    def secret(self) -> str: ...


class ProjectRows(Protocol):
    """Projects within a transaction. Lists are by name and begin after the one named."""

    def project(self, name: str) -> Project | None: ...
    def projects(self, after: str, limit: int) -> list[Project]: ...
    def count_projects(self) -> int: ...
    def add_project(self, project: Project) -> bool:
        """Add it unless its name is taken; tell whether it was added."""
        ...


class KeyRows(Protocol):
    """Keys and their secrets within a transaction."""

    def key(self, key_id: str) -> ApiKey | None: ...
    def lock_key(self, key_id: str) -> ApiKey | None:
        """Return the key, held against other writers until the transaction ends."""
        ...

    def keys(self, project: str | None, before: str | None, limit: int) -> list[ApiKey]:
        """List the newest first."""
        ...

    def find_keys(
        self,
        project: str | None,
        search: KeySearch,
        after: KeyPlace | None,
        limit: int,
        now: datetime,
    ) -> list[ApiKey]:
        """List what is searched for behind a place in the order of the search."""
        ...

    def count_working_keys(self, project: str | None, now: datetime, *, team: str | None = None) -> int: ...
    def add_key(self, key: ApiKey, secret: KeySecret) -> None: ...
    def save_key(self, key: ApiKey) -> None: ...
    def key_by_secret(self, secret_hash: str) -> tuple[ApiKey, KeySecret] | None: ...
    def secrets_of(self, key_id: str) -> list[KeySecret]: ...
    def add_key_secret(self, secret: KeySecret) -> None: ...
    def end_key_secrets(self, key_id: str, at: datetime) -> None:
        """Let all secrets of a key end at a time, those that end before excepted."""
        ...

    def working_keys(self, now: datetime) -> list[tuple[ApiKey, KeySecret]]: ...
    def note_key_use(self, used: Mapping[str, datetime]) -> None: ...


class TeamRows(Protocol):
    """Teams within a transaction."""

    def team(self, project: str, name: str) -> Team | None: ...
    def teams(self, project: str | None, after: str, limit: int) -> list[Team]:
        """List a project's, or all, by name, beginning after one."""
        ...

    def count_teams(self, project: str) -> int: ...
    def put_team(self, team: Team) -> None: ...
    def delete_team(self, project: str, name: str) -> None:
        """Remove a team; keys that ended stay without one, and nobody is in it any more."""
        ...

    def team_members(self, project: str, name: str) -> list[Person]: ...
    def add_team_member(self, project: str, name: str, person_id: str) -> bool:
        """Add them unless they are in it; tell whether they were added."""
        ...

    def delete_team_member(self, project: str, name: str, person_id: str) -> bool: ...


class PeopleRows(Protocol):
    """People, what they may do, and how they come in, within a transaction."""

    def person(self, person_id: str) -> Person | None: ...
    def person_by_email(self, email: str) -> Person | None: ...
    def add_person(self, person: Person) -> bool:
        """Add them unless the address is taken; tell whether they were added."""
        ...

    def memberships(self, person_id: str) -> list[Membership]: ...
    def members(self, project: str | None) -> list[tuple[Person, Role]]: ...
    def put_membership(self, person_id: str, membership: Membership) -> None: ...
    def delete_membership(self, person_id: str, project: str | None) -> bool: ...
    def add_link(self, link: SignInLink) -> None: ...
    def take_link(self, link_hash: str, now: datetime) -> SignInLink | None:
        """Use up a link that still works. Of callers that race, one gets it and the others None."""
        ...

    def session(self, session_hash: str) -> tuple[Session, Person] | None: ...
    def add_session(self, session: Session) -> None: ...
    def touch_session(self, session_hash: str, seen_at: datetime) -> None: ...
    def delete_session(self, session_hash: str) -> bool: ...
    def forget_ended(self, now: datetime, idle_since: datetime) -> None:
        """Delete sessions and links that no longer work."""
        ...


class SecretRows(Protocol):
    """Sealed provider secrets within a transaction."""

    def secret(self, project: str, name: str) -> tuple[SecretInfo, bytes] | None: ...
    def secrets(self, project: str, after: str, limit: int) -> list[SecretInfo]: ...
    def sealed_secrets(self) -> list[tuple[SecretInfo, bytes]]: ...
    def count_secrets(self, project: str) -> int: ...
    def put_secret(self, info: SecretInfo, sealed: bytes) -> None: ...
    def delete_secret(self, project: str, name: str) -> bool: ...


class AuditRows(Protocol):
    """The audit log within a transaction: it only grows."""

    def append_audit(self, event: AuditEvent) -> AuditEntry:
        """Link an event to the end of its project's chain; writers of one chain wait for each other."""
        ...

    def audit_entries(
        self, project: str, before: int | None, limit: int, only: AuditFilter | None = None
    ) -> list[AuditEntry]:
        """List the newest first."""
        ...

    def audit_chain(self, project: str) -> Iterator[AuditEntry]:
        """Go through the whole chain, the oldest first."""
        ...

    def audit_head(self, project: str) -> AuditHead: ...


class Rows(ProjectRows, KeyRows, TeamRows, PeopleRows, SecretRows, AuditRows, Protocol):
    """One transaction over everything that identity keeps."""


class IdentityStore(Protocol):
    """Durable, transactional rows. Safe to share among threads and processes."""

    def read(self) -> AbstractContextManager[Rows]:
        """Lend a consistent snapshot."""
        ...

    def write(self) -> AbstractContextManager[Rows]:
        """Lend a transaction that commits at the end, or leaves nothing behind on an error."""
        ...


__all__ = ["IdentityStore", "Rows", "Shown"]
