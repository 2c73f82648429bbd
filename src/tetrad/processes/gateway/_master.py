"""A small master for gateways that run without `tetrad up`: one socket, N workers, started again when they die."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from types import FrameType

log = logging.getLogger(__name__)
_FIRST_WAIT_S = 0.2
_LONGEST_WAIT_S = 10.0
_STABLE_S = 10.0
_STOP_S = 60.0
_TICK_S = 0.1


class _Slot:
    def __init__(self, index: int) -> None:
        self.index = index
        self.process: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0
        self.wait_s = _FIRST_WAIT_S
        self.start_at_s = 0.0


def run_master(listening: socket.socket, workers: int) -> int:
    """Keep `workers` workers on a socket until SIGTERM or SIGINT; then let them drain."""
    stopping = False

    def stop(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    listening.set_inheritable(True)
    slots = [_Slot(index) for index in range(workers)]
    while not stopping:
        for slot in slots:
            _tend(slot, listening)
        time.sleep(_TICK_S)
    return _end(slots)


def _tend(slot: _Slot, listening: socket.socket) -> None:
    now = time.monotonic()
    process = slot.process
    if process is not None:
        code = process.poll()
        if code is None:
            return
        slot.process = None
        slot.wait_s = _FIRST_WAIT_S if now - slot.started_s > _STABLE_S else min(slot.wait_s * 2, _LONGEST_WAIT_S)
        slot.start_at_s = now + slot.wait_s
        why = f"signal {-code}" if code < 0 else f"exit code {code}"
        log.error("gateway worker %d ended (%s); starting it again in %.1f s", slot.index, why, slot.wait_s)
    if now >= slot.start_at_s:
        slot.started_s = now
        slot.process = _start(slot.index, listening.fileno())


def _start(index: int, descriptor: int) -> subprocess.Popen[bytes]:
    from tetrad.kit import _launch

    worker = [sys.executable, "-m", "tetrad.processes.gateway", "--fd", str(descriptor), "--index", str(index)]
    launch = [sys.executable, "-I", "-S", _launch.__file__, str(os.getpid()), str(int(signal.SIGTERM))]
    return subprocess.Popen([*launch, *worker], pass_fds=(descriptor,), stdin=subprocess.DEVNULL)


def _end(slots: list[_Slot]) -> int:
    processes = [slot.process for slot in slots if slot.process is not None]
    for process in processes:
        process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.error("gateway process %d did not drain in time; killed", process.pid)  # noqa: TRY400 - no fault of ours
            process.kill()
            process.wait()
    return 0
