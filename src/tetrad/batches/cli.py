"""Commands for batches. They call control's API."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, plain, show_rows, shown_time

batches = typer.Typer(no_args_is_help=True, help="Batches: list, show, cancel.")
BatchId = Annotated[str, typer.Argument(help="The batch's id, as `tetrad batch list` shows it.")]


@batches.command("list")
@batches.command("ls", hidden=True)
def list_batches(project: InProject = "default", limit: Limit = 50, as_json: Json = False) -> None:
    """List batches, the newest first."""
    columns = {
        "batch": lambda each: each["id"],
        "status": lambda each: each["status"],
        "calls": lambda each: each["endpoint"],
        "done": _done,
        "failed": lambda each: f"{each['failed']:,}",
        "made": lambda each: _shown(each["created_at"]),
        "ends by": lambda each: _shown(each["expires_at"]),
    }
    found = ApiClient.from_environment().items(_path(project), most=limit)
    show_rows(found, columns, as_json, empty="no batches; docs/how-to/run-a-batch.md tells how to make one")


@batches.command("show")
def show_batch(batch: BatchId, project: InProject = "default", as_json: Json = False) -> None:
    """Show a batch with its counts, files and errors."""
    _print(ApiClient.from_environment().get(_path(project, batch)), as_json)


@batches.command("cancel")
def cancel_batch(batch: BatchId, project: InProject = "default", as_json: Json = False) -> None:
    """Stop a batch; calls that are under way end, and what was answered is kept."""
    _print(ApiClient.from_environment().post(f"{_path(project, batch)}/cancel"), as_json)


def _path(project: str, batch: str = "") -> str:
    base = f"/api/v1/projects/{path_part(project)}/batches"
    return f"{base}/{path_part(batch)}" if batch else base


def _shown(seconds: int) -> str:
    return shown_time(datetime.fromtimestamp(seconds, UTC).isoformat())


def _done(found: dict[str, Any]) -> str:
    return f"{found['completed'] + found['failed']:,}/{found['total']:,}"


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['id']}  {found['status']}  {_done(found)}, {found['failed']:,} failed")
    typer.echo(f"calls      {plain(found['endpoint'])}")
    typer.echo(f"key        {plain(found['key_id'])}")
    typer.echo(f"made       {_shown(found['created_at'])}, ends by {_shown(found['expires_at'])}")
    for status, seconds in sorted(found["times"].items(), key=lambda each: int(each[1])):
        typer.echo(f"{status:<11}{_shown(seconds)}")
    if found["way"]:
        where = f", {found['provider']} {found['provider_batch']}" if found["provider"] else ""
        typer.echo(f"done       as {found['way']}{plain(where)}{plain(': ' + found['why']) if found['why'] else ''}")
    for label, field in (("input", "input_file"), ("output", "output_file"), ("errors", "error_file")):
        if found[field]:
            typer.echo(f"{label:<11}{found[field]}")
    for error in found["errors"]:
        where = f"line {error['line']}: " if error["line"] else ""
        typer.echo(f"error      {where}{plain(error['message'])} ({error['code']})")
