"""Commands for prompts. They call control's API; files are read and written here."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, NotFound, TetradError, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, plain, show_rows, shown_time
from tetrad.prompts._file import format_prompt_file, parse_prompt_file, read_prompt_file
from tetrad.prompts._formats import FORMATS, Format, export_prompt, format_of, import_prompt
from tetrad.prompts._sync import SyncReport, sync_folder
from tetrad.prompts.ports import RemotePrompt

prompts = typer.Typer(no_args_is_help=True, help="Prompts: versions, render, diff, import, export, sync.")
Name = Annotated[str, typer.Argument(help="The prompt's name, such as support-triage.")]
VersionOption = Annotated[str, typer.Option("--version", help="A number or a range, such as ^2; else the newest.")]
LabelOption = Annotated[str, typer.Option("--label", help="A label of the prompt.")]
RefOption = Annotated[str, typer.Option("--ref", help="A ref whose release pins it, such as assistant/production.")]
Reason = Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")]
MOST = 10_000


@prompts.command("list")
def list_prompts(project: InProject = "default", limit: Limit = 100, as_json: Json = False) -> None:
    """List the prompts of a project by their newest versions."""
    columns = {
        "prompt": lambda each: each["version"]["name"],
        "version": lambda each: each["version"]["semver"],
        "type": lambda each: each["type"],
        "description": lambda each: each["description"],
        "digest": lambda each: short(each["version"]["digest"]),
        "made": lambda each: shown_time(each["version"]["created_at"]),
        "by": lambda each: each["version"]["created_by"],
    }
    found = list(ApiClient.from_environment().items(_base(project), most=limit))
    show_rows(found, columns, as_json, empty="no prompts here; `tetrad prompt commit FILE` makes one")


@prompts.command("show")
def show_prompt(
    name: Name, version: VersionOption = "", label: LabelOption = "", ref: RefOption = "",
    project: InProject = "default", as_json: Json = False,
) -> None:  # fmt: skip
    """Show a version of a prompt as its file."""
    found = ApiClient.from_environment().get(
        f"{_base(project)}/{path_part(name)}", version=version or None, label=label or None, ref=ref or None
    )
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    at = found["version"]
    typer.echo(f"{name}@{at['semver']}  {at['digest']}", err=True)
    made = f"made {shown_time(at['created_at'])} by {plain(at['created_by'])} {plain(at['reason'])}"
    typer.echo(made.rstrip(), err=True)
    typer.echo(found["text"], nl=False)


@prompts.command("versions")
def list_versions(name: Name, project: InProject = "default", limit: Limit = 50, as_json: Json = False) -> None:
    """List the versions of a prompt, the newest first."""
    columns = {
        "version": lambda each: each["semver"],
        "digest": lambda each: short(each["digest"]),
        "contract": lambda each: short(each["contract"]) if each["contract"] else "",
        "made": lambda each: shown_time(each["created_at"]),
        "by": lambda each: each["created_by"],
        "reason": lambda each: each["reason"],
    }
    found = list(ApiClient.from_environment().items(f"{_base(project)}/{path_part(name)}/versions", most=limit))
    show_rows(found, columns, as_json, empty=f"no prompt {name!r} here")


@prompts.command("render")
def render_prompt(
    name: Name,
    var: Annotated[list[str] | None, typer.Option("--var", help="NAME=TEXT, or NAME:=JSON; again for more.")] = None,
    message: Annotated[list[str] | None, typer.Option("--message", help="A message of the user; again too.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Render this file instead of a version.")] = None,
    version: VersionOption = "", label: LabelOption = "", ref: RefOption = "", project: InProject = "default",
    as_json: Json = False,
) -> None:  # fmt: skip
    """Put values into a prompt and show the messages; nothing is sent to a model."""
    body: dict[str, Any] = {
        "variables": _variables(var or []),
        "messages": [{"role": "user", "content": text} for text in message or []],
    }
    if file is not None:
        body["text"] = _read(file)
    query = "&".join(
        f"{key}={path_part(value)}" for key, value in (("version", version), ("label", label), ("ref", ref)) if value
    )
    path = f"{_base(project)}/{path_part(name)}/render"
    found = ApiClient.from_environment().post(f"{path}?{query}" if query else path, body)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for each in found["messages"]:
        content = each["content"] if isinstance(each.get("content"), str) else json.dumps(each, ensure_ascii=False)
        typer.echo(f"# {each['role']}\n\n{content}\n")


@prompts.command("diff")
def diff_prompt(
    name: Name,
    old: Annotated[str, typer.Argument(help="The version before: a number or a range.")],
    new: Annotated[str, typer.Argument(help="The version after; else the newest.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Tell two versions apart, message by message."""
    asked = {"from": old, "to": new or None}
    found = ApiClient.from_environment().get(f"{_base(project)}/{path_part(name)}/diff", **asked)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    _show_diff(found)


