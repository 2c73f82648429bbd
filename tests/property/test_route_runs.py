"""Whatever models do and whenever clients leave: one answer, one record, nothing left running, nothing left counted."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from support.simulated import DONE, ROLE, Act, SimReply, Simulation, word
from tetrad.kit.upstream import BrokenAnswer, ConnectFailed, TimedOut
from tetrad.serving._failures import TREATMENTS

SECONDS = st.sampled_from([0.0, 0.1, 1.0, 4.0, 30.0])
FAILURES = st.sampled_from([ConnectFailed("no"), TimedOut("late"), BrokenAnswer("nonsense")])
ERROR_EVENT = b'data: {"error":{"message":"x","code":"server_error"}}\n\n'
PIECES = st.lists(
    st.sampled_from([ROLE, word("x"), ERROR_EVENT, 0.5, 20.0]) | FAILURES, max_size=4
).map(lambda pieces: [*pieces, DONE])  # fmt: skip
ACTS = st.one_of(
    st.builds(Act, wait_s=SECONDS),
    st.builds(Act, wait_s=SECONDS, error=FAILURES),
    st.builds(
        Act,
        wait_s=SECONDS,
        status=st.sampled_from([400, 401, 402, 413, 429, 500, 503, 529]),
        code=st.sampled_from(["", "context_length_exceeded", "content_filter", "insufficient_quota"]),
        headers=st.sampled_from([[], [(b"retry-after", b"2")], [(b"x-should-retry", b"false")]]),
    ),
    st.builds(Act, wait_s=SECONDS, pieces=PIECES),
)
SPECS = st.fixed_dictionaries(
    {
        "strategy": st.sampled_from(["order", "weighted", "least-busy", "latency", "cost"]),
        "affinity": st.sampled_from(["none", "session", "prompt"]),
        "retry": st.fixed_dictionaries({"retries": st.integers(0, 3), "budget_percent": st.sampled_from([0, 20, 100])}),
        "deadlines": st.fixed_dictionaries(
            {"total_s": st.sampled_from([0, 3, 40]), "first_token_s": st.sampled_from([0, 2])}
        ),
        "hedge": st.fixed_dictionaries({"enabled": st.booleans(), "min_samples": st.just(5)}),
        "breaker": st.fixed_dictionaries({"consecutive": st.integers(1, 4), "open_s": st.sampled_from([0.5, 60])}),
        "max_attempts": st.integers(1, 6),
        "fallbacks": st.fixed_dictionaries(
            {
                "error": st.sampled_from([[], [{"model": "p/d"}]]),
                "rate_limit": st.sampled_from([[], [{"model": "p/d"}, {"model": "p/e"}]]),
                "context_window": st.sampled_from([[], [{"model": "p/e"}]]),
            }
        ),
    }
)
UPSTREAMS = st.sampled_from(
    [{}, {"secret": "k1", "secrets": ("k2", "k3")}, {"max_concurrency": 1, "max_queue": 2}, {"max_concurrency": 8}]
)


@given(
    spec=SPECS,
    upstream=UPSTREAMS,
    acts=st.fixed_dictionaries({name: st.lists(ACTS, min_size=1, max_size=4) for name in "abcde"}),
    requests=st.lists(st.tuples(st.booleans(), SECONDS, st.none() | SECONDS), min_size=1, max_size=12),
    install_at=st.none() | SECONDS,
)
@settings(deadline=None)
def test_every_request_is_answered_once_recorded_once_and_lets_go_of_everything(
    spec: dict[str, Any], upstream: dict[str, Any], acts: dict[str, list[Act]], requests: list, install_at: float | None
) -> None:
    sim = Simulation()
    sim.upstream = upstream
    sim.route("a", "b", "c", **spec)
    sim.provider.acts.update({name: list(listed) for name, listed in acts.items()})
    replies: list[SimReply] = []
    left = 0

    async def one(*, stream: bool, at: float, leaves_after: float | None) -> None:
        nonlocal left
        await asyncio.sleep(at)
        reply = SimReply(sim.clock.monotonic)
        replies.append(reply)
        task = asyncio.create_task(sim.ask(stream=stream, reply=reply))
        if leaves_after is not None:
            await asyncio.sleep(leaves_after)
            task.cancel()
        if isinstance(result := (await asyncio.gather(task, return_exceptions=True))[0], BaseException):
            assert isinstance(result, asyncio.CancelledError)
            left += 1

    async def story() -> None:
        changing = [asyncio.create_task(_install(sim, install_at))] if install_at is not None else []
        await asyncio.gather(
            *(one(stream=stream, at=at, leaves_after=after) for stream, at, after in requests), *changing
        )

    sim.run(story())  # it fails where a task is left running
    assert len(sim.records) == len(requests)
    assert sum(reply.status != 0 for reply in replies) + left >= len(requests)
    for record in sim.records:
        assert all(made.end_ns >= made.start_ns for made in record.attempts)
        counted = [made for made in record.attempts if made.reason != "key"]
        assert len(counted) <= spec["max_attempts"]
        if record.status < 400 and not record.error_type:
            assert not record.attempts[-1].error_type
        for made in record.attempts[:-1]:
            assert made.error_type, "an attempt that was not the last has failed"
    for target in sim.compiled.health().targets:
        assert target.in_flight == 0
        assert set(target.counts) <= {*TREATMENTS, "ok", "given_up"}
    for gate in sim.compiled.health().gates.values():
        assert gate["in_flight"] == gate["waiting"] == 0
    for answer in sim.provider.answers:
        assert answer.closed or not answer.stream


async def _install(sim: Simulation, at: float) -> None:
    await asyncio.sleep(at)
    sim.install()
