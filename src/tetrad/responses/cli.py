"""Commands for responses in the background. They call control's API."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer

from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, show_rows, shown_time
from tetrad.kit.plain_text import plain

responses = typer.Typer(no_args_is_help=True, help="Responses in the background: list, show, cancel.")
ResponseId = Annotated[str, typer.Argument(help="The response's id, as `tetrad response list` shows it.")]
Status = Literal["open", "queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
_COLUMNS = {
    "response": lambda row: row["id"],
    "status": lambda row: row["status"],
    "app": lambda row: row["app"],
    "model": lambda row: row["model"],
    "key": lambda row: row["key_id"],
    "asked": lambda row: shown_time(row["created_at"]),
    "ended": lambda row: shown_time(row["ended_at"]),
}


@responses.command("list")
@responses.command("ls", hidden=True)
def list_responses(
    status: Annotated[
        Status | None, typer.Option("--status", help="Only those of this status; open: all that have not ended.")
    ] = None,
    find: Annotated[
        str, typer.Option("--find", help="Only those that hold this in an id, an app, a model or a key.")
    ] = "",
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The oldest first.")] = False,
    project: InProject = "default",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List responses in the background, the newest first."""
    sort = "created" if oldest_first else "-created"
    found = ApiClient.from_environment().items(
        _path(project), most=limit, sort=sort, status=status or None, q=find or None
    )
    show_rows(
        found, _COLUMNS, as_json,
        empty="no such responses; docs/how-to/use-responses.md tells how to answer in the background",
    )  # fmt: skip


@responses.command("show")
def show_response(response: ResponseId, project: InProject = "default", as_json: Json = False) -> None:
    """Show who asked for a response, and what became of it."""
    _print(ApiClient.from_environment().get(_path(project, response)), as_json)


@responses.command("cancel")
def cancel_response(response: ResponseId, project: InProject = "default", as_json: Json = False) -> None:
    """End a response; its call is given up. One that has ended stays as it is."""
    _print(ApiClient.from_environment().post(f"{_path(project, response)}/cancel"), as_json)


def _path(project: str, response: str = "") -> str:
    base = f"/api/v1/projects/{path_part(project)}/responses"
    return f"{base}/{path_part(response)}" if response else base


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['id']}  {found['status']}")
    if found["app"]:
        typer.echo(f"app        {plain(found['app'])}")
    typer.echo(f"model      {plain(found['model'])}")
    typer.echo(f"key        {plain(found['key_id'])}")
    typer.echo(f"asked      {shown_time(found['created_at'])}")
    if found["ended_at"]:
        typer.echo(f"ended      {shown_time(found['ended_at'])}")
    typer.echo(f"streamed   {'yes' if found['streamed'] else 'no'}")
    if found["dropped"]:
        typer.echo(f"dropped    {plain(found['dropped'])}")
    if found["error"]:
        typer.echo(f"error      {plain(found['error']['message'])} ({plain(found['error']['code'])})")
