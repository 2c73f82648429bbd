"""Commands for durable jobs. They call control's API."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, TetradError
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import Json, Limit, plain, show_rows, shown_time

jobs = typer.Typer(no_args_is_help=True, help="Durable jobs.")
JobId = Annotated[str, typer.Argument(help="The job's id, as `tetrad job list` shows it.")]
_PAUSE_S = 0.3


class JobDidNotSucceed(TetradError):
    """The job that was waited for ended without success."""

    code = "job_failed"


@jobs.command("list")
def list_jobs(
    name: Annotated[str, typer.Option(help="Only jobs of this name.")] = "",
    state: Annotated[str, typer.Option(help="queued, running, done, failed or cancelled.")] = "",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first."""
    columns = {
        "job": lambda each: each["id"],
        "state": lambda each: each["state"],
        "asked for": lambda each: shown_time(each["created_at"]),
        "ended": lambda each: shown_time(each["ended_at"]),
        "begun": lambda each: str(each["attempts"]),
        "error": lambda each: each["error"][:80],
    }
    found = ApiClient.from_environment().items("/api/v1/jobs", most=limit, name=name or None, state=state or None)
    show_rows(found, columns, as_json, empty="no jobs yet; `tetrad job kinds` shows what can be done")


@jobs.command("kinds")
def list_kinds(as_json: Json = False) -> None:
    """List the jobs that may be asked for."""
    columns = {
        "job": lambda each: each["name"],
        "schedule (UTC)": lambda each: each["schedule"],
        "does": lambda each: each["help"],
    }
    show_rows(ApiClient.from_environment().get("/api/v1/job-kinds")["items"], columns, as_json, empty="no jobs")


@jobs.command("show")
def show_job(job: JobId, as_json: Json = False) -> None:
    """Show a job with its steps and progress."""
    _print(ApiClient.from_environment().get(f"/api/v1/jobs/{path_part(job)}"), as_json)


@jobs.command("run")
def run_job(
    name: Annotated[str, typer.Argument(help="Which job, such as blobs.verify.")],
    payload: Annotated[str, typer.Option(help="Its payload as JSON.")] = "{}",
    key: Annotated[str, typer.Option(help="Idempotency key: the same again is the same job.")] = "",
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Wait for its end, showing progress.")] = False,
    as_json: Json = False,
) -> None:
    """Ask for a job."""
    try:
        body = json.loads(payload)
    except ValueError as error:
        raise InvalidInput(f"the payload is no JSON: {error}", hint="such as --payload '{}'") from None
    client = ApiClient.from_environment()
    found = client.post("/api/v1/jobs", {"name": name, "payload": body, "key": key})
    if wait:
        found = _wait(client, found, quiet=as_json)
    _print(found, as_json)
    if wait and found["state"] != "done":
        raise JobDidNotSucceed(f"the job {found['id']!r} {found['state']}: {found['error']}", hint=found["hint"])


@jobs.command("cancel")
def cancel_job(job: JobId, as_json: Json = False) -> None:
    """End a job before its next step."""
    _print(ApiClient.from_environment().post(f"/api/v1/jobs/{path_part(job)}/cancel"), as_json)


def _wait(client: ApiClient, found: dict[str, Any], *, quiet: bool) -> dict[str, Any]:
    from rich.console import Console

    with Console(stderr=True, quiet=quiet).status("queued") as status:
        while found["state"] in ("queued", "running"):
            time.sleep(_PAUSE_S)
            found = client.get(f"/api/v1/jobs/{path_part(found['id'])}")
            status.update(f"{found['state']} {_progress(found)}")
    return found


def _progress(found: dict[str, Any]) -> str:
    progress = found["progress"]
    if not progress:
        return ""
    of = f"/{progress['total']:,}" if progress["total"] else ""
    return f"{progress['done']:,}{of} {plain(progress['message'])}"


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['id']}  {found['state']}  {_progress(found)}".rstrip())
    for label, field in (("asked for", "created_at"), ("started", "started_at"), ("ended", "ended_at")):
        if found[field]:
            typer.echo(f"{label:<10} {shown_time(found[field])}")
    for step in found["steps"]:
        typer.echo(f"step       {plain(step['name'])} {plain(step['error'])}".rstrip())
    if found["error"]:
        typer.echo(f"error      {plain(found['error'])}")
    if found["result"] is not None:
        typer.echo(f"result     {json.dumps(found['result'], ensure_ascii=True)}")
