"""Commands for providers. They call control's API."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, show_rows

providers = typer.Typer(no_args_is_help=True, help="Providers: remote APIs that answer.")
Name = Annotated[str, typer.Argument(help="The first part of its models' names: `openai` in openai/gpt-5-mini.")]


def _path(project: str, name: str = "") -> str:
    base = f"/api/v1/projects/{path_part(project)}/providers"
    return f"{base}/{path_part(name)}" if name else base


@providers.command("list")
def list_providers(project: InProject = "default", as_json: Json = False) -> None:
    """List the providers of a project."""
    columns = {
        "name": lambda row: row["name"],
        "base url": lambda row: row["base_url"],
        "protocol": lambda row: row["adapter"],
        "secret": lambda row: ", ".join([row["secret"], *row["secrets"]]) or "none",
        "models": lambda row: ", ".join(model["name"] for model in row["models"]),
    }
    show_rows(
        ApiClient.from_environment().items(_path(project)),
        columns,
        as_json,
        empty="no providers; `tetrad provider set NAME --base-url … --model …` adds one",
    )


@providers.command("set")
def set_provider(
    name: Name,
    base_url: Annotated[str, typer.Option(help="Where its API begins, up to and with /v1.")],
    model: Annotated[list[str], typer.Option("--model", "-m", help="A model it serves; repeat it.")],
    embeddings: Annotated[
        list[str] | None, typer.Option("--embeddings", help="Which of them embed texts instead of chatting; repeat it.")
    ] = None,
    secret: Annotated[
        list[str] | None,
        typer.Option(help="Name of the secret with its key, see `tetrad secret set`; repeat it for more keys."),
    ] = None,
    max_concurrency: Annotated[
        int, typer.Option(help="Calls of one gateway worker at once; more wait their turn. 0: no limit.")
    ] = 0,
    operation: Annotated[
        list[str] | None,
        typer.Option(
            "--operation", help="What it speaks natively: chat, responses, completions, embeddings; repeat it."
        ),
    ] = None,
    adapter: Annotated[str, typer.Option(help="The protocol that it speaks: openai or anthropic.")] = "openai",
    system: Annotated[
        str, typer.Option(help="Its name in the public price list and on spans; the protocol's where it is left out.")
    ] = "",
    translation: Annotated[
        str,
        typer.Option(help="What of a request its protocol cannot say: leave it out (lossy) or refuse it (strict)."),
    ] = "lossy",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Add a provider, or change it. Clients of any protocol then call `NAME/MODEL`."""
    embedding = set(embeddings or ())
    if unknown := embedding - set(model):
        raise InvalidInput(f"{min(unknown)!r} is given to --embeddings only", hint="name it with --model too")
    models = [{"name": each, "kinds": ["embeddings" if each in embedding else "chat"]} for each in model]
    first, *more = secret or [""]
    body: dict[str, Any] = {"base_url": base_url, "models": models, "secret": first, "secrets": more}
    body |= {"adapter": adapter, "system": system or adapter, "translation": translation}
    body["max_concurrency"] = max_concurrency
    if operation:
        body["operations"] = operation
    found = ApiClient.from_environment().put(_path(project, name), body)
    show_rows(
        [{"model": f"{name}/{each['name']}", "kinds": ", ".join(each["kinds"])} for each in found["models"]],
        {"model": lambda row: row["model"], "kinds": lambda row: row["kinds"]},
        as_json,
        empty="",
    )


@providers.command("health")
def show_health(name: Name, project: InProject = "default", as_json: Json = False) -> None:
    """Tell how a provider's keys do, and how many calls wait for it."""
    columns = {
        "keys": lambda row: (
            f"{row['keys_ready']} ready, {row['keys_cooling']} cooling, {row['keys_retired']} retired"
            if row["keys_ready"] + row["keys_cooling"] + row["keys_retired"]
            else "one"
        ),
        "calls": lambda row: (
            f"{row['in_flight']} of {row['limit']:g} under way, {row['waiting']} waiting, {row['refused']} refused"
            if row["limit"]
            else "no limit"
        ),
        "gateway workers": lambda row: str(row["workers"]),
    }
    found = ApiClient.from_environment().get(f"{_path(project, name)}/health")
    show_rows([found], columns, as_json, empty="")


@providers.command("remove")
def remove_provider(name: Name, project: InProject = "default") -> None:
    """Remove a provider; calls in flight end as they would have."""
    ApiClient.from_environment().delete(_path(project, name))
    typer.echo(f"removed {name}")
