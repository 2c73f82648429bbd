"""Commands for keys, projects, provider secrets and the audit log. They call control's API."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tetrad.identity._model import DEFAULT_PROJECT, MAX_SECRET_BYTES, KeyState
from tetrad.kernel import InvalidInput, TetradError, parse_json
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit

keys = typer.Typer(no_args_is_help=True, help="API keys: create, rotate, revoke.")
teams = typer.Typer(no_args_is_help=True, help="Teams: people and keys that belong together.")
projects = typer.Typer(no_args_is_help=True, help="Projects.")
secrets = typer.Typer(no_args_is_help=True, help="Provider secrets, encrypted at rest.")
audit = typer.Typer(no_args_is_help=True, help="The audit log: list, verify, export its head.")

MAX_HEAD_BYTES = 64 * 1024

Everywhere = Annotated[bool, typer.Option("--all-projects", help="Of the whole installation, not of one project.")]
Models = Annotated[
    list[str] | None,
    typer.Option("--model", "-m", help="What it may call, such as openai/gpt-* or app:support; repeat it."),
]
Labels = Annotated[list[str] | None, typer.Option("--label", "-l", help="NAME=VALUE; repeat it.")]
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@keys.command("list")
def list_keys(
    find: Annotated[
        str,
        typer.Option("--find", help="Only those whose name holds this, whose secret ends so, or whose id begins so."),
    ] = "",
    state: Annotated[
        KeyState | None, typer.Option("--state", help="Only those that are active, expired or revoked.")
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", help="By created, name, last_used or expires; with `-` before it, the largest first."),
    ] = None,
    project: InProject = DEFAULT_PROJECT,
    all_projects: Everywhere = False,
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List keys, the newest first without --sort, ended ones too."""
    asked = {"q": find or None, "state": state, "sort": sort}
    found = list(ApiClient.from_environment().items(_base(project, all_projects, "keys"), most=limit, **asked))
    columns = {
        "id": lambda key: key["id"],
        "name": lambda key: key["name"],
        "scopes": lambda key: ", ".join(key["scopes"]) + (" (read only)" if key["read_only"] else ""),
        "state": lambda key: key["state"],
        "content": lambda key: key["content"],
        "secret": lambda key: f"…{key['ending']}",
        "expires": lambda key: _time(key["expires_at"]) or "never",
        "last used": lambda key: _time(key["last_used_at"]) or "never",
    }
    _show(
        found,
        columns,
        as_json,
        empty="no such keys" if find or state else "no keys here; `tetrad key create NAME` makes one",
    )


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="What it is for, such as `support bot, production`.")],
    scope: Annotated[
        list[str] | None, typer.Option("--scope", "-s", help="data (when left out), control, admin, pin; repeat it.")
    ] = None,
    project: InProject = DEFAULT_PROJECT,
    all_projects: Everywhere = False,
    expires_in: Annotated[str, typer.Option(help="Such as 90d or 12h; never when left out.")] = "",
    content: Annotated[str, typer.Option(help="What of its traffic is kept: off, redacted or full.")] = "full",
    read_only: Annotated[bool, typer.Option("--read-only", help="It may look, not change.")] = False,
    team: Annotated[str, typer.Option(help="The team that it belongs to.")] = "",
    model: Models = None,
    label: Labels = None,
    as_json: Json = False,
) -> None:
    """Make a key and print its secret, this once.

    For example: `tetrad key create "support bot" --model app:support --expires-in 90d`.
    """
    body = {
        "name": name,
        "scopes": scope or ["data"],
        "content": content,
        "read_only": read_only,
        "team": team,
        "models": model or [],
        "labels": _labels(label or []),
        "expires_at": (datetime.now(UTC) + _duration(expires_in)).isoformat() if expires_in else None,
    }
    _issued(ApiClient.from_environment().post(_base(project, all_projects, "keys"), body), as_json)


@keys.command("rotate")
def rotate_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, `key_…`.")],
    project: InProject = DEFAULT_PROJECT,
    all_projects: Everywhere = False,
    grace: Annotated[str, typer.Option(help="How long the old secret works on, such as 1h; 0s ends it now.")] = "",
    as_json: Json = False,
) -> None:
    """Give a key a new secret and print it, this once."""
    body = {"grace_s": _duration(grace).total_seconds() if grace else None}
    path = f"{_base(project, all_projects, 'keys')}/{path_part(key_id)}/rotate"
    _issued(ApiClient.from_environment().post(path, body), as_json)


