"""Commands for models. They call control's API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, NotFound, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import (
    InProject,
    Json,
    Limit,
    plain,
    read_pairs,
    read_value,
    show_rows,
    shown_size,
    shown_time,
)
from tetrad.models._folder import opened_model
from tetrad.models._model import DERIVATIONS
from tetrad.models._price_cli import prices, shown_price
from tetrad.models._send import archive_limits, name_model, send_files

HOW = tuple(how for how in DERIVATIONS if how != "none")
models = typer.Typer(no_args_is_help=True, help="Models: import, derive, alias, price, list, show.")
models.add_typer(prices, name="price")
Name = Annotated[str, typer.Argument(help="The model's name, such as local/smollm2-135m.")]
Which = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="A model, by number or alias; else the newest.")]
ModelPath = Annotated[
    Path, typer.Argument(metavar="PATH", help="A file of weights, a Hugging Face folder, a tar or zip of one.")
]
Licence = Annotated[str, typer.Option("--licence", help="Its licence; else the card's, else the weights' own.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")]
SemVerOption = Annotated[str, typer.Option("--version", help="Its number; the next one without it.")]
From = Annotated[str, typer.Option("--from", help="Where it is from, such as hf://org/name@COMMIT.")]
Pickle = Annotated[
    bool, typer.Option("--allow-pickle", help="Take weights that run code of their maker when they are loaded.")
]
Data = Annotated[
    list[str] | None, typer.Option("--dataset", help="A dataset it was made with, as NAME@VERSION; may be repeated.")
]
Params = Annotated[list[str] | None, typer.Option("--param", help="How it was made, as NAME=VALUE; may be repeated.")]
Seeds = Annotated[list[str] | None, typer.Option("--seed", help="A seed, as NAME=NUMBER; may be repeated.")]
Metrics = Annotated[list[str] | None, typer.Option("--metric", help="A result, as NAME=NUMBER; may be repeated.")]


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
        "price in / out per million": lambda each: shown_price(each["price"]),
        "digest": lambda each: short(each["digest"]),
    }
    found = list(ApiClient.from_environment().items(_base(project), most=limit))
    show_rows(found, columns, as_json, empty="no models here")


@models.command("show")
def show_model(
    which: Which,
    version: Annotated[str, typer.Option("--version", help="A number or an alias; the newest without it.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show a version of a model."""
    name, _, label = which.partition("@")
    if label and version:
        raise InvalidInput("a version was named twice", hint="write NAME@VERSION, or --version")
    found = _version(ApiClient.from_environment(), project, name, label or version)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [{"field": field, "value": value} for field, value in _facts(found).items() if value]
    show_rows(rows, {"": lambda row: row["field"], " ": lambda row: row["value"]}, False, empty="")


@models.command("versions")
def list_model_versions(name: Name, project: InProject = "default", limit: Limit = 50, as_json: Json = False) -> None:
    """List the versions of a model, the newest first."""
    columns = {
        "version": lambda each: each["semver"],
        "derivation": lambda each: each["derivation"] if each["derivation"] != "none" else "",
        "size": lambda each: shown_size(each["size_bytes"]),
        "digest": lambda each: short(each["digest"]),
        "made": lambda each: shown_time(each["created_at"]),
        "by": lambda each: each["created_by"],
        "reason": lambda each: each["reason"],
    }
    found = list(ApiClient.from_environment().items(f"{_project(project)}/model-versions", most=limit, model=name))
    show_rows(found, columns, as_json, empty=f"no model {name!r} here")


@models.command("import")
def import_model(
    name: Name, path: ModelPath, licence: Licence = "", origin: From = "", allow_pickle: Pickle = False,
    version: SemVerOption = "", reason: Reason = "", project: InProject = "default", as_json: Json = False,
) -> None:  # fmt: skip
    """Make a version of weights; the same weights again are the version that is there."""
    body = {"name": name, "licence": licence, "allow_pickle": allow_pickle, "semver": version or None, "reason": reason}
    _say(_sent(path, {**body, "source": _source(origin)}, project), as_json)


