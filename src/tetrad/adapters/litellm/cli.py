"""`tetrad import litellm`. It calls control's API."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.adapters.litellm._config import read_config
from tetrad.adapters.litellm._plan import Plan
from tetrad.kernel import InvalidInput
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, show_rows
from tetrad.kit.plain_yaml import MAX_BYTES

imports = typer.Typer(no_args_is_help=True, help="Take over the configuration of another gateway.")


@imports.callback()
def _group() -> None:
    """Keep this a group while it has one command."""


@imports.command("litellm")
def import_litellm(
    config: Annotated[Path, typer.Argument(help="The file that `litellm --config` is given.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    secrets_from_env: Annotated[
        bool, typer.Option("--secrets-from-env", help="Set the secrets from the variables that the file names.")
    ] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Make providers, models, prices, routes, limits and the cache of LiteLLM's configuration.

    Says of every entry what became of it. The same again changes nothing; what was changed by hand since is set back.
    Keys are never copied from the file: it is said which secrets to set.
    """
    plan = read_config(_text(config), where=str(config), environ=os.environ)
    client = None if dry_run else ApiClient.from_environment()
    unset = dict(plan.secrets)
    if client is not None:
        unset = (_set_secrets if secrets_from_env else _missing_secrets)(client, project, plan)
        for step in plan.steps:
            client.put(f"/api/v1/projects/{path_part(project)}/{step.path}", step.body)
    _show(plan, unset, dry_run, project, as_json)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1).decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{str(path)!r} is not UTF-8", hint="name LiteLLM's config.yaml") from None
    except OSError as error:
        raise InvalidInput(
            f"{str(path)!r} cannot be read: {error.strerror}", hint="name LiteLLM's config.yaml"
        ) from None


def _secrets_path(project: str, name: str = "") -> str:
    base = f"/api/v1/projects/{path_part(project)}/secrets"
    return f"{base}/{path_part(name)}" if name else base


def _set_secrets(client: ApiClient, project: str, plan: Plan) -> dict[str, str]:
    unset = {}
    for name, variable in plan.secrets.items():
        value = os.environ.get(variable, "") if variable else ""
        if value:
            client.put(_secrets_path(project, name), {"value": value})
        else:
            unset[name] = variable
    return unset


def _missing_secrets(client: ApiClient, project: str, plan: Plan) -> dict[str, str]:
    there = {each["name"] for each in client.items(_secrets_path(project))}
    return {name: variable for name, variable in plan.secrets.items() if name not in there}


def _show(plan: Plan, unset: dict[str, str], dry_run: bool, project: str, as_json: bool) -> None:
    if as_json:
        said: dict[str, Any] = {
            "dry_run": dry_run,
            "steps": [asdict(step) for step in plan.steps],
            "secrets_to_set": list(unset),
            "findings": [asdict(finding) for finding in plan.findings],
        }
        typer.echo(json.dumps(said, indent=2, ensure_ascii=False))
        return
    made = "would set" if dry_run else "set"
    show_rows(
        [asdict(step) for step in plan.steps],
        {made: lambda row: row["kind"], "name": lambda row: row["name"], "to": lambda row: _told(row["body"])},
        as_json,
        empty="the file holds nothing that could be taken",
    )
    typer.echo("")
    show_rows(
        [asdict(finding) for finding in plan.findings],
        {
            "entry": lambda row: f"{row['where']} (line {row['line']})",
            "is": lambda row: row["outcome"],
            "what": lambda row: row["what"],
            "to do": lambda row: row["to_do"],
        },
        as_json,
        empty="",
    )
    if unset:
        where = "" if project == "default" else f" --project {project}"
        typer.echo("\nSet the keys, each by its command:")
        for name, variable in unset.items():
            source = f'printf %s "${variable}" | ' if variable else ""
            typer.echo(f"  {source}tetrad secret set {name}{where}")


def _told(body: dict[str, Any]) -> str:
    if "models" in body:
        return f"{body['base_url']}: {', '.join(model['name'] for model in body['models'])}"
    if "targets" in body:
        falls = sum(len(models) for models in body["fallbacks"].values())
        targets = ", ".join(target["model"] for target in body["targets"])
        return f"{body['strategy']}: {targets}" + (f"; {falls} fallbacks" if falls else "")
    return ", ".join(f"{name} {value}" for name, value in body.items() if value not in ("", "*"))
