"""Teams: groups of people and keys of a project, that limits and budgets can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from tetrad.identity._model import Person, Team, check_email, check_labels, check_models, check_team_name, check_title
from tetrad.identity._service._context import Context, existing_project
from tetrad.identity.errors import LimitReached, PersonNotFound, TeamInUse, TeamNotFound
from tetrad.identity.ports import Rows
from tetrad.kernel import Principal


class Teams:
    """Make, change and remove teams; say who belongs to them."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def put(
        self,
        actor: Principal,
        project: str,
        name: str,
        *,
        title: str = "",
        models: Sequence[str] = (),
        labels: Mapping[str, str] | None = None,
    ) -> Team:
        """Make a team, or change it; the same again changes nothing. Its name stays."""
        context = self._context
        check_team_name(name)
        given = check_title(title or name, "a team"), check_models(models), check_labels(labels or {})
        with context.store.write() as rows:
            existing_project(rows, project)
            before = rows.team(project, name)
            if before is None and rows.count_teams(project) >= context.policy.max_teams:
                raise LimitReached(
                    f"the project has {context.policy.max_teams} teams already",
                    hint="remove some, or raise max_teams_per_project",
                )
            if before is None:
                made = Team(project, name, *given, context.clock.now(), actor.id)
            else:
                made = replace(before, title=given[0], models=given[1], labels=given[2])
            if made == before:
                return made
            rows.put_team(made)
            context.note(
                rows, actor, "team.set", name, project, title=made.title, models=list(made.models),
                labels=dict(made.labels),
            )  # fmt: skip
        context.changed()
        return made

    def get(self, project: str, name: str) -> Team:
        """Return a team, or raise `TeamNotFound`."""
        with self._context.store.read() as rows:
            return existing_team(rows, project, name)

    def drop(self, actor: Principal, project: str, name: str) -> None:
        """Remove a team to which no working key belongs; people only stop being in it."""
        context = self._context
        with context.store.write() as rows:
            existing_team(rows, project, name)
            if used := rows.count_working_keys(project, context.clock.now(), team=name):
                raise TeamInUse(
                    f"{used} keys of the team {name!r} work", hint="revoke them, or put them into another team first"
                )
            rows.delete_team(project, name)
            context.note(rows, actor, "team.removed", name, project)
        context.changed()

    def members(self, project: str, name: str) -> list[Person]:
        """List a team's people, by address."""
        with self._context.store.read() as rows:
            existing_team(rows, project, name)
            return rows.team_members(project, name)

    def add(self, actor: Principal, project: str, name: str, email: str) -> Person:
        """Put somebody who has a role in the project into a team; again, it changes nothing."""
        with self._context.store.write() as rows:
            existing_team(rows, project, name)
            person = _person(rows, project, email)
            if rows.add_team_member(project, name, person.id):
                self._context.note(rows, actor, "team.joined", name, project, person=person.id)
        return person

    def remove(self, actor: Principal, project: str, name: str, email: str) -> None:
        """Take somebody out of a team."""
        with self._context.store.write() as rows:
            existing_team(rows, project, name)
            person = rows.person_by_email(check_email(email))
            if person is None or not rows.delete_team_member(project, name, person.id):
                raise PersonNotFound(
                    f"{email[:80]!r} is not in the team {name!r}", hint="`tetrad team members` lists it"
                )
            self._context.note(rows, actor, "team.left", name, project, person=person.id)

    def list(self, project: str, *, after: str = "", limit: int = 50) -> list[Team]:
        """List teams by name, beginning after one."""
        with self._context.store.read() as rows:
            return rows.teams(project, after, limit)


def existing_team(rows: Rows, project: str, name: str) -> Team:
    """Return a team, or refuse."""
    found = rows.team(project, name)
    if found is None:
        raise TeamNotFound(
            f"the project {project[:80]!r} has no team {name[:80]!r}", hint="`tetrad team list` shows them"
        )
    return found


def _person(rows: Rows, project: str, email: str) -> Person:
    person = rows.person_by_email(check_email(email))
    if person is None or not any(each.project in (None, project) for each in rows.memberships(person.id)):
        raise PersonNotFound(
            f"{email[:80]!r} has no role in this project",
            hint="an administrator gives one: POST /api/v1/sign-in-links with their email, a role and the project",
        )
    return person
