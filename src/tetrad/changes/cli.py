"""Commands for change requests. They call control's API; prompt files of the caller's are read here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, TetradError, parse_json, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, plain, show_rows, shown_time

changes = typer.Typer(no_args_is_help=True, help="Change requests: open, push, review, rebase, merge.")

MAX_FILE_BYTES = 256 << 10
Number = Annotated[int, typer.Argument(min=1, help="The change request's number.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="PART=VALUE, such as prompt.system=NAME@1.2.0 or sampling.temperature=0.3."),
]
File = Annotated[
    list[str] | None, typer.Option("--file", "-f", help="PART=FILE: the prompt of a file, such as prompt.system=a.md.")
]
Unset = Annotated[list[str] | None, typer.Option("--unset", help="A part to take away, such as data.fewshot.")]
PartOf = Annotated[
    list[str] | None, typer.Option("--part", help="Only this part, by its label in `tetrad change show`.")
]


@changes.command("open")
def open_change(
    ref: Annotated[str, typer.Argument(help="The ref, as APP/REF, such as assistant/production.")],
    title: Annotated[str, typer.Option("--title", "-t", help="One line that says what changes.")],
    settings: Set = None,
    files: File = None,
    unset: Unset = None,
    description: Annotated[str, typer.Option("--description", "-d", help="What there is to know about it.")] = "",
    expected: Annotated[str, typer.Option("--expected-outcome", help="What should be better then.")] = "",
    draft: Annotated[bool, typer.Option("--draft", help="Keep it for yourself to try; propose it later.")] = False,
    key: Annotated[str, typer.Option("--once", help="The same text again opens nothing again.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Propose other parts for a ref. Its candidate answers at the gateway as release:DIGEST, drafts too.

    For example: `tetrad change open assistant/production -t "a warmer tone" --file prompt.system=prompts/warm.md`.
    """
    app, slash, name = ref.partition("/")
    if not slash or not app or not name:
        raise InvalidInput(f"{ref!r} is no ref", hint="write APP/REF, such as assistant/production")
    body = {
        "app": app, "ref": name, "title": title, "description": description, "expected_outcome": expected,
        "parts": _parts(settings, files, unset), "draft": draft, "key": key,
    }  # fmt: skip
    _show(ApiClient.from_environment().post(_base(project), body), as_json)


@changes.command("list")
def list_changes(
    app: Annotated[str | None, typer.Option(help="Only those for refs of this app.")] = None,
    ref: Annotated[str | None, typer.Option(help="Only those for refs of this name, such as production.")] = None,
    state: Annotated[
        str | None, typer.Option(help="Only draft, open, approved, changes_requested, merged or closed ones.")
    ] = None,
    project: InProject = "default",
    limit: Limit = 50,
    as_json: Json = False,
) -> None:
    """List change requests, the newest first."""
    found = ApiClient.from_environment().items(_base(project), most=limit, app=app, ref=ref, state=state)
    columns = {
        "#": lambda each: str(each["number"]),
        "ref": lambda each: f"{each['app']}/{each['ref']}",
        "state": lambda each: each["state"].replace("_", " ") + (", behind" if each["behind"] else ""),
        "title": lambda each: each["title"],
        "by": lambda each: each["author"],
        "changed": lambda each: shown_time(each["updated_at"]),
        "threads": lambda each: str(each["unresolved_threads"] or ""),
    }
    show_rows(found, columns, as_json, empty="no change requests; `tetrad change open APP/REF` makes one")


@changes.command("show")
def show_change(number: Number, project: InProject = "default", as_json: Json = False) -> None:
    """Show a change request: its patch, its revisions, its reviews."""
    _show(ApiClient.from_environment().get(_one(project, number)), as_json)


