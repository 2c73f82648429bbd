"""Commands for batches. They call control's API."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer

from tetrad.kernel import TetradError
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, plain, show_rows, shown_size, shown_time

batches = typer.Typer(no_args_is_help=True, help="Batches: list, show, cancel.")
BatchId = Annotated[str, typer.Argument(help="The batch's id, as `tetrad batch list` shows it.")]
InStatus = Literal[
    "open", "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]  # fmt: skip
_SHOWN_MODELS = 3


@batches.command("list")
@batches.command("ls", hidden=True)
def list_batches(
    status: Annotated[
        InStatus | None, typer.Option("--status", help="Only those of this status; open: all that are not over.")
    ] = None,
    model: Annotated[str, typer.Option("--model", "-m", help="Only those with lines that ask for this model.")] = "",
    key: Annotated[str, typer.Option("--key", help="Only those that the key of this id made.")] = "",
    find: Annotated[
        str, typer.Option("--find", help="Only those that hold this in an id, a model, a key's id or what they call.")
    ] = "",
    oldest_first: Annotated[bool, typer.Option("--oldest-first", help="The oldest first.")] = False,
    project: InProject = "default",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List batches, the newest first."""
    columns = {
        "batch": lambda each: each["id"],
        "status": lambda each: each["status"],
        "calls": lambda each: each["endpoint"],
        "models": _models,
        "done": _done,
        "failed": lambda each: f"{each['failed']:,}",
        "made": lambda each: _shown(each["created_at"]),
        "ends by": lambda each: _shown(each["expires_at"]),
    }
    asked = {"status": status, "model": model or None, "key": key or None, "q": find or None}
    found = ApiClient.from_environment().items(
        _path(project), most=limit, sort="created" if oldest_first else "-created", **asked
    )
    empty = "no such batches" if any(asked.values()) else "no batches; docs/how-to/run-a-batch.md tells how to make one"
    show_rows(found, columns, as_json, empty=empty)


@batches.command("show")
def show_batch(batch: BatchId, project: InProject = "default", as_json: Json = False) -> None:
    """Show a batch with its counts, cost, files and errors."""
    control = ApiClient.from_environment()
    found = control.get(_path(project, batch))
    try:
        cost = control.get(f"{_path(project, batch)}/cost")
    except TetradError as error:  # the batch is to be seen where its spans are not
        cost = None
        typer.echo(f"what it cost cannot be told: {plain(error.message)}", err=True)
    _print({**found, "cost": cost}, as_json)


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


def _models(found: dict[str, Any]) -> str:
    names = found["models"]
    more = f" +{len(names) - _SHOWN_MODELS}" if len(names) > _SHOWN_MODELS else ""
    return ", ".join(names[:_SHOWN_MODELS]) + more


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['id']}  {found['status']}  {_done(found)}, {found['failed']:,} failed")
    typer.echo(f"calls      {plain(found['endpoint'])}")
    if found["models"]:
        typer.echo(f"models     {plain(', '.join(found['models']))}")
    typer.echo(f"key        {plain(found['key_id'])}")
    typer.echo(f"made       {_shown(found['created_at'])}, ends by {_shown(found['expires_at'])}")
    for status, seconds in sorted(found["times"].items(), key=lambda each: int(each[1])):
        typer.echo(f"{status:<11}{_shown(seconds)}")
    if found["way"]:
        where = f", {found['provider']} {found['provider_batch']}" if found["provider"] else ""
        typer.echo(f"done       as {found['way']}{plain(where)}{plain(': ' + found['why']) if found['why'] else ''}")
    if cost := found.get("cost"):
        typer.echo(f"cost       {plain(_cost(cost))}")
    for file in found["files"]:
        said = "gone" if file["name"] is None else f"{file['name']}, {shown_size(file['size'])}"
        typer.echo(f"{file['role']:<11}{file['id']}  {plain(said)}")
    for error in found["errors"]:
        where = f"line {error['line']}: " if error["line"] else ""
        typer.echo(f"error      {where}{plain(error['message'])} ({error['code']})")


def _cost(cost: dict[str, Any]) -> str:
    known = " + ".join(f"{each['amount']} {each['currency']}" for each in cost["costs"])
    unpriced = f"{cost['unpriced_calls']:,} calls of unknown price" if cost["unpriced_calls"] else ""
    return " and ".join(filter(None, (known, unpriced))) or "nothing yet"