@models.command("add-adapter")
def add_adapter(
    name: Name, path: ModelPath,
    base: Annotated[str, typer.Option("--base", help="The model it was trained on, as MODEL@VERSION.")],
    licence: Licence = "", origin: From = "", data: Data = None, params: Params = None, seeds: Seeds = None,
    metrics: Metrics = None, version: SemVerOption = "", reason: Reason = "", project: InProject = "default",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Make a version of a LoRA adapter of a model; one that does not fit its base is refused."""
    body = {
        "name": name, "kind": "adapter", "base": base, "derivation": "finetune", "licence": licence,
        "semver": version or None, "reason": reason, "source": _source(origin),
        **_origin(project, data, params, seeds, metrics),
    }  # fmt: skip
    made = _sent(path, body, project)
    if not (made["adapter"] or {}).get("checked"):
        typer.echo("warning: nothing of the adapter could be compared with its base", err=True)
    _say(made, as_json)


@models.command("derive")
def derive_model(
    name: Name, path: ModelPath,
    base: Annotated[str, typer.Option("--derived-from", help="The model it was made from, as MODEL@VERSION.")],
    how: Annotated[str, typer.Option("--how", help="finetune, distil, quantise, prune or merge.")],
    data: Data = None, params: Params = None, seeds: Seeds = None, metrics: Metrics = None,
    environment: Annotated[
        list[str] | None, typer.Option("--environment", help="Where it was made, as NAME=VALUE; may be repeated.")
    ] = None,
    licence: Licence = "", origin: From = "", allow_pickle: Pickle = False, version: SemVerOption = "",
    reason: Reason = "", project: InProject = "default", as_json: Json = False,
) -> None:  # fmt: skip
    """Make a version of weights that were made from another model, and write down how."""
    if how not in HOW:
        raise InvalidInput(f"{how[:40]!r} is no way to make a model", hint=f"one of {', '.join(HOW)}")
    body = {
        "name": name, "base": base, "derivation": how, "licence": licence, "allow_pickle": allow_pickle,
        "semver": version or None, "reason": reason, "source": _source(origin), "environment": read_pairs(environment),
        **_origin(project, data, params, seeds, metrics),
    }  # fmt: skip
    _say(_sent(path, body, project), as_json)


@models.command("host")
def host_model(
    name: Name,
    provider: Annotated[str, typer.Option(help="Who hosts it, such as openai.")],
    model: Annotated[str, typer.Option(help="What the provider calls it.")],
    snapshot: Annotated[str, typer.Option(help="The dated snapshot, where the provider has them.")] = "",
    immutable: Annotated[bool, typer.Option("--immutable", help="The provider promises never to change it.")] = False,
    licence: Licence = "", reason: Reason = "", project: InProject = "default", as_json: Json = False,
) -> None:  # fmt: skip
    """Name a model that a provider hosts, so that releases can pin it."""
    body = {
        "name": name, "provider": provider, "model": model, "snapshot": snapshot, "immutable": immutable,
        "licence": licence, "reason": reason,
    }  # fmt: skip
    made = ApiClient.from_environment().post(_base(project), body)
    if not as_json and made["wants_canary"]:
        typer.echo("it may change under its name: probe it with the same questions, and watch the answers", err=True)
    _say(made, as_json)


@models.command("alias")
def move_alias(
    name: Name,
    alias: Annotated[str, typer.Argument(help="The alias, such as best or production.")],
    version: Annotated[str, typer.Argument(help="A number or another alias; the newest without it.")] = "",
    delete: Annotated[bool, typer.Option("--delete", help="Take the alias away; its name is not used again.")] = False,
    reason: Reason = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Point an alias of a model to a version, or take it away."""
    if delete and version:
        raise InvalidInput("an alias is moved or taken away, not both", hint="leave out the version, or --delete")
    client, path = ApiClient.from_environment(), f"{_project(project)}/model-aliases"
    there = client.get(path, model=name)["items"]
    current = next((each["digest"] for each in there if each["alias"] == alias), None)
    if delete:
        if current is None:
            raise NotFound(f"the model {name!r} has no alias {alias!r}", hint=f"`tetrad model aliases {name}`")
        client.request(
            "DELETE", f"{path}/{path_part(alias)}", params={"model": name, "reason": reason},
            headers={"if-match": f'"{current}"'},
        )  # fmt: skip
        typer.echo(json.dumps({"deleted": alias}) if as_json else f"{name}@{alias} is gone")
        return
    headers = {"if-match": f'"{current}"'} if current else {"if-none-match": "*"}
    moved = client.request(
        "PUT", f"{path}/{path_part(alias)}", params={"model": name}, body={"version": version, "reason": reason},
        headers=headers,
    )  # fmt: skip
    typer.echo(json.dumps(moved, indent=2) if as_json else f"{name}@{alias} → {short(moved['digest'])}")


@models.command("aliases")
def list_aliases(name: Name, project: InProject = "default", as_json: Json = False) -> None:
    """List the aliases of a model."""
    columns = {
        "alias": lambda each: each["alias"],
        "digest": lambda each: short(each["digest"]),
        "moved": lambda each: shown_time(each["moved_at"]),
        "by": lambda each: each["moved_by"],
        "governed": lambda each: "yes" if each["governed"] else "",
    }
    found = ApiClient.from_environment().get(f"{_project(project)}/model-aliases", model=name)["items"]
    show_rows(found, columns, as_json, empty=f"{name} has no alias; `tetrad model alias {name} best` sets one")


def _sent(path: Path, body: dict[str, Any], project: str) -> dict[str, Any]:
    client = ApiClient.from_environment()
    with opened_model(path, archive_limits()) as found:
        for note in found.notes:
            typer.echo(plain(note), err=True)
        files = send_files(client, _project(project), found.files)
        return name_model(
            client, _project(project), {**body, "files": files, "licence": body["licence"] or found.licence}
        )


def _origin(
    project: str, data: list[str] | None, params: list[str] | None, seeds: list[str] | None, metrics: list[str] | None
) -> dict[str, Any]:
    client = ApiClient.from_environment()
    inputs = []
    for each in data or []:
        name, _, version = each.partition("@")
        found = client.get(f"{_project(project)}/datasets/{path_part(name)}", version=version or None)
        inputs.append({"digest": found["digest"], "role": f"data:{found['role'] or 'train'}"})
    return {
        "inputs": inputs,
        "params": {name: read_value(text) for name, text in read_pairs(params).items()},
        "seeds": {name: int(_number(name, text)) for name, text in read_pairs(seeds).items()},
        "metrics": {name: _number(name, text) for name, text in read_pairs(metrics).items()},
    }


def _number(name: str, text: str) -> float:
    value = read_value(text)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidInput(f"{name}={text[:40]} is no number", hint="write NAME=NUMBER")
    return value


def _source(origin: str) -> dict[str, str]:
    return {"from": origin} if origin else {}


def _version(client: ApiClient, project: str, name: str, label: str) -> dict[str, Any]:
    # A model's name has a slash, which stays one in the path.
    path = "/".join(path_part(part) for part in name.split("/"))
    found: dict[str, Any] = client.get(f"{_base(project)}/{path}", version=label or None)
    return found


def _say(made: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(made, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{made['name']}@{made['semver']}: {_size(made)}{short(made['digest'])}")
    if made["licence_id"] == "unknown":
        said = f"SPDX knows no licence {made['licence']!r}" if made["licence"] else "its licence is not known"
        typer.echo(f"{plain(said)}; --licence names it", err=True)
    if made["pickled"]:
        typer.echo("its weights are pickled: whoever loads them runs code of whoever made them", err=True)


def _size(made: dict[str, Any]) -> str:
    parts = [f"{made['parameters']:,} parameters"] if made["parameters"] else []
    parts += [shown_size(made["size_bytes"])] if made["size_bytes"] is not None else []
    return "".join(f"{part}, " for part in parts)


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
        "licence": f"{model['licence']} ({model['licence_id']})" if model["licence"] else "unknown",
        "made from": f"{model['derivation']} of {model['base']}" if model["base"] else "",
        "adapter": _about_adapter(model["adapter"]),
        "pickled": "yes: loading it runs code of its maker" if model["pickled"] else "",
        "aliases": ", ".join(model["aliases"]),
        "reproduction": f"{model['reproduction_cap']} at best" if model["reproduction_cap"] else "",
        "canary": "wanted: probe it with the same questions" if model["wants_canary"] else "",
        "price": shown_price(model["price"]),
        "made": f"{shown_time(model['created_at'])} by {model['created_by']}",
    }


def _about_adapter(adapter: dict[str, Any] | None) -> str:
    if adapter is None:
        return ""
    checked = f"{adapter['checked']} fit" if adapter["checked"] else "not compared with its base"
    return f"{adapter['type'] or 'adapter'} of rank {adapter['rank'] or 'unknown'}, {checked}"


def _base(project: str) -> str:
    return f"{_project(project)}/models"


def _project(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}"
