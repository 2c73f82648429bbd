"""`tetrad reproduce`: prove that a release is what it was, and say what was proven."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, TetradError, parse_json, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, digest_of, plain, show_rows, shown_size

MAX_REQUESTS_BYTES = 8 << 20
_PAUSE_S = 0.3
_MARKS = {"proven": "proven", "differs": "DIFFERS", "cannot": "cannot be proven", "not_tried": "not tried"}


class NotProven(TetradError):
    """The level that was asked for was not proven."""

    code = "not_proven"


def reproduce(
    release: Annotated[str, typer.Argument(help="The release: a digest, or APP/REF.")],
    level: Annotated[str, typer.Option(help="R0, R1 or R2; the highest that can be tried else.")] = "",
    record: Annotated[
        bool, typer.Option("--record", help="First execute requests and keep their answers, for R1.")
    ] = False,
    requests: Annotated[
        Path | None, typer.Option(help='The requests to record, a line each: {"input": "…", "variables": {…}}.')
    ] = None,
    from_traces: Annotated[int, typer.Option(min=0, help="Record the newest so many that clients sent.")] = 0,
    recording: Annotated[str, typer.Option(help="Execute this recording again; the newest one else.")] = "",
    wait: Annotated[bool, typer.Option(help="Wait for the end, showing progress.")] = True,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Prove a level of reproduction, and report what was proven, nothing more.

    R0: everything that the release pins is there, bit for bit. R1: recorded requests, executed again on the same build
    of an isolated engine, give the same bytes. R2 is statistical and needs an evaluation. Ends with 0 only where the
    level was proven.
    """
    client = ApiClient.from_environment()
    path = f"/api/v1/projects/{path_part(project)}/releases/{_digest(client, project, release)}/reproductions"
    if level and level.upper() not in ("R0", "R1", "R2"):
        raise InvalidInput(f"{level[:20]!r} is no level", hint="R0, R1 or R2")
    if (requests is not None or from_traces) and not record:
        raise InvalidInput("requests are for a recording", hint="add --record")
    if record:
        if recording:
            raise InvalidInput("a recording was named, and one is to be made", hint="leave --recording out")
        body = {"record": True, "requests": _requests(requests), "from_traces": from_traces}
        made = _waited(client, path, client.post(path, body), wait=wait, quiet=as_json)
        if made["state"] != "done":
            _show(made, as_json)
            _refuse(made, wait)
            return
        recording = str(made["recording"])
        if not as_json:
            typer.echo(f"recorded {short(recording)}")
        if not level:
            level = "R1"
    asked = {"level": level.upper() or None, "recording": digest_of(recording) if recording else ""}
    found = _waited(client, path, client.post(path, asked), wait=wait, quiet=as_json)
    _show(found, as_json)
    _refuse(found, wait)


def _refuse(found: Mapping[str, Any], wait: bool) -> None:
    """End with an error where what was asked for was not proven."""
    if found["state"] in ("failed", "cancelled"):
        raise NotProven(found["error"] or f"{found['id']} was {found['state']}", hint=found["hint"])
    if wait and not found["succeeded"]:
        reason = next((each["reason"] for each in found["levels"] if each["level"] == found["level"]), "")
        raise NotProven(f"{found['level']} was not proven: {plain(reason)}", hint="the table names every part")


def _digest(client: ApiClient, project: str, text: str) -> str:
    if "/" not in text:
        return digest_of(text)
    app, _, ref = text.partition("/")
    found = client.get(f"/api/v1/projects/{path_part(project)}/apps/{path_part(app)}/refs/{path_part(ref)}")
    return str(found["digest"])


def _requests(path: Path | None) -> list[Any]:
    if path is None:
        return []
    try:
        with path.open("rb") as file:
            data = file.read(MAX_REQUESTS_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}", hint="check the path") from None
    if len(data) > MAX_REQUESTS_BYTES:
        raise InvalidInput(f"{str(path)!r} has more than {MAX_REQUESTS_BYTES} bytes", hint="record fewer requests")
    lines = enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1)
    return [parse_json(line, where=f"{path}:{number}") for number, line in lines if line.strip()]


def _waited(client: ApiClient, path: str, found: dict[str, Any], *, wait: bool, quiet: bool) -> dict[str, Any]:
    """Follow it to its end, however long that takes; interrupting leaves it running."""
    shown: dict[str, Any] = client.get(f"{path}/{found['id']}")
    if not wait:
        return shown
    from rich.console import Console

    with Console(stderr=True, quiet=quiet).status("queued") as status:
        while shown["state"] in ("queued", "running"):
            time.sleep(_PAUSE_S)
            shown = client.get(f"{path}/{found['id']}")
            progress = shown["progress"]
            told = f" {progress['done']}/{progress['total']} {plain(progress['message'])}" if progress else ""
            status.update(f"{shown['state']}{told}")
    return shown


def _show(found: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if found["state"] != "done":
        typer.echo(f"{found['id']}  {found['state']}")
        return
    columns = {
        "part": lambda each: " ".join(filter(None, (each["kind"], each["role"], each["name"]))),
        "state": lambda each: each["state"],
        "digest": lambda each: short(each["digest"]),
        "read": lambda each: f"{each['items']} in {shown_size(each['bytes'])}",
        "": lambda each: each["detail"],
    }
    show_rows(found["parts"], columns, False, empty="")
    for part in found["parts"]:
        for problem in part["problems"]:
            typer.echo(f"  {plain(problem)}")
    others = [each for each in found["requests"] if each["state"] != "same"]
    if found["requests"]:
        typer.echo(f"\n{len(found['requests']) - len(others)} of {len(found['requests'])} requests gave the same bytes")
    for each in others:
        typer.echo(f"  request {each['number']} {each['state']}: {plain(each['detail'])}")
    typer.echo("")
    for each in found["levels"]:
        typer.echo(f"{each['level']}  {_MARKS[each['state']]}{': ' + plain(each['reason']) if each['reason'] else ''}")
    if found["report"]:
        typer.echo(f"\nreport {found['report']}\nsigned {found['evidence']}")
