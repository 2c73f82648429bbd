"""Commands for apps, releases and refs. They call control's API."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.code import FolderSource
from tetrad.kernel import Conflict, InvalidInput, TetradError, parse_json, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, digest_of, plain, show_rows, shown_time
from tetrad.releases._lock import LOCK_FILE, format_lock, read_lock

apps = typer.Typer(no_args_is_help=True, help="Apps, what they serve and how they got there.")
releases = typer.Typer(no_args_is_help=True, help="Releases: compose, derive, diff, list, show.")
refs = typer.Typer(no_args_is_help=True, help="Refs: list, move, log.")

AppArgument = Annotated[str, typer.Argument(help="The app's name.")]
RefArgument = Annotated[str, typer.Argument(help="The ref, as APP/REF, such as assistant/production.")]


@apps.command("list")
def list_apps(project: InProject = "default", limit: Limit = 100, as_json: Json = False) -> None:
    """List the apps of a project and where their refs point."""
    found = list(ApiClient.from_environment().items(f"{_base(project)}/apps", most=limit))
    columns = {
        "app": lambda each: each["name"],
        "refs": lambda each: ", ".join(f"{ref['name']} → {short(ref['digest'])}" for ref in each["refs"]),
        "description": lambda each: each["description"],
    }
    show_rows(found, columns, as_json, empty="no apps here; `tetrad release compose FOLDER` makes one")


@apps.command("show")
def show_app(app: AppArgument, project: InProject = "default", as_json: Json = False) -> None:
    """Show an app: where its refs point, and the moves that brought them there."""
    found = ApiClient.from_environment().get(f"{_base(project)}/apps/{path_part(app)}")
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['name']}: {found['description'] or 'no description'}\n")
    show_rows(found["refs"], _REF_COLUMNS, False, empty="no refs")
    for ref in found["refs"]:
        for cause in ref["revoked"]:
            typer.echo(f"BROKEN: {ref['name']} points to {short(ref['digest'])}: {plain(cause)}")
    typer.echo("")
    show_rows(found["history"], _MOVE_COLUMNS, False, empty="no moves")


@releases.command("list")
def list_releases(app: AppArgument, project: InProject = "default", limit: Limit = 50, as_json: Json = False) -> None:
    """List the releases of an app, the newest first."""
    path = f"{_base(project)}/apps/{path_part(app)}/releases"
    columns = {
        "release": lambda each: short(each["digest"]),
        "refs": lambda each: ", ".join(each["refs"]),
        "code": lambda each: "DIRTY" if each["dirty"] else "",
        "made": lambda each: shown_time(each["created_at"]),
        "by": lambda each: each["created_by"],
        "reason": lambda each: each["reason"],
    }
    found = list(ApiClient.from_environment().items(path, most=limit))
    show_rows(found, columns, as_json, empty="no releases; `tetrad release compose FOLDER` makes one")


@releases.command("show")
def show_release(
    release: Annotated[str, typer.Argument(help="A digest, its first digits with --app, or APP/REF.")],
    app: Annotated[str, typer.Option(help="The app, to look for the first digits of a digest in.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show a release: code, data, model, prompt, and who made it when and why."""
    client = ApiClient.from_environment()
    digest = _digest(client, project, release, app)
    found = client.get(f"{_base(project)}/releases/{digest}", rows=0)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['digest']}\n{found['app']}, made {shown_time(found['created_at'])} by {found['created_by']}")
    if found["reason"]:
        typer.echo(f"because {found['reason']}")
    if found["dirty"]:
        typer.echo("DIRTY: its code holds changes that are in no commit")
    for cause in found["revoked"]:
        typer.echo(f"BROKEN: {plain(cause)}")
    typer.echo(f"refs: {', '.join(found['refs']) or 'none'}\n")
    show_rows(_part_rows(found), _PART_COLUMNS, False, empty="")


