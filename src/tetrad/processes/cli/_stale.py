"""`tetrad stale`: what is out of date, why, and what mends it. Over the API."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, digest_of, plain, show_rows

STEP_FAILED = 1
NOT_ALL_MENDED = 4
"""`tetrad stale --run` ends so where steps are left that nothing installed can do."""
_CALL_S = 2.0
_COLOURS = {"FRESH": "green", "UNVALIDATED": "yellow", "EXPIRED": "yellow", "STALE": "yellow", "BROKEN": "red"}
_TRIED = ("made", "same", "failed")


def stale(
    what: Annotated[
        str, typer.Argument(help="APP, APP/REF, or the digest of an artifact; all refs of the project without it.")
    ] = "",
    run: Annotated[bool, typer.Option("--run", help="Carry out the steps that have an executor.")] = False,
    reason: Annotated[str, typer.Option("--reason", "-m", help="With --run: why, for the history.")] = "",
    expected: Annotated[str, typer.Option("--expected-outcome", help="With --run: what should be better then.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show what is out of date: what is newer, revoked, expired or not validated, where it began, and what mends it.

    With --run, datasets that were made by steps, prompts that include others, and releases are made again of today's
    parts, in order. Refs stay where they are. Ends with 1 where a step failed, and with 4 where steps are left that
    nothing installed can do.
    """
    subject = _subject(what)
    client = ApiClient.from_environment()
    base = f"/api/v1/projects/{path_part(project)}/staleness"
    if run:
        _run(client, base, {**subject, "reason": reason, "expected_outcome": expected}, subject, as_json)
        return
    found = client.get(base, **subject)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    _show(found)


def _subject(what: str) -> dict[str, str]:
    if not what:
        return {}
    digits = what.removeprefix("sha256:")
    if what.startswith("sha256:") or len(digits) == 64:
        return {"artifact": digest_of(what)}
    app, slash, ref = what.partition("/")
    if not app or (slash and not ref) or "/" in ref:
        raise InvalidInput(f"{what[:80]!r} is no app and no ref", hint="write APP, APP/REF, or a digest")
    return {"app": app, **({"ref": ref} if ref else {})}


def _show(found: Mapping[str, Any]) -> None:
    columns = {
        "what": lambda each: each["ref"] or each["label"],
        "state": lambda each: each["state"],
        "release": lambda each: short(each["digest"]),
        "next": lambda each: short(each["successor"]) if each["successor"] else "",
        "causes": lambda each: "; ".join(cause["said"] for cause in each["roots"][:3]) + _more(each),
    }
    show_rows(found["items"], columns, False, empty="no refs here; `tetrad release compose FOLDER --ref REF` makes one")
    for item in found["items"]:
        if len(item["causes"]) > 0:
            _causes(item)
        if item["successor"] and item["ref"]:
            typer.echo(f"  next: `tetrad ref move {item['ref']} {short(item['successor'])}` when it is validated")
    if found["plan"]:
        typer.echo(typer.style(f"\nplan, {found['step_count']} steps", bold=True))
        _show_plan(found["plan"])


def _more(item: Mapping[str, Any]) -> str:
    hidden = len(item["roots"]) - 3
    return f"; and {hidden} more" if hidden > 0 else ""


def _causes(item: Mapping[str, Any]) -> None:
    typer.echo(typer.style(f"\n{plain(item['ref'] or item['label'])}: {item['state']}", fg=_COLOURS[item["state"]]))
    for cause in item["causes"]:
        typer.echo(f"  {plain(cause['said'])}")
    if item["cause_count"] > len(item["causes"]):
        typer.echo(f"  … and {item['cause_count'] - len(item['causes'])} more")
    direct = {cause["said"] for cause in item["causes"]}
    for cause in item["roots"]:
        if cause["said"] not in direct:
            typer.echo(f"  root: {plain(cause['said'])}")


def _show_plan(steps: Sequence[Mapping[str, Any]]) -> None:
    columns = {
        "#": lambda each: each["number"],
        "do": lambda each: each["action"],
        "what": lambda each: each["label"],
        "by": lambda each: each["executor"] or f"no executor: {each['lacks']}",
        "waits for": lambda each: ", ".join(each["waits_for"]),
    }
    show_rows([{**step, "number": str(n)} for n, step in enumerate(steps, 1)], columns, False, empty="")


def _run(client: ApiClient, base: str, body: Mapping[str, Any], subject: Mapping[str, str], as_json: bool) -> None:
    done = _carry_out(client, base, body)
    after = client.get(base, **subject)
    failed = [each for each in done if each["outcome"] == "failed"]
    lacking = [step for step in after["plan"] if not step["executor"]]
    if as_json:
        typer.echo(json.dumps({"done": done, "after": after}, indent=2, ensure_ascii=False))
    else:
        columns = {
            "do": lambda each: each["step"]["action"],
            "what": lambda each: each["step"]["label"],
            "outcome": lambda each: each["outcome"],
            "became": lambda each: " ".join(filter(None, (each["version"], short(each["digest"])))),
            "problem": lambda each: " ".join(filter(None, (each["problem"], each["hint"]))),
        }
        show_rows(done, columns, False, empty="nothing to make: no step has an executor, or nothing is out of date")
        for step in lacking:
            typer.echo(f"no executor: {step['action']} {plain(step['label'])}: {plain(step['lacks'])}", err=True)
        for item in after["items"]:
            if item["successor"] and item["ref"]:
                typer.echo(f"{item['ref']}: {short(item['successor'])} holds today's parts; no ref was moved", err=True)
    if failed:
        raise typer.Exit(STEP_FAILED)
    if lacking:
        raise typer.Exit(NOT_ALL_MENDED)


def _carry_out(client: ApiClient, base: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Ask for one piece of work after the other until none is left, and return what was tried, each step once."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    tried: dict[str, dict[str, Any]] = {}
    failed: list[str] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("looking", total=None)
        while True:
            answer = client.post(f"{base}/run", {**body, "seconds": _CALL_S, "skip": failed})
            fresh = [each for each in answer["steps"] if each["outcome"] in _TRIED and each["step"]["id"] not in failed]
            for each in fresh:
                tried[each["step"]["id"]] = each
                if each["outcome"] == "failed":
                    failed.append(each["step"]["id"])
            last = fresh[-1]["step"]["label"] if fresh else "done"
            progress.update(task, completed=len(tried), total=len(tried) + answer["left"], description=plain(last))
            if not answer["left"] or not fresh:
                return list(tried.values())
