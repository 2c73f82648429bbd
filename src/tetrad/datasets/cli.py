"""Commands for datasets. They call control's API."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tetrad.datasets._formats import ENDINGS, FORMATS, Problem, read_rows
from tetrad.datasets._sources import DataFile, hub_reference, read_folder, read_pointer
from tetrad.datasets.errors import BadRows, RowError
from tetrad.kernel import InvalidInput, NotCanonical, canonical_json, digest_bytes, parse_json, short
from tetrad.kit.api_client import ApiClient, path_part
from tetrad.kit.cli_output import InProject, Json, Limit, show_rows, shown_size, shown_time

_CHUNK = 1 << 18
_LONGEST_ROW_BYTES = 64 << 20
_PROGRESS_FROM_BYTES = 4 << 20
_ANSWER_TIMEOUT_S = 3600.0

datasets = typer.Typer(no_args_is_help=True, help="Dataset versions and their rows.")
Name = Annotated[str, typer.Argument(help="The dataset's name.")]
VersionOption = Annotated[str, typer.Option("--version", help="A version number; the newest without it.")]


@datasets.command("list")
def list_datasets(project: InProject = "default", limit: Limit = 100, as_json: Json = False) -> None:
    """List the datasets of a project by their newest versions."""
    columns = {
        "dataset": lambda each: each["name"],
        "version": lambda each: each["semver"],
        "rows": lambda each: f"{each['rows']:,}",
        "size": lambda each: shown_size(each["size"]),
        "digest": lambda each: short(each["digest"]),
        "made": lambda each: shown_time(each["created_at"]),
        "by": lambda each: each["created_by"],
    }
    found = list(ApiClient.from_environment().items(f"{_base(project)}", most=limit))
    show_rows(found, columns, as_json, empty="no datasets here; `tetrad dataset import NAME FILE` makes one")


@datasets.command("show")
def show_dataset(
    name: Name,
    version: VersionOption = "",
    rows: Annotated[int, typer.Option("--rows", min=0, max=200, help="How many rows to show.")] = 5,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show a version of a dataset, its schema and its first rows."""
    client = ApiClient.from_environment()
    path = f"{_base(project)}/{path_part(name)}"
    found = client.get(path, version=version or None)
    shown = list(client.items(f"{path}/rows", most=rows, version=version or None)) if rows else []
    if as_json:
        typer.echo(json.dumps({**found, "first_rows": shown}, indent=2, ensure_ascii=False))
        return
    typer.echo(f"{found['name']}@{found['semver']}: {found['rows']:,} rows, {shown_size(found['size'])}")
    typer.echo(f"rows   {found['digest']}\norder  {found['order']}\nschema {found['schema_digest']}")
    typer.echo(f"made {shown_time(found['created_at'])} by {found['created_by']} {found['reason']}".rstrip())
    for row in shown:
        typer.echo(json.dumps(row["value"], ensure_ascii=True))


@datasets.command("versions")
def list_versions(name: Name, project: InProject = "default", limit: Limit = 50, as_json: Json = False) -> None:
    """List the versions of a dataset, the newest first."""
    columns = {
        "version": lambda each: each["semver"],
        "rows": lambda each: f"{each['rows']:,}",
        "digest": lambda each: short(each["digest"]),
        "made": lambda each: shown_time(each["created_at"]),
        "by": lambda each: each["created_by"],
        "reason": lambda each: each["reason"],
    }
    found = list(ApiClient.from_environment().items(f"{_base(project)}/{path_part(name)}/versions", most=limit))
    show_rows(found, columns, as_json, empty=f"no dataset {name!r} here")


