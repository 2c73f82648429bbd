"""Commands for snapshots of code. They call control's API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.code._folder import FolderSource
from tetrad.code._service import CodeLimits
from tetrad.kernel import InvalidInput, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, digest_of, show_rows, shown_size

code = typer.Typer(no_args_is_help=True, help="Snapshots of code: take, show.")


@code.command("snapshot")
def snapshot_code(
    folder: Annotated[Path, typer.Argument(help="The folder that holds the code.", show_default=True)] = Path(),
    lock: Annotated[str, typer.Option(help="The lock file, relative to the folder; the first known one else.")] = "",
    runtime: Annotated[
        list[str] | None, typer.Option("--runtime", help="What the code runs on, as NAME=VERSION.")
    ] = None,
    git: Annotated[bool, typer.Option(help="Record commit, tree and uncommitted changes.")] = True,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Keep a folder's code and print its digest: files, commit, uncommitted changes as a patch, lock file, runtime."""
    from tetrad.code._upload import pack_code

    body = pack_code(FolderSource(folder), CodeLimits(), git=git, lock=lock or None, runtime=_runtime(runtime or []))
    made = ApiClient.from_environment().post(f"{_base(project)}/code", body)
    if as_json:
        typer.echo(json.dumps(made, indent=2, ensure_ascii=False))
        return
    _tell(made)
    typer.echo(made["digest"])


@code.command("show")
def show_code(
    digest: Annotated[str, typer.Argument(help="The snapshot's digest.")],
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show a snapshot: where it came from, and its files."""
    found = ApiClient.from_environment().get(f"{_base(project)}/code/{digest_of(digest)}")
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    _tell(found)
    columns = {
        "file": lambda each: each["path"],
        "size": lambda each: shown_size(each["size"]),
        "digest": lambda each: short(each["digest"]),
        "": lambda each: "executable" if each["executable"] else "",
    }
    show_rows(found["files"], columns, False, empty="no files")


def _tell(made: Mapping[str, Any]) -> None:
    typer.echo(f"{len(made['files'])} files, {shown_size(made['size'])}; tree {short(made['tree'])}", err=True)
    typer.echo(f"commit {made['commit']}" if made["commit"] else "no commit", err=True)
    if made["dirty"]:
        typer.echo(f"DIRTY: changes that are in no commit are kept as the patch {short(made['patch'])}", err=True)
    typer.echo(f"lock file {short(made['lock'])}" if made["lock"] else "no lock file", err=True)
    for name, version in sorted(made["runtime"].items()):
        typer.echo(f"runs on {name} {version}", err=True)


def _runtime(given: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in given:
        name, equals, version = text.partition("=")
        if not equals or not name or not version or name in found:
            raise InvalidInput(f"{text[:80]!r} is no NAME=VERSION", hint="write --runtime python=3.11, each name once")
        found[name] = version
    return found


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}"
