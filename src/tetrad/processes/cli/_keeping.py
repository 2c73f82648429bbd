"""`tetrad revoke`, `tetrad erase`, `tetrad gc`: what may be used no more, what must go, what nothing needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, NotFound, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, digest_of, plain, show_rows, shown_size, shown_time

SHOWN = 20
Target = Annotated[str, typer.Argument(help="The artifact: a whole digest, or APP/REF for what it points to.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why; it goes into the audit log.")]


def revoke(
    target: Annotated[str, typer.Argument(help="The artifact: a whole digest, or APP/REF for its release.")] = "",
    reason: Reason = "",
    undo: Annotated[bool, typer.Option("--undo", help="Reinstate it: it was revoked in error.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would reach.")] = False,
    listed: Annotated[bool, typer.Option("--list", help="List what is revoked.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Revoke an artifact: no ref moves any more to what contains it, or was made from it.

    What is served already goes on being served. It is named here and in `tetrad status`: roll it back.
    """
    client = ApiClient.from_environment()
    if listed or not target:
        _list_revocations(client, project, as_json)
        return
    path = f"{_base(project)}/artifacts/{_digest(client, project, target)}"
    if dry_run:
        _show_impact(client.get(f"{path}/impact"), as_json)
        return
    if not reason.strip():
        raise InvalidInput("a reason is needed", hint="give --reason")
    if undo:
        back = client.post(f"{path}/reinstate", {"reason": reason})
        typer.echo(json.dumps(back, indent=2) if as_json else f"reinstated the {back['kind']} {short(back['digest'])}")
        return
    done = client.post(f"{path}/revoke", {"reason": reason})
    if as_json:
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))
        return
    typer.echo(f"revoked the {done['revocation']['kind']} {short(done['revocation']['digest'])}")
    _show_impact(done["impact"], False)


def erase(
    target: Target,
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why; whoever reads the artifact is told.")],
    force: Annotated[bool, typer.Option("--force", help="Also what is served now.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Take the content of an artifact away for good; its digest stays as a tombstone with the reason."""
    client = ApiClient.from_environment()
    digest = _digest(client, project, target)
    if not yes:
        typer.confirm(f"Erase {short(digest)}? It does not come back.", abort=True, err=True)
    body = {"reason": reason, "force": force}
    done = client.post(f"{_base(project)}/artifacts/{digest}/erase", body)
    if as_json:
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))
        return
    freed = f"{done['rows']} rows and {shown_size(done['freed']['bytes'])}"
    typer.echo(f"erased the {done['kind']} {short(done['digest'])}: {freed} freed")
    if done["blobs_left"]:
        typer.echo(f"{done['blobs_left']} files stay, as other artifacts hold them too")
    for live in done["was_live"]:
        typer.echo(f"note: {live['app']}/{live['ref'] or '(pinned)'} serves {short(live['digest'])}", err=True)


def gc(
    run: Annotated[bool, typer.Option("--run", "--yes", "-y", help="Carry it out; without it only look.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look, as without any option.")] = False,
    versions_days: Annotated[
        float | None,
        typer.Option(
            "--unreferenced-versions-older-than",
            min=0,
            help="Days: also named versions that are older and nothing else needs, but for the newest of each name.",
        ),
    ] = None,
    explain: Annotated[str, typer.Option(help="Say what holds this artifact: a digest, or APP/REF.")] = "",
    only: Annotated[
        str, typer.Option("--only-project", help="Only this project's artifacts; files stay until a whole run.")
    ] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Take away what no ref, deployment, version or recent work needs. Without --run it only says what would go."""
    client = ApiClient.from_environment()
    if explain:
        _explain(client, project, explain, as_json)
        return
    body = {"run": run and not dry_run, "versions_older_than_days": versions_days}
    if only:
        done = client.post(f"{_base(only)}/gc", body)
        found: Mapping[str, Any] = {"ran": done["ran"], "projects": [done], "blobs": None}
    else:
        done = found = client.post("/api/v1/gc", body)
    if as_json:
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))
        return
    rows = [
        {"project": each["project"], "kind": kind, **amount}
        for each in found["projects"]
        for kind, amount in each["gone"].items()
    ]
    columns = {
        "kind": lambda each: each["kind"],
        "project": lambda each: each["project"],
        "artifacts": lambda each: f"{each['count']:,}",
        "size": lambda each: shown_size(each["bytes"]),
    }
    show_rows(rows, columns, False, empty="nothing to take")
    verb = "went" if found["ran"] else "would go"
    if found["blobs"] is not None:
        typer.echo(f"{found['blobs']['count']:,} files ({shown_size(found['blobs']['bytes'])}) {verb}")
    for each in found["projects"]:
        kept = ", ".join(f"{count:,} by {why}" for why, count in each["kept"].items())
        typer.echo(plain(f"{each['project']}: kept {kept or 'nothing'}"))
    if not found["ran"]:
        typer.echo("nothing was taken; --run takes it")


def _explain(client: ApiClient, project: str, target: str, as_json: bool) -> None:
    found = client.get(f"{_base(project)}/artifacts/{_digest(client, project, target)}/holders")
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    what = f"the {found['kind']} {short(found['digest'])}"
    if found["erased_at"]:
        typer.echo(plain(f"{what} went on {shown_time(found['erased_at'])}: {found['erased_because']}"))
        return
    typer.echo(f"{what} {'stays' if found['kept'] else 'would go: nothing holds it'}")
    for holder in found["holders"][:SHOWN]:
        way = " -> ".join(short(each) for each in holder["path"])
        typer.echo(plain(f"  {holder['why']}: {way}"))


def _list_revocations(client: ApiClient, project: str, as_json: bool) -> None:
    columns = {
        "artifact": lambda each: short(each["digest"]),
        "kind": lambda each: each["kind"],
        "because": lambda each: each["reason"],
        "at": lambda each: shown_time(each["revoked_at"]),
        "by": lambda each: each["revoked_by"],
        "state": lambda each: "revoked" if each["stands"] else f"reinstated: {each['reinstated_because']}",
    }
    found = list(client.items(f"{_base(project)}/revocations", most=200))
    show_rows(found, columns, as_json, empty="nothing is revoked")


def _show_impact(impact: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(impact, indent=2, ensure_ascii=False))
        return
    rows = [each for each in impact["touched"] if each["digest"] != impact["digest"]]
    columns = {
        "reaches": lambda each: short(each["digest"]),
        "kind": lambda each: each["kind"],
        "versions": lambda each: ", ".join(each["versions"]),
        "refs": lambda each: ", ".join(each["refs"]),
        "by": lambda each: " -> ".join(short(step) for step in each["path"]),
    }
    show_rows(rows[:SHOWN], columns, False, empty="nothing rests on it")
    if len(rows) > SHOWN or impact["count"] > len(impact["touched"]):
        typer.echo(f"… {impact['count'] - 1:,} in all; --json shows more")
    for live in impact["live"]:
        where = f"{live['app']}/{live['ref']}" if live["ref"] else f"{live['app']}, to those that pin it,"
        typer.echo(plain(f"LIVE: {where} serves {short(live['digest'])}"))


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}"


def _digest(client: ApiClient, project: str, text: str) -> str:
    if "/" not in text:
        return digest_of(text)
    for ref in client.items(f"{_base(project)}/refs", most=200, prefix=text):
        if ref["name"] == text:
            return str(ref["digest"])
    raise NotFound(f"there is no ref {text!r}", hint="`tetrad ref list` shows them")