@datasets.command("import")
def import_dataset(
    name: Name,
    path: Annotated[Path, typer.Argument(help="A file, a Hugging Face folder, a .dvc file or a dvc.lock.")],
    key: Annotated[str, typer.Option(help="The field that names rows; their content does without it.")] = "",
    role: Annotated[str, typer.Option(help="train, eval, fewshot, calibration or rag_index.")] = "",
    form: Annotated[
        str, typer.Option("--format", help="jsonl, json, csv, parquet; the file's ending without it.")
    ] = "",
    schema: Annotated[Path | None, typer.Option(help="A JSON Schema that all rows must fulfil.")] = None,
    delimiter: Annotated[str, typer.Option(help="CSV: what divides cells; found out without it.")] = "",
    header: Annotated[bool, typer.Option("--header/--no-header", help="CSV: the first line names columns.")] = True,
    typed: Annotated[bool, typer.Option("--typed/--text", help="CSV: columns of numbers become numbers.")] = True,
    origin: Annotated[str, typer.Option("--from", help="Where it is from: hf://datasets/org/name@COMMIT.")] = "",
    config: Annotated[str, typer.Option(help="Of a folder: its configuration.")] = "",
    split: Annotated[str, typer.Option(help="Of a folder: its split.")] = "train",
    out: Annotated[str, typer.Option(help="Of a dvc.lock: the output to import.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Make a version of a file; the same rows again are the version that is there.

    For example: `tetrad dataset import support-cases cases.jsonl --key id --role eval`.
    """
    files, provenance = _found(path, form, config, split, out)
    if origin:
        provenance = {**provenance, **hub_reference(origin)}
    together = len(files) > 1 and any(file.form != "jsonl" for file in files)
    made = ApiClient.from_environment().upload(
        f"{_base(project)}/{path_part(name)}/versions",
        _as_lines(files) if together else _sent([file.path for file in files]),
        content_type="application/octet-stream",
        answer_timeout_s=_ANSWER_TIMEOUT_S,
        format="jsonl" if together else files[0].form,
        key=key or None,
        role=role or None,
        schema=_read(schema).decode("utf-8", "replace") if schema else None,
        provenance=json.dumps(provenance) if provenance else None,
        delimiter=delimiter or None,
        header=header,
        typed=typed,
        reason=reason or None,
    )
    _say(made, as_json)


@datasets.command("push")
def push_rows(
    name: Name,
    file: Annotated[Path, typer.Argument(help="JSON Lines: one row a line.")],
    idempotency_key: Annotated[str, typer.Option("--once", help="The same text again pushes nothing again.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Append rows to the newest version, or replace those with their keys, as a new version."""
    data = _read(file)
    rows = [parse_json(line, where=f"{file.name}:{at}") for at, line in enumerate(data.splitlines(), 1) if line.strip()]
    body = {
        "idempotency_key": idempotency_key or digest_bytes(data),
        "rows": [{"value": row} for row in rows],
        "reason": reason,
    }
    _say(ApiClient.from_environment().post(f"{_base(project)}/{path_part(name)}/rows", body), as_json)


@datasets.command("derive")
def derive_dataset(
    name: Name,
    source: Annotated[str, typer.Option("--from", help="The dataset that is read, such as chats@1.2.0.")],
    steps: Annotated[Path, typer.Option(help="A JSON file: a list of filter, split, dedupe and map steps.")],
    role: Annotated[str, typer.Option(help="train, eval, fewshot, calibration or rag_index.")] = "",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Make a version of what steps make of another; they are recorded, so that it can be made again."""
    origin, _, version = source.partition("@")
    told = parse_json(_read(steps), where=steps.name)
    body = {"source": origin, "version": version or None, "steps": told, "role": role, "reason": reason}
    made = ApiClient.from_environment().request(
        "POST", f"{_base(project)}/{path_part(name)}/derive", body=body, timeout_s=_ANSWER_TIMEOUT_S
    )
    _say(made, as_json)


@datasets.command("split")
def split_dataset(
    name: Name,
    parts: Annotated[list[str], typer.Argument(help="Parts and shares: train=0.8 eval=0.2.")],
    version: VersionOption = "",
    salt: Annotated[str, typer.Option(help="Another salt makes another split.")] = "",
    by: Annotated[str, typer.Option(help="A path whose value keeps rows together, such as /user.")] = "",
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Divide a version into NAME-PART datasets: each row by its key, the same way every time."""
    shares: dict[str, float] = {}
    for part in parts:
        label, _, share = part.partition("=")
        try:
            shares[label] = float(share)
        except ValueError:
            raise InvalidInput(f"{part!r} is no part", hint="train=0.8 eval=0.2") from None
    body = {"version": version or None, "parts": shares, "salt": salt, "by": by}
    made = ApiClient.from_environment().request(
        "POST", f"{_base(project)}/{path_part(name)}/split", body=body, timeout_s=_ANSWER_TIMEOUT_S
    )
    if as_json:
        typer.echo(json.dumps(made, indent=2, ensure_ascii=False))
        return
    for each in made:
        _say(each, as_json)


@datasets.command("rebuild")
def rebuild_dataset(
    which: Annotated[str, typer.Argument(metavar="NAME@VERSION", help="The version; the newest without a number.")],
    source: Annotated[Path | None, typer.Option(help="Of an import: the file that was imported.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Fail where what comes out is not the same.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Make a version again from what it was made of, and compare. Nothing is kept."""
    name, _, version = which.partition("@")
    found = ApiClient.from_environment().upload(
        f"{_base(project)}/{path_part(name)}/rebuild",
        _sent([source]) if source else b"",
        content_type="application/octet-stream",
        answer_timeout_s=_ANSWER_TIMEOUT_S,
        version=version or None,
    )
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        typer.echo(f"{found['name']}@{found['semver']} by {found['how']}")
        typer.echo(f"rows   {found['digest']}\nagain  {found['rebuilt_digest']}")
        typer.echo("the same" if found["verified"] else "NOT the same")
        typer.echo("what is stored is sound" if found["stored_sound"] else "what is stored is DAMAGED")
    if verify and not (found["verified"] and found["stored_sound"]):
        raise typer.Exit(1)


@datasets.command("export")
def export_dataset(
    name: Name,
    out: Annotated[Path, typer.Argument(help="The file to write; - writes to standard output.")],
    version: VersionOption = "",
    form: Annotated[str, typer.Option("--format", help="jsonl or csv; the file's ending without it.")] = "",
    project: InProject = "default",
) -> None:
    """Write all rows of a version to a file, in their order."""
    chosen = form or ("csv" if out.suffix == ".csv" else "jsonl")
    path = f"{_base(project)}/{path_part(name)}/export"
    chunks = ApiClient.from_environment().download(path, version=version or None, format=chosen)
    if str(out) == "-":
        for chunk in chunks:
            typer.get_binary_stream("stdout").write(chunk)
        return
    partial = out.with_name(f".{out.name}.partial")
    try:
        with partial.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
        partial.replace(out)  # half a file must not look like a whole one
    except OSError as error:
        raise InvalidInput(f"{str(out)!r} cannot be written: {error.strerror}") from None
    finally:
        partial.unlink(missing_ok=True)
    typer.echo(f"{out}: {shown_size(out.stat().st_size)}", err=True)


@datasets.command("score")
def score_rows(
    name: Name,
    column: Annotated[str, typer.Argument(help="The column, such as quality.")],
    file: Annotated[Path, typer.Argument(help="A JSON object: keys of rows and their values.")],
    version: VersionOption = "",
    project: InProject = "default",
) -> None:
    """Say something of rows beside them: scores, labels. The rows and their digests stay as they are."""
    values = parse_json(_read(file), where=file.name)
    body = {"version": version or None, "values": values}
    path = f"{_base(project)}/{path_part(name)}/columns/{path_part(column)}"
    found = ApiClient.from_environment().put(path, body)
    typer.echo(f"{found['column']}: {found['rows']:,} rows")


@datasets.command("diff")
def diff_dataset(
    name: Name,
    old: Annotated[str, typer.Argument(help="The version before, such as 1.0.0.")],
    new: Annotated[str, typer.Argument(help="The version after.")],
    of: Annotated[str, typer.Option(help="Another dataset, which the version after is of.")] = "",
    limit: Limit = 50,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Tell two versions apart, row by row and field by field."""
    path = f"{_base(project)}/{path_part(name)}/diff"
    client, asked = ApiClient.from_environment(), {"from": old, "to": new, "of": of or None}
    found = client.get(path, **asked, limit=min(limit, 200))
    while found["next_cursor"] and len(found["items"]) < limit:
        more = client.get(path, **asked, limit=min(limit - len(found["items"]), 200), cursor=found["next_cursor"])
        found = {**more, "items": found["items"] + more["items"]}
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    typer.echo(", ".join(f"{found[what]:,} {what}" for what in ("added", "removed", "changed", "moved")))
    for item in found["items"]:
        for line in _change_lines(item):
            typer.echo(line)
    if found["next_cursor"]:
        typer.echo("… more; see --limit and --json", err=True)


def _found(path: Path, form: str, config: str, split: str, out: str) -> tuple[Sequence[DataFile], Mapping[str, Any]]:
    """Return the files to import, and what is known of their origin."""
    if path.is_dir():
        folder = read_folder(path, config=config, split=split)
        return folder.files, folder.provenance
    if path.suffix == ".dvc" or path.name == "dvc.lock":
        file, provenance = read_pointer(path, out)
        return [file], provenance
    chosen = form or ENDINGS.get(path.suffix.lower(), "jsonl")
    if chosen not in FORMATS:
        raise InvalidInput(f"{form!r} is no format of rows", hint=", ".join(FORMATS))
    return [DataFile(path, path.name, chosen)], {}


def _as_lines(files: Sequence[DataFile]) -> Iterator[bytes]:
    """Yield the rows of several files as the lines of one; what is no row is refused with its file and line."""
    for file in files:
        with file.path.open("rb") as data:
            for line, value in read_rows(data, file.form, max_row_bytes=_LONGEST_ROW_BYTES):
                if isinstance(value, Problem):
                    raise BadRows([RowError(line, value.field, value.reason)], where=file.name)
                try:
                    yield canonical_json(value) + b"\n"
                except NotCanonical as error:
                    raise BadRows([RowError(line, "", error.message)], where=file.name) from None


def _sent(paths: Sequence[Path]) -> Iterator[bytes]:
    """Yield files, one behind the other, and show how far it is."""
    try:
        total = sum(path.stat().st_size for path in paths)
    except OSError as error:
        raise InvalidInput(f"{error.filename!r} cannot be read: {error.strerror}", hint="name a file") from None
    return _with_progress(paths, total)


def _with_progress(paths: Sequence[Path], total: int) -> Iterator[bytes]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    shown = sys.stderr.isatty() and total >= _PROGRESS_FROM_BYTES
    with Progress(*columns, console=Console(stderr=True), disable=not shown, transient=True) as progress:
        task = progress.add_task("sending", total=total)
        for number, path in enumerate(paths, 1):
            last = b"\n"
            with path.open("rb") as data:
                while chunk := data.read(_CHUNK):
                    yield chunk
                    last = chunk[-1:]
                    progress.advance(task, len(chunk))
            if last != b"\n" and number < len(paths):
                yield b"\n"
    if shown:
        typer.echo("checking and keeping the rows …", err=True)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}", hint="name a file") from None


def _say(made: Mapping[str, Any], as_json: bool) -> None:
    typer.echo(
        json.dumps(made, indent=2, ensure_ascii=False)
        if as_json
        else f"{made['name']}@{made['semver']}: {made['rows']:,} rows, {short(made['digest'])}"
    )


def _change_lines(item: dict[str, Any]) -> list[str]:
    mark = {"added": "+", "removed": "-", "changed": "~", "moved": ">"}[item["change"]]
    lines = [f"{mark} {json.dumps(item['key'])[1:-1]}"]
    for field in item["fields"]:
        old = json.dumps(field["old"]) if field["in_old"] else "absent"
        new = json.dumps(field["new"]) if field["in_new"] else "absent"
        lines.append(f"    {json.dumps(field['path'])[1:-1]}: {old} → {new}")
    return lines


def _base(project: str) -> str:
    return f"/api/v1/projects/{path_part(project)}/datasets"
