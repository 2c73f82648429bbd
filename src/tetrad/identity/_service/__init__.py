"""Identity's one service, in parts: projects, keys, people, secrets, audit, and the machine's own key files."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

from tetrad.identity._model import IssuedKey, KeyGrant, hash_secret
from tetrad.identity._service._audit import Audit
from tetrad.identity._service._context import Context, no_project
from tetrad.identity._service._keys import Keys
from tetrad.identity._service._machine import (
    FirstStart,
    Machine,
    MachineKeys,
    machine_keys,
    read_secret_file,
)
from tetrad.identity._service._people import IssuedLink, People, SignedIn
from tetrad.identity._service._policy import IdentityPolicy
from tetrad.identity._service._projects import Projects
from tetrad.identity._service._secrets import Secrets
from tetrad.identity._service._teams import Teams
from tetrad.identity.errors import SessionEnded
from tetrad.identity.ports import IdentityStore, Shown
from tetrad.kernel import Clock, Principal, SystemClock
from tetrad.kit.seal import Keyring

INTERNAL = Principal("process:internal", "process", "internal", frozenset({"internal"}))


class Identity:
    """Who may do what. Safe to share among threads; fulfils `tetrad.kit.http.Authenticator`."""

    def __init__(
        self,
        store: IdentityStore,
        keyring: Keyring,
        *,
        internal_token: str = "",
        policy: IdentityPolicy | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._context = Context(store, clock or SystemClock(), policy or IdentityPolicy())
        self._internal_hash = hash_secret(internal_token) if internal_token else ""
        self._machine = Machine(self._context)
        self.policy = self._context.policy
        self.projects = Projects(self._context)
        self.keys = Keys(self._context)
        self.people = People(self._context)
        self.teams = Teams(self._context)
        self.secrets = Secrets(self._context, keyring)
        self.audit = Audit(self._context)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call a function, from the thread of the change, once keys, projects or secrets have durably changed."""
        self._context.listeners.append(listener)

    def key_entries(self) -> tuple[KeyGrant, ...]:
        """Return what gateways must know of keys: one row per secret that works now, with its end if it has one."""
        return self.keys.grants()

    def first_start(self, folder: Path) -> FirstStart:
        """Make the project `default` and this machine's keys where they are missing; see `Machine.first_start`."""
        return self._machine.first_start(folder)

    def rotate_key(
        self, actor: Principal, project: str | None, key_id: str, *, grace: timedelta | None = None
    ) -> tuple[IssuedKey, Path | None]:
        """Rotate a key; when it is one of this machine's, its file holds the new secret afterwards."""
        issued = self.keys.rotate(actor, project, key_id, grace=grace)
        return issued, self._machine.follow_rotation(issued.key, issued.secret)

    def authenticate(self, credential: Shown) -> Principal:
        """Return who shows a credential, or raise a kind of `Unauthenticated`."""
        if credential.kind == "session":
            _, person = self.people.recognise(credential.secret)
            found = self.people.principal(person.id, None)
            if found is None or not found.scopes:
                raise SessionEnded("you belong to no project here any more", hint="ask an admin for a sign-in link")
            return found
        if self._internal_hash and hmac.compare_digest(hash_secret(credential.secret), self._internal_hash):
            return INTERNAL
        return self.keys.recognise(credential.secret).principal()

    def in_project(self, principal: Principal, project: str) -> Principal:
        """Return the actor as it stands in a project; raises `ProjectNotFound` alike for absent and closed ones."""
        if not principal.may_enter(project):
            raise no_project(project)
        self.projects.get(project)
        if principal.kind != "person":
            return principal
        found = self.people.principal(principal.id, project)
        if found is None or not found.scopes:
            raise no_project(project)
        return found

    def close(self) -> None:
        """Write down what is only remembered. Call it before the process ends."""
        self.keys.flush()


__all__ = [
    "FirstStart",
    "Identity",
    "IdentityPolicy",
    "IssuedLink",
    "MachineKeys",
    "SignedIn",
    "machine_keys",
    "read_secret_file",
]
