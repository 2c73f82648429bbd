"""`tetrad trace`: list, follow and show traces. It calls control's API."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from tetrad.kernel import InvalidInput, short
from tetrad.kit.api_client import ApiClient, ControlUnreachable, path_part
from tetrad.kit.cli_output import InProject, Json

traces = typer.Typer(no_args_is_help=True, help="Traces: list, show, follow.")

JsonLines = Annotated[bool, typer.Option("--json", help="Print JSON; with --follow, one object per line.")]
_DURATION = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_STATUS = {"ok": "green", "error": "bold red"}
_ROLES = {"system": "magenta", "developer": "magenta", "user": "cyan", "assistant": "green", "tool": "yellow"}
_BAR = 28
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_MOST_SPANS = 2000


@traces.command("list")
def list_traces(
    app: Annotated[str | None, typer.Option(help="Of this app.")] = None,
    release: Annotated[str | None, typer.Option(help="Answered by this release (its whole digest).")] = None,
    binding: Annotated[str | None, typer.Option(help="Answered by way of this binding (its whole digest).")] = None,
    model: Annotated[str | None, typer.Option(help="With a call of this model.")] = None,
    status: Annotated[str | None, typer.Option(help="ok, error or unset.")] = None,
    session: Annotated[str | None, typer.Option(help="Of this session.")] = None,
    user: Annotated[str | None, typer.Option(help="Of this user.")] = None,
    name: Annotated[str | None, typer.Option(help="With this in the name.")] = None,
    text: Annotated[
        str | None, typer.Option("--text", "-q", help="With these words in what was asked or said.")
    ] = None,
    min_ms: Annotated[float | None, typer.Option(min=0, help="That took at least so many milliseconds.")] = None,
    min_cost: Annotated[str | None, typer.Option(help="That cost at least so much, in USD.")] = None,
    since: Annotated[str, typer.Option(help="That began within this time, such as 15m, 24h, 7d.")] = "24h",
    sort: Annotated[
        str, typer.Option(help="start, duration, cost, tokens, first_token; `-`: largest first.")
    ] = "-start",
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many at most.")] = 20,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what arrives, until Ctrl-C.")] = False,
    project: InProject = "default",
    as_json: JsonLines = False,
) -> None:
    """List traces, the newest first; with --follow, show new ones as they arrive.

    For example: `tetrad trace list --app assistant --status error --since 1h`.
    """
    only: dict[str, str | float | bool | None] = {
        "app": app, "release": release, "binding": binding, "model": model, "status": status, "session": session,
        "user": user, "name": name, "q": text, "min_duration_ms": min_ms, "min_cost": min_cost,
    }  # fmt: skip
    client = ApiClient.from_environment()
    path = f"/api/v1/projects/{path_part(project)}/traces"
    begin = (datetime.now(UTC) - _duration(since)).isoformat()
    found = list(client.items(path, most=limit, **{**only, "from": begin, "sort": sort}))
    if follow:
        found.reverse()
        _follow(client, path, only, found, as_json)
    elif as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif found:
        console = Console(highlight=False)
        shown = [place for place, name in enumerate(_HEADER) if console.width >= _WIDE or name not in _ONLY_WIDE]
        table = Table(box=None, header_style="bold", pad_edge=False)
        for place in shown:
            table.add_column(_HEADER[place], no_wrap=_HEADER[place] in _WHOLE)
        for item in found:
            cells = _cells(item)
            table.add_row(*(cells[place] for place in shown))
        console.print(table)
    else:
        typer.echo(
            f"no traces in the last {since}; send a request through the gateway (`tetrad env` tells how)", err=True
        )


@traces.command("show")
def show_trace(
    trace_id: Annotated[str, typer.Argument(help="32 hex digits; answers carry them in `x-tetrad-trace-id`.")],
    full: Annotated[bool, typer.Option("--full", help="Show the whole prompt and answer, however long.")] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Show a trace: its spans as a tree in time, what was asked and what was answered."""
    client = ApiClient.from_environment()
    path = f"/api/v1/projects/{path_part(project)}/traces/{path_part(trace_id)}"
    trace = client.get(path)
    spans, cursor = list(trace["spans"]), trace["next_cursor"]
    while cursor and (as_json or len(spans) < _MOST_SPANS):
        page = client.get(path, cursor=cursor, at=trace["start_ns"])
        spans += page["spans"]
        cursor = page["next_cursor"]
    if as_json:
        whole = {**trace, "spans": spans, "truncated": False, "next_cursor": None}
        typer.echo(json.dumps(whole, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(_summary(trace["trace"]))
    console.print(_waterfall(trace, spans))
    if cursor:
        console.print(f"… and more: {trace['trace']['spans']} spans in all; --json has every one", style="dim")
    chosen = _telling_span(spans)
    if chosen is not None:
        _converse(console, client.get(f"{path}/spans/{chosen}", at=trace["start_ns"]), full)


def _follow(
    client: ApiClient, path: str, only: Mapping[str, Any], found: Sequence[Mapping[str, Any]], as_json: bool
) -> None:
    console = Console(highlight=False)
    if not as_json:
        console.print(_line(dict(zip(_HEADER, _HEADER, strict=True)).values(), bold=True))
    seen = {item["trace_id"] for item in found}
    for item in found:
        _tell(console, item, as_json)
    for item in _arriving(client, path, only):
        if item["trace_id"] not in seen:
            seen.add(item["trace_id"])
            _tell(console, item, as_json)


def _arriving(client: ApiClient, path: str, only: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield traces as they arrive; a connection that breaks is made again and goes on where it broke."""
    last, pause_s, connected = "", _FIRST_PAUSE_S, False
    while True:
        try:
            for event, identity, data in client.events(f"{path}/stream", last_id=last, **only):
                connected, pause_s = True, _FIRST_PAUSE_S
                last = identity or last
                if event == "gap":
                    typer.echo(f"({json.loads(data)['missed']} traces came too fast to be shown)", err=True)
                elif event == "trace":
                    yield json.loads(data)
            connected = True
        except ControlUnreachable as error:
            if not connected:
                raise
            typer.echo(f"({error.message}; trying again)", err=True)
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _tell(console: Console, item: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(item, ensure_ascii=False))
    else:
        console.print(_line(_cells(item)))


_WIDE = 130
_ONLY_WIDE = frozenset({"name", "release", "model"})
_WHOLE = frozenset({"time", "trace", "status", "tokens", "cost", "latency"})
"""Columns that are never cut: what one copies, and numbers."""
_HEADER = ("time", "trace", "status", "name", "app", "release", "model", "tokens", "cost", "latency")
_WIDTHS = (19, 32, 6, 28, 12, 12, 24, 7, 10, 9)


def _line(cells: Any, *, bold: bool = False) -> Text:
    line = Text(style="bold" if bold else "", no_wrap=True, overflow="ellipsis")
    for cell, width in zip(cells, _WIDTHS, strict=True):
        text = cell.copy() if isinstance(cell, Text) else Text(cell)
        text.truncate(width, overflow="ellipsis", pad=True)
        line.append_text(text).append("  ")
    return line


def _cells(item: Mapping[str, Any]) -> list[Text]:
    return [
        Text(_recently(item["start_ns"])),
        Text(item["trace_id"]),
        Text(item["status"], style=_STATUS.get(item["status"], "dim")),
        _plain(item["name"]),
        _plain(item["app"]),
        Text(short(item["release"])),
        _plain(item["model"]),
        Text(str(item["usage"]["total"]), justify="right"),
        Text(_cost(item), justify="right"),
        Text(_ms(item["duration_ms"]), justify="right"),
    ]


def _summary(item: Mapping[str, Any]) -> Panel:
    grid = Table.grid(padding=(0, 2))
    rows = {
        "trace": item["trace_id"],
        "time": f"{_time(item['start_ns'])}  ({_ms(item['duration_ms'])}"
        + (f", first token after {_ms(item['first_token_ms'])})" if item["first_token_ms"] else ")"),
        "status": item["status"] + (f" {item['error_type']}: {item['status_message']}" if item["error_type"] else ""),
        "app": f"{item['app']}{'@' + item['ref'] if item['ref'] else ''}" if item["app"] else "",
        "release": item["release"],
        "code": item["code_match"],
        "models": ", ".join(item["models"]),
        "tokens": f"{item['usage']['total']} ({_usage(item['usage'])})",
        "cost": _cost(item) + (f" ({item['unpriced_calls']} calls without a price)" if item["unpriced_calls"] else ""),
        "session": item["session"],
        "user": item["user"],
    }
    for label, value in rows.items():
        if value:
            style = _STATUS.get(item["status"], "") if label == "status" else ""
            grid.add_row(Text(label, style="dim"), Text(_plain(value).plain, style=style))
    return Panel(grid, title=_plain(item["name"]), title_align="left", border_style="dim")


def _usage(usage: Mapping[str, int]) -> str:
    names = {
        "input": "in",
        "cache_read": "cached",
        "cache_write": "cache writes",
        "output": "out",
        "reasoning": "thought",
    }
    return ", ".join(f"{usage[key]} {label}" for key, label in names.items() if usage[key]) or "none"


def _waterfall(trace: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]) -> Table:
    table = Table("span", "", "latency", "tokens", "cost", box=None, header_style="bold", pad_edge=False)
    begin = int(trace["start_ns"])
    whole = max(1, int(trace["end_ns"]) - begin)
    for depth, span in _in_tree(spans):
        name = Text("  " * min(depth, 12) + ("└ " if depth else ""), style="dim")
        name.append(_plain(span["name"]).plain, style=_STATUS["error"] if span["status"] == "error" else "default")
        start = (int(span["start_ns"]) - begin) * _BAR // whole
        width = max(1, (int(span["end_ns"]) - int(span["start_ns"])) * _BAR // whole)
        bar = Text(" " * min(start, _BAR - 1), no_wrap=True)
        bar.append("━" * min(width, _BAR - min(start, _BAR - 1)), style=_STATUS.get(span["status"], "blue"))
        tokens = "" if span["usage"] is None else str(span["usage"]["total"])
        cost = "" if span["cost"] is None else _amount(span["cost"], span["currency"])
        table.add_row(name, bar, _ms(span["duration_ms"]), tokens, cost)
    return table


def _in_tree(spans: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Yield spans depth first, each once, whatever their parents claim; without recursion, chains may be long."""
    by_id = {span["span_id"]: span for span in spans}
    children: dict[str, list[str]] = {}
    for key, span in by_id.items():
        parent = span["parent_id"] if span["parent_id"] in by_id and span["parent_id"] != key else ""
        children.setdefault(parent, []).append(key)
    seen: set[str] = set()
    for root in [*children.get("", []), *by_id]:
        stack = [(0, root)]
        while stack:
            depth, key = stack.pop()
            if key in seen:
                continue
            seen.add(key)
            yield depth, by_id[key]
            stack += [(depth + 1, child) for child in reversed(children.get(key, []))]


def _telling_span(spans: Sequence[Mapping[str, Any]]) -> str | None:
    """Choose whose contents to show: the model call that answered, since it has what really reached the model."""
    having = [span for span in spans if span["input_bytes"] or span["output_bytes"]]
    calls = [span for span in having if span["usage"] is not None or span["kind"] == "CLIENT"]
    answered = [span for span in calls if span["status"] != "error"]
    best = next(iter(answered or calls[::-1] or having), None)
    return None if best is None else str(best["span_id"])


def _converse(console: Console, span: Mapping[str, Any], full: bool) -> None:
    for side, value in (("input", span["input"]), ("output", span["output"])):
        for role, text in _messages(value, side):
            shown = (
                text if full or len(text) <= 4000 else f"{text[:4000]}\n… {len(text) - 4000} more characters (--full)"
            )
            title = Text(role, style=f"bold {_ROLES.get(role, 'white')}")
            console.print(Panel(_plain(shown, lines=True), title=title, title_align="left", border_style="dim"))
        if span[f"{side}_cut"]:
            console.print(f"(the {side} was longer than what is kept)", style="dim")


def _messages(value: Any, side: str) -> Iterator[tuple[str, str]]:
    """Read a recorded content as messages, whichever protocol wrote it; what is unknown stays JSON."""
    if value is None:
        return
    listed = value.get("messages") if isinstance(value, Mapping) else value
    if isinstance(value, Mapping) and isinstance(value.get("choices"), list):
        listed = [choice.get("message", choice) for choice in value["choices"] if isinstance(choice, Mapping)]
    if isinstance(listed, list) and listed and all(isinstance(one, Mapping) and "role" in one for one in listed):
        for message in listed:
            yield str(message["role"]), _text_of(message)
    else:
        yield side, value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _text_of(message: Mapping[str, Any]) -> str:
    content = message.get("content", message.get("parts", ""))
    parts = [content] if isinstance(content, str) else content if isinstance(content, list) else []
    lines = []
    for part in parts:
        text = part.get("text", part.get("content")) if isinstance(part, Mapping) else part
        lines.append(text if isinstance(text, str) else json.dumps(part, ensure_ascii=False))
    for call in message.get("tool_calls") or []:
        lines.append(json.dumps(call, ensure_ascii=False))  # noqa: PERF401 - beside the loop above it reads the same
    return "\n".join(lines)


def _duration(text: str) -> timedelta:
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"{text[:40]!r} is no duration", hint="a number and s, m, h or d, such as 15m or 24h")
    return timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


def _time(ns: str) -> str:
    return datetime.fromtimestamp(int(ns) // 1_000_000_000, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _recently(ns: str) -> str:
    """Return the time of day for today, the whole time for other days."""
    day, _, clock = _time(ns).partition(" ")
    return clock if day == datetime.now(UTC).astimezone().strftime("%Y-%m-%d") else f"{day} {clock}"


def _ms(value: float) -> str:
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.1f} ms"


def _cost(item: Mapping[str, Any]) -> str:
    amounts = [_amount(cost["amount"], cost["currency"]) for cost in item["other_costs"]]
    if item["cost"] is not None:
        amounts.insert(0, _amount(item["cost"], item["currency"]))
    return " + ".join(amounts) or ("unknown" if item["unpriced_calls"] else "")


def _amount(amount: str, currency: str) -> str:
    value = Decimal(amount)
    digits = (
        f"{value:.2f}"
        if value == 0 or abs(value) >= 1
        else f"{value:.3g}"
        if abs(value) >= Decimal("0.0001")
        else f"{value:.1e}"
    )
    return f"${digits}" if currency == "USD" else f"{digits} {currency}"


def _plain(text: str, *, lines: bool = False) -> Text:
    """Return text of others for this terminal: it must not steer it, nor pass for markup."""
    kept = "\n\t" if lines else ""
    return Text("".join(char if char.isprintable() or char in kept else "�" for char in text))
