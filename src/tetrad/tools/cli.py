"""Commands for MCP servers. They call control's API."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import Find, InProject, Json, SortBy, read_pairs, show_rows, shown_time
from tetrad.kit.plain_text import plain

servers = typer.Typer(no_args_is_help=True, help="MCP servers: register, test, approve their tools.")
Name = Annotated[str, typer.Argument(help="The server: clients reach it at /mcp/NAME of the gateway.")]
Url = Annotated[str, typer.Option(help="The whole address of its endpoint, such as https://mcp.example.com/mcp.")]
Command = Annotated[str, typer.Option(help="A program that speaks MCP over stdio, with its arguments, as in a shell.")]
Header = Annotated[
    list[str] | None,
    typer.Option("--header", help="NAME=VALUE to send; {SECRET} stands for a secret of the project. Repeat it."),
]
Env = Annotated[
    list[str] | None,
    typer.Option("--env", help="NAME=VALUE for the program; {SECRET} stands for a secret of the project. Repeat it."),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        help="A pattern of tools that may be used, such as read_*, or of resources, such as repo://*; repeat it.",
    ),
]
Key = Annotated[
    list[str] | None,
    typer.Option("--key", help="KEY_ID or KEY_ID=PATTERN: only such keys may use it. Repeat it."),
]
Team = Annotated[
    list[str] | None, typer.Option("--team", help="TEAM or TEAM=PATTERN: only such teams may use it. Repeat it.")
]
OnChange = Annotated[
    str, typer.Option(help="What happens to tools that are not as they were approved: refuse, or alert.")
]
Serves = Annotated[
    list[str] | None, typer.Option("--serves", help="What is passed on: tools, resources, prompts. Repeat it.")
]
Timeout = Annotated[float, typer.Option(help="Seconds for an answer to begin.")]
Tools = Annotated[list[str] | None, typer.Argument(help="The tools; all of them where none is named.")]
_INSTRUCTIONS = "(instructions)"
_COLUMNS = {
    "name": lambda row: row["name"],
    "where": lambda row: row["url"] or " ".join(row["command"]),
    "tools": lambda row: ", ".join(f"{count} {state}" for state, count in sorted(row["tools"].items())) or "none seen",
    "on change": lambda row: row["on_change"],
    "rests": lambda row: "; ".join(map(_rest, row["rests"])),
    "problem": lambda row: row["problem"],
}
_TOOL_COLUMNS = {
    "tool": lambda row: _told(row["name"]),
    "state": lambda row: row["state"] if row["allowed"] else f"{row['state']}, not allowed",
    "digest": lambda row: row["digest"][:19],
    "approved": lambda row: f"{shown_time(row['approved_at'])} {row['approved_by']}".strip(),
    "description": lambda row: ((row["definition"] or {}).get("description") or "").split("\n")[0][:80],
}


def _path(project: str, name: str = "", rest: str = "") -> str:
    base = f"/api/v1/projects/{path_part(project)}/mcp-servers"
    return f"{base}/{path_part(name)}{rest}" if name else base


@servers.command("add")
def add_server(
    name: Name,
    url: Url = "",
    command: Command = "",
    header: Header = None,
    env: Env = None,
    allow: Allow = None,
    key: Key = None,
    team: Team = None,
    on_change: OnChange = "refuse",
    serves: Serves = None,
    timeout: Timeout = 60.0,
    approve: Annotated[
        bool, typer.Option("--approve", help="Approve the tools that it shows now, without reading them.")
    ] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Register an MCP server, or replace what is registered, and ask it for its tools."""
    import shlex

    try:
        words = shlex.split(command)
    except ValueError as error:
        raise InvalidInput(f"the command cannot be read: {error}", hint="quote it as in a shell") from None
    body: dict[str, Any] = {
        "url": url,
        "command": words,
        "headers": read_pairs(header),
        "env": read_pairs(env),
        "access": [*_access("key", key), *_access("team", team)],
        "on_change": on_change,
        "first_byte_timeout_s": timeout,
    }
    if allow:
        body["allow"] = allow
    if serves:
        body["serves"] = serves
    client = ApiClient.from_environment()
    client.put(_path(project, name), body)
    listing = client.post(_path(project, name, "/refresh"))
    if approve:
        waiting = _waiting(listing["tools"])
        if waiting:
            listing["tools"] = _approve(client, project, name, waiting)
    _show_listing(listing, as_json)
    if not approve and not as_json and _waiting(listing["tools"]):
        typer.echo(f"\nNothing can be called before it is approved: tetrad mcp approve {name}", err=True)


