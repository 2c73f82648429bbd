"""Commands for limits and budgets. They call control's API."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, plain, show_rows, shown_time

limits = typer.Typer(no_args_is_help=True, help="Limits: requests, tokens and calls at once.")
budgets = typer.Typer(no_args_is_help=True, help="Budgets: what keys, teams, apps, users and projects may spend.")
Subject = Annotated[str, typer.Argument(help="project, team, key, app, user or model.")]
Name = Annotated[str, typer.Argument(help="Its name or id; without it, each on its own.")]
Id = Annotated[str, typer.Argument(help="The id that the list shows.")]
Soft = Annotated[bool, typer.Option("--soft", help="Refuse nobody; only count and alert.")]


def _path(project: str, what: str, rule: str = "") -> str:
    base = f"/api/v1/projects/{path_part(project)}/{what}"
    return f"{base}/{path_part(rule)}" if rule else base


@limits.command("set")
def set_limit(
    subject: Subject,
    name: Name = "*",
    rpm: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    tpm: Annotated[int | None, typer.Option(help="Tokens a minute, of input and output together.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Calls at once.")] = None,
    soft: Soft = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Set how much a subject may use; the same subject again changes it.

    For example: `tetrad limit set key --rpm 60` for each key on its own, or `tetrad limit set team search --tpm 100000`
    for one team.
    """
    wanted = {"requests": rpm, "tokens": tpm, "concurrency": concurrency}
    given = {measure: amount for measure, amount in wanted.items() if amount is not None}
    if not given:
        raise typer.BadParameter("give --rpm, --tpm or --concurrency")
    client = ApiClient.from_environment()
    done = [
        client.put(
            _path(project, "limits"),
            {"subject": subject, "name": name, "measure": measure, "amount": amount, "hard": not soft},
        )
        for measure, amount in given.items()
    ]
    _show_limits(done, as_json)


