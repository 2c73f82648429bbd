"""What commands share: their common options, tables for people, JSON for machines."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Annotated, Any

import typer

from tetrad.kernel import InvalidInput, parse_digest
from tetrad.kit.plain_text import plain

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
InProject = Annotated[str, typer.Option("--project", "-p", envvar="TETRAD_PROJECT", help="The project.")]
Find = Annotated[str, typer.Option("--find", help="Only those that hold this in a name.")]
SortBy = Annotated[str | None, typer.Option("--sort", help="In this order; with `-` before it, the largest first.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")]

PIPE_COLUMNS = 240
Columns = Mapping[str, Callable[[Any], str]]


def show_rows(rows: Iterable[Mapping[str, Any]], columns: Columns, as_json: bool, *, empty: str) -> None:
    """Print rows as a table, or all they hold as JSON; say `empty` on standard error where there are none."""
    found = list(rows)
    if as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        if empty:
            typer.echo(empty, err=True)
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold")
    for number, title in enumerate(columns):
        table.add_column(title, no_wrap=number == 0)
    for row in found:
        table.add_row(*(escape(plain(cell(row))) for cell in columns.values()))
    # What is piped is not cut to the width of a terminal that is not there.
    Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_COLUMNS).print(table)


def shown_time(text: str | None) -> str:
    """Return a time of the API in the reader's own time zone, empty for none."""
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M") if text else ""


def shown_size(count: int | None) -> str:
    """Return a number of bytes for people, such as `98.9 MiB`."""
    if count is None:
        return ""
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def read_pairs(texts: Iterable[str] | None) -> dict[str, str]:
    """Return what `NAME=VALUE` options say, the later of two for one name; refuse with `InvalidInput`."""
    found = {}
    for text in texts or ():
        name, mark, value = text.partition("=")
        if not name or not mark:
            raise InvalidInput(f"{text[:80]!r} names no value", hint="write NAME=VALUE")
        found[name] = value
    return found


def read_value(text: str) -> str | int | float | bool:
    """Return a number or a boolean where the text is one, else the text; `NaN` and infinities stay texts."""
    if text in ("true", "false"):
        return text == "true"
    for read in (int, float):
        try:
            value = read(text)
        except ValueError:
            continue
        return value if math.isfinite(value) else text
    return text


def digest_of(text: str) -> str:
    """Return a whole digest, with or without `sha256:` before its digits."""
    try:
        return parse_digest(text if text.startswith("sha256:") else f"sha256:{text}")
    except InvalidInput as error:
        raise InvalidInput(f"{text[:80]!r} is no digest", hint=error.hint, code=error.code) from None


__all__ = [
    "Columns",
    "InProject",
    "Json",
    "Limit",
    "digest_of",
    "plain",
    "show_rows",
    "shown_size",
    "shown_time",
]
