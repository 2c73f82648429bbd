"""Commands for bindings. They call control's API; only the file of a binding is read here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.bindings._read import MAX_BYTES, read_binding_file
from tetrad.kernel import InvalidInput, TooLarge, short
from tetrad.kit.api_client import ApiClient, ApiError, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, plain, show_rows, shown_time

bindings = typer.Typer(no_args_is_help=True, help="Bindings: what a release's names mean in an environment.")
File = Annotated[Path, typer.Argument(help="The binding, in YAML or JSON.")]
Env = Annotated[str, typer.Option("--env", "-e", help="The environment: an app's ref of that name uses it.")]
App = Annotated[str, typer.Option("--app", help="Only for this app, in place of the environment's.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")]
SECTIONS = ("providers", "indexes", "tools", "mcp_servers")


@bindings.command("put")
def put_binding(
    file: File,
    env: Env,
    app: App = "",
    reason: Reason = "",
    outcome: Annotated[str, typer.Option("--expected-outcome", help="What it is to make better.")] = "",
    expected: Annotated[
        str, typer.Option("--expected", help="The digest that must be in force now; `absent` for none.")
    ] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Put a binding in force in an environment; the file as it is in force already changes nothing."""
    document = _document(file)
    client = ApiClient.from_environment()
    headers = _condition(client, project, env, app, expected)
    body = {"binding": document, "reason": reason, "expected_outcome": outcome}
    done = client.request("PUT", _path(project, env), params={"app": app or None}, body=body, headers=headers)
    if as_json:
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))
        return
    _show_problems(done["warnings"])
    now = done["binding"]
    said = "is in force" if done["moved"] else "was in force already"
    typer.echo(f"{now['ref']}@{now['version']} ({short(now['digest'])}) {said}")


@bindings.command("show")
def show_binding(env: Env = "production", app: App = "", project: InProject = "default", as_json: Json = False) -> None:
    """Show what binds an environment, or one app in it, as a file."""
    found = ApiClient.from_environment().get(_path(project, env), app=app or None)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['ref']}@{found['version']}  {found['digest']}", err=True)
    typer.echo(
        f"moved {shown_time(found['moved_at'])} by {plain(found['moved_by'])} {plain(found['reason'])}", err=True
    )
    if found["problem"]:
        typer.echo(f"it cannot be used: {plain(found['problem'])}", err=True)
        raise typer.Exit(1)
    typer.echo(_yaml(found["document"]), nl=False)


@bindings.command("list")
def list_bindings(project: InProject = "default", limit: Limit = 100, as_json: Json = False) -> None:
    """List the bindings in force."""
    columns = {
        "environment": lambda each: each["env"],
        "app": lambda each: each["app"] or "all",
        "version": lambda each: each["version"],
        "digest": lambda each: short(each["digest"]),
        "binds": lambda each: each["problem"] or _counted(each),
        "moved": lambda each: shown_time(each["moved_at"]),
        "by": lambda each: each["moved_by"],
        "gate": lambda each: "yes" if each["governed"] else "",
    }
    found = list(ApiClient.from_environment().items(f"{_base(project)}/bindings", most=limit))
    show_rows(found, columns, as_json, empty="no bindings: names mean themselves; `tetrad binding put FILE --env ENV`")


@bindings.command("diff")
def diff_bindings(
    old: Annotated[str, typer.Argument(help="ENV, ENV/APP, ENV@1.2.0, or a digest.")],
    new: Annotated[str, typer.Argument(help="The same.")],
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Say what changed between two bindings: who answers, capacity, references to secrets."""
    found = ApiClient.from_environment().get(f"{_base(project)}/binding-diff", **{"from": old, "to": new})
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for change in found["changes"]:
        mark = {"added": "+", "removed": "-"}.get(change["kind"], "~")
        typer.echo(f"{mark} {plain(change['text'])}")
    if not found["changes"]:
        typer.echo("nothing changed")


@bindings.command("history")
def show_history(
    env: Env = "production", app: App = "", project: InProject = "default", limit: Limit = 20, as_json: Json = False
) -> None:
    """List what was in force in an environment, the newest first."""
    columns = {
        "at": lambda each: shown_time(each["at"]),
        "version": lambda each: each["version"],
        "to": lambda each: short(each["to"]) if each["to"] else "",
        "from": lambda each: short(each["from"]) if each["from"] else "",
        "by": lambda each: each["by"],
        "reason": lambda each: each["reason"],
    }
    path = f"{_path(project, env)}/history"
    show_rows(ApiClient.from_environment().items(path, most=limit, app=app or None), columns, as_json, empty="")


@bindings.command("rollback")
def roll_back(
    env: Env,
    app: App = "",
    to: Annotated[str, typer.Option("--to", help="An earlier one: a digest, or ENV@1.2.0.")] = "",
    reason: Reason = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Put the binding before the present one in force again, whole and at once."""
    path = f"{_path(project, env)}/rollback"
    body = {"to": to or None, "reason": reason}
    done = ApiClient.from_environment().request("POST", path, params={"app": app or None}, body=body)
    if as_json:
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))
        return
    now = done["binding"]
    typer.echo(f"{now['ref']} is back at {now['version']} ({short(done['to'])}), was {short(done['from'])}")


@bindings.command("check")
def check_binding(
    env: Env = "production",
    app: App = "",
    file: Annotated[Path | None, typer.Option("--file", "-f", help="Check this file instead; nothing is kept.")] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Say whether every name resolves: providers, engines, models, secrets, addresses. Fails where one does not."""
    client = ApiClient.from_environment()
    if file is not None:
        found = client.post(f"{_base(project)}/binding-check", {"binding": _document(file)})
    else:
        found = client.get(f"{_path(project, env)}/check", app=app or None)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _show_problems(found["problems"])
        what = str(file) if file is not None else found["ref"]
        typer.echo(f"{what}: {'every name resolves' if found['ok'] else 'not every name resolves'}")
    if not found["ok"]:
        raise typer.Exit(1)


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}"


def _path(project: str, env: str) -> str:
    return f"{_base(project)}/bindings/{path_part(env)}"


def _document(file: Path) -> dict[str, Any]:
    """Read a file here, so that what is wrong is told with its line."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise TooLarge(f"{str(file)!r} has {file.stat().st_size:,} bytes", hint=f"at most {MAX_BYTES:,}")
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{str(file)!r} cannot be read: {error}", hint="name a file of text") from None
    return read_binding_file(text, where=str(file)).document()


def _condition(client: ApiClient, project: str, env: str, app: str, expected: str) -> dict[str, str]:
    """Return the headers by which a change meets only what was seen; what is there now where nothing was named."""
    if expected == "absent":
        return {"if-none-match": "*"}
    if expected:
        return {"if-match": f'"{expected}"'}
    try:
        now = client.get(_path(project, env), app=app or None, own=True)
    except ApiError as error:
        if error.code == "binding_not_found":
            return {"if-none-match": "*"}
        raise
    return {"if-match": f'"{now["digest"]}"'}


def _show_problems(problems: list[dict[str, Any]]) -> None:
    for problem in problems:
        typer.echo(f"{problem['severity']}: {plain('.'.join(problem['loc']))}: {plain(problem['message'])}", err=True)


def _counted(row: dict[str, Any]) -> str:
    if row["inherit"]:
        return "what the environment's binding says"
    counts = row["counts"]
    return ", ".join(f"{counts[name]} {name.replace('_', ' ')}" for name in SECTIONS if counts.get(name)) or "nothing"


def _yaml(document: dict[str, Any]) -> str:
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