@keys.command("revoke")
def revoke_key(
    key_id: Annotated[str, typer.Argument(help="The key's id, `key_…`.")],
    project: InProject = DEFAULT_PROJECT,
    all_projects: Everywhere = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """End a key at once, for good."""
    if not yes:
        typer.confirm(f"Revoke {key_id}? Whoever uses it is refused from now on.", abort=True, err=True)
    ended = ApiClient.from_environment().delete(f"{_base(project, all_projects, 'keys')}/{path_part(key_id)}")
    _done(ended, f"revoked {ended['id']} ({ended['name']})", as_json)


@keys.command("change")
def change_key(
    key: Annotated[str, typer.Argument(help="The key's id, `key_…`.")],
    team: Annotated[str | None, typer.Option(help="The team that it belongs to; an empty text for none.")] = None,
    model: Models = None,
    any_model: Annotated[bool, typer.Option("--any-model", help="It may call everything again.")] = False,
    label: Labels = None,
    project: InProject = DEFAULT_PROJECT,
    as_json: Json = False,
) -> None:
    """Change a key's team, what it may call, or its labels; its secret stays."""
    body = {
        "team": team,
        "models": [] if any_model else model,
        "labels": None if label is None else _labels(label),
    }
    changed = ApiClient.from_environment().request("PATCH", _base(project, False, f"keys/{path_part(key)}"), body=body)
    columns = {
        "id": lambda each: each["id"],
        "name": lambda each: each["name"],
        "team": lambda each: each["team"] or "none",
        "may call": lambda each: ", ".join(each["models"]) or "everything",
        "labels": lambda each: ", ".join(f"{name}={value}" for name, value in each["labels"].items()),
    }
    _show([changed], columns, as_json, empty="")


TeamName = Annotated[str, typer.Argument(help="Its name: a-z, 0-9 and -.")]
EmailOf = Annotated[str, typer.Argument(help="The address that they sign in with.")]


def _team_path(project: str, name: str = "", more: str = "") -> str:
    return _base(project, False, "teams") + (f"/{path_part(name)}" if name else "") + more


@teams.command("list")
def list_teams(project: InProject = DEFAULT_PROJECT, as_json: Json = False) -> None:
    """List the teams of a project."""
    _show_teams(list(ApiClient.from_environment().items(_team_path(project))), as_json)


@teams.command("set")
def set_team(
    name: TeamName,
    title: Annotated[str, typer.Option(help="What people call it.")] = "",
    model: Models = None,
    label: Labels = None,
    project: InProject = DEFAULT_PROJECT,
    as_json: Json = False,
) -> None:
    """Make a team, or change it."""
    body = {"title": title, "models": model or [], "labels": _labels(label or [])}
    _show_teams([ApiClient.from_environment().put(_team_path(project, name), body)], as_json)


@teams.command("remove")
def remove_team(name: TeamName, project: InProject = DEFAULT_PROJECT) -> None:
    """Remove a team to which no working key belongs."""
    ApiClient.from_environment().delete(_team_path(project, name))


@teams.command("members")
def team_members(name: TeamName, project: InProject = DEFAULT_PROJECT, as_json: Json = False) -> None:
    """List the people of a team."""
    found = list(ApiClient.from_environment().items(_team_path(project, name, "/members")))
    columns = {"email": lambda each: each["email"], "name": lambda each: each["name"]}
    _show(found, columns, as_json, empty="nobody; `tetrad team add TEAM EMAIL` adds somebody")


@teams.command("add")
def add_to_team(name: TeamName, email: EmailOf, project: InProject = DEFAULT_PROJECT) -> None:
    """Put somebody who has a role in the project into a team."""
    ApiClient.from_environment().put(_team_path(project, name, f"/members/{path_part(email)}"))


@teams.command("leave")
def leave_team(name: TeamName, email: EmailOf, project: InProject = DEFAULT_PROJECT) -> None:
    """Take somebody out of a team."""
    ApiClient.from_environment().delete(_team_path(project, name, f"/members/{path_part(email)}"))


def _show_teams(found: list[dict[str, Any]], as_json: bool) -> None:
    columns = {
        "name": lambda each: each["name"],
        "title": lambda each: each["title"],
        "may call": lambda each: ", ".join(each["models"]) or "everything",
        "labels": lambda each: ", ".join(f"{name}={value}" for name, value in each["labels"].items()),
    }
    _show(found, columns, as_json, empty="no teams; `tetrad team set NAME` makes one")


def _labels(given: Iterable[str]) -> dict[str, str]:
    found = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise InvalidInput(f"{each[:80]!r} is no label", hint="write NAME=VALUE")
        found[name] = value
    return found


@projects.command("list")
def list_projects(limit: Limit = 1000, as_json: Json = False) -> None:
    """List the projects that your key may enter."""
    found = list(ApiClient.from_environment().items("/api/v1/projects", most=limit))
    columns = {
        "project": lambda each: each["name"],
        "title": lambda each: each["title"],
        "created": lambda each: _time(each["created_at"]),
    }
    _show(found, columns, as_json, empty="no projects")


@projects.command("create")
def create_project(
    name: Annotated[str, typer.Argument(help="a-z, 0-9 and -; it never changes.")],
    title: Annotated[str, typer.Option(help="What people read.")] = "",
    as_json: Json = False,
) -> None:
    """Make a project."""
    made = ApiClient.from_environment().post("/api/v1/projects", {"name": name, "title": title})
    _done(made, f"made the project {made['name']}", as_json)


@secrets.command("list")
def list_secrets(project: InProject = DEFAULT_PROJECT, limit: Limit = 200, as_json: Json = False) -> None:
    """List the names of secrets; values are never shown."""
    found = list(ApiClient.from_environment().items(_base(project, False, "secrets"), most=limit))
    columns = {
        "name": lambda each: each["name"],
        "version": lambda each: str(each["version"]),
        "updated": lambda each: _time(each["updated_at"]),
        "by": lambda each: each["updated_by"],
    }
    _show(found, columns, as_json, empty="no secrets here; `tetrad secret set NAME` keeps one")


@secrets.command("rotate-key")
def rotate_seal_key(as_json: Json = False) -> None:
    """Seal all secrets of the installation with a new key, while everything runs; again, it goes on where it was."""
    done = ApiClient.from_environment().post("/api/v1/seal-key/rotation")
    said = f"{done['resealed']} sealed anew; " + ("the old key is gone" if done["done"] else done["why"])
    _done(done, said, as_json)


@secrets.command("set")
def set_secret(
    name: Annotated[str, typer.Argument(help="Such as OPENAI_API_KEY.")],
    project: InProject = DEFAULT_PROJECT,
    as_json: Json = False,
) -> None:
    """Keep a value, read from standard input or asked for; never from the command line, which others can see."""
    kept = ApiClient.from_environment().put(
        f"{_base(project, False, 'secrets')}/{path_part(name)}", {"value": _value()}
    )
    _done(kept, f"kept {kept['name']} (version {kept['version']}) in {kept['project']}", as_json)


@secrets.command("delete")
def delete_secret(
    name: Annotated[str, typer.Argument(help="The secret's name.")],
    project: InProject = DEFAULT_PROJECT,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Forget a value."""
    if not yes:
        typer.confirm(f"Delete the secret {name} of {project}?", abort=True, err=True)
    ApiClient.from_environment().delete(f"{_base(project, False, 'secrets')}/{path_part(name)}")
    _done({"project": project, "name": name, "deleted": True}, f"deleted {name} of {project}", as_json)


@audit.command("list")
def list_audit(
    project: InProject = DEFAULT_PROJECT, all_projects: Everywhere = False, limit: Limit = 50, as_json: Json = False
) -> None:
    """List what was done, the newest first."""
    found = list(ApiClient.from_environment().items(_base(project, all_projects, "audit"), most=limit))
    columns = {
        "#": lambda entry: str(entry["seq"]),
        "time": lambda entry: _time(entry["at"]),
        "actor": lambda entry: entry["actor"],
        "action": lambda entry: entry["action"],
        "target": lambda entry: entry["target"],
        "detail": lambda entry: json.dumps(entry["detail"], ensure_ascii=False) if entry["detail"] else "",
    }
    _show(found, columns, as_json, empty="nothing was done here yet")


@audit.command("verify")
def verify_audit(
    project: InProject = DEFAULT_PROJECT,
    all_projects: Everywhere = False,
    heads: Annotated[
        list[Path] | None,
        typer.Option(
            "--head",
            help="A signed head that was exported earlier, of this log or of the ref log; repeat it.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Prove that the log is as it was written. Fails when it is not.

    The chain alone cannot tell when somebody has written all of it anew. A head that `tetrad audit export-head` or
    `tetrad ref log --export-head` wrote, kept where they cannot reach it, does: no change before it goes unnoticed.
    """
    client = ApiClient.from_environment()
    found = client.get(f"{_base(project, all_projects, 'audit')}/verification")
    envelopes = [_envelope(file) for file in heads or []]
    checked = [_checked_head(client, project, all_projects, each) for each in envelopes]
    audits = [check for what, check in checked if what == "audit"]
    log = next((check for what, check in checked if what == "refs/log"), None)
    if as_json:
        more = ({"ref_log": log} if log else {}) | ({"heads": audits} if audits else {})
        typer.echo(json.dumps({**found, **more}, indent=2))
    if not found["intact"]:
        raise TetradError(
            f"the audit log was changed: at entry {found['broken_at']}, {found['reason']}",
            hint="compare it with a backup; whoever may write to the database could have done it",
            code="audit_broken",
        )
    for check in audits:
        if not check["sound"]:
            raise TetradError(
                f"the audit log was changed: {check['problem']}",
                hint="compare it with a backup; whoever may write to the database could have done it",
                code="audit_broken",
            )
    if log is not None and not log["sound"]:
        raise TetradError(
            f"the ref log was changed: {log['problem']}",
            hint="compare it with a backup; whoever may write to the database could have done it",
            code="ref_log_broken",
        )
    if not as_json:
        typer.echo(f"{found['entries']} entries, unchanged; head {found['head']}")
        for check in audits:
            typer.echo(f"audit log: unchanged since entry {check['sequence']} was exported")
        if log is not None:
            typer.echo(f"ref log: {log['entries']} moves, unchanged since move {log['sequence']} was exported")


@audit.command("export-head")
def export_audit_head(
    file: Annotated[Path, typer.Argument(help="Where it goes; keep it out of reach of this installation.")],
    project: InProject = DEFAULT_PROJECT,
    all_projects: Everywhere = False,
) -> None:
    """Write where the log ends now, signed, for `tetrad audit verify --head`."""
    head = ApiClient.from_environment().get(f"{_base(project, all_projects, 'audit')}/head")["envelope"]
    try:
        file.write_text(json.dumps(head, indent=2) + "\n", "utf-8")
    except OSError as error:
        raise InvalidInput(f"{str(file)!r} cannot be written: {error.strerror}", hint="choose another place") from None
    typer.echo(f"wrote {file}")


def _envelope(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            data = opened.read(MAX_HEAD_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{str(file)!r} cannot be read: {error.strerror}", hint="name an exported head") from None
    if len(data) > MAX_HEAD_BYTES:
        raise InvalidInput(f"{str(file)!r} is no exported head", hint=f"one has at most {MAX_HEAD_BYTES} bytes")
    envelope = parse_json(data, where=str(file))
    if not isinstance(envelope, dict):
        raise InvalidInput(f"{str(file)!r} is no exported head", hint="name a file that was exported")
    return envelope


def _checked_head(
    client: ApiClient, project: str, all_projects: bool, envelope: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Ask for the check that a head is for; what it says is only believed by the server, which verifies it."""
    what, everywhere = "refs/log", False
    with contextlib.suppress(ValueError):  # what cannot be read is refused by the server, saying why
        if b"audit-log-head" in base64.b64decode(str(envelope.get("payload", ""))):
            what, everywhere = "audit", all_projects
    found: dict[str, Any] = client.post(f"{_base(project, everywhere, what)}/head/check", {"envelope": envelope})
    return what, found


def _base(project: str, all_projects: bool, what: str) -> str:
    return f"/api/v1/{what}" if all_projects else f"/api/v1/projects/{path_part(project)}/{what}"


def _value() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Value", hide_input=True, err=True))
    text = sys.stdin.read(MAX_SECRET_BYTES + 2).rstrip("\r\n")
    if not text:
        raise InvalidInput("there is no value on standard input", hint="such as: tetrad secret set NAME < file")
    return text


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{text[:40]!r} is no duration", hint="a number and s, m, h or d, such as 90d or 12h")
    return timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


def _time(text: str | None) -> str:
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M") if text else ""


def _issued(answer: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=2))
        return
    # The secret alone on standard output, so that it can be piped; what it is goes beside it.
    key = answer["key"]
    where = f"; {answer['file']} holds it now" if answer["file"] else ""
    typer.echo(f"{key['id']} ({key['name']}: {', '.join(key['scopes'])}); this is shown once{where}", err=True)
    typer.echo(answer["secret"])


def _done(answer: object, said: str, as_json: bool) -> None:
    typer.echo(json.dumps(answer, indent=2) if as_json else said)


def _show(
    rows: Iterable[Mapping[str, Any]],
    columns: Mapping[str, Any],
    as_json: bool,
    *,
    empty: str,
) -> None:
    found = list(rows)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        typer.echo(empty, err=True)
        return
    table = Table(*columns, box=None, header_style="bold")
    for row in found:
        table.add_row(*(_plain(cell(row)) for cell in columns.values()))
    Console(highlight=False, markup=False).print(table)


def _plain(text: str) -> str:
    # What others named must not steer this terminal; the console does not read markup either.
    return "".join(char if char.isprintable() else "�" for char in text)
