"""Read files of rows one row at a time: JSON Lines, JSON arrays, CSV, Parquet. Memory holds one row, never the file."""

from __future__ import annotations

import csv
import importlib
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, BinaryIO, Literal

import msgspec

from tetrad.datasets.errors import BadFormat
from tetrad.kernel import MissingExtra, NotCanonical, canonical_json, parse_json

Format = Literal["jsonl", "json", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("jsonl", "json", "csv", "parquet")
ENDINGS: Mapping[str, Format] = {
    ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet",
}  # fmt: skip
CELLS = ("text", "integer", "number", "boolean")
MAX_COLUMNS = 2000
_CHUNK = 1 << 20
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,15})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]{1,3})?")
_STRUCTURE = re.compile(rb'["\\{}\[\],]')
_IN_STRING = re.compile(rb'["\\]')


class Problem(msgspec.Struct, frozen=True):
    """Why something is no row; `fatal` where what is behind it cannot be read either."""

    reason: str
    field: str = ""
    fatal: bool = False


class CsvForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a CSV file is written; what is None is found out from the file.

    Where it is `typed`, a column has the type that all its cells fit, unless `types` says another: text, integer,
    number, boolean. Without a header columns are named `c1`, `c2`, and so on.
    """

    delimiter: str | None = None
    quote: str = '"'
    header: bool = True
    typed: bool = True
    types: Mapping[str, str] = {}


Read = Iterator[tuple[int, object]]


def read_rows(data: BinaryIO, form: str, *, max_row_bytes: int, options: CsvForm | None = None) -> Read:
    """Yield (line, value or `Problem`) of a file; `data` can seek.

    In JSON arrays the line is where the value begins; in Parquet it is the row's number. Raises `BadFormat` for a
    format that is none, `MissingExtra` for Parquet without its reader.
    """
    if form == "jsonl":
        return _jsonl(data, max_row_bytes * 2)  # white space and escapes make a line longer than its row
    if form == "json":
        return _json(data, max_row_bytes * 2)
    if form == "csv":
        return _csv(data, max_row_bytes * 2, options or CsvForm())
    if form == "parquet":
        return _parquet(data, max_row_bytes)
    raise BadFormat(f"{form!r} is no format of rows", hint=", ".join(FORMATS))


def _jsonl(data: BinaryIO, longest: int) -> Read:
    number = 0
    while line := data.readline(longest + 2):
        number += 1
        if len(line) > longest + 1:
            yield number, Problem(f"longer than {longest} bytes; the lines behind it were not read", fatal=True)
            return
        text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        if text.strip():
            yield number, _parsed(text)


def _parsed(text: bytes) -> object:
    try:
        return parse_json(text, where="the line")
    except NotCanonical as error:
        return Problem(error.message)


def _json(data: BinaryIO, longest: int) -> Read:
    """Cut an array into its items without parsing it whole: only strings, escapes and brackets matter for that."""
    scanner = _Items(data)
    first = scanner.skip_space()
    if first != b"[":
        yield scanner.line, Problem("a JSON file of rows is one array of objects", fatal=True)
        return
    scanner.at += 1
    if scanner.skip_space() == b"]":
        yield from scanner.end()
        return
    while True:
        scanner.skip_space()
        line = scanner.line
        text = scanner.item(longest)
        if isinstance(text, Problem):
            yield line, text
            return
        yield line, _parsed(text)
        if scanner.skip_space() == b"]":
            yield from scanner.end()
            return
        scanner.at += 1  # the comma


class _Items:
    def __init__(self, data: BinaryIO) -> None:
        self._data = data
        self._buffer = data.read(_CHUNK).removeprefix(b"\xef\xbb\xbf")
        self.at = 0
        self.line = 1

    def _more(self) -> bool:
        chunk = self._data.read(_CHUNK)
        self._buffer = self._buffer[self.at :] + chunk
        self.at = 0
        return bool(chunk)

    def skip_space(self) -> bytes:
        """Go to the next byte that is no white space and return it; empty at the end."""
        while True:
            while self.at < len(self._buffer):
                byte = self._buffer[self.at : self.at + 1]
                if byte not in b" \t\r\n":
                    return byte
                self.line += byte == b"\n"
                self.at += 1
            if not self._more():
                return b""

    def item(self, longest: int) -> bytes | Problem:
        """Return the bytes up to the comma or bracket that ends the item."""
        place, depth, in_string = self.at, 0, False
        while True:
            found = (_IN_STRING if in_string else _STRUCTURE).search(self._buffer, place)
            if found is None or (found[0] == b"\\" and found.end() >= len(self._buffer)):
                place = (len(self._buffer) if found is None else found.start()) - self.at
                if place > longest:
                    return Problem(f"longer than {longest} bytes; what is behind it was not read", fatal=True)
                if not self._more():
                    return Problem("the array does not end", fatal=True)
                continue
            mark, place = found[0], found.end()
            if place - self.at > longest + 1:
                return Problem(f"longer than {longest} bytes; what is behind it was not read", fatal=True)
            if mark == b"\\":
                place += 1
            elif mark == b'"':
                in_string = not in_string
            elif mark in b"{[":
                depth += 1
            elif depth == 0 and mark in b",]":
                text = self._buffer[self.at : place - 1]
                self.line += text.count(b"\n")
                self.at = place - 1
                return text
            elif mark in b"}]":
                depth -= 1
                if depth < 0:
                    return Problem("a bracket closes that was never opened", fatal=True)

    def end(self) -> Read:
        self.at += 1
        if self.skip_space():
            yield self.line, Problem("something follows the array", fatal=True)


def _csv(data: BinaryIO, longest: int, form: CsvForm) -> Read:
    _check_form(form)
    start = data.tell()
    delimiter = form.delimiter or _sniffed(data.readline(65_536))
    csv.field_size_limit(max(csv.field_size_limit(), longest))  # one for the process: it only grows

    def table() -> Iterator[tuple[int, list[str] | Problem]]:
        data.seek(start)
        reader = csv.reader(_Lines(data, longest), delimiter=delimiter, quotechar=form.quote, strict=True)
        while True:
            line = reader.line_num + 1
            try:
                yield line, next(reader)
            except StopIteration:
                return
            except UnicodeDecodeError as error:
                yield line, Problem(f"not UTF-8: {error.reason}; the lines behind it were not read", fatal=True)
                return
            except csv.Error as error:
                yield line, Problem(f"malformed: {error}; the lines behind it were not read", fatal=True)
                return

    names, problem = _header(table(), form)
    if problem is not None:
        yield 1, problem
        return
    readers = _column_readers(names, form, table)
    skip = form.header
    for line, cells in table():
        if isinstance(cells, Problem):
            yield line, cells
        elif not cells:
            continue
        elif skip:
            skip = False
        elif len(cells) != len(names):
            yield line, Problem(f"{len(cells)} cells, but there are {len(names)} columns")
        else:
            yield line, _typed_row(names, cells, readers)


class _Lines:
    """Lines of a text for the CSV reader, none longer than a row may be; decoded one by one, to name the bad."""

    def __init__(self, data: BinaryIO, longest: int) -> None:
        self._data = data
        self._longest = longest
        self._first = True

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._data.readline(self._longest + 1)
        if len(line) > self._longest:
            raise csv.Error(f"longer than {self._longest} bytes")
        if not line:
            raise StopIteration
        if self._first:
            self._first, line = False, line.removeprefix(b"\xef\xbb\xbf")
        return line.decode("utf-8")


def _check_form(form: CsvForm) -> None:
    for name, value in (("delimiter", form.delimiter), ("quote", form.quote)):
        if value is not None and (len(value) != 1 or value in "\r\n\0"):
            raise BadFormat(f"the {name} {value!r} is not one character", hint="such as , or ;")
    if unknown := sorted(set(form.types.values()) - set(CELLS)):
        raise BadFormat(f"{unknown[0]!r} is no type of a column", hint=", ".join(CELLS))


def _sniffed(head: bytes) -> str:
    counts = {mark: head.count(mark.encode()) for mark in (",", ";", "\t", "|")}
    best = max(counts, key=lambda mark: counts[mark])
    return best if counts[best] else ","


def _header(table: Iterator[tuple[int, list[str] | Problem]], form: CsvForm) -> tuple[list[str], Problem | None]:
    first = next((cells for _, cells in table if cells), None)
    if first is None:
        return [], Problem("the file has no header", fatal=True) if form.header else None
    if isinstance(first, Problem):
        return [], first
    names = first if form.header else [f"c{number}" for number in range(1, len(first) + 1)]
    if len(names) > MAX_COLUMNS:
        return [], Problem(f"{len(names)} columns; at most {MAX_COLUMNS} are read", fatal=True)
    for number, name in enumerate(names, 1):
        if not name:
            return [], Problem(f"column {number} has no name", fatal=True)
        if names.index(name) != number - 1:
            return [], Problem(f"two columns are named {name!r}", field=f"/{name}", fatal=True)
    if missing := sorted(set(form.types) - set(names)):
        return [], Problem(f"there is no column {missing[0]!r} to give a type", fatal=True)
    return names, None


def _column_readers(
    names: Sequence[str], form: CsvForm, table: Callable[[], Iterator[tuple[int, list[str] | Problem]]]
) -> list[tuple[str, bool]]:
    """Return (type, told) of each column; where types are to be found out, every cell of the file is looked at."""
    types = [form.types.get(name, "") for name in names]
    if not form.typed or all(types):
        return [(kind or "text", bool(kind)) for kind in types]
    fits = [{"integer", "number", "boolean"} for _ in names]
    filled = [False] * len(names)
    skip = form.header
    for _, cells in table():
        if isinstance(cells, Problem) or not cells:
            continue
        if skip:
            skip = False
            continue
        for at, cell in enumerate(cells[: len(names)]):
            if cell and fits[at]:
                filled[at] = True
                fits[at] = {kind for kind in fits[at] if _cell(cell, kind) is not None}
    found = []
    for at, kind in enumerate(types):
        best = next((each for each in ("integer", "number", "boolean") if filled[at] and each in fits[at]), "text")
        found.append((kind or best, bool(kind)))
    return found


def _typed_row(names: Sequence[str], cells: Sequence[str], readers: Sequence[tuple[str, bool]]) -> object:
    row: dict[str, Any] = {}
    for name, cell, (kind, _) in zip(names, cells, readers, strict=True):
        if kind == "text":
            row[name] = cell
        elif not cell:
            row[name] = None
        else:
            value = _cell(cell, kind)
            if value is None:
                return Problem(f"{cell[:40]!r} is no {kind}", field=f"/{name}")
            row[name] = value
    return row


def _cell(text: str, kind: str) -> bool | int | float | None:
    """Return a cell's value, None where it is not written as that type: `007` and `1e999` stay text."""
    if kind == "boolean":
        return {"true": True, "false": False}.get(text.lower())
    if kind == "integer":
        value = int(text) if _INTEGER.fullmatch(text) else None
        return None if value is None or abs(value) > 2**53 - 1 or text == "-0" else value
    if not _NUMBER.fullmatch(text):
        return None
    number = float(text)
    whole = not set(text) & set(".eE")  # a long account number must not be rounded to the next double
    return None if abs(number) == float("inf") or (whole and abs(number) > 2**53 - 1) else number


