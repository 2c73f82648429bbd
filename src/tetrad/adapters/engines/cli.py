"""Commands for engines. They call control's API, except `pull`, which works on this machine."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tetrad.kernel import short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import Json, plain, show_rows, shown_size

engines = typer.Typer(no_args_is_help=True, help="Engines: list, show, pull the bundled models.")
Name = Annotated[str, typer.Argument(help="The engine's name.")]


@engines.command("list")
def list_engines(as_json: Json = False) -> None:
    """List the engines of this installation."""
    columns = {
        "engine": lambda each: each["name"],
        "state": lambda each: each["state"],
        "serves": lambda each: ", ".join(each["models"]),
        "weights": lambda each: short(each["model"]),
        "memory": lambda each: shown_size(each["rss_bytes"] or None),
        "restarts": lambda each: str(each["restarts"]),
        "reason": lambda each: each["reason"][:100],
    }
    found = ApiClient.from_environment().get("/api/v1/engines")["items"]
    show_rows(found, columns, as_json, empty="no engines; the bundled one starts when its model is here")


@engines.command("show")
def show_engine(name: Name, as_json: Json = False) -> None:
    """Show an engine: what is wanted of it, and what is there."""
    found: dict[str, Any] = ApiClient.from_environment().get(f"/api/v1/engines/{path_part(name)}")
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['name']}  {found['state']}  {plain(found['reason'])}".rstrip())
    typer.echo(f"serves   {', '.join(found['models'])} ({', '.join(found['kinds'])})")
    typer.echo(f"weights  {found['model']}")
    typer.echo(f"shape    {found['slots']} slots of {found['ctx']} tokens, {found['max_queue']} may wait")
    identity = found["identity"]
    if identity:
        flags = " ".join(f"{name}={value}" for name, value in sorted(identity["flags"].items()))
        typer.echo(f"engine   {plain(identity['build'])}  {plain(flags)}")
    if found["pid"]:
        typer.echo(
            f"process  {found['pid']}, {shown_size(found['rss_bytes'])}, {found['restarts']} restarts, "
            f"first token after {found['first_token_s'] or 0:.2f} s"
        )


@engines.command("pull")
def pull() -> None:
    """Fetch the bundled models where they are missing or damaged, and check their digests."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    from tetrad.adapters.engines.bundled import BUNDLED, ensure_file
    from tetrad.kit.home import SETTINGS, Home, cache_folder
    from tetrad.kit.settings import load_settings

    settings = load_settings([SETTINGS], partial=True)
    home, cache = Home.of(settings), cache_folder(settings)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=console, transient=True) as bars:
        for file in BUNDLED:
            task = bars.add_task(file.name, total=None)

            def show(_name: str, done: int, total: int | None, task: Any = task) -> None:
                bars.update(task, completed=done, total=total)

            path = ensure_file(file, home, cache, show)
            bars.remove_task(task)
            console.print(f"{file.name}  {shown_size(file.size)}  {file.licence}  {short(file.digest)}", markup=False)
            typer.echo(str(path))