@changes.command("diff")
def diff_change(
    number: Number,
    rows: Annotated[int, typer.Option(min=0, max=500, help="How many rows of each dataset.")] = 20,
    summary: Annotated[bool, typer.Option("--summary", help="One line per part.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Say what the candidate changes on its base: prompts by message and word, data by row, model, code, sampling."""
    from tetrad.releases import render_diff

    found = ApiClient.from_environment().get(f"{_one(project, number)}/diff", rows=rows)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for line in map(plain, found["summary"]) if summary else render_diff(found):
        typer.echo(line)


@changes.command("checks")
def check_change(number: Number, project: InProject = "default", as_json: Json = False) -> None:
    """Say what a merge needs, what of it holds, and who could supply the rest; fails where something is missing."""
    found = ApiClient.from_environment().get(f"{_one(project, number)}/checks")
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        for each in found["requirements"]:
            typer.echo(plain(f"{'ok     ' if each['passed'] else 'MISSING'} {each['name']}: {each['reason']}"))
            if each["missing"]:
                typer.echo(plain(f"        {each['missing']}"))
            if each["who"]:
                typer.echo(plain(f"        by: {', '.join(each['who'])}"))
        if not found["governed"]:
            typer.echo(f"no gate governs {plain(found['ref'])}")
    if not found["mergeable"]:
        raise typer.Exit(1)


@changes.command("log")
def log_change(number: Number, project: InProject = "default", limit: Limit = 50, as_json: Json = False) -> None:
    """Show who did what to a change request and when, the newest first."""
    columns = {
        "#": lambda each: str(each["sequence"]),
        "at": lambda each: shown_time(each["at"]),
        "by": lambda each: each["by"],
        "what": lambda each: each["kind"].replace("_", " "),
        "": lambda each: _told(each["detail"]),
    }
    found = ApiClient.from_environment().items(f"{_one(project, number)}/events", most=limit)
    show_rows(found, columns, as_json, empty="nothing happened")


@changes.command("edit")
def edit_change(
    number: Number,
    title: Annotated[str | None, typer.Option("--title", "-t", help="One line that says what changes.")] = None,
    description: Annotated[str | None, typer.Option("--description", "-d", help="What there is to know.")] = None,
    expected: Annotated[str | None, typer.Option("--expected-outcome", help="What should be better then.")] = None,
    settings: Set = None,
    files: File = None,
    unset: Unset = None,
    note: Annotated[str, typer.Option(help="What this push is for.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Say a change request's texts anew, or push parts: those that are named change, the rest of the patch stays."""
    client = ApiClient.from_environment()
    texts = {"title": title, "description": description, "expected_outcome": expected}
    given = {name: text for name, text in texts.items() if text is not None}
    parts = _parts(settings, files, unset) if settings or files or unset else []
    if not given and not parts:
        raise InvalidInput("nothing to change was named", hint="--title, --set, --file, --unset and the like")
    shown = client.request("PATCH", _one(project, number), body=given) if given else client.get(_one(project, number))
    if parts:
        named = {part["part"] for part in parts}
        kept = [part for part in shown["patch"] if part["part"] not in named]
        body = {"parts": [*map(_sent, kept), *parts], "note": note, "expected_revision": shown["revision"]}
        shown = client.post(f"{_one(project, number)}/push", body)
    _show(shown, as_json)


@changes.command("propose")
def propose_change(number: Number, project: InProject = "default", as_json: Json = False) -> None:
    """Make a draft an open change request: its texts become versions, its candidate a release."""
    _show(ApiClient.from_environment().post(f"{_one(project, number)}/propose"), as_json)


@changes.command("withdraw")
def withdraw_change(number: Number, project: InProject = "default", as_json: Json = False) -> None:
    """Make an open change request a draft again."""
    _show(ApiClient.from_environment().post(f"{_one(project, number)}/withdraw"), as_json)


@changes.command("close")
def close_change(number: Number, reason: Reason = "", project: InProject = "default", as_json: Json = False) -> None:
    """End a change request without a merge."""
    _show(ApiClient.from_environment().post(f"{_one(project, number)}/close", {"reason": reason}), as_json)


@changes.command("comment")
def comment_on_change(
    number: Number,
    body: Annotated[str, typer.Argument(help="What to say.")],
    part: Annotated[str, typer.Option(help="What it is about: prompt.system, data.fewshot.")] = "",
    message: Annotated[int | None, typer.Option(min=1, help="Of a prompt: its first, second, ... message.")] = None,
    line: Annotated[int | None, typer.Option(min=1, help="Of a message: its first, second, ... line.")] = None,
    row: Annotated[str | None, typer.Option(help="Of a dataset: the key of a row.")] = None,
    reply_to: Annotated[str, typer.Option(help="Answer in this thread.")] = "",
    edit: Annotated[str, typer.Option(help="Say your comment of this id anew; what it said is kept.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Comment on a line of a prompt, on a row of data, or on the whole; or answer in a thread."""
    client = ApiClient.from_environment()
    if edit:
        path = f"{_one(project, number)}/comments/{path_part(edit)}"
        _show_thread(client.put(path, {"body": body}), as_json)
        return
    said: dict[str, Any] = {"body": body, "reply_to": reply_to}
    if part:
        digest = _digest_of(client.get(f"{_one(project, number)}/diff", rows=0), part)
        said["anchor"] = {"part": part, "digest": digest, "message": message, "line": line, "row": row}
    elif (message, line, row) != (None, None, None):
        raise InvalidInput("a line or a row is of a part", hint="--part prompt.system --message 1 --line 3")
    _show_thread(client.post(f"{_one(project, number)}/comments", said), as_json)


@changes.command("comments")
def list_comments(number: Number, project: InProject = "default", as_json: Json = False) -> None:
    """Show all threads, oldest first."""
    found = ApiClient.from_environment().get(f"{_one(project, number)}/comments")["items"]
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for thread in found:
        _show_thread(thread, False)
    if not found:
        typer.echo("no comments", err=True)


@changes.command("resolve")
def resolve_thread(
    number: Number,
    thread: Annotated[str, typer.Argument(help="The thread's id.")],
    reopen: Annotated[bool, typer.Option("--reopen", help="It is not settled after all.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Say that a thread is settled."""
    path = f"{_one(project, number)}/threads/{path_part(thread)}"
    _show_thread(ApiClient.from_environment().put(path, {"resolved": not reopen}), as_json)


@changes.command("approve")
def approve_change(
    number: Number,
    parts: PartOf = None,
    comment: Annotated[str, typer.Option("--comment", "-m", help="What to say with it.")] = "",
    revision: Annotated[int | None, typer.Option(min=1, help="The revision that you read; the newest else.")] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Approve what a change request changes; signed, and bound to the parts as they are."""
    _review(number, "approve", parts, comment, revision, project, as_json)


@changes.command("reject")
def reject_change(
    number: Number,
    comment: Annotated[str, typer.Option("--comment", "-m", help="What is to change.")],
    parts: PartOf = None,
    revision: Annotated[int | None, typer.Option(min=1, help="The revision that you read; the newest else.")] = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Ask for changes; no merge passes until they are pushed, or you approve."""
    _review(number, "request_changes", parts, comment, revision, project, as_json)


@changes.command("rebase")
def rebase_change(
    number: Number,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would do.")] = False,
    settings: Set = None,
    files: File = None,
    unset: Unset = None,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Put the patch on the ref's present release; --set, --file and --unset say what parts in conflict become."""
    client = ApiClient.from_environment()
    path = f"{_one(project, number)}/rebase"
    if plan:
        found = client.get(path)
        if as_json:
            typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
            return
        if not found["needed"]:
            typer.echo("it is on the ref's release already")
        for part in found["parts"]:
            typer.echo(plain(f"{part['outcome']:<8} {part['part']}: here {part['ours']}, on the ref {part['theirs']}"))
            for line in (part["text"] or "").splitlines() if part["outcome"] == "conflict" else ():
                typer.echo(f"    {plain(line)}")
        return
    revision = client.get(_one(project, number))["revision"]
    body = {"expected_revision": revision, "resolutions": _parts(settings, files, unset)}
    _show(client.post(path, body), as_json)


@changes.command("merge")
def merge_change(
    number: Number,
    reason: Reason = "",
    expected: Annotated[str, typer.Option(help="The candidate that you read; the newest else.")] = "",
    break_glass: Annotated[
        str, typer.Option("--break-glass", help="Why to pass the gates, where they name you; it is audited.")
    ] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Move the ref to the candidate, through its gates."""
    client = ApiClient.from_environment()
    candidate = expected or client.get(_one(project, number))["candidate"]
    body = {"expected_candidate": candidate, "reason": reason, "break_glass": break_glass}
    _show(client.post(f"{_one(project, number)}/merge", body), as_json)


def _review(
    number: int, decision: str, parts: Sequence[str] | None, comment: str, revision: int | None, project: str,
    as_json: bool,
) -> None:  # fmt: skip
    client = ApiClient.from_environment()
    read = revision or client.get(_one(project, number))["revision"]
    body = {"decision": decision, "revision": read, "parts": list(parts or []), "comment": comment}
    _show(client.post(f"{_one(project, number)}/reviews", body), as_json)


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}/change-requests"


def _one(project: str, number: int) -> str:
    return f"{_base(project)}/{number}"


def _parts(
    settings: Iterable[str] | None, files: Iterable[str] | None, unset: Iterable[str] | None
) -> list[dict[str, Any]]:
    found = []
    for text in settings or ():
        part, equals, value = text.partition("=")
        if not equals or not part:
            raise InvalidInput(f"{text[:80]!r} sets nothing", hint="write --set prompt.system=NAME@VERSION")
        found.append({"part": part, "value": _json_or_text(value) if part.startswith("sampling.") else value})
    for text in files or ():
        part, equals, path = text.partition("=")
        if not equals or not part or not path:
            raise InvalidInput(f"{text[:80]!r} names no file", hint="write --file prompt.system=prompts/system.md")
        found.append({"part": part, "content": _text(Path(path))})
    return [*found, *({"part": part, "remove": True} for part in unset or ())]


def _json_or_text(text: str) -> Any:
    try:
        value = parse_json(text.encode("utf-8"), where="the value")
    except TetradError:
        return text
    if value is None:
        raise InvalidInput("null is no value of a parameter", hint="take it away with --unset")
    return value


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}", hint="name a prompt file") from None
    if len(data) > MAX_FILE_BYTES:
        raise InvalidInput(f"{str(path)!r} is too large", hint=f"at most {MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidInput(f"{str(path)!r} is not UTF-8", hint="save it as UTF-8") from None


def _sent(part: Mapping[str, Any]) -> dict[str, Any]:
    """Return a part of a patch that was shown as it is sent."""
    if part["remove"]:
        return {"part": part["part"], "remove": True}
    if part["content"] is not None:
        return {"part": part["part"], "content": part["content"], "name": part["name"]}
    return {"part": part["part"], "value": part["value"]}


def _digest_of(diff: Mapping[str, Any], part: str) -> str:
    """Return the digest of a part that changes, as the candidate pins it."""
    key, _, name = part.partition("/")
    kind, _, role = key.partition(".")
    for each in diff[kind] if kind in ("prompt", "data") else ():
        side = each["new"] or each["old"]
        if each["role"] == role and name in ("", side["name"]):
            return str(side["digest"])
    raise InvalidInput(f"the change request leaves {part!r} alone", hint="comment on a part that changes")


def _told(detail: Mapping[str, Any]) -> str:
    shown = {name: value for name, value in detail.items() if value not in ("", [], False, None)}
    return ", ".join(
        f"{name} {short(str(value)) if str(value).startswith('sha256:') else value}" for name, value in shown.items()
    )


def _show(change: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(change, indent=2, ensure_ascii=False))
        return
    state = change["state"].replace("_", " ") + (", behind its ref" if change["behind"] else "")
    typer.echo(plain(f"#{change['number']} {change['title']} ({state})"))
    typer.echo(plain(f"for {change['app']}/{change['ref']}, by {change['author']}, revision {change['revision']}"))
    typer.echo(f"candidate {change['candidate']}")
    for note in change["notes"]:
        typer.echo(f"note: {plain(note)}", err=True)
    for part in change["patch"]:
        value = "taken away" if part["remove"] else f"{part['name']} (text)" if part["content"] else part["value"]
        typer.echo(plain(f"  {part['part']} = {value}"))
    typer.echo("changes:")
    for part in change["changed"]:
        said = [
            f"{word} {', '.join(part[field])}"
            for word, field in (("approved by", "approved_by"), ("sent back by", "rejected_by"))
            if part[field]
        ]
        typer.echo(plain(f"  {part['label']}: {'; '.join(said) or 'not judged'}"))


def _show_thread(thread: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(thread, indent=2, ensure_ascii=False))
        return
    anchor = thread["anchor"]
    about = "the whole"
    if anchor is not None:
        where = f"row {anchor['row']}" if anchor["row"] else f"message {anchor['message']} line {anchor['line']}"
        about = f"{anchor['part']} {where} ({anchor['place']}): {anchor['quote']}"
    typer.echo(plain(f"{thread['id']} {'resolved' if thread['resolved'] else 'open'}, about {about}"))
    for comment in thread["comments"]:
        edited = ", edited" if comment["edited_at"] else ""
        typer.echo(plain(f"  {comment['by']}, {shown_time(comment['at'])}{edited}:"))
        for line in comment["body"].splitlines():
            typer.echo(f"    {plain(line)}")