def _parquet(data: BinaryIO, max_row_bytes: int) -> Read:
    try:
        reader = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise MissingExtra("Parquet", "parquet") from None
    errors = importlib.import_module("pyarrow").lib.ArrowException
    try:
        file = reader.ParquetFile(data, pre_buffer=False)
        names = file.schema_arrow.names
    except (errors, OSError) as error:
        yield 1, Problem(f"no Parquet file: {str(error).splitlines()[0]}", fatal=True)
        return
    if len(names) > MAX_COLUMNS or len(set(names)) != len(names):
        yield 1, Problem(f"more than {MAX_COLUMNS} columns, or two with one name", fatal=True)
        return
    number = 0
    try:
        for group in range(file.metadata.num_row_groups):
            # A few pages unpack to much more than the file has: what a group says it is must be bearable.
            rows = max(1, file.metadata.row_group(group).num_rows)
            if file.metadata.row_group(group).total_byte_size // rows > max_row_bytes:
                yield number + 1, Problem(f"rows of more than {max_row_bytes} bytes", fatal=True)
                return
            for batch in file.iter_batches(batch_size=1000, row_groups=[group], use_threads=False):
                for row in batch.to_pylist():
                    number += 1
                    yield number, _plain(row)
    except (errors, OSError, ValueError) as error:
        yield number + 1, Problem(f"unreadable: {str(error).splitlines()[0]}", fatal=True)


def _plain(value: Any) -> Any:
    """Return JSON for what Parquet holds: times as RFC 3339, decimals as text; bytes are refused by name."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    return str(value) if isinstance(value, Decimal) else value


def csv_lines(rows: Iterator[bytes], schema: Mapping[str, Any]) -> Iterator[bytes]:
    """Yield rows (canonical JSON) as CSV, a column for each field of their schema; what is nested is JSON in a cell.

    Raises `BadFormat` where rows have no fields to make columns of. A null and an absent field are both an empty cell.
    """
    names = sorted(schema.get("properties", {}))
    if not names:
        raise BadFormat("rows without common fields are no table", hint="export them as jsonl")
    return _csv_lines(rows, names)


def _csv_lines(rows: Iterator[bytes], names: Sequence[str]) -> Iterator[bytes]:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(names)
    for row in rows:
        value = parse_json(row, where="a stored row")
        fields = value if isinstance(value, dict) else {}
        writer.writerow([_shown(fields.get(name)) for name in names])
        if out.tell() >= _CHUNK // 16:
            yield out.getvalue().encode()
            out.seek(0)
            out.truncate()
    yield out.getvalue().encode()


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical_json(value).decode()
