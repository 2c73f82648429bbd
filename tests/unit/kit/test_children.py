from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.wait import async_wait_until, wait_until
from tetrad.kit.children import (
    EX_CONFIG,
    Again,
    Child,
    ChildDidNotStart,
    ChildSpec,
    ChildStatus,
    GiveUp,
    RestartPolicy,
    RotatingFile,
    Supervised,
    after_exit,
    rss_bytes,
)
from tetrad.kit.process_identity import ProcessIdentity

FAST = RestartPolicy(first_s=0.01, longest_s=0.05, give_up_after=4)


def python(code: str, **more: object) -> ChildSpec:
    return ChildSpec("child", (sys.executable, "-S", "-c", code), **more)  # type: ignore[arg-type]


@given(st.integers(0, 50), st.floats(0, 1e6), st.integers(0, 20))
def test_the_pause_never_exceeds_the_longest_and_giving_up_comes_only_at_the_limit(
    failures: int, ran_s: float, limit: int
) -> None:
    policy = RestartPolicy(give_up_after=limit)
    step = after_exit(policy, failures=failures, ran_s=ran_s, reason="x", code=1)
    count = 1 if ran_s >= policy.stable_s else failures + 1
    if isinstance(step, GiveUp):
        assert limit
        assert count >= limit
    else:
        assert policy.first_s <= step.delay_s <= policy.longest_s
        assert step.failures == count


def test_pauses_double_and_a_stable_run_forgives() -> None:
    policy = RestartPolicy()
    delays = [after_exit(policy, failures=n, ran_s=0, reason="", code=1) for n in range(4)]
    assert [d.delay_s for d in delays if isinstance(d, Again)] == [0.5, 1, 2, 4]
    assert after_exit(policy, failures=7, ran_s=60, reason="", code=1) == Again(0.5, 1)


async def test_a_child_gets_its_secret_by_stdin_and_its_log_never_shows_it(tmp_path: Path) -> None:
    spec = python(
        "import sys; s = sys.stdin.read(); print('got', s); print(sys.argv)",
        stdin=b"hunter2",
        redact=("hunter2",),
        log_path=tmp_path / "logs" / "c.log",
    )
    assert "hunter2" not in repr(spec)
    child = await Child.spawn(spec)
    assert await child.wait() == 0
    text = (tmp_path / "logs" / "c.log").read_text()
    assert "got [redacted]" in text
    assert "hunter2" not in text
    assert child.tail()[0] == "got [redacted]"


async def test_a_child_has_a_process_group_of_its_own() -> None:
    child = await Child.spawn(python("import sys; sys.stdin.read(); input()", stdin=b""))
    assert await child.wait() != 0
    other = await Child.spawn(python("import time; time.sleep(60)"))
    assert os.getpgid(other.pid) == other.pid
    assert rss_bytes(other.pid) > 0
    assert await other.stop(5) == -signal.SIGTERM
    assert not other.identity.alive()
    assert other.identity.signal(signal.SIGTERM) is False
    assert rss_bytes(other.pid) == 0


async def test_a_child_that_ignores_sigterm_is_killed_at_the_deadline() -> None:
    child = await Child.spawn(
        python("import signal, time; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)")
    )
    await async_wait_until(lambda: "deaf" in child.tail())
    assert await child.stop(0.1) == -signal.SIGKILL
    assert child.exit_reason() == "was killed by SIGKILL: deaf"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux")
def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    code = """if True:
    import asyncio, sys
    from tetrad.kit.children import Child, ChildSpec
    async def main():
        child = await Child.spawn(ChildSpec('c', (sys.executable, '-S', '-c', 'import time; time.sleep(60)')))
        print(child.pid, flush=True)
        await child.wait()
    asyncio.run(main())
    """
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout
    identity = ProcessIdentity.of(int(parent.stdout.readline()))
    assert identity is not None
    assert identity.alive()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_until(lambda: not identity.alive(), what="the child's end")


