"""The API of bindings, below `/api/v1/projects/{project}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from tetrad.bindings._read import read_binding
from tetrad.bindings._service import Bindings
from tetrad.bindings._views import (
    BindingBackView,
    BindingBody,
    BindingCheckBody,
    BindingCheckView,
    BindingDiffView,
    BindingListed,
    BindingMoveView,
    BindingPutView,
    BindingRollbackBody,
    BindingView,
)
from tetrad.bindings.errors import BindingUnreadable
from tetrad.kit.http import CurrentPrincipal, Expected, Page, PageParams, cut_page, decode_cursor, requires

Project = Annotated[str, Path(max_length=63)]
Env = Annotated[str, Path(max_length=63, description="The environment, such as `production`")]
App = Annotated[str, Query(max_length=63, description="The app that has its own; all apps without it")]
Named = Annotated[str, Query(max_length=256, description="`ENV`, `ENV/APP`, `ENV@1.2.0`, or a digest")]


def router(bindings: Bindings) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["bindings"], dependencies=[requires("control")])
    _reading(routes, bindings)
    _writing(routes, bindings)
    return routes


def _reading(routes: APIRouter, bindings: Bindings) -> None:
    @routes.get("/bindings", operation_id="list_bindings")
    def list_bindings(project: Project, page: PageParams) -> Page[BindingListed]:
        """List the bindings in force, of environments and of apps in them, in the order of their refs' names."""
        listing = f"bindings {project}"
        after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
        found = [BindingListed.of(each) for each in bindings.all(project, limit=page.limit + 1, after=after)]
        return cut_page(listing, page, found, lambda view: view.ref)

    @routes.get("/bindings/{env}", operation_id="get_binding")
    def get_binding(
        project: Project,
        env: Env,
        response: Response,
        app: App = "",
        own: Annotated[bool, Query(description="What this very ref says, never what it follows")] = False,
    ) -> BindingView:
        """Show what binds an environment, or an app in it; the ETag is what a change needs as If-Match."""
        found = bindings.own(project, env, app) if own else bindings.current(project, env, app)
        response.headers["etag"] = f'"{found.ref.digest}"'
        return BindingView.of(found)

    @routes.get("/bindings/{env}/history", operation_id="list_binding_history")
    def list_binding_history(project: Project, env: Env, page: PageParams, app: App = "") -> Page[BindingMoveView]:
        """List the moves of a binding, newest first, with the versions that they put in force."""
        listing = f"binding history {project} {env} {app}"
        before = decode_cursor(listing, page.cursor, [int])[0] if page.cursor else None
        found = bindings.history(
            project, env, app, limit=page.limit + 1, before=before if isinstance(before, int) else None
        )
        views = [BindingMoveView.of(entry, version) for entry, version in found]
        return cut_page(listing, page, views, lambda view: view.sequence)

    @routes.get("/bindings/{env}/check", operation_id="check_binding")
    def check_binding(project: Project, env: Env, app: App = "") -> BindingCheckView:
        """Say whether every name of the binding in force resolves now."""
        bound = bindings.current(project, env, app)
        if bound.kept is None:
            raise BindingUnreadable(bound.problem, hint="put the binding again, or roll it back")
        problems = bindings.check(project, bound.kept.binding)
        return BindingCheckView.of(problems, ref=bound.ref.name, digest=bound.ref.digest)

    @routes.get("/binding-diff", operation_id="diff_bindings")
    def diff_bindings(
        project: Project, old: Annotated[Named, Query(alias="from")], new: Annotated[Named, Query(alias="to")]
    ) -> BindingDiffView:
        """Say what changed between two bindings: who answers, capacity, references to secrets."""
        return BindingDiffView.of(*bindings.diff(project, old, new))


def _writing(routes: APIRouter, bindings: Bindings) -> None:
    @routes.post("/binding-check", operation_id="check_binding_draft")
    def check_binding_draft(project: Project, body: BindingCheckBody) -> BindingCheckView:
        """Say whether every name of a binding would resolve; nothing is kept."""
        return BindingCheckView.of(bindings.check(project, read_binding(body.binding)))

    @routes.put("/bindings/{env}", operation_id="put_binding")
    def put_binding(
        project: Project,
        env: Env,
        body: BindingBody,
        actor: CurrentPrincipal,
        response: Response,
        seen: Expected,
        app: App = "",
    ) -> BindingPutView:
        """Keep a binding and put it in force, if what is in force is what the caller saw (409 with its digest else)."""
        done = bindings.put(
            project, env, body.binding, app=app, actor=actor, create=seen.create, reason=body.reason,
            expected=seen.digest, expected_outcome=body.expected_outcome,
        )  # fmt: skip
        response.headers["etag"] = f'"{done.bound.ref.digest}"'
        return BindingPutView.of(done)

    @routes.post("/bindings/{env}/rollback", operation_id="roll_back_binding")
    def roll_back_binding(
        project: Project,
        env: Env,
        body: BindingRollbackBody,
        actor: CurrentPrincipal,
        response: Response,
        app: App = "",
    ) -> BindingBackView:
        """Put the binding before the present one in force again; 409 where it was changed meanwhile."""
        done = bindings.roll_back(
            project, env, app=app, actor=actor, to=body.to, expected=body.expected, reason=body.reason
        )
        response.headers["etag"] = f'"{done.new}"'
        return BindingBackView.of(done)
