"""Commands for runs. They call control's API."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, read_pairs, read_value, show_rows, shown_time

runs = typer.Typer(no_args_is_help=True, help="Runs: trainings and other activities that are watched.")
RunId = Annotated[str, typer.Argument(help="The run's id, as `tetrad run list` shows it.")]
Pairs = list[str] | None


@runs.command("list")
def list_runs(
    experiment: Annotated[str, typer.Option(help="Only those of one experiment.")] = "",
    state: Annotated[str, typer.Option(help="running, done or failed.")] = "",
    project: InProject = "default",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List runs, the newest first."""
    columns = {
        "run": lambda each: each["id"],
        "name": lambda each: each["name"],
        "experiment": lambda each: each["experiment"],
        "kind": lambda each: each["kind"],
        "state": lambda each: f"{each['state']}, no sign of life" if each["lost"] else each["state"],
        "started": lambda each: shown_time(each["started_at"]),
        "by": lambda each: each["started_by"],
        "newest values": lambda each: _values(each["metrics"][:4]),
    }
    found = ApiClient.from_environment().items(
        _base(project), most=limit, experiment=experiment or None, state=state or None
    )
    show_rows(found, columns, as_json, empty="no runs here; `tetrad run start` begins one")


@runs.command("show")
def show_run(run: RunId, project: InProject = "default", as_json: Json = False) -> None:
    """Show a run with its parameters and metrics."""
    found = ApiClient.from_environment().get(f"{_base(project)}/{path_part(run)}")
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows = [{"field": name, "value": value} for name, value in _about(found).items() if value]
    rows += [{"field": f"param {name}", "value": _text(value)} for name, value in found["params"].items()]
    rows += [{"field": f"metric {each['metric']}", "value": _range(each)} for each in found["metrics"]]
    show_rows(rows, {"": lambda row: row["field"], " ": lambda row: row["value"]}, False, empty="")


@runs.command("compare")
def compare_runs(
    which: Annotated[list[str], typer.Argument(metavar="RUN...", help="The runs' ids.")],
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Set runs side by side: parameters that differ first, then the newest value of each metric."""
    query = "&".join(f"run={path_part(run)}" for run in which)
    found = ApiClient.from_environment().get(f"{_project(project)}/run-comparison?{query}")
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    rows: list[dict[str, Any]] = [
        {"name": ("* " if row["differs"] else "  ") + row["name"], "values": [_text(value) for value in row["values"]]}
        for row in found["params"]
    ]
    for metric in found["metrics"]:
        last = [next((m["last"] for m in run["metrics"] if m["metric"] == metric), None) for run in found["runs"]]
        rows.append({"name": f"  {metric}", "values": [_text(value) for value in last]})
    columns: dict[str, Any] = {"": lambda row: row["name"]}
    for number, run in enumerate(found["runs"]):
        columns[f"{run['name']} ({run['id'][-6:]})"] = lambda row, place=number: row["values"][place]
    show_rows(rows, columns, False, empty="the runs have neither parameters nor metrics")


@runs.command("start")
def start_run(
    kind: Annotated[str, typer.Option(help="train, finetune, distil, quantise, prune, merge or evaluate.")] = "train",
    experiment: Annotated[str, typer.Option(help="The name that runs to compare share.")] = "default",
    name: Annotated[str, typer.Option(help="What to call it.")] = "",
    params: Annotated[Pairs, typer.Option("--param", help="A parameter, as NAME=VALUE; may be repeated.")] = None,
    tags: Annotated[Pairs, typer.Option("--tag", help="A tag, as NAME=VALUE; may be repeated.")] = None,
    inputs: Annotated[Pairs, typer.Option("--input", help="A digest that goes in; may be repeated.")] = None,
    key: Annotated[str, typer.Option(help="With the same key again it is the same run.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Begin a run and print its id."""
    body = {
        "kind": kind, "experiment": experiment, "name": name, "tags": read_pairs(tags),
        "params": {each: read_value(text) for each, text in read_pairs(params).items()},
        "inputs": [{"digest": digest} for digest in inputs or []], "idempotency_key": key or None,
    }  # fmt: skip
    made = ApiClient.from_environment().post(_base(project), body)
    typer.echo(json.dumps(made, indent=2, ensure_ascii=False) if as_json else made["id"])


@runs.command("log")
def log_metrics(
    run: RunId,
    step: Annotated[int, typer.Option(help="The step at which they were measured.")],
    metrics: Annotated[list[str], typer.Argument(metavar="NAME=NUMBER...", help="The values.")],
    project: InProject = "default",
) -> None:
    """Log values of metrics at a step; the same again changes nothing."""
    points = []
    for name, text in read_pairs(metrics).items():
        value = read_value(text)
        if isinstance(value, bool) or (isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity")):
            raise InvalidInput(f"{name}={text[:40]} is no number", hint="write NAME=NUMBER, or NAME=NaN")
        points.append({"metric": name, "step": step, "value": value})
    ApiClient.from_environment().post(f"{_base(project)}/{path_part(run)}/metrics", {"points": points})


@runs.command("finish")
def finish_run(
    run: RunId,
    failed: Annotated[bool, typer.Option("--failed", help="It did not end well.")] = False,
    error: Annotated[str, typer.Option(help="What went wrong.")] = "",
    outputs: Annotated[Pairs, typer.Option("--output", help="A digest that came out; may be repeated.")] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """End a run and name what came out of it."""
    body = {
        "state": "failed" if failed or error else "done", "error": error,
        "outputs": [{"digest": digest} for digest in outputs or []],
    }  # fmt: skip
    ended = ApiClient.from_environment().post(f"{_base(project)}/{path_part(run)}/finish", body)
    typer.echo(json.dumps(ended, indent=2, ensure_ascii=False) if as_json else f"{ended['id']} is {ended['state']}")


def _about(run: Mapping[str, Any]) -> dict[str, str]:
    return {
        "run": run["id"],
        "name": run["name"],
        "experiment": run["experiment"],
        "kind": run["kind"],
        "state": f"{run['state']}, no sign of life since {shown_time(run['heartbeat_at'])}"
        if run["lost"]
        else run["state"],
        "error": run["error"],
        "started": f"{shown_time(run['started_at'])} by {run['started_by']}",
        "ended": shown_time(run["ended_at"]),
        "tags": ", ".join(f"{name}={value}" for name, value in run["tags"].items()),
        "in": ", ".join(edge["digest"] for edge in run["inputs"]),
        "out": ", ".join(edge["digest"] for edge in run["outputs"]),
    }


def _range(metric: Mapping[str, Any]) -> str:
    between = "" if metric["least"] is None else f", between {_text(metric['least'])} and {_text(metric['most'])}"
    return f"{_text(metric['last'])} at step {metric['last_step']:,}{between}, {metric['points']:,} points"


def _values(metrics: list[dict[str, Any]]) -> str:
    return ", ".join(f"{each['metric']} {_text(each['last'])}" for each in metrics)


def _text(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _base(project: str) -> str:
    return f"{_project(project)}/runs"


def _project(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}"