def test_an_identity_is_not_fooled_by_a_reused_number() -> None:
    me = ProcessIdentity.of(os.getpid())
    assert me is not None
    assert me.alive()
    assert not ProcessIdentity(me.pid, me.started - 1).alive()


def test_a_zombie_is_not_alive() -> None:
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    wait_until(lambda: ProcessIdentity.of(process.pid) is None)
    process.wait()


async def test_a_dead_child_comes_back_and_a_hopeless_one_is_given_up_with_its_last_words() -> None:
    seen: list[ChildStatus] = []
    child = Supervised(
        "broken", lambda: python("raise SystemExit('no such thing')"), policy=FAST, on_change=seen.append, probe=_never
    )
    child.start()
    with pytest.raises(ChildDidNotStart, match="gave up after 4 failures in a row; the last: exited with code 1: no"):
        await child.wait_ready(20)
    assert [s.state for s in seen].count("backing_off") == 3
    await child.stop()


async def _never(child: Child) -> None:
    await asyncio.Event().wait()


async def test_a_broken_configuration_is_not_tried_again() -> None:
    child = Supervised("conf", lambda: python(f"print('port taken'); raise SystemExit({EX_CONFIG})"), probe=_never)
    child.start()
    with pytest.raises(ChildDidNotStart, match="port taken"):
        await child.wait_ready(20)
    assert child.status.restarts == 0


async def test_a_missing_program_is_named() -> None:
    child = Supervised("ghost", lambda: ChildSpec("ghost", ("/no/such/program",)), policy=FAST, probe=_never)
    child.start()
    with pytest.raises(ChildDidNotStart, match="cannot run '/no/such/program': No such file"):
        await child.wait_ready(20)
    await child.stop()


async def test_a_killed_child_is_ready_again_with_another_pid() -> None:
    child = Supervised("c", lambda: python("import time; time.sleep(60)"), policy=FAST)
    child.start()
    first = (await child.wait_ready(20)).identity
    assert first is not None
    first.signal(signal.SIGKILL)
    await async_wait_until(lambda: child.status.state == "ready" and child.status.identity != first)
    assert child.status.restarts == 1
    await child.stop()
    assert child.status.state == "stopped"


async def test_a_child_that_is_never_ready_is_stopped_and_told() -> None:
    child = Supervised(
        "slow",
        lambda: python("import time; time.sleep(60)"),
        probe=_never,
        ready_s=0.05,
        policy=RestartPolicy(first_s=0.01, give_up_after=2),
    )
    child.start()
    with pytest.raises(ChildDidNotStart, match=r"was not ready within 0\.05 s"):
        await child.wait_ready(20)


async def test_stopping_in_the_middle_of_a_start_leaves_no_process() -> None:
    child = Supervised("c", lambda: python("import time; time.sleep(60)"))
    child.start()
    await asyncio.sleep(0)  # the task has begun, the process may not have
    await child.stop(5)
    assert child.status.state == "stopped"
    assert child.child is None


def test_a_log_is_rotated_and_bounded(tmp_path: Path) -> None:
    log = RotatingFile(tmp_path / "x.log", 100, 3)
    for index in range(50):
        log.write(f"{index:09d}\n".encode())
    log.close()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.log", "x.log.1", "x.log.2"]
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) <= 300
    assert (tmp_path / "x.log").read_text().endswith("000000049\n")


def test_a_log_on_a_broken_disk_loses_lines_not_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    log = RotatingFile(tmp_path / "file" / "x.log", 100, 3)
    log.write(b"line\n")
    assert log.lost == 1


async def test_a_line_without_end_is_logged_in_pieces(tmp_path: Path) -> None:
    child = await Child.spawn(python("print('x' * 100_000, end='')", log_path=tmp_path / "x.log"))
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(child.wait(), 20)
    assert (tmp_path / "x.log").stat().st_size == 100_000
