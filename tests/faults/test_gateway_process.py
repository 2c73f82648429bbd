"""Gateways that lose control, disk or life."""

from __future__ import annotations

import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from support import gateway as g
from support.fake_control import FakeControl
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home, sealed, spooled
from support.wait import wait_until


def test_without_control_it_serves_by_the_table_on_disk(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        with GatewayProcess(tetrad_home) as gateway:
            assert gateway.chat("local/m1")[0] == 200
            assert len(spooled(tetrad_home)) == 2
            wait_until(lambda: "serving by table 1" in gateway.log())


def test_a_providers_key_is_in_no_log_whatever_it_looks_like(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream:
        table = make_table(upstream.base_url)
        (name, first), *_ = table.upstreams.items()
        plain = "as-plain-as-words"
        # a mistake that people make: the key in the field beside it, which the error quotes
        mistaken = msgspec.structs.replace(first, name="mistaken", adapter=plain, secret=plain)
        models = {"local/m2": msgspec.structs.replace(table.models["local/m1"], name="local/m2", upstream="mistaken")}
        upstreams = {**table.upstreams, "mistaken": mistaken}
        prepare_home(
            tetrad_home, msgspec.structs.replace(table, upstreams=upstreams, models={**table.models, **models})
        )
        with GatewayProcess(tetrad_home) as gateway:
            assert gateway.chat("local/m1")[0] == 200, name
            wait_until(lambda: "cannot be served" in gateway.log())
            assert "[redacted]" in gateway.log()
            assert plain not in gateway.log()


@pytest.mark.parametrize("on_disk", [None, b"", b"garbage" * 100, "other key", "not a table"])
def test_without_a_good_table_it_waits_for_control_and_says_so(tetrad_home: Path, on_disk: object) -> None:
    with FakeOpenAI() as upstream, FakeControl() as control:
        table = make_table(upstream.base_url)
        prepare_home(tetrad_home, None)
        path = tetrad_home / "gateway" / "route-table.sealed"
        if isinstance(on_disk, bytes):
            path.write_bytes(on_disk)
        elif on_disk == "other key":
            other = tetrad_home / "other"
            prepare_home(other, table)
            path.write_bytes((other / "gateway" / "route-table.sealed").read_bytes())
        elif on_disk == "not a table":
            from tetrad.kit.seal import load_keyring

            path.write_bytes(load_keyring(tetrad_home / "keys" / "seal.key").seal(b"[]", g.ROUTE_TABLE_AAD))
        with GatewayProcess(tetrad_home, control_url=control.url, wait=False) as gateway:
            wait_until(lambda: gateway.alive() and gateway.get("/healthz", timeout_s=1)[0] == 200, timeout_s=30)
            assert gateway.get("/readyz")[0] == 503
            status, _, body = gateway.chat("local/m1")
            assert (status, json.loads(body)["error"]["code"]) == (503, "no_route_table")
            wait_until(lambda: "waiting for control" in gateway.log())
            control.publish(sealed(tetrad_home, table))
            wait_until(lambda: gateway.get("/readyz")[0] == 200, what="the table from control")
            assert gateway.chat("local/m1")[0] == 200
            wait_until(lambda: path.exists() and path.read_bytes()[:1] == b"\x01", what="the table to be kept")


def test_tables_are_swapped_live_and_old_or_broken_ones_are_not(tetrad_home: Path) -> None:
    with FakeOpenAI() as first, FakeOpenAI() as second, FakeControl() as control:
        prepare_home(tetrad_home, make_table(first.base_url, version=5))
        with GatewayProcess(tetrad_home, control_url=control.url) as gateway:

            def served_by(version: int) -> bool:
                return gateway.metric("tetrad_gateway_table_version") == version

            control.publish(sealed(tetrad_home, make_table(second.base_url, version=6)))
            wait_until(lambda: served_by(6))
            gateway.chat("local/m1")
            assert (len(first.requests), len(second.requests)) == (0, 1)
            control.publish(sealed(tetrad_home, make_table(first.base_url, version=4)))
            control.publish(b"\x01broken" * 50)
            wait_until(lambda: "older than 6" in gateway.log() and "cannot be used" in gateway.log())
            assert served_by(6)
            restored = msgspec.structs.replace(make_table(first.base_url, version=1), epoch="restored")
            control.publish(sealed(tetrad_home, restored))
            wait_until(lambda: served_by(1), what="the table of another epoch")
            gateway.chat("local/m1")
            assert len(first.requests) == 1


def test_control_that_comes_back_is_found_again(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        with FakeControl() as control:
            url, port = control.url, control.port
        with GatewayProcess(tetrad_home, control_url=url) as gateway:
            gateway.chat("local/m1")
            with FakeControl(port=port) as control:
                wait_until(
                    lambda: len(control.spans) == 2 and control.streams == 1, timeout_s=20, what="both to resume"
                )
            assert gateway.chat("local/m1")[0] == 200


def test_spans_are_shipped_once_and_segments_disappear(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream, FakeControl() as control:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        with GatewayProcess(tetrad_home, control_url=control.url, gateway_spool_segment_bytes=16_384) as gateway:
            for _ in range(40):
                gateway.chat("local/m1")
            wait_until(lambda: len(control.spans) == 80)
            assert gateway.stop() == 0
        assert len({(span.trace_id, span.span_id) for span in control.spans}) == 80
        assert len({segment for _, segment, _, _ in control.chunks}) > 1
        assert list((tetrad_home / "spool" / "0").glob("*.seg")) == []


def test_while_control_refuses_nothing_is_lost(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream, FakeControl(fail_with=503) as control:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        with GatewayProcess(tetrad_home, control_url=control.url) as gateway:
            for _ in range(10):
                assert gateway.chat("local/m1")[0] == 200
            wait_until(lambda: control.refused >= 2)
            assert len(spooled(tetrad_home)) == 20
            control.fail_with = 0
            wait_until(lambda: len(control.spans) == 20, timeout_s=20)


def test_what_control_can_never_take_is_set_aside_and_the_rest_goes_on(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream, FakeControl(fail_with=422) as control:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        with GatewayProcess(tetrad_home, control_url=control.url) as gateway:
            gateway.chat("local/m1")
            folder = tetrad_home / "spool" / "0"
            wait_until(lambda: list(folder.glob("*.bad")))
            control.fail_with = 0
            gateway.chat("local/m1")
            wait_until(lambda: len(control.spans) == 2, what="later spans to arrive")
            wait_until(lambda: "never take" in gateway.log())


def test_killed_under_load_it_loses_no_span_of_an_answer_that_a_client_saw_whole(tetrad_home: Path) -> None:
    whole: set[str] = set()
    stop = threading.Event()

    def load(gateway: GatewayProcess, stream: bool) -> None:
        import http.client

        body = json.dumps({"model": "local/m1", "messages": [{"role": "user", "content": "x"}], "stream": stream})
        headers = {"authorization": f"Bearer {g.KEY}"}
        connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=5)
        while not stop.is_set():
            try:
                connection.request("POST", "/v1/chat/completions", body, headers)
                answer = connection.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                return
            assert answer.status == 200
            assert data.endswith(b"data: [DONE]\n\n" if stream else b"}")
            whole.add(answer.headers["x-tetrad-trace-id"])

    with FakeOpenAI() as upstream:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        with GatewayProcess(tetrad_home) as gateway:
            threads = [threading.Thread(target=load, args=(gateway, i % 2 == 0)) for i in range(8)]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(whole) > 300, timeout_s=60, what="load")
            gateway.stop(signal.SIGKILL)
            stop.set()
            for thread in threads:
                thread.join()
        recorded = {span.trace_id for span in spooled(tetrad_home) if span.kind == "SERVER"}
        assert whole <= recorded
        attempts = {span.trace_id for span in spooled(tetrad_home) if span.kind == "CLIENT"}
        assert whole <= attempts
        left = len(spooled(tetrad_home))
        # a worker with another number takes over what the dead one left
        with FakeControl() as control, GatewayProcess(tetrad_home, control_url=control.url, index=7):
            wait_until(lambda: len(control.spans) == left, timeout_s=20, what="the successor to ship everything")
            assert {worker for worker, *_ in control.chunks} == {"0"}


def test_a_torn_tail_is_skipped_and_told(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream, FakeControl() as control:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        with GatewayProcess(tetrad_home) as gateway:
            gateway.chat("local/m1")
            gateway.stop(signal.SIGKILL)
        [segment] = (tetrad_home / "spool" / "0").glob("*.seg")
        segment.write_bytes(segment.read_bytes() + b"\x00\x00\x10\x00torn")
        with GatewayProcess(tetrad_home, control_url=control.url) as gateway:
            wait_until(lambda: len(control.spans) == 2 and not segment.exists())
            wait_until(lambda: "are no span" in gateway.log())


def test_a_full_disk_costs_spans_never_answers(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        with GatewayProcess(tetrad_home) as gateway:
            assert gateway.process is not None
            gateway.chat("local/m1")
            before = resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, (100, before[1]))
            for _ in range(5):
                assert gateway.chat("local/m1")[0] == 200
            assert gateway.metric("tetrad_gateway_spool_refused_total") == 5
            resource.prlimit(gateway.process.pid, resource.RLIMIT_FSIZE, before)
            assert gateway.chat("local/m1")[0] == 200
            assert len(spooled(tetrad_home)) == 4
            wait_until(lambda: "takes records again; 5 were lost" in gateway.log())
            assert "cannot be written" in gateway.log()


def test_sigterm_lets_a_stream_end_flushes_and_exits_cleanly(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream, FakeControl() as control:
        prepare_home(tetrad_home, make_table(upstream.base_url, models=("slow:0.01",)))
        with GatewayProcess(tetrad_home, control_url=control.url) as gateway:
            assert gateway.process is not None
            client = socket.create_connection(("127.0.0.1", gateway.port), timeout=20)
            body = json.dumps({"model": "local/slow-0.01", "messages": [], "stream": True}).encode()
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n"
                b"authorization: Bearer %s\r\ncontent-length: %d\r\n\r\n%s" % (g.KEY.encode(), len(body), body)
            )
            data = client.recv(65_536)
            gateway.process.send_signal(signal.SIGTERM)
            while piece := client.recv(65_536):
                data += piece
            assert data.endswith(b"0\r\n\r\n")
            assert b"data: [DONE]" in data
            assert b"w99 " in data
            assert gateway.process.wait(20) == 0
            client.close()
        assert {span.kind for span in control.spans} == {"SERVER", "CLIENT"}


def test_a_drain_has_a_deadline(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream:
        prepare_home(tetrad_home, make_table(upstream.base_url, models=("stall",)))
        with GatewayProcess(tetrad_home, gateway_drain_s=1) as gateway:
            assert gateway.process is not None
            answers: list[int] = []
            thread = threading.Thread(target=lambda: answers.append(gateway.chat("local/stall")[0]))
            thread.start()
            wait_until(lambda: len(upstream.requests) == 1)
            began = time.monotonic()
            assert gateway.stop() == 0
            assert time.monotonic() - began < 10
            thread.join()
            assert answers == [503]


def test_an_engine_that_was_killed_is_a_clear_error_and_recovery_is_immediate(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream:
        port = upstream.port
        prepare_home(tetrad_home, make_table(upstream.base_url))
        gateway = GatewayProcess(tetrad_home)
        gateway.start()
        assert gateway.chat("local/m1")[0] == 200
    try:
        status, _, body = gateway.chat("local/m1")
        assert (status, json.loads(body)["error"]["code"]) == (503, "upstream_unreachable")
        assert str(port) not in json.loads(body)["error"]["message"], "where upstreams are is not for clients"
        with FakeOpenAI(port=port):
            assert gateway.chat("local/m1")[0] == 200
    finally:
        gateway.__exit__()


def test_a_worker_is_light(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        with GatewayProcess(tetrad_home) as gateway:
            for _ in range(200):
                gateway.chat("local/m1")
            assert gateway.resident_bytes() <= 90_000_000


def test_the_gateway_imports_nothing_heavy() -> None:
    code = (
        "import sys, tetrad.processes.gateway._worker, tetrad.processes._settings as s; s.gateway_settings(); "
        "print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"sqlalchemy", "alembic", "fastapi", "starlette", "pydantic", "pandas", "numpy", "torch", "httpx", "dbos"}
    assert not heavy & {module.split(".")[0] for module in loaded}
    slices = {module.split(".")[1] for module in loaded if module.startswith("tetrad.")}
    used = {"adapters", "kernel", "kit", "limits", "processes", "responses", "serving", "tools", "traces"}
    assert slices <= used, "slices that no request needs make every start slower, and every worker larger"


def test_its_file_may_set_what_other_processes_go_by_and_what_nobody_knows_is_told(tetrad_home: Path) -> None:
    config = tetrad_home / "tetrad.toml"
    config.write_text("gateway_max_in_flight = 7\nrun_heartbeat_s = 60\n")
    code = "from tetrad.processes._settings import gateway_settings; print(gateway_settings()['gateway_max_in_flight'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=tetrad_home, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("7\n", "")
    config.write_text("gateway_max_in_fligth = 7\n")
    command = [sys.executable, "-m", "tetrad.processes.gateway", "--port", "1"]
    done = subprocess.run(command, cwd=tetrad_home, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "did you mean 'gateway_max_in_flight'?" in done.stderr


def test_a_master_keeps_its_workers_and_drains_them(tetrad_home: Path) -> None:
    with FakeOpenAI() as upstream:
        prepare_home(tetrad_home, make_table(upstream.base_url))
        gateway = GatewayProcess(tetrad_home)  # lends its port and its questions
        gateway._socket.close()
        log = (tetrad_home / "gateway.log").open("ab")
        with log:
            gateway.process = subprocess.Popen(
                [sys.executable, "-m", "tetrad.processes.gateway", "--port", str(gateway.port), "--workers", "2"],
                env=gateway._environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=tetrad_home,
            )  # fmt: skip
        try:
            wait_until(lambda: gateway.get("/readyz", timeout_s=1)[0] == 200, timeout_s=30)
            workers = wait_until(lambda: (pids := _children(gateway.process.pid)) and len(pids) == 2 and pids)
            victim = workers[0]
            import os

            os.kill(victim, signal.SIGKILL)
            wait_until(
                lambda: len(pids := _children(gateway.process.pid)) == 2 and victim not in pids, what="a new worker"
            )
            wait_until(lambda: gateway.chat("local/m1")[0] == 200)
            assert "signal 9" in gateway.log()
            left = _children(gateway.process.pid)
            assert gateway.stop() == 0
            assert not any(Path(f"/proc/{pid}").exists() for pid in left)
        finally:
            gateway.__exit__()


def test_a_taken_port_is_a_clear_error(tetrad_home: Path) -> None:
    prepare_home(tetrad_home, None)
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "tetrad.processes.gateway", "--port", str(port)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
