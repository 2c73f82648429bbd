from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from unittest import mock

import pytest

from support.spans import SECOND_NS, Kept, a_span, an_exchange
from support.traces_api import served, traces_app
from support.wait import wait_until
from tetrad.processes.cli._app import run

Run = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def address(kept: Kept) -> Iterator[str]:
    with served(traces_app(kept.traces)) as url:
        yield url


def environment(address: str) -> dict[str, str]:
    return {
        **os.environ,
        "TETRAD_CONTROL_URL": address,
        "TETRAD_API_KEY": "control-key",
        "COLUMNS": "220",
        "PYTHONUNBUFFERED": "1",
    }


def command(*arguments: str) -> Sequence[str]:
    code = "import sys; from tetrad.processes.cli._app import run; sys.exit(run(sys.argv[1:]))"
    return [sys.executable, "-c", code, "trace", *arguments]


def tetrad(address: str, *arguments: str) -> Run:
    """Run a command line in this process: the same code, without the start of an interpreter for each."""
    out, err = io.StringIO(), io.StringIO()
    with mock.patch.dict(os.environ, environment(address)), redirect_stdout(out), redirect_stderr(err):
        status = run(["trace", *arguments])
    return Run(arguments, status, out.getvalue(), err.getvalue())


def test_a_list_shows_the_newest_first_with_their_cost_and_latency(kept: Kept, address: str, project: str) -> None:
    old = an_exchange(project=project, app="assistant")
    new = an_exchange(
        project=project, app="assistant", start_ns=old[0].start_ns + SECOND_NS, release="sha256:" + "ab" * 32
    )
    kept.ship([*old, *new])
    shown = tetrad(address, "list", "-p", project)
    assert shown.returncode == 0, shown.stderr
    rows = shown.stdout.splitlines()
    assert rows[0].split()[:3] == ["time", "trace", "status"]
    assert (new[0].trace_id in rows[1], old[0].trace_id in rows[2]) == (True, True)
    assert all(part in rows[1] for part in ("assistant", "abababababab", "local/smollm2-135m", "175", "$0.0015"))
    whole = json.loads(tetrad(address, "list", "-p", project, "--json", "-n", "1").stdout)
    assert [item["trace_id"] for item in whole] == [new[0].trace_id]


def test_an_empty_list_says_what_to_do_and_is_no_error(address: str, project: str) -> None:
    shown = tetrad(address, "list", "-p", project)
    assert (shown.returncode, shown.stdout) == (0, "")
    assert "send a request" in shown.stderr
    assert json.loads(tetrad(address, "list", "-p", project, "--json").stdout) == []


def test_a_trace_is_shown_as_a_tree_in_time_with_prompt_and_answer(kept: Kept, address: str, project: str) -> None:
    root, call = an_exchange(
        project=project, asked="What is [bold]a tetrad[/]?", said="Four\x1b[31m parts.", app="assistant"
    )
    kept.ship([root, call])
    shown = tetrad(address, "show", root.trace_id, "-p", project)
    assert shown.returncode == 0, shown.stderr
    for part in (
        "└ chat local/smollm2-135m",
        "━",
        "What is [bold]a tetrad[/]?",
        "Four�[31m parts.",
        "user",
        "assistant",
        "$0.0015",
    ):
        assert part in shown.stdout, part
    assert "\x1b" not in shown.stdout
    whole = json.loads(tetrad(address, "show", root.trace_id, "-p", project, "--json").stdout)
    assert [span["span_id"] for span in whole["spans"]] == [root.span_id, call.span_id]


def test_all_spans_of_a_long_trace_come_in_json(kept: Kept, address: str, project: str) -> None:
    root = a_span(project=project)
    kept.ship(
        [
            root,
            *(
                a_span(project=project, trace_id=root.trace_id, parent_id=root.span_id, kind="INTERNAL")
                for _ in range(2500)
            ),
        ]
    )
    whole = json.loads(tetrad(address, "show", root.trace_id, "-p", project, "--json").stdout)
    assert (len(whole["spans"]), whole["truncated"]) == (2501, False)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("show", "a" * 32), 1, "there is no trace"),
        (("show", "nonsense"), 2, "no trace id"),
        (("list", "--since", "soon"), 2, "no duration"),
        (("list", "--sort", "colour"), 2, "cannot be sorted"),
        (("list", "--status", "fine"), 2, "status"),
    ],
)
def test_errors_have_a_message_a_hint_and_an_exit_code(
    address: str, project: str, arguments: Sequence[str], status: int, said: str
) -> None:
    shown = tetrad(address, *arguments, "-p", project)
    assert (shown.returncode, shown.stdout) == (status, ""), shown.stderr
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr


def test_an_unreachable_control_is_told(project: str) -> None:
    shown = tetrad("http://127.0.0.1:9", "list", "--follow", "-p", project)
    assert shown.returncode == 1
    assert "tetrad up" in shown.stderr


def test_following_shows_what_arrives_once_each_until_interrupted(kept: Kept, address: str, project: str) -> None:
    before = an_exchange(project=project)
    kept.ship(before)
    child = subprocess.Popen(
        command("list", "--follow", "--json", "-p", project),
        env=environment(address),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # whoever started the tests in the background made them deaf to Ctrl-C
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no thread runs yet
    )
    assert child.stdout is not None
    assert child.stderr is not None
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(child.stdout.readline, "")))  # type: ignore[union-attr]
    reader.start()
    try:
        wait_until(lambda: lines and kept.traces._feed._followers, timeout_s=30, what="the follower to join")
        new = [an_exchange(project=project, start_ns=before[0].start_ns + number) for number in range(3)]
        for spans in new:
            kept.ship(spans)
            kept.ship(spans)
        wait_until(lambda: len(lines) >= 4, timeout_s=20, what="the new traces")
    finally:
        child.send_signal(signal.SIGINT)
        child.wait(30)
        reader.join(10)
        said = child.stderr.read()
        child.stdout.close()
        child.stderr.close()
    assert "Traceback" not in said
    assert child.returncode == 130
    told = [json.loads(line)["trace_id"] for line in lines]
    assert told == [before[0].trace_id, *(spans[0].trace_id for spans in new)]
