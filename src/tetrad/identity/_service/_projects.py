"""Projects."""

from __future__ import annotations

from tetrad.identity._model import Project, check_project_name, check_title
from tetrad.identity._service._context import Context, no_project
from tetrad.identity.errors import LimitReached, NameTaken
from tetrad.kernel import Principal


class Projects:
    """Create and list projects."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create(self, actor: Principal, name: str, title: str = "") -> Project:
        """Make a project; its name can never be changed or used again."""
        context = self._context
        made = Project(check_project_name(name), check_title(title or name, "a project"), context.clock.now())
        with context.store.write() as rows:
            if rows.count_projects() >= context.policy.max_projects:
                raise LimitReached(
                    f"there are {context.policy.max_projects} projects already", hint="raise the setting max_projects"
                )
            if not rows.add_project(made):
                raise NameTaken(f"the project {name!r} exists already", hint="choose another name")
            context.note(rows, actor, "project.created", name, name, title=made.title)
        context.changed()
        return made

    def get(self, name: str) -> Project:
        """Return a project, or raise `ProjectNotFound`."""
        with self._context.store.read() as rows:
            found = rows.project(name)
        if found is None:
            raise no_project(name)
        return found

    def of(self, actor: Principal, *, after: str = "", limit: int = 200) -> list[Project]:
        """List the projects that an actor may enter, by name, beginning after one."""
        with self._context.store.read() as rows:
            if actor.projects is None:
                return rows.projects(after, limit)
            names = sorted(name for name in actor.projects if name > after)[:limit]
            return [found for name in names if (found := rows.project(name)) is not None]
