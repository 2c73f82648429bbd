"""Commands for models. They call control's API."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tetrad.kernel import short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, show_rows, shown_size, shown_time

models = typer.Typer(no_args_is_help=True, help="Model versions.")
Name = Annotated[str, typer.Argument(help="The model's name, such as local/smollm2-135m.")]


@models.command("list")
def list_models(project: InProject = "default", limit: Limit = 100, as_json: Json = False) -> None:
    """List the models of a project by their newest versions."""
    columns = {
        "model": lambda each: each["name"],
        "version": lambda each: each["semver"],
        "kind": lambda each: each["provider"] or each["kind"],
        "parameters": lambda each: f"{each['parameters']:,}" if each["parameters"] else "",
        "quantisation": lambda each: each["quantisation"],
        "size": lambda each: shown_size(each["size_bytes"]),
        "licence": lambda each: each["licence"],
        "price in / out per million": lambda each: _price(each["price"]),
        "digest": lambda each: short(each["digest"]),
    }
    found = list(ApiClient.from_environment().items(_base(project), most=limit))
    show_rows(found, columns, as_json, empty="no models here")


@models.command("show")
def show_model(
    name: Name,
    version: Annotated[str, typer.Option("--version", help="A version number; the newest without it.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show a version of a model."""
    # A model's name has a slash, which stays one in the path.
    path = "/".join(path_part(part) for part in name.split("/"))
    found = ApiClient.from_environment().get(f"{_base(project)}/{path}", version=version or None)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [{"field": field, "value": value} for field, value in _facts(found).items() if value]
    show_rows(rows, {"": lambda row: row["field"], " ": lambda row: row["value"]}, False, empty="")


def _facts(model: dict[str, Any]) -> dict[str, str]:
    return {
        "model": f"{model['name']}@{model['semver']}",
        "digest": model["digest"],
        "kind": model["kind"],
        "provider": f"{model['provider']} {model['provider_model']} {model['snapshot']}".strip(),
        "can change": "" if model["immutable"] else "yes: the provider may change what answers under this name",
        "architecture": model["architecture"],
        "parameters": f"{model['parameters']:,}" if model["parameters"] else "",
        "quantisation": model["quantisation"],
        "context": f"{model['context_length']:,} tokens" if model["context_length"] else "",
        "size": shown_size(model["size_bytes"]),
        "licence": model["licence"],
        "price": _price(model["price"]),
        "made": f"{shown_time(model['created_at'])} by {model['created_by']}",
    }


def _price(price: dict[str, Any] | None) -> str:
    if price is None:
        return "unknown"
    return f"{price['input']} / {price['output']} {price['currency']} ({price['source']})"


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}/models"