@prompts.command("commit")
def commit_prompt(
    files: Annotated[list[Path], typer.Argument(help="Prompt files.")],
    name: Annotated[str, typer.Option("--name", help="The name, where it is not the one in the file.")] = "",
    semver: Annotated[str, typer.Option("--semver", help="The number; else the least that the change allows.")] = "",
    lower: Annotated[str, typer.Option("--lower", help="Why the number may be less; needs the scope review.")] = "",
    reason: Reason = "",
    expected: Annotated[str, typer.Option("--expected-outcome", help="What it is to make better.")] = "",
    check: Annotated[bool, typer.Option("--check", help="Say what a commit would do, and keep nothing.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Make versions of prompt files; a file that says what the newest version says makes none.

    For example: `tetrad prompt commit prompts/*.md -m "a warmer tone"`.
    """
    if name and len(files) > 1:
        raise InvalidInput("--name is for one file", hint="commit them one by one")
    client = ApiClient.from_environment()
    done: list[dict[str, Any]] = []
    for file in files:
        text = _read(file)
        path = f"{_base(project)}/{path_part(name or read_prompt_file(text, str(file)).name)}"
        if check:
            done.append(client.post(f"{path}/check", {"text": text}))
            continue
        body = {"text": text, "reason": reason, "expected_outcome": expected, "lower_reason": lower}
        done.append(client.post(f"{path}/versions", {**body, "semver": semver or None}))
    if as_json:
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))
        return
    for made in done:
        if check:
            typer.echo(f"{made['name']}: at least {made['least']}")
            if made["diff"]:
                _show_diff(made["diff"])
        else:
            at = made["prompt"]["version"]
            typer.echo(f"{at['name']}@{at['semver']}  {short(at['digest'])}{'' if made['new'] else '  (no change)'}")
        for warning in made["warnings"]:
            typer.echo(f"warning: {warning}", err=True)


@prompts.command("label")
def label_prompt(
    name: Name,
    label: Annotated[str, typer.Argument(help="The label, such as production.")],
    version: Annotated[str, typer.Argument(help="A number or a range; the newest without it.")] = "",
    reason: Reason = "",
    project: InProject = "default",
) -> None:
    """Point a label of a prompt to a version."""
    client = ApiClient.from_environment()
    path = f"{_base(project)}/{path_part(name)}/labels"
    current = next((each["digest"] for each in client.get(path)["items"] if each["label"] == label), None)
    headers = {"if-match": f'"{current}"'} if current else {"if-none-match": "*"}
    moved = client.put(f"{path}/{path_part(label)}", {"version": version, "reason": reason}, headers=headers)
    typer.echo(f"{name} {label} → {short(moved['digest'])}")


@prompts.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="A .prompty, .prompt, .json, .txt or .yaml file.")],
    format: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}; else told by the name.")] = "",  # noqa: A002 - the option's name
    name: Annotated[str, typer.Option("--name", help="The name, where it is not the one in the file.")] = "",
    to: Annotated[Path | None, typer.Option("--to", help="Write a prompt file and commit nothing.")] = None,
    reason: Reason = "",
    project: InProject = "default",
) -> None:
    """Make a version of another tool's prompt file, and say what of it could not be kept."""
    text = _read(file)
    made = import_prompt(text, _format(format) if format else format_of(file.name, text), str(file))
    for dropped in made.dropped:
        typer.echo(f"not kept: {plain(dropped)}", err=True)
    ours = format_prompt_file(made.spec)
    if to is not None:
        _write_new(to, ours)
        typer.echo(str(to))
        return
    path = f"{_base(project)}/{path_part(name or made.spec.name)}/versions"
    done = ApiClient.from_environment().post(path, {"text": ours, "reason": reason or f"imported from {file.name}"})
    at = done["prompt"]["version"]
    typer.echo(f"{at['name']}@{at['semver']}  {short(at['digest'])}{'' if done['new'] else '  (no change)'}")


@prompts.command("export")
def export_file(
    name: Name,
    format: Annotated[str, typer.Option("--format", help=f"md, or one of {', '.join(FORMATS)}.")] = "md",  # noqa: A002 - the option's name
    to: Annotated[Path | None, typer.Option("--to", help="The file; else it is printed.")] = None,
    version: VersionOption = "", label: LabelOption = "", project: InProject = "default",
) -> None:  # fmt: skip
    """Write a version as a file of ours or of another tool, and say what the file cannot say."""
    found = ApiClient.from_environment().get(
        f"{_base(project)}/{path_part(name)}", version=version or None, label=label or None
    )
    text = str(found["text"])
    if format != "md":
        made = export_prompt(parse_prompt_file(text, f"{name}.md"), _format(format))
        text = made.text
        for dropped in made.dropped:
            typer.echo(f"not said: {plain(dropped)}", err=True)
    if to is None:
        typer.echo(text, nl=False)
        return
    _write_new(to, text)
    typer.echo(str(to))


@prompts.command("sync")
def sync_prompts(
    folder: Annotated[Path, typer.Argument(help="A folder of prompt files, in a Git repository of yours.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    only: Annotated[str, typer.Option("--only", help="Which to fetch that have no file: support-*.")] = "*",
    reason: Reason = "synced from files",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Keep a folder of prompt files and the registry in step, both ways.

    What changed on one side goes to the other, what changed on both is merged. What cannot be merged is written beside
    the file as FILE.conflict, with both sides: edit the file, delete FILE.conflict, sync again. Ends with 1 while a
    conflict stands or a file cannot be read.
    """
    report = sync_folder(
        folder, ApiRemote(ApiClient.from_environment(), project), project=project, dry_run=dry_run, reason=reason,
        wanted=lambda name: fnmatch.fnmatchcase(name, only),
    )  # fmt: skip
    _show_report(report, dry_run=dry_run, as_json=as_json)
    if not report.clean:
        raise typer.Exit(1)


class ApiRemote:
    """The registry as the API shows it, for a sync."""

    def __init__(self, client: ApiClient, project: str) -> None:
        self._client, self._base = client, _base(project)

    def newest(self) -> Sequence[RemotePrompt]:
        return [
            RemotePrompt(at["name"], at["semver"], at["digest"], each["source_digest"])
            for each in self._client.items(self._base, most=MOST)
            for at in [each["version"]]
        ]

    def text(self, name: str, digest: str) -> str:
        try:
            return str(self._client.get(f"{self._base}/{path_part(name)}", digest=digest)["text"])
        except TetradError as error:
            if error.status != 404:
                raise
            raise NotFound(
                f"the registry does not have {name!r} at {short(digest)}", hint="is this the registry synced with last?"
            ) from None

    def commit(self, name: str, text: str, *, expected: str, reason: str) -> RemotePrompt:
        path = f"{self._base}/{path_part(name)}/versions"
        done = self._client.post(path, {"text": text, "expected": expected, "reason": reason})["prompt"]
        return RemotePrompt(name, done["version"]["semver"], done["version"]["digest"], done["source_digest"])


def _show_report(report: SyncReport, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        actions = [
            {"action": each.kind, "prompt": each.name, "file": each.file, "note": each.note} for each in report.actions
        ]
        done = {"actions": actions, "problems": list(report.problems), "clean": report.clean, "dry_run": dry_run}
        typer.echo(json.dumps(done, indent=2, ensure_ascii=False))
        return
    for each in report.actions:
        typer.echo(f"{each.kind:10} {each.file}  {plain(each.note)}".rstrip())
        if each.kind == "conflict":
            typer.echo(each.text, err=True)
    for problem in report.problems:
        typer.echo(f"problem    {plain(problem)}", err=True)
    if not report.actions and not report.problems:
        typer.echo("in step")


def _show_diff(diff: dict[str, Any]) -> None:
    if diff["same"]:
        typer.echo("the same")
        return
    typer.echo(f"{diff['floor']['level']} change")
    for change in diff["floor"]["changes"]:
        typer.echo(f"  {change['level']}: {plain(change['what'])}")
    for each in diff["messages"]:
        typer.echo(f"\n# {each['role']} ({each['change']})")
        if each["change"] != "same":
            for line in each["lines"]:
                typer.echo(f"{line['mark']} {plain(line['text'])}")
    for each in diff["fields"]:
        old = "absent" if each["change"] == "added" else json.dumps(each["old"])
        new = "absent" if each["change"] == "removed" else json.dumps(each["new"])
        typer.echo(f"{plain(each['path'])}: {old} → {new}")


def _variables(given: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for each in given:
        name, equals, text = each.partition("=")
        if not equals or not name:
            raise InvalidInput(f"{each!r} is no variable", hint="write NAME=TEXT, or NAME:=JSON")
        if not name.endswith(":"):
            values[name] = text
            continue
        try:
            values[name[:-1]] = json.loads(text)
        except ValueError:
            raise InvalidInput(
                f"the value of {name[:-1]!r} is no JSON", hint="write NAME:=[1, 2] or NAME=TEXT"
            ) from None
    return values


def _format(text: str) -> Format:
    for known in FORMATS:
        if known == text:
            return known
    raise InvalidInput(f"{text!r} is no format", hint=f"formats are {', '.join(FORMATS)}")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}", hint="name a file") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{str(path)!r} is not UTF-8 at byte {error.start}", hint="save it as UTF-8") from None


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise InvalidInput(f"{str(path)!r} is there already", hint="name a new file") from None
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be written: {error.strerror}", hint="name another file") from None


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}/prompts"
