"""Commands for datasets. They call control's API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, show_rows, shown_size, shown_time

datasets = typer.Typer(no_args_is_help=True, help="Dataset versions and their rows.")
Name = Annotated[str, typer.Argument(help="The dataset's name.")]
VersionOption = Annotated[str, typer.Option("--version", help="A version number; the newest without it.")]


@datasets.command("list")
def list_datasets(project: InProject = "default", limit: Limit = 100, as_json: Json = False) -> None:
    """List the datasets of a project by their newest versions."""
    columns = {
        "dataset": lambda each: each["name"],
        "version": lambda each: each["semver"],
        "rows": lambda each: f"{each['rows']:,}",
        "size": lambda each: shown_size(each["size"]),
        "digest": lambda each: short(each["digest"]),
        "made": lambda each: shown_time(each["created_at"]),
        "by": lambda each: each["created_by"],
    }
    found = list(ApiClient.from_environment().items(f"{_base(project)}", most=limit))
    show_rows(found, columns, as_json, empty="no datasets here; `tetrad dataset import NAME FILE` makes one")


@datasets.command("show")
def show_dataset(
    name: Name,
    version: VersionOption = "",
    rows: Annotated[int, typer.Option("--rows", min=0, max=200, help="How many rows to show.")] = 5,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show a version of a dataset, its schema and its first rows."""
    client = ApiClient.from_environment()
    path = f"{_base(project)}/{path_part(name)}"
    found = client.get(path, version=version or None)
    shown = list(client.items(f"{path}/rows", most=rows, version=version or None)) if rows else []
    if as_json:
        typer.echo(json.dumps({**found, "first_rows": shown}, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['name']}@{found['semver']}: {found['rows']:,} rows, {shown_size(found['size'])}")
    typer.echo(f"rows   {found['digest']}\norder  {found['order']}\nschema {found['schema_digest']}")
    typer.echo(f"made {shown_time(found['created_at'])} by {found['created_by']} {found['reason']}".rstrip())
    for row in shown:
        typer.echo(json.dumps(row["value"], ensure_ascii=True))


@datasets.command("versions")
def list_versions(name: Name, project: InProject = "default", limit: Limit = 50, as_json: Json = False) -> None:
    """List the versions of a dataset, the newest first."""
    columns = {
        "version": lambda each: each["semver"],
        "rows": lambda each: f"{each['rows']:,}",
        "digest": lambda each: short(each["digest"]),
        "made": lambda each: shown_time(each["created_at"]),
        "by": lambda each: each["created_by"],
        "reason": lambda each: each["reason"],
    }
    found = list(ApiClient.from_environment().items(f"{_base(project)}/{path_part(name)}/versions", most=limit))
    show_rows(found, columns, as_json, empty=f"no dataset {name!r} here")


@datasets.command("import")
def import_dataset(
    name: Name,
    file: Annotated[Path, typer.Argument(help="JSON Lines: one object a line.")],
    key: Annotated[str, typer.Option(help="The field that names rows; their content does without it.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Make a version of a file; the same rows again are the version that is there."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{str(file)!r} cannot be read: {error.strerror}", hint="name a file") from None
    made = ApiClient.from_environment().upload(
        f"{_base(project)}/{path_part(name)}/versions",
        data,
        content_type="application/x-ndjson",
        key=key or None,
        reason=reason or None,
    )
    typer.echo(
        json.dumps(made, indent=2, ensure_ascii=False)
        if as_json
        else f"{made['name']}@{made['semver']}: {made['rows']:,} rows, {short(made['digest'])}"
    )


@datasets.command("diff")
def diff_dataset(
    name: Name,
    old: Annotated[str, typer.Argument(help="The version before, such as 1.0.0.")],
    new: Annotated[str, typer.Argument(help="The version after.")],
    limit: Limit = 50,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Tell two versions apart, row by row and field by field."""
    path = f"{_base(project)}/{path_part(name)}/diff"
    asked = {"from": old, "to": new, "limit": str(min(limit, 200))}
    found = ApiClient.from_environment().get(path, **asked)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(", ".join(f"{found[what]:,} {what}" for what in ("added", "removed", "changed", "moved")))
    for item in found["items"]:
        for line in _change_lines(item):
            typer.echo(line)
    if found["next_cursor"]:
        typer.echo("… more; see --limit and --json", err=True)


def _change_lines(item: dict[str, Any]) -> list[str]:
    mark = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}[item["change"]]
    lines = [f"{mark} {json.dumps(item['key'])[1:-1]}"]
    for field in item["fields"]:
        old = json.dumps(field["old"]) if field["in_old"] else "absent"
        new = json.dumps(field["new"]) if field["in_new"] else "absent"
        lines.append(f"    {json.dumps(field['path'])[1:-1]}: {old} → {new}")
    return lines


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}/datasets"
