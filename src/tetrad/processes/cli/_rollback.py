"""`tetrad rollback`: the one command that is typed in a hurry. It imports little, so that it starts at once."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, TetradError, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, plain


def rollback(
    ref: Annotated[str, typer.Argument(help="The ref, as APP/REF, such as assistant/production.")],
    to: Annotated[
        str, typer.Option("--to", help="An earlier release: its digest, its first digits, or APP/REF@3.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also to a release that the ref never had; needs --reason.")
    ] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Move a ref back to the release that it had before: code, data, model, prompt and configuration at once.

    Rolling back twice goes back two releases. What the gateways serve changes a moment after the ref; callers whose
    code is not that of the release are listed, since Tetrad does not run them.
    """
    app, slash, name = ref.partition("/")
    if not slash or not app or not name:
        raise InvalidInput(f"{ref!r} is no ref", hint="write APP/REF, such as assistant/production")
    client = ApiClient.from_environment()
    base = f"/api/v1/projects/{path_part(project)}"
    path = f"{base}/apps/{path_part(app)}/refs/{path_part(name)}"
    began = time.perf_counter()
    done = client.post(f"{path}/rollback", {"to": to or None, "reason": reason, "force": force})
    answered_ms = (time.perf_counter() - began) * 1e3
    changed = _asked(client, f"{base}/release-diff", **{"from": done["from"], "to": done["to"], "rows": 0})
    running = _asked(client, f"{path}/code")
    if as_json:
        typer.echo(json.dumps({**done, "diff": changed, "code": running}, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{app}/{name}: {short(done['from'])} → {short(done['to'])}")
    if done["dirty"]:
        typer.echo("DIRTY: the code of this release holds changes that are in no commit")
    for line in changed["summary"] if changed else ():
        typer.echo(f"  {plain(line)}")
    if changed is None:
        typer.echo("note: what changed could not be told; the rollback stands", err=True)
    _tell_code(running)
    typer.echo(f"moved in {done['took_ms']:.0f} ms, confirmed after {answered_ms:.0f} ms")


def _asked(client: ApiClient, path: str, **query: Any) -> dict[str, Any] | None:
    """Return what is good to know; the rollback is done, so that it may also be missing."""
    try:
        found: dict[str, Any] = client.get(path, **query)
    except TetradError:
        return None
    return found


def _tell_code(running: dict[str, Any] | None) -> None:
    if running is None:
        typer.echo("note: which code runs could not be told; the rollback stands", err=True)
        return
    others = [each for each in running["announced"] if not each["matches"]]
    if not others:
        return
    minutes = running["window_s"] // 60
    typer.echo(f"code of other releases ran in the last {minutes} minutes; roll it back where it is deployed:")
    for each in others:
        who = " ".join(plain(part) for part in (each["service"], f"key {each['key_id']}") if part)
        typer.echo(f"  {short(each['tree'])}  {who}, {each['requests']} requests, the last at {each['last_seen']}")
    typer.echo(f"  wanted: {short(running['tree'])}")
