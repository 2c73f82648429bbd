"""Commands that concern the installation as a whole."""

from __future__ import annotations

import json
import signal
import sys
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from tetrad.kernel import NotFound, TetradError, Unavailable
from tetrad.kit.cli_output import plain
from tetrad.kit.home import Home
from tetrad.kit.process_identity import ProcessIdentity
from tetrad.kit.running import running_control, running_gateway, running_state
from tetrad.processes._settings import product_settings

NOTHING_RUNS = 3
out = Console(highlight=False)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when it is ready and leave it running.")
    ] = False,
    gateway_port: Annotated[int | None, typer.Option(help="Port of the data plane.")] = None,
    control_port: Annotated[int | None, typer.Option(help="Port of the console and the API.")] = None,
    workers: Annotated[int | None, typer.Option(help="Gateway processes.")] = None,
) -> None:
    """Start everything on this machine and stay until Ctrl-C."""
    from tetrad.processes.standalone._up import run_detached, run_foreground

    overrides = {"gateway_port": gateway_port, "control_port": control_port, "gateway_workers": workers}
    chosen = product_settings(**overrides)
    raise typer.Exit(run_detached(chosen, sys.argv[1:]) if detach else run_foreground(chosen))


def down(
    timeout_s: Annotated[float, typer.Option(help="Longest wait for a clean end.")] = 60.0,
) -> None:
    """Stop what `tetrad up` started."""
    home = Home.of(product_settings())
    supervisor = _supervisor(home)
    if supervisor is None:
        out.print(f"nothing runs in {str(home.root)!r}", soft_wrap=True)
        return
    supervisor.signal(signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while supervisor.alive():
        if time.monotonic() > deadline:
            raise Unavailable(
                f"the supervisor (process {supervisor.pid}) still runs after {timeout_s:g} s",
                hint=f"`tetrad logs` tells what it waits for; `kill -9 {supervisor.pid}` ends it at once",
            )
        time.sleep(0.05)
    out.print("stopped")


def status(as_json: Json = False) -> None:
    """Show what runs: processes, engines, stores. Ends with 3 when nothing runs."""
    chosen = product_settings()
    home = Home.of(chosen)
    state = running_state(home)
    detail = _control_status()
    if as_json:
        typer.echo(json.dumps({"home": str(home.root), "supervisor": state, "control": detail}, indent=2))
        raise typer.Exit(0 if state or detail else NOTHING_RUNS)
    if state is None and detail is None:
        out.print(f"nothing runs in {str(home.root)!r}; start it with `tetrad up`", soft_wrap=True)
        raise typer.Exit(NOTHING_RUNS)
    if state:
        phase = "ready" if state["ready"] else "starting"
        out.print(f"Tetrad {state['version']} {phase}, process {state['pid']}, home {state['home']}")
        out.print(f"gateway {state['gateway_url']}   console {state['control_url']}")
        out.print(_process_table(state["processes"]))
    if detail:
        out.print(_engine_table(detail["engines"]))
        table = detail["route_table"]
        for problem in filter(None, (table["error"], *table["problems"])):
            out.print(plain(f"NOT SERVED: {problem}"), markup=False)
        for store in detail["stores"]:
            if not store["ok"]:
                out.print(plain(f"STORE {store['name']}: {store['detail']}"), markup=False)
        for each in detail.get("broken", ()):
            where = f"{each['app']}/{each['ref']}" if each["ref"] else f"{each['app']} (pinned)"
            out.print(plain(f"BROKEN: {where} serves {each['digest'][:19]}: {'; '.join(each['causes'])}"), markup=False)


def _process_table(processes: list[dict[str, Any]]) -> Table:
    from tetrad.kit.children import rss_bytes

    table = Table("process", "state", "pid", "memory", "restarts", "reason", box=None, header_style="bold")
    for process in processes:
        memory = f"{rss_bytes(process['pid']) / 1e6:.0f} MB" if process["pid"] else ""
        table.add_row(
            process["name"],
            process["state"],
            str(process["pid"] or ""),
            memory,
            str(process["restarts"]),
            process["reason"],
        )
    return table


def _engine_table(engines: list[dict[str, Any]]) -> Table:
    table = Table("engine", "state", "models", "reason", box=None, header_style="bold")
    for engine in engines:
        table.add_row(engine["name"], engine["state"], ", ".join(engine["models"]), engine.get("reason", ""))
    return table


def logs(
    process: Annotated[str | None, typer.Argument(help="control, worker, gateway-0, …; all when left out.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is being written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", help="How many of the last lines.", min=0)] = 50,
) -> None:
    """Print the logs of the processes."""
    from tetrad.processes.cli._logs import follow_logs, last_lines

    home = Home.of(product_settings())
    files = sorted(home.logs.glob(f"{process}.log" if process else "*.log"))
    if not files:
        known = ", ".join(sorted(path.stem for path in home.logs.glob("*.log"))) or "none yet"
        raise NotFound(f"there is no log of {process or 'any process'} in {str(home.logs)!r}", hint=f"logs: {known}")
    for line in last_lines(files, lines):
        typer.echo(line)
    if follow:
        follow_logs(files, typer.echo)


def env() -> None:
    """Print `export` lines for OpenAI and Anthropic clients; use it as: eval "$(tetrad env)"."""
    chosen = product_settings()
    home = Home.of(chosen)
    try:
        key = (home.keys / "app.key").read_text("utf-8").strip()
    except FileNotFoundError:
        raise NotFound(
            f"there is no key in {str(home.keys)!r} yet", hint="the first `tetrad up` makes one; start it first"
        ) from None
    gateway = running_gateway(chosen)
    for name, value in {
        "OPENAI_BASE_URL": f"{gateway}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": gateway,
        "ANTHROPIC_API_KEY": key,
        "TETRAD_HOME": str(home.root),
        "TETRAD_CONTROL_URL": running_control(chosen),
    }.items():
        typer.echo(f"export {name}={_quoted(value)}")


def _quoted(value: str) -> str:
    import shlex

    return shlex.quote(value)


def login(as_json: Json = False) -> None:
    """Print a link that signs you in to the console; it works once, for ten minutes."""
    link = _client().post("/api/v1/sign-in-links")
    typer.echo(json.dumps(link) if as_json else link["url"])


def settings(as_json: Json = False) -> None:
    """Show every setting: its value, where it was set, what it means."""
    chosen = product_settings()
    shown = chosen.shown()
    if as_json:
        rows = {name: {"value": value, "source": chosen.sources[name]} for name, value in shown.items()}
        typer.echo(json.dumps(rows, indent=2))
        return
    for group in chosen.tables:
        table = Table("setting", "value", "from", "meaning", title=group.title, title_justify="left", box=None)
        for setting in group.settings:
            table.add_row(setting.variable, shown[setting.name], chosen.sources[setting.name], setting.help)
        out.print(table)
        out.print()


def _supervisor(home: Home) -> ProcessIdentity | None:
    state = running_state(home)
    return ProcessIdentity(int(state["pid"]), int(state["started_ticks"])) if state else None


def _client() -> Any:
    from tetrad.kit.api_client import ApiClient

    return ApiClient.from_environment()


def _control_status() -> dict[str, Any] | None:
    try:
        return _client().get("/api/v1/status")  # type: ignore[no-any-return]
    except TetradError:
        return None
