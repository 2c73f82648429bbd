"""Files of rows: what is read, on which line, and what is said of what cannot be."""

from __future__ import annotations

import importlib.util
import io
import json
from typing import Any

import pytest

from tetrad.datasets import BadFormat, CsvForm
from tetrad.datasets._formats import Problem, csv_lines, read_rows
from tetrad.kernel import canonical_json


def rows(data: bytes, form: str, limit: int = 1000, **options: Any) -> list[tuple[int, object]]:
    return list(read_rows(io.BytesIO(data), form, max_row_bytes=limit, options=CsvForm(**options) if options else None))


def values(data: bytes, form: str, **options: Any) -> list[object]:
    return [value for _, value in rows(data, form, **options)]


def problem(data: bytes, form: str, **options: Any) -> tuple[int, Problem]:
    line, found = rows(data, form, **options)[-1]
    assert isinstance(found, Problem), found
    return line, found


def test_an_array_is_cut_into_its_items_with_their_lines() -> None:
    items = [{"a": 'x,"]}\\'}, {"b": [1, {"c": "\n[{"}]}, {"ü": "é" * 300}]
    for indent in (None, 1):
        text = json.dumps(items, indent=indent, ensure_ascii=False).encode()
        assert values(b"\xef\xbb\xbf " + text + b"\n", "json") == items
    assert [line for line, _ in rows(b'[\n{"a": 1},\n\n{"b": 2}\n]', "json")] == [2, 4]
    assert values(b"[]", "json") == values(b" [ ] ", "json") == []


def test_an_array_larger_than_what_is_held_is_read_whole() -> None:
    items = [{"n": n, "text": '\\"' * (n % 300)} for n in range(4000)]
    assert values(json.dumps(items).encode(), "json") == items


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"a": 1}', "one array"),
        (b"", "one array"),
        (b'[{"a": 1}', "does not end"),
        (b'[{"a": 1}, {"a": "', "does not end"),
        (b'[{"a": 1}] x', "follows"),
        (b'[{"a": 1},]', "malformed"),
        (b'[{"a": 1} {"b": 2}]', "malformed"),
        (b"[}", "never opened"),
        (b'["' + b"x" * 5000 + b'"]', "longer than 2000"),
        (b'[{"a": 1, "a": 2}]', "twice"),
        (b'[{"a": NaN}]', "NaN"),
    ],
    ids=str,
)
def test_a_broken_array_says_why(data: bytes, says: str) -> None:
    assert says in problem(data, "json")[1].reason


def test_a_table_has_the_types_that_all_its_cells_fit() -> None:
    data = b'id,score,ok,zip,text,none\r\n1,0.5,true,007,"a,\nb",\r\n-2,3,FALSE,12,,\r\n'
    assert values(data, "csv") == [
        {"id": 1, "score": 0.5, "ok": True, "zip": "007", "text": "a,\nb", "none": ""},
        {"id": -2, "score": 3.0, "ok": False, "zip": "12", "text": "", "none": ""},
    ]
    assert values(b"a,b\n1,\n,x\n", "csv") == [{"a": 1, "b": ""}, {"a": None, "b": "x"}]


def test_numbers_that_a_double_cannot_hold_stay_text() -> None:
    (row,) = values(b"a,b,d,e\n9007199254740993,1e999,1_000,nan\n", "csv")
    assert row == {"a": "9007199254740993", "b": "1e999", "d": "1_000", "e": "nan"}


def test_a_table_is_read_as_it_is_said_to_be_written() -> None:
    assert values(b"a;b\n1;2\n", "csv") == [{"a": 1, "b": 2}]
    assert values(b"a\tb\n1\t2\n", "csv") == [{"a": 1, "b": 2}]
    assert values(b"1|2\n", "csv", delimiter="|", header=False) == [{"c1": 1, "c2": 2}]
    assert values(b"a,b\n1,2\n", "csv", typed=False) == [{"a": "1", "b": "2"}]
    assert values(b"a,b\n1,2\n", "csv", types={"a": "text"}) == [{"a": "1", "b": 2}]
    assert values(b"\xef\xbb\xbfa\n'x,y'\n", "csv", quote="'", delimiter=",") == [{"a": "x,y"}]


@pytest.mark.parametrize(
    ("data", "options", "line", "field", "says"),
    [
        (b"", {}, 1, "", "no header"),
        (b"a,a\n1,2\n", {}, 1, "/a", "two columns"),
        (b"a,\n1,2\n", {}, 1, "", "column 2 has no name"),
        (b"a,b\n1,2\n1,2,3\n", {}, 3, "", "3 cells, but there are 2 columns"),
        (b"a,b\n1,2\nx,2\n", {"types": {"a": "integer"}}, 3, "/a", "'x' is no integer"),
        (b'a,b\n1,"2\n', {}, 2, "", "malformed"),
        (b"a\n\xff\n", {}, 2, "", "not UTF-8"),
        (b"a\n" + b"x" * 5000, {}, 2, "", "longer than 2000"),
        (b"a\n1\n", {"types": {"z": "integer"}}, 1, "", "no column 'z'"),
    ],
    ids=str,
)
def test_a_broken_table_says_line_field_and_reason(
    data: bytes, options: dict[str, Any], line: int, field: str, says: str
) -> None:
    at, found = problem(data, "csv", **options)
    assert (at, found.field) == (line, field)
    assert says in found.reason


def test_forms_that_are_none_are_refused() -> None:
    for form in (CsvForm(delimiter="ab"), CsvForm(quote=""), CsvForm(types={"a": "date"})):
        with pytest.raises(BadFormat):
            list(read_rows(io.BytesIO(b"a\n1\n"), "csv", max_row_bytes=10, options=form))
    with pytest.raises(BadFormat, match="xlsx"):
        rows(b"", "xlsx")


def test_rows_go_out_as_a_table_and_come_back() -> None:
    given = [{"a": 'x,"y"\n', "b": 1.5, "c": [1, {"d": None}]}, {"a": "=1", "b": 2}]
    schema = {"type": "object", "properties": {"a": {}, "b": {}, "c": {}}}
    text = b"".join(csv_lines(map(canonical_json, given), schema))
    assert values(text, "csv") == [
        {"a": 'x,"y"\n', "b": 1.5, "c": '[1,{"d":null}]'},
        {"a": "=1", "b": 2.0, "c": ""},
    ]
    with pytest.raises(BadFormat, match="no table"):
        csv_lines(iter([]), {"type": "object"})


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is None, reason="pyarrow is an optional extra")
def test_parquet_is_read_in_batches() -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(
        {"id": list(range(3000)), "messages": [[{"role": "user", "content": f"q{n}"}] for n in range(3000)]}
    )
    out = io.BytesIO()
    pq.write_table(table, out, row_group_size=700)
    found = values(out.getvalue(), "parquet")
    assert found == [{"id": n, "messages": [{"role": "user", "content": f"q{n}"}]} for n in range(3000)]
    assert "no Parquet" in problem(b"PAR1 nothing", "parquet")[1].reason
    assert "rows of more than" in problem(_fat(), "parquet")[1].reason


def _fat() -> bytes:
    """Return a small file whose rows unpack to much more."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = io.BytesIO()
    # The same text again and again is kept once: what counts is a row that is large by itself.
    pq.write_table(pa.table({"a": ["x" * 1_000_000]}), out, compression="zstd", use_dictionary=False)
    assert len(out.getvalue()) < 100_000
    return out.getvalue()
