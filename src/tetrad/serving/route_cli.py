"""Commands for routes. They call control's API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, TooLarge
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import Find, InProject, Json, SortBy, show_rows

routes = typer.Typer(no_args_is_help=True, help="Routes: one name for several models, and its fallbacks.")
Name = Annotated[str, typer.Argument(help="The name that clients and releases use as a model's.")]
_KINDS = ("error", "rate_limit", "context_window", "content_policy")
_MAX_BYTES = 256 * 1024


def _path(project: str, name: str = "") -> str:
    base = f"/api/v1/projects/{path_part(project)}/routes"
    return f"{base}/{path_part(name)}" if name else base


@routes.command("set")
def set_route(
    name: Name,
    target: Annotated[
        list[str] | None,
        typer.Option("--target", "-t", help="MODEL or MODEL=WEIGHT, in the order in which they are tried; repeat it."),
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="Which target is first: order, weighted, least-busy, latency or cost.")
    ] = "order",
    affinity: Annotated[str, typer.Option(help="What stays with its target: none, session, unit or prompt.")] = "none",
    fallback: Annotated[
        list[str] | None,
        typer.Option(help=f"KIND=MODEL, after the targets; KIND is {', '.join(_KINDS)}. Repeat it."),
    ] = None,
    alias: Annotated[list[str] | None, typer.Option(help="One more name for it; repeat it.")] = None,
    retries: Annotated[int, typer.Option(help="How often a call is made again on the same target.")] = 1,
    timeout: Annotated[float, typer.Option(help="Seconds for all attempts together; 0: the provider's.")] = 0.0,
    first_token: Annotated[float, typer.Option(help="Seconds until the first content of an attempt; 0: any.")] = 0.0,
    hedge: Annotated[bool, typer.Option("--hedge", help="Ask the next target too where the first is slow.")] = False,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="The whole route, in YAML or JSON, in place of the options.")
    ] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Add a route, or change it. Clients then call NAME as a model.

    For example: `tetrad route set smart --target openai/gpt-5-mini --target local/llama --timeout 60`.
    """
    if file is not None:
        if target or fallback or alias:
            raise InvalidInput("--file says everything about the route", hint="leave the other options out")
        body = _document(file)
    else:
        body = {
            "targets": [_target(each) for each in target or ()],
            "strategy": strategy,
            "affinity": affinity,
            "aliases": list(alias or ()),
            "fallbacks": _fallbacks(fallback or ()),
            "retry": {"retries": retries},
            "deadlines": {"total_s": timeout, "first_token_s": first_token},
            "hedge": {"enabled": hedge},
        }
    made = ApiClient.from_environment().put(_path(project, name), body)
    _show([made], as_json)


@routes.command("list")
def list_routes(find: Find = "", sort: SortBy = None, project: InProject = "default", as_json: Json = False) -> None:
    """List the routes of a project."""
    _show(list(ApiClient.from_environment().items(_path(project), q=find or None, sort=sort)), as_json)


@routes.command("show")
def show_route(name: Name, project: InProject = "default") -> None:
    """Print all of a route as JSON, which `set --file` reads again."""
    found = ApiClient.from_environment().get(_path(project, name))
    found.pop("name")
    typer.echo(json.dumps(found, indent=2, ensure_ascii=False))


@routes.command("health")
def show_health(project: InProject = "default", as_json: Json = False) -> None:
    """Tell how the targets of routes do, as gateways see them."""
    columns = {
        "route": lambda row: row["route"],
        "model": lambda row: row["model"],
        "state": _state,
        "under way": lambda row: str(row["in_flight"]),
        "first token": lambda row: f"{row['first_token_s']:.2f} s" if row["first_token_s"] is not None else "",
        "calls": lambda row: ", ".join(f"{count} {kind}" for kind, count in sorted(row["outcomes"].items())),
    }
    found = ApiClient.from_environment().items(_path(project, "health"))
    show_rows(found, columns, as_json, empty="no gateway has told of any route's targets within 30 s")


@routes.command("remove")
def remove_route(name: Name, project: InProject = "default") -> None:
    """Remove a route; calls in flight end as they would have."""
    ApiClient.from_environment().delete(_path(project, name))
    typer.echo(f"removed {name}")


def _state(row: dict[str, Any]) -> str:
    workers = row["workers"]
    for state in ("open", "half_open", "cooling"):
        if row[state]:
            return f"{state.replace('_', ' ')} in {row[state]} of {workers} workers"
    return "well"


def _show(found: list[dict[str, Any]], as_json: bool) -> None:
    columns = {
        "name": lambda row: ", ".join([row["name"], *row["aliases"]]),
        "strategy": lambda row: row["strategy"],
        "targets": lambda row: ", ".join(_told(target) for target in row["targets"]),
        "fallbacks": lambda row: "; ".join(
            f"{kind}: {', '.join(each['model'] for each in listed)}"
            for kind, listed in row["fallbacks"].items()
            if listed
        ),
    }
    show_rows(found, columns, as_json, empty="no routes; `tetrad route set NAME --target MODEL …` makes one")


def _told(target: dict[str, Any]) -> str:
    weight = target["weight"]
    return str(target["model"]) if weight == 1 else f"{target['model']}={weight}"


def _listed(kind: str, targets: list[dict[str, Any]]) -> str:
    return f"{kind}: {', '.join(target['model'] for target in targets)}"


def _target(text: str) -> dict[str, Any]:
    model, equals, weight = text.partition("=")
    if equals and not (weight.isascii() and weight.isdigit()):
        raise InvalidInput(f"{text[:80]!r} has a weight that is no whole number", hint="such as openai/gpt-5-mini=3")
    return {"model": model, "weight": int(weight[:9])} if equals else {"model": model}


def _fallbacks(given: list[str] | tuple[str, ...]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for text in given:
        kind, _, model = text.partition("=")
        if kind not in _KINDS or not model:
            raise InvalidInput(f"{text[:80]!r} is no KIND=MODEL", hint=f"KIND is one of {', '.join(_KINDS)}")
        found.setdefault(kind, []).append({"model": model})
    return found


def _document(file: Path) -> Any:
    from tetrad.kit.plain_yaml import parse_yaml

    try:
        with file.open("rb") as opened:
            data = opened.read(_MAX_BYTES + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{str(file)!r} cannot be read: {error}") from None
    if len(data) > _MAX_BYTES:
        raise TooLarge(f"{str(file)!r} is larger than {_MAX_BYTES:,} bytes")
    return parse_yaml(text, where=str(file)).value