@releases.command("compose")
def compose_release(
    folder: Annotated[Path, typer.Argument(help="The folder that holds tetrad.yaml.", show_default=True)] = Path(),
    ref: Annotated[str, typer.Option("--ref", help="Move this ref to the release, such as production.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")] = "",
    expected: Annotated[str, typer.Option("--expected-outcome", help="What should be better then.")] = "",
    git: Annotated[bool, typer.Option(help="Record commit and uncommitted changes.")] = True,
    locked: Annotated[bool, typer.Option("--locked", help="Refuse anything that tetrad.lock does not say.")] = False,
    lock: Annotated[bool, typer.Option(help="Write tetrad.lock beside tetrad.yaml.")] = True,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Make a release of an app's folder and print its digest; the same inputs give the same digest.

    What every part resolved to is written to tetrad.lock beside tetrad.yaml. With --locked that file must say the same
    already: otherwise nothing is composed, and the parts that differ are named.
    """
    from tetrad.releases._compose import ReleaseLimits
    from tetrad.releases._upload import pack

    held = _read_lock(folder) if locked else None
    declaration, body = pack(FolderSource(folder), ReleaseLimits(), git=git)
    if held is not None:
        body["locked"] = held
    client = ApiClient.from_environment()
    body |= {"reason": reason, "expected_outcome": expected}
    if ref:
        current = _current(client, project, declaration.app, ref)
        body |= {"ref": ref, "expected": current or "absent"}
    made = client.post(f"{_base(project)}/releases", body)
    if lock and not locked:
        _write_lock(folder, made["lock"])
    _show_made(made, as_json)


@releases.command("derive")
def derive_release(
    base: Annotated[str, typer.Option("--from", help="APP/REF, APP/REF@3 (its third move), or a digest.")],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="PART=VALUE, such as prompt.system=NAME@1.2.0 or sampling.temperature=0.3."),
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option("--unset", help="A part to take away, such as data.fewshot or sampling.seed.")
    ] = None,
    ref: Annotated[str, typer.Option("--ref", help="Move this ref to the release, such as staging.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")] = "",
    expected: Annotated[str, typer.Option("--expected-outcome", help="What should be better then.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Make the next release from one that is there and other parts, without any checkout.

    Parts are prompt.system, model.primary (or model.chat) and the other roles of models, data.fewshot and the other
    roles of data (data.ROLE/NAME where a role has several), each set to NAME@VERSION, NAME@sha256:… or NAME for its
    newest version; and sampling.NAME, set to a JSON value.
    """
    client = ApiClient.from_environment()
    body: dict[str, Any] = {"from": base, "set": _patches(changes or [], unset or [])}
    body |= {"reason": reason, "expected_outcome": expected}
    if ref:
        app = base.partition("/")[0] if "/" in base else _app_of(client, project, base)
        body |= {"ref": ref, "expected": _current(client, project, app, ref) or "absent"}
    _show_made(client.post(f"{_base(project)}/releases/derive", body), as_json)


@releases.command("diff")
def diff_releases(
    old: Annotated[str, typer.Argument(help="APP/REF, APP/REF@3 (its third move), @-1 (one move ago), or a digest.")],
    new: Annotated[str, typer.Argument(help="The same.")],
    app: Annotated[str, typer.Option(help="The app, to look for the first digits of a digest in.")] = "",
    rows: Annotated[int, typer.Option(min=0, max=500, help="How many rows of each dataset.")] = 20,
    summary: Annotated[bool, typer.Option("--summary", help="One line per part.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Say what changed from one release to another: prompts by message and word, data by row, model, code, sampling."""
    from tetrad.releases._diff_text import render_diff

    query: dict[str, str | int] = {"from": old, "to": new, "app": app, "rows": rows}
    found = ApiClient.from_environment().get(f"{_base(project)}/release-diff", **query)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for line in map(plain, found["summary"]) if summary else render_diff(found):
        typer.echo(line)


@refs.command("list")
def list_refs(
    prefix: Annotated[str, typer.Argument(help="Only refs that begin so, such as assistant/.")] = "",
    project: InProject = "default",
    limit: Limit = 100,
    as_json: Json = False,
) -> None:
    """List refs and where they point."""
    found = list(ApiClient.from_environment().items(f"{_base(project)}/refs", most=limit, prefix=prefix))
    show_rows(found, _REF_COLUMNS, as_json, empty="no refs")


@refs.command("move")
def move_ref(
    ref: RefArgument,
    release: Annotated[str, typer.Argument(help="The release: a digest, its first digits, or another APP/REF.")],
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")] = "",
    create: Annotated[bool, typer.Option("--create", help="The ref must not exist yet.")] = False,
    expected: Annotated[
        str, typer.Option(help="The digest that it must point to now; the present one when left out.")
    ] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Point a ref to a release. If somebody else moves it meanwhile, nothing happens and you are told."""
    app, name = _split(ref)
    client = ApiClient.from_environment()
    digest = _digest(client, project, release, app)
    headers = {"if-none-match": "*"}
    if not create:
        current = digest_of(expected) if expected else _current(client, project, app, name)
        if current is None:
            raise Conflict(f"there is no ref {ref!r}", hint="make it with --create")
        headers = {"if-match": f'"{current}"'}
    path = f"{_base(project)}/apps/{path_part(app)}/refs/{path_part(name)}"
    moved = client.put(path, {"digest": digest, "reason": reason}, headers=headers)
    typer.echo(json.dumps(moved, indent=2) if as_json else f"{app}/{moved['name']} → {short(moved['digest'])}")


@refs.command("log")
def log_refs(
    ref: Annotated[str, typer.Argument(help="APP/REF, or APP/ for all refs of an app; all refs without it.")] = "",
    project: InProject = "default",
    limit: Limit = 50,
    check: Annotated[bool, typer.Option("--check", help="Verify the hash chain of the whole project.")] = False,
    export_head: Annotated[
        Path | None, typer.Option(help="Write where the log ends, signed; keep it elsewhere for `tetrad audit verify`.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show who moved refs when and why, the newest first."""
    client = ApiClient.from_environment()
    if export_head is not None:
        head = client.get(f"{_base(project)}/refs/log/head")["envelope"]
        try:
            export_head.write_text(json.dumps(head, indent=2) + "\n", "utf-8")
        except OSError as error:
            raise InvalidInput(f"{str(export_head)!r} cannot be written: {error.strerror}") from None
        typer.echo(f"wrote {export_head}")
        return
    if check:
        _check_log(client.get(f"{_base(project)}/refs/log/check"), as_json)
        return
    found = list(client.items(f"{_base(project)}/refs/log", most=limit, ref=ref))
    columns = _MOVE_COLUMNS | {
        "from": lambda each: short(each["old"]) if each["old"] else "new",
        "to": lambda each: short(each["new"]) if each["new"] else "deleted",
    }
    show_rows(found, columns, as_json, empty="no moves")


_REF_COLUMNS = {
    "ref": lambda each: each["name"],
    "release": lambda each: short(each["digest"]),
    "moved": lambda each: shown_time(each["moved_at"]),
    "by": lambda each: each["moved_by"],
    "governed": lambda each: "yes" if each["governed"] else "",
}
_MOVE_COLUMNS = {
    "#": lambda each: str(each["sequence"]),
    "ref": lambda each: each["ref"],
    "from": lambda each: short(each["from"]) if each["from"] else "new",
    "to": lambda each: short(each["to"]) if each["to"] else "deleted",
    "at": lambda each: shown_time(each["at"]),
    "by": lambda each: each["by"],
    "reason": lambda each: each["reason"],
}
_PART_COLUMNS = {
    "part": lambda each: each["part"],
    "role": lambda each: each["role"],
    "name": lambda each: each["name"],
    "version": lambda each: each["version"],
    "digest": lambda each: short(each["digest"]),
    "": lambda each: each["about"],
}


def _part_rows(release: Mapping[str, Any]) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = []
    for code in release["code"]:
        commit = f"commit {code['commit'][:12]}" if code["commit"] else "no commit"
        about = f"{code['file_count']} files, {commit}{', DIRTY' if code['dirty'] else ''}"
        rows.append(
            {"part": "code", "role": code["role"], "name": "", "version": "", "digest": code["digest"], "about": about}
        )
    rows += [{**_named("data", part), "about": f"{part['rows']} rows"} for part in release["data"]]
    rows += [{**_named("model", part), "about": _about_model(part)} for part in release["model"]]
    rows += [
        {**_named("prompt", part), "about": f"{len(part['messages'])} messages, {part['syntax']}"}
        for part in release["prompt"]
    ]
    return rows


def _about_model(part: Mapping[str, Any]) -> str:
    about = part["provider"] or " ".join(filter(None, (part["quantisation"], part["licence"])))
    said = [about] if part["immutable"] else [about, "may change"]
    said += [f"{part['reproduction_cap']} at best"] if part["reproduction_cap"] else []
    said += [f"{len(part['adapters'])} adapters"] if part["adapters"] else []
    return ", ".join(said)


def _named(kind: str, part: Mapping[str, Any]) -> dict[str, str]:
    return {"part": kind, **{name: str(part[name]) for name in ("role", "name", "version", "digest")}}


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}"


def _split(ref: str) -> tuple[str, str]:
    app, slash, name = ref.partition("/")
    if not slash or not app or not name:
        raise InvalidInput(f"{ref!r} is no ref", hint="write APP/REF, such as assistant/production")
    return app, name


def _current(client: ApiClient, project: str, app: str, ref: str) -> str | None:
    try:
        found = client.get(f"{_base(project)}/apps/{path_part(app)}/refs/{path_part(ref)}")
    except TetradError as error:
        if error.status == 404:
            return None
        raise
    return str(found["digest"])


def _digest(client: ApiClient, project: str, text: str, app: str) -> str:
    """Return the whole digest of a digest, of a ref, or of the first digits of one of the app's releases."""
    if "/" in text:
        of_app, ref = _split(text)
        return str(client.get(f"{_base(project)}/apps/{path_part(of_app)}/refs/{path_part(ref)}")["digest"])
    digits = text.removeprefix("sha256:")
    if len(digits) == 64 or not app:
        return digest_of(text)
    listed = client.items(f"{_base(project)}/apps/{path_part(app)}/releases", most=10_000)
    found = [each["digest"] for each in listed if short(each["digest"], 64).startswith(digits)]
    if len(found) != 1 or len(digits) < 4:
        many = "several releases begin" if found else "no release begins"
        raise InvalidInput(f"{many} with {text!r}", hint="give more digits; `tetrad release list APP` shows them")
    return str(found[0])


def _show_made(made: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(made, indent=2, ensure_ascii=False))
        return
    for note in made["notes"]:
        typer.echo(f"note: {plain(note)}", err=True)
    typer.echo("a new release" if made["new"] else "this release was there already", err=True)
    if made["ref"]:
        typer.echo(f"{made['app']}/{made['ref']['name']} → {short(made['ref']['digest'])}", err=True)
    typer.echo(made["digest"])


def _app_of(client: ApiClient, project: str, digest: str) -> str:
    return str(client.get(f"{_base(project)}/releases/{digest_of(digest)}", rows=0)["app"])


def _patches(changes: Sequence[str], unset: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text in changes:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InvalidInput(f"{text[:80]!r} sets nothing", hint="write --set prompt.system=NAME@VERSION")
        if key in found:
            raise InvalidInput(f"{key!r} is set twice", hint="set it once")
        found[key] = _json_or_text(value) if key.startswith("sampling.") else value
    for key in unset:
        if key in found:
            raise InvalidInput(f"{key!r} is set and unset", hint="decide for one of them")
        found[key] = None
    return found


def _json_or_text(text: str) -> Any:
    try:
        value = parse_json(text.encode("utf-8"), where="the value")
    except TetradError:
        return text
    if value is None:
        raise InvalidInput("null is no value of a parameter", hint="take it away with --unset")
    return value


def _read_lock(folder: Path) -> dict[str, Any]:
    path = folder / LOCK_FILE
    try:
        return read_lock(path.read_bytes(), where=str(path))
    except FileNotFoundError:
        raise InvalidInput(f"there is no {str(path)!r}", hint="compose once without --locked to write it") from None
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}", hint="check its permissions") from None


def _write_lock(folder: Path, lock: Mapping[str, Any]) -> None:
    """Write the lock as a whole or not at all; a folder that cannot be written to costs the lock, not the release."""
    path, data = folder / LOCK_FILE, format_lock(lock)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        if path.is_file() and path.read_bytes() == data:
            return
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        draft.unlink(missing_ok=True)
        typer.echo(f"note: {str(path)!r} was not written: {error.strerror}", err=True)


def _check_log(check: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(check, indent=2))
    elif check["sound"]:
        typer.echo(f"sound: {check['entries']} moves, head {short(check['head'])}")
    else:
        typer.echo(f"BROKEN at entry {check['broken_at']}: {check['problem']}", err=True)
    if not check["sound"]:
        raise typer.Exit(1)