@limits.command("list")
def list_limits(
    find: Annotated[
        str, typer.Option("--find", help="Only those that hold this in whom they concern, or in what they count.")
    ] = "",
    sort: Annotated[
        str | None, typer.Option("--sort", help="By whom, amount or changed; with `-` before it, the largest first.")
    ] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """List the limits of a project."""
    found = ApiClient.from_environment().items(_path(project, "limits"), q=find or None, sort=sort)
    _show_limits(list(found), as_json, "no such limits" if find else "")


@limits.command("remove")
def remove_limit(rule: Id, project: InProject = "default") -> None:
    """Remove a limit."""
    ApiClient.from_environment().delete(_path(project, "limits", rule))


@budgets.command("set")
def set_budget(
    subject: Subject,
    amount: Annotated[str, typer.Argument(help="Such as 12.50.")],
    name: Annotated[str, typer.Option("--name", help="Its name or id; without it, each on its own.")] = "*",
    period: Annotated[str, typer.Option(help="day, week, month or total.")] = "month",
    currency: Annotated[str, typer.Option(help="Three capitals.")] = "USD",
    soft: Soft = False,
    count_unknown: Annotated[
        bool, typer.Option("--count-unknown", help="Let calls pass whose price is not known, and count them.")
    ] = False,
    alert_at: Annotated[list[int] | None, typer.Option(help="Per cent at which to alert; repeat it.")] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Set what a subject may spend in a period; the same subject and period again changes it.

    For example: `tetrad budget set project 500`, or `tetrad budget set key 5 --period day` for each key on its own.
    """
    body: dict[str, Any] = {
        "subject": subject,
        "name": name,
        "amount": amount,
        "currency": currency,
        "period": period,
        "hard": not soft,
        "unknown": "count" if count_unknown else "refuse",
    }
    if alert_at:
        body["alert_at"] = alert_at
    _show_budgets([ApiClient.from_environment().put(_path(project, "budgets"), body)], as_json)


@budgets.command("list")
def list_budgets(project: InProject = "default", as_json: Json = False) -> None:
    """List budgets and how they stand."""
    _show_budgets(list(ApiClient.from_environment().items(_path(project, "budgets"))), as_json)


@budgets.command("show")
def show_budget(rule: Id, project: InProject = "default", as_json: Json = False) -> None:
    """Show how a budget stood in each period, and how it was spent hour by hour."""
    found = list(ApiClient.from_environment().items(_path(project, "budgets", rule)))
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    _show_budgets(found, as_json)
    for point in found[0]["series"] if found else []:
        typer.echo(f"{shown_time(point['hour'])}  {point['spent']} {found[0]['currency']}")


@budgets.command("alerts")
def list_alerts(project: InProject = "default", as_json: Json = False) -> None:
    """List budgets that went past a threshold."""
    columns = {
        "when": lambda row: shown_time(row["at"]),
        "budget": lambda row: row["budget"],
        "of": lambda row: plain(row["instance"]),
        "period": lambda row: row["period_name"],
        "past": lambda row: f"{row['threshold']} %",
        "spent": lambda row: row["spent"],
    }
    path = _path(project, "budget-alerts")
    show_rows(ApiClient.from_environment().items(path), columns, as_json, empty="no budget went past a threshold")


@budgets.command("usage")
def show_usage(
    by: Annotated[str, typer.Option(help="key, team, app, model, user or release.")] = "model",
    since: Annotated[str, typer.Option(help="A time, such as 2026-01-31; a day ago when left out.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show what keys, teams, apps, models or users used, from the spans of their calls."""
    client = ApiClient.from_environment()
    found = client.get(f"/api/v1/projects/{path_part(project)}/usage", by=by, **{"from": since or None})["items"]
    columns = {
        by: lambda row: plain(row["title"]) or "none",
        "calls": lambda row: f"{row['calls']:,}",
        "errors": lambda row: f"{row['errors']:,}",
        "tokens": lambda row: f"{sum(row[kind] for kind in _TOKENS):,}",
        "cost": lambda row: " + ".join(f"{cost['amount']} {cost['currency']}" for cost in row["costs"]),
        "without a price": lambda row: _some(row["answers_without_cost"]),
    }
    show_rows(found, columns, as_json, empty="nothing was called in that time")


_TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")


@budgets.command("remove")
def remove_budget(rule: Id, project: InProject = "default") -> None:
    """Remove a budget with its account."""
    ApiClient.from_environment().delete(_path(project, "budgets", rule))


def _of(row: dict[str, Any]) -> str:
    if row["subject"] == "project":
        return "project"
    return f"each {row['subject']}" if row["name"] == "*" else plain(f"{row['subject']} {row['name']}")


def _some(count: int) -> str:
    return f"{count:,}" if count else ""


def _show_limits(rows: list[dict[str, Any]], as_json: bool, empty: str = "") -> None:
    columns = {
        "id": lambda row: row["id"],
        "of": _of,
        "may use": lambda row: f"{row['amount']:,} {_UNITS[row['measure']]}",
        "past it": lambda row: "refused" if row["hard"] else "counted",
    }
    show_rows(rows, columns, as_json, empty=empty or "no limits; `tetrad limit set key --rpm 60` limits each key")


_UNITS = {"requests": "requests a minute", "tokens": "tokens a minute", "concurrency": "calls at once"}


def _show_budgets(rows: list[dict[str, Any]], as_json: bool) -> None:
    columns = {
        "id": lambda row: row["id"],
        "of": lambda row: _of(row) + (plain(f" ({row['instance']})") if row["name"] == "*" and row["instance"] else ""),
        "budget": lambda row: f"{row['amount']} {row['currency']}",
        "period": lambda row: row["period_name"],
        "spent": lambda row: row["spent"],
        "used": lambda row: f"{row['used_percent']:g} %",
        "uncertain": lambda row: row["uncertain"] if row["uncertain"] != "0" else "",
        "unknown": lambda row: _some(row["unknown_calls"]),
        "past it": lambda row: "refused" if row["hard"] else "alert only",
    }
    show_rows(rows, columns, as_json, empty="no budgets; `tetrad budget set project 100` sets one for the project")
