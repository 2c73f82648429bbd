"""The prompts' part of the API, below `/api/v1/projects/{project}`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from tetrad.kernel import InvalidInput
from tetrad.kit.http import (
    CurrentPrincipal,
    Expected,
    Page,
    PageParams,
    cursor_time,
    cut_page,
    decode_cursor,
    encode_cursor,
    parse_sort,
    requires,
)
from tetrad.prompts._service import Prompts
from tetrad.prompts._views import (
    CheckBody,
    CheckedView,
    CommitBody,
    CommittedView,
    LabelBody,
    PromptDiffView,
    PromptLabelView,
    PromptListed,
    PromptVersionView,
    PromptView,
    RenderBody,
    RenderedView,
)

Project = Annotated[str, Path(max_length=63)]
Name = Annotated[str, Path(max_length=128)]
Label = Annotated[str, Path(max_length=63)]
VersionQuery = Annotated[str, Query(max_length=64, description="A number or a range, such as `^2`")]
LabelQuery = Annotated[str, Query(max_length=63, description="A label of the prompt")]
RefQuery = Annotated[str, Query(max_length=128, description="A ref whose release pins it: `assistant/production`")]


def router(prompts: Prompts) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    prefix = "/api/v1/projects/{project}"
    routes = APIRouter(prefix=prefix, tags=["prompts"], dependencies=[requires("control")])
    _reading(routes, prompts)
    _writing(routes, prompts)
    _labels(routes, prompts)
    # These keep nothing: reviewers, who may only read, check what they are about to propose.
    trying = APIRouter(prefix=prefix, tags=["prompts"], dependencies=[requires("review", readers=True)])
    _trying(trying, prompts)
    routes.routes.extend(trying.routes)
    return routes


def _reading(routes: APIRouter, prompts: Prompts) -> None:
    @routes.get("/prompts", operation_id="list_prompts")
    def list_prompts(
        project: Project,
        page: PageParams,
        q: Annotated[str, Query(max_length=63, description="Only names that hold this")] = "",
        sort: Annotated[
            str | None, Query(max_length=16, description="`name` or `created`, `-` for the reverse")
        ] = None,
    ) -> Page[PromptListed]:
        """List the prompts of a project by their newest versions, in the order of names without `sort`."""
        field, descending = parse_sort(sort, ("name", "created"), "name")
        listing = f"prompts {project} {q} {field} {descending}"
        if field == "name":
            after = str(decode_cursor(listing, page.cursor, [str])[0]) if page.cursor else ""
            found = prompts.names(project, limit=page.limit + 1, after=after, contains=q, backwards=descending)
            return cut_page(listing, page, [PromptListed.of(each) for each in found], lambda view: view.version.name)
        place = decode_cursor(listing, page.cursor, [str, str]) if page.cursor else None
        found = prompts.lately(
            project, limit=page.limit + 1, contains=q, newest=descending,
            after=(cursor_time(place[0]), str(place[1])) if place else None,
        )  # fmt: skip
        items = [PromptListed.of(each) for each in found[: page.limit]]
        more = len(found) > page.limit
        position = [items[-1].version.created_at.isoformat(), items[-1].version.name] if more else []
        return Page(items=items, next_cursor=encode_cursor(listing, position) if more else None)

    @routes.get("/prompts/{name}", operation_id="get_prompt")
    def get_prompt(
        project: Project, name: Name, version: VersionQuery = "", label: LabelQuery = "", ref: RefQuery = "",
        digest: Annotated[str, Query(max_length=71)] = "",
    ) -> PromptView:  # fmt: skip
        """Show a version: by number or range, by label, by the ref of a release, by digest; else the newest."""
        if digest:
            if version or label or ref:
                raise InvalidInput("a digest and something else were given", hint="give one of them")
            return PromptView.of(prompts.by_digest(project, digest, name))
        return PromptView.of(prompts.find(project, name, version=version, label=label, ref=ref))

    @routes.get("/prompts/{name}/versions", operation_id="list_prompt_versions")
    def list_prompt_versions(project: Project, name: Name, page: PageParams) -> Page[PromptVersionView]:
        """List the versions of a prompt, newest first."""
        listing = f"prompt {project} {name}"
        before = decode_cursor(listing, page.cursor, [int])[0] if page.cursor else None
        found = prompts.versions(
            project, name, limit=page.limit + 1, before=before if isinstance(before, int) else None
        )
        return cut_page(listing, page, [PromptVersionView.of(each) for each in found], lambda view: view.sequence)

    @routes.get("/prompts/{name}/diff", operation_id="diff_prompt")
    def diff_prompt(
        project: Project,
        name: Name,
        old: Annotated[str, Query(alias="from", max_length=64, description="A number or a range")],
        new: Annotated[str, Query(alias="to", max_length=64, description="The newest without it")] = "",
    ) -> PromptDiffView:
        """Tell two versions of a prompt apart, message by message."""
        before, after = prompts.find(project, name, version=old), prompts.find(project, name, version=new)
        return PromptDiffView.of(prompts.diff(project, before, after))


def _writing(routes: APIRouter, prompts: Prompts) -> None:
    @routes.post("/prompts/{name}/versions", operation_id="commit_prompt", status_code=201)
    def commit_prompt(
        project: Project, name: Name, body: CommitBody, actor: CurrentPrincipal, response: Response
    ) -> CommittedView:
        """Make a version of a prompt file; 200 where the newest version says the same."""
        done = prompts.commit(
            project, prompts.read(name, body.text), actor=actor, semver=body.semver, lower_reason=body.lower_reason,
            reason=body.reason, expected_outcome=body.expected_outcome, expected=body.expected,
        )  # fmt: skip
        response.status_code = 201 if done.new else 200
        return CommittedView.of(done)


def _trying(routes: APIRouter, prompts: Prompts) -> None:
    @routes.post("/prompts/{name}/render", operation_id="render_prompt")
    def render_prompt(
        project: Project, name: Name, body: RenderBody, version: VersionQuery = "", label: LabelQuery = "",
        ref: RefQuery = "",
    ) -> RenderedView:  # fmt: skip
        """Put values into a version, or into an edited text, and show the messages; nothing is kept or sent."""
        if body.text is not None:
            spec = prompts.read(name, body.text)
        else:
            spec = prompts.find(project, name, version=version, label=label, ref=ref).spec
        return RenderedView(messages=prompts.render(project, spec, body.variables, body.messages))

    @routes.post("/prompts/{name}/check", operation_id="check_prompt")
    def check_prompt(project: Project, name: Name, body: CheckBody) -> CheckedView:
        """Say what a commit of a text would do: the least number and why, the difference, the policy's warnings."""
        checked = prompts.check(project, prompts.read(name, body.text))
        diff = None
        if checked.newest is not None:
            diff = prompts.diff_to(project, prompts.by_digest(project, checked.newest.digest, name), checked)
        return CheckedView.of(checked, diff)


def _labels(routes: APIRouter, prompts: Prompts) -> None:
    @routes.get("/prompts/{name}/labels", operation_id="list_prompt_labels")
    def list_prompt_labels(project: Project, name: Name) -> Page[PromptLabelView]:
        """List the labels of a prompt, in the order of names."""
        return Page(items=[PromptLabelView.of(each) for each in prompts.labels(project, name)])

    @routes.put("/prompts/{name}/labels/{label}", operation_id="move_prompt_label")
    def move_prompt_label(
        project: Project,
        name: Name,
        label: Label,
        body: LabelBody,
        actor: CurrentPrincipal,
        response: Response,
        seen: Expected,
    ) -> PromptLabelView:
        """Point a label to a version, if it still points where the caller saw it (409 with the current digest else)."""
        seen.required(f"the label {label!r}", new="label")
        moved = prompts.move_label(
            project, name, label, body.version, actor=actor, reason=body.reason, create=seen.create,
            expected=seen.digest,
        )  # fmt: skip
        response.headers["etag"] = f'"{moved.digest}"'
        return PromptLabelView.of(moved)
