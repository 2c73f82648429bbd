"""People: they come in by a link that works once, and stay for a session."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from tetrad.identity._model import (
    LOCAL_ADMIN,
    ROLES,
    Membership,
    Person,
    Role,
    Session,
    SignInLink,
    check_email,
    check_title,
    hash_secret,
    mint_secret,
    person_principal,
    secret_is_well_formed,
)
from tetrad.identity._service._context import Context, existing_project, log
from tetrad.identity.errors import BadName, LinkUsed, PersonNotFound, SessionEnded
from tetrad.identity.ports import Rows
from tetrad.kernel import Forbidden, Principal, TetradError, new_id

TOUCH_EVERY_S = 60


@dataclass(frozen=True, slots=True)
class IssuedLink:
    """A sign-in link. The token stands after `#`, which browsers send to no server and no log."""

    url: str
    token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"IssuedLink(expires_at={self.expires_at})"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A fresh session and the token for its cookie."""

    person: Person
    session: Session
    token: str

    def __repr__(self) -> str:
        return f"SignedIn({self.person.id!r})"


class People:
    """Sign-in links, sessions and roles."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create_link(
        self,
        actor: Principal,
        *,
        email: str = "",
        name: str = "",
        role: Role | None = None,
        project: str | None = None,
    ) -> IssuedLink:
        """Make a link that signs one person in, once, soon.

        Without an e-mail address it is for the administrator of this installation. A person who is new gets `role` in
        `project` (None: in all); one who is known gets it where it is named, and else keeps what they have.
        """
        context, now = self._context, self._context.clock.now()
        if role is not None and role not in ROLES:
            raise BadName(f"{role[:40]!r} is no role", hint=f"one of {', '.join(ROLES)}")
        if not email:
            email, name, role, project = LOCAL_ADMIN, name or "Administrator", "admin", None
        address = check_email(email)
        label = check_title(name or address.partition("@")[0], "a person")
        token = mint_secret("link")
        made = SignInLink(
            hash_secret(token), address, label, role, project, actor.id, now, now + context.policy.link_life
        )
        with context.store.write() as rows:
            if project is not None:
                existing_project(rows, project)
            if role is None and rows.person_by_email(address) is None:
                raise BadName(f"{address!r} is new here and needs a role", hint=f"one of {', '.join(ROLES)}")
            rows.forget_ended(now, now - context.policy.session_idle)
            rows.add_link(made)
            context.note(rows, actor, "sign_in_link.created", address, project, role=role)
        return IssuedLink(f"{context.policy.console_url}/login#token={token}", token, made.expires_at)

    def sign_in(self, token: str) -> SignedIn:
        """Open a session with the token of a link, which is used up by it; raises `LinkUsed`, also for a race lost."""
        context, now = self._context, self._context.clock.now()
        refusal = LinkUsed(
            "this sign-in link was used already, or it has expired", hint="run `tetrad login` for a new one"
        )
        if not secret_is_well_formed(token):
            raise refusal
        with context.store.write() as rows:
            link = rows.take_link(hash_secret(token), now)
            if link is None:
                raise refusal
            person = self._arrived(rows, link, now)
            cookie = mint_secret("session")
            session = Session(hash_secret(cookie), person.id, now, now, now + context.policy.session_max)
            rows.add_session(session)
            self._note(rows, person, "signed_in", project=link.project)
        return SignedIn(person, session, cookie)

    def _arrived(self, rows: Rows, link: SignInLink, now: datetime) -> Person:
        person = rows.person_by_email(link.email)
        if person is None:
            person = Person(new_id("usr"), link.email, link.name, now)
            if not rows.add_person(person):  # another link of theirs was used in this very moment
                person = rows.person_by_email(link.email) or person
        if link.role is not None:
            rows.put_membership(person.id, Membership(link.project, link.role))
        return person

    def recognise(self, cookie: str) -> tuple[Session, Person]:
        """Return the open session of a cookie and whose it is, or raise `SessionEnded`. Being used keeps it open."""
        context, now = self._context, self._context.clock.now()
        found = None
        if secret_is_well_formed(cookie):
            with context.store.read() as rows:
                found = rows.session(hash_secret(cookie))
        if found is None or found[0].expires_at <= now or found[0].seen_at + context.policy.session_idle <= now:
            raise SessionEnded("you are not signed in, or the session has ended", hint="run `tetrad login` for a link")
        if (now - found[0].seen_at).total_seconds() >= TOUCH_EVERY_S:
            try:
                with context.store.write() as rows:
                    rows.touch_session(found[0].hash, now)
            except TetradError:  # they are signed in even when their use cannot be written down (a full disk)
                log.exception("the use of a session could not be noted")
        return found

    def actor(self, person: Person) -> Principal:
        """Return the actor that a person is outside of any project."""
        with self._context.store.read() as rows:
            return person_principal(person, rows.memberships(person.id), None)

    def principal(self, person_id: str, project: str | None) -> Principal | None:
        """Return the actor that a person is in a project, or outside of any; None when they are gone."""
        with self._context.store.read() as rows:
            person = rows.person(person_id)
            return None if person is None else person_principal(person, rows.memberships(person_id), project)

    def standings(self, actor: Principal, projects: Sequence[str]) -> list[Principal]:
        """Return what an actor is in each of these projects: a person's roles differ, a key is the same everywhere."""
        if actor.kind != "person":
            return [actor] * len(projects)
        with self._context.store.read() as rows:
            person = rows.person(actor.id)
            held = () if person is None else tuple(rows.memberships(actor.id))
        return [actor if person is None else person_principal(person, held, project) for project in projects]

    def sign_out(self, cookie: str) -> None:
        """End a session. Ending it twice is fine."""
        with self._context.store.write() as rows:
            found = rows.session(hash_secret(cookie))
            if found is not None and rows.delete_session(found[0].hash):
                self._note(rows, found[1], "signed_out", project=None)

    def members(self, project: str | None) -> list[tuple[Person, Role]]:
        """List who has a role in a project, or (None) in all of them, by address."""
        with self._context.store.read() as rows:
            return rows.members(project)

    def set_role(self, actor: Principal, email: str, role: Role | None, project: str | None) -> None:
        """Give a known person a role in a project or in all (None); role None takes it away.

        It counts from their next request on. Nobody changes their own, so that no installation loses its last admin.
        """
        if role is not None and role not in ROLES:
            raise BadName(f"{role[:40]!r} is no role", hint=f"one of {', '.join(ROLES)}")
        with self._context.store.write() as rows:
            person = rows.person_by_email(check_email(email))
            if person is None:
                raise PersonNotFound(f"nobody here has the address {email[:80]!r}", hint="make them a sign-in link")
            if actor.id == person.id:
                raise Forbidden("nobody changes their own role", hint="ask another admin")
            if role is None:
                if not rows.delete_membership(person.id, project):
                    raise PersonNotFound(f"{email[:80]!r} has no role here", hint="list the people with a role here")
            else:
                rows.put_membership(person.id, Membership(project, role))
            self._context.note(rows, actor, "role.set" if role else "role.removed", person.email, project, role=role)

    def _note(self, rows: Rows, person: Person, action: str, *, project: str | None) -> None:
        actor = Principal(person.id, "person", person.name, frozenset())
        self._context.note(rows, actor, action, person.email, project)
