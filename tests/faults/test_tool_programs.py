"""Programs as MCP servers: run only where listed, one process a session, and none of them outlives what it is for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from support.gateway import GatewayProcess, make_table, prepare_home
from support.mcp_wire import LEGACY, PROGRAM, STDIO, begin, client, post, rpc, text_of
from support.wait import wait_until
from tetrad.serving import ToolServerRoute

ALLOWED = f"{sys.executable} {PROGRAM}; {sys.executable} -c"


class Bridged:
    """The process of programs and a gateway before it, over one home."""

    def __init__(self, home: Path, gateway: GatewayProcess, bridge: subprocess.Popen[bytes]) -> None:
        self.home, self.gateway, self.bridge = home, gateway, bridge
        self.url = f"{gateway.url}/mcp/prog"

    def programs(self) -> list[psutil.Process]:
        return [each for each in psutil.Process(self.bridge.pid).children() if each.status() != psutil.STATUS_ZOMBIE]

    def call(self, session: dict[str, str], tool: str, **arguments: Any) -> tuple[int, Any]:
        status, _, answer = rpc(self.url, "tools/call", {"name": tool, "arguments": arguments}, headers=session)
        return status, answer


@contextmanager
def bridged(home: Path, *command: str, env: tuple[tuple[str, str], ...] = (), **settings: Any) -> Iterator[Bridged]:
    route = ToolServerRoute(
        name="prog", project="default", command=command or STDIO, env=env, on_change="alert", first_byte_timeout_s=30
    )
    table = msgspec.structs.replace(make_table("http://127.0.0.1:1/v1"), tool_servers={"default/prog": route})
    prepare_home(home, table)
    chosen = {"mcp_commands": ALLOWED, **settings}
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TETRAD_")}
    bridge = subprocess.Popen(
        [sys.executable, "-m", "tetrad.processes.tools"],
        env={
            **kept,
            "TETRAD_HOME": str(home),
            "TETRAD_CONTROL_URL": "http://127.0.0.1:1",
            "OUR_OWN_SECRET": "x",
            **{f"TETRAD_{name.upper()}": str(value) for name, value in chosen.items()},
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until((home / "run" / "tools.sock").exists, what="the socket", timeout_s=60)
        with GatewayProcess(home) as gateway:
            yield Bridged(home, gateway, bridge)
    finally:
        bridge.kill()
        bridge.wait()


async def test_the_official_client_speaks_with_a_program_in_a_session_of_its_own(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    with bridged(tmp_path / "home", env=(("MARK", str(mark)), ("API_KEY", "for the program"))) as running:
        async with client(running.url) as one, client(running.url, mode="legacy") as other:
            assert "add" in {tool.name for tool in (await one.list_tools()).tools}
            assert text_of(await other.call_tool("add", {"a": 1, "b": 2})) == "3"
            heard: list[float] = []

            async def progress(done: float, _total: float | None, _said: str | None) -> None:
                heard.append(done)

            await one.call_tool("count", {"to": 3}, progress_callback=progress)
            assert heard == [1, 2, 3]
            assert text_of(await one.call_tool("environment", {"name": "API_KEY"})) == "for the program"
            for ours in ("OUR_OWN_SECRET", "TETRAD_HOME"):
                assert text_of(await one.call_tool("environment", {"name": ours})) == ""
        assert len(mark.read_text().split()) == 2
        wait_until(lambda: not running.programs(), what="the end of both programs")


def test_a_program_that_dies_ends_its_session_with_words_and_another_begins(tmp_path: Path) -> None:
    with bridged(tmp_path) as running:
        session = begin(running.url)
        status, answer = running.call(session, "die")
        assert (status, "exited with code 3" in answer["error"]["message"]) == (200, True)
        assert running.call(session, "add", a=1, b=1)[0] == 404
        session = wait_until(lambda: begin(running.url), what="another session", retry_on=(AssertionError,))
        assert running.call(session, "add", a=1, b=1)[1]["result"]["content"][0]["text"] == "2"
        (program,) = running.programs()
        program.send_signal(signal.SIGKILL)
        wait_until(lambda: running.call(session, "add", a=1, b=1)[0] == 404, what="the end of the session")


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    with bridged(tmp_path, mcp_call_s=10) as running:
        session = begin(running.url)
        _, answer = running.call(session, "hang")
        assert "did not answer within 10 s" in answer["error"]["message"]
        wait_until(lambda: not running.programs(), what="the program's end", timeout_s=20)


def test_programs_end_with_their_process_however_it_ends(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with bridged(tmp_path / number.name) as running:
            begin(running.url)
            programs = running.programs()
            assert programs
            running.bridge.send_signal(number)
            running.bridge.wait(20)
            wait_until(lambda those=programs: not any(_lives(each) for each in those), what="the programs' end")
            status, _, answer = rpc(running.url, "initialize", {})
            assert (status, answer["error"]["data"]["code"]) == (503, "upstream_unreachable")


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_a_program_that_is_not_listed_never_runs_whatever_the_route_table_says(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    with bridged(tmp_path / "home", "/bin/sh", "-c", f"touch {mark}") as running:
        status, _, answer = rpc(running.url, "initialize", {})
        assert status == 502
        assert "tool_server_refused" in json.dumps(answer)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import sys; sys.stdout.write('x' * 3_000_000); sys.stdout.flush(); sys.stdin.read()", "more than"),
        ("print('no MCP', flush=True)", "exited with code 0"),
        ("raise SystemExit(7)", "exited with code 7"),
        ("print('[1]'); print('{}', flush=True); import sys; sys.stdin.readline(); sys.exit(9)", "exited with code 9"),
    ],
)
def test_a_program_that_speaks_no_mcp_is_told_of(tmp_path: Path, program: str, said: str) -> None:
    with bridged(tmp_path, sys.executable, "-c", program, mcp_line_bytes=1_000_000) as running:
        _, _, answer = rpc(running.url, "initialize", {})
        assert said in answer["error"]["message"] or "reads no more" in answer["error"]["message"]
        _, _, again = rpc(running.url, "initialize", {})  # not run again at once, and again, and again
        assert "error" in again


def test_sessions_are_bounded_until_one_is_ended(tmp_path: Path) -> None:
    with bridged(tmp_path, mcp_sessions=2) as running:
        sessions = [begin(running.url), begin(running.url)]
        status, _, answer = rpc(running.url, "initialize", {})
        assert (status, answer["error"]["data"]["code"]) == (429, "overloaded")
        assert post(running.url, b"", headers=sessions[0], method="DELETE")[0] == 204
        begin(running.url)


def test_a_session_that_idles_ends_with_its_program(tmp_path: Path) -> None:
    with bridged(tmp_path, mcp_idle_s=1) as running:
        session = begin(running.url)
        wait_until(lambda: not running.programs(), what="the end of an idle session", timeout_s=20)
        assert running.call(session, "stats")[0] == 404


def test_one_id_twice_at_once_and_a_message_without_a_session_are_refused(tmp_path: Path) -> None:
    with bridged(tmp_path) as running:
        status, _, answer = rpc(running.url, "tools/list")
        assert (status, answer["error"]["code"], answer["error"]["data"]["supported"][0]) == (400, -32022, LEGACY)