@servers.command("set")
def change_server(
    name: Name,
    header: Header = None,
    env: Env = None,
    allow: Allow = None,
    key: Key = None,
    team: Team = None,
    on_change: Annotated[str | None, typer.Option(help="refuse, or alert.")] = None,
    serves: Serves = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for an answer to begin.")] = None,
    everybody: Annotated[bool, typer.Option("--everybody", help="Let all keys of the project use it.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Change what is given of a server, and leave the rest as it is; a list that is given takes the old one's place."""
    client = ApiClient.from_environment()
    body = client.get(_path(project, name))
    for shown in ("name", "tools", "problem", "rests"):
        body.pop(shown)
    if header is not None:
        body["headers"] = read_pairs(header)
    if env is not None:
        body["env"] = read_pairs(env)
    if allow:
        body["allow"] = allow
    if key or team or everybody:
        body["access"] = [] if everybody else [*_access("key", key), *_access("team", team)]
    if on_change is not None:
        body["on_change"] = on_change
    if serves:
        body["serves"] = serves
    if timeout is not None:
        body["first_byte_timeout_s"] = timeout
    show_rows([client.put(_path(project, name), body)], _COLUMNS, as_json, empty="")


@servers.command("list")
def list_servers(find: Find = "", sort: SortBy = None, project: InProject = "default", as_json: Json = False) -> None:
    """List the MCP servers of a project."""
    show_rows(
        ApiClient.from_environment().items(_path(project), q=find or None, sort=sort),
        _COLUMNS,
        as_json,
        empty="no MCP servers; `tetrad mcp add NAME --url …` registers one",
    )


@servers.command("show")
def show_server(name: Name, project: InProject = "default", as_json: Json = False) -> None:
    """Show one MCP server: where it is, whom it serves, which secrets it is called with."""
    found = ApiClient.from_environment().get(_path(project, name))
    rows = [{"field": field, "value": value} for field, value in found.items() if value not in ("", [], {}, None)]
    if as_json:
        show_rows([found], {}, as_json, empty="")
        return
    columns = {
        "field": lambda row: row["field"].replace("_", " "),
        "value": lambda row: _value(row["value"], row["field"]),
    }
    show_rows(rows, columns, as_json, empty="")


@servers.command("tools")
def list_tools(name: Name, project: InProject = "default", as_json: Json = False) -> None:
    """List what is known of a server's tools, and whether they may be called."""
    found = ApiClient.from_environment().items(_path(project, name, "/tools"))
    show_rows(found, _TOOL_COLUMNS, as_json, empty=f"no tools seen yet; `tetrad mcp test {name}` asks for them")


@servers.command("test")
def ask_server(name: Name, project: InProject = "default", as_json: Json = False) -> None:
    """Ask a server for its tools now; tell what changed. Nothing is approved by it."""
    _show_listing(ApiClient.from_environment().post(_path(project, name, "/refresh")), as_json)


@servers.command("approve")
def approve_tools(
    name: Name,
    tools: Tools = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Approve without asking.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show what is new and what changed, and approve it: what you read, and nothing else."""
    client = ApiClient.from_environment()
    found = list(client.items(_path(project, name, "/tools")))
    waiting = _chosen(_waiting(found), tools, name)
    if not waiting:
        typer.echo("there is nothing to approve", err=True)
        return
    if not as_json:
        for row in waiting:
            typer.echo(f"{_told(row['name'])}  {row['state']}  {row['digest']}")
            typer.echo("\n".join(f"  {plain(line)}" for line in row["diff"]) + "\n")
    if not yes:
        typer.confirm(f"Approve {len(waiting)} of {name}?", abort=True, err=True)
    show_rows(_approve(client, project, name, waiting), _TOOL_COLUMNS, as_json, empty="")


@servers.command("withdraw")
def withdraw_tools(
    name: Name,
    tools: Annotated[list[str], typer.Argument(help="The tools whose approval is taken back.")],
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Take the approval of tools back; they cannot be called any more."""
    named = ["" if each == _INSTRUCTIONS else each for each in tools]
    found = ApiClient.from_environment().post(_path(project, name, "/withdraw"), {"tools": named})
    show_rows(found["items"], _TOOL_COLUMNS, as_json, empty="")


@servers.command("remove")
def remove_server(name: Name, project: InProject = "default") -> None:
    """Remove an MCP server with what is approved of it; calls in flight end as they would have."""
    ApiClient.from_environment().delete(_path(project, name))
    typer.echo(f"removed {name}")


def _approve(client: ApiClient, project: str, name: str, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    body = {"tools": [{"name": row["name"], "digest": row["digest"]} for row in rows]}
    found: list[dict[str, Any]] = client.post(_path(project, name, "/approve"), body)["items"]
    return found


def _waiting(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["state"] in ("new", "changed")]


def _chosen(rows: list[dict[str, Any]], tools: list[str] | None, server: str) -> list[dict[str, Any]]:
    if not tools:
        return rows
    by_name = {_told(row["name"]): row for row in rows}
    for tool in tools:
        if tool not in by_name:
            raise InvalidInput(
                f"{tool[:80]!r} is not waiting to be approved",
                hint=f"`tetrad mcp tools {server}` shows how each stands",
            )
    return [by_name[tool] for tool in dict.fromkeys(tools)]


def _access(subject: str, given: list[str] | None) -> list[dict[str, Any]]:
    found: dict[str, list[str]] = {}
    for text in given or ():
        name, equals, pattern = text.partition("=")
        if not name or (equals and not pattern):
            raise InvalidInput(f"{text[:80]!r} names no {subject}", hint=f"such as {subject.upper()}=read_*")
        found.setdefault(name, []).append(pattern or "*")
    return [{"subject": subject, "name": name, "tools": patterns} for name, patterns in found.items()]


def _show_listing(listing: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show_rows([listing], {}, as_json, empty="")
        return
    title = plain(listing["server"]) or "an unnamed server"
    typer.echo(f"{title}  MCP {plain(listing['protocol'])}  {listing['took_ms']:.0f} ms\n")
    show_rows(listing["tools"], _TOOL_COLUMNS, as_json, empty="it has no tools")
    for line in listing["odd"]:
        typer.echo(f"! {plain(line)}", err=True)


def _told(name: str) -> str:
    return name or _INSTRUCTIONS


def _rest(rest: dict[str, Any]) -> str:
    """Say since when, why and until when a server is left out where all are asked."""
    again = "being asked again" if rest["state"] == "probing" else "asked again by the next request"
    if rest["next_probe_at"]:
        left = datetime.fromisoformat(rest["next_probe_at"]) - datetime.now(UTC)
        again = f"asked again in {max(left.total_seconds(), 1):.0f} s"
    workers = f" at {rest['workers']} workers" if rest["workers"] > 1 else ""
    return f"{rest['method']} since {shown_time(rest['since'])}{workers} ({rest['reason']}); {again}"


def _value(value: Any, field: str = "") -> str:
    if field == "rests":
        return "; ".join(map(_rest, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    if isinstance(value, list):
        return ", ".join(
            f"{each['subject']} {each['name']}: {', '.join(each['tools'])}" if isinstance(each, dict) else str(each)
            for each in value
        )
    return str(value)
