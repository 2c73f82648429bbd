"""Make the attempts that a route allows, until one of them answers: retries, fallbacks, hedges."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Literal, NamedTuple

from tetrad.kernel import Clock, TetradError
from tetrad.serving._breaker import pause_s
from tetrad.serving._choosing import Facts
from tetrad.serving._dispatch import TIMEOUT_HEADER, attempt, settle
from tetrad.serving._exchange import Attempt, Exchange
from tetrad.serving._failures import (
    TREATMENTS,
    FailureKind,
    classify,
    classify_error,
    forbids_retry,
    retry_after_s,
)
from tetrad.serving._first_content import Content, Held
from tetrad.serving._route_plan import Health, Plan, Target, Toll, is_ready, suits
from tetrad.serving._route_spec import BreakerPolicy
from tetrad.serving.errors import DeadlinePassed, RequestRefused
from tetrad.serving.ports import Answer, ModelCall, Outcome

LONGEST_TIMEOUT_MS = 86_400_000
_FILTERED = frozenset(("content_filter", "refusal"))

Step = Literal["stop", "rotate", "retry", "next", "fall_back"]


class Situation(NamedTuple):
    """What the next step depends on after an attempt failed."""

    kind: FailureKind
    attempts: int
    max_attempts: int
    keys_left: bool
    """The provider has another key that is ready, and not all were tried."""
    may_retry: bool
    """Policy, budget, breaker, deadline and the upstream allow another call of the same target."""
    targets_left: bool
    fallbacks_left: bool


def next_step(now: Situation) -> Step:
    """Return what to do about a failure.

    Another key is as good as new. Where there is too much for a target, others come before waiting; else the target
    gets its retries first. The lists for a kind of failure come last.
    """
    treatment = TREATMENTS[now.kind]
    if now.attempts >= now.max_attempts:
        return "stop"
    if now.kind in ("rate_limit", "quota", "credential") and now.keys_left:
        return "rotate"
    steps: list[tuple[Step, bool]] = [
        ("retry", treatment.retry and now.may_retry),
        ("next", treatment.next_target and now.targets_left),
        ("fall_back", treatment.fallback is not None and now.fallbacks_left),
    ]
    if now.kind in ("rate_limit", "overloaded", "busy"):
        steps = [*steps[1:], steps[0]]
    return next((step for step, possible in steps if possible), "stop")


class Tried(NamedTuple):
    """How an attempt went: `kind` is None where there is an answer to pass on."""

    target: Target
    made: Attempt | None
    kind: FailureKind | None
    answer: Answer | None
    error: TetradError | None
    asked_s: float | None = None
    final: bool = False
    """The upstream says that trying again is no use."""
    kept_back: bool = False
    """No upstream was called: a limit of ours refused it."""


class Runner:
    """Run plans. One per gateway worker; `region` is where requests are from that name none."""

    def __init__(self, clock: Clock, rng: random.Random | None = None, *, region: str = "") -> None:
        self._clock = clock
        self._region = region
        self._rng = rng or random.Random()  # noqa: S311 - spreads load and pauses, guards nothing

    async def run(self, exchange: Exchange, plan: Plan, call: ModelCall) -> Answer:
        """Return the first good answer, else the last bad one, or raise what came instead; see `Dispatch`."""
        exchange.route = plan.name
        now = self._clock.monotonic()
        deadline = _deadline(exchange, plan, now)
        facts = plan.facts(exchange, call, self._region)
        queue = plan.candidates(facts, exchange.kind, now, self._rng, stream=call.stream)
        run = _Run(self, exchange, plan, call, facts, deadline, queue)
        plan.state.retries.earn()
        plan.state.hedges.earn()
        return await run.answer()


class _Run:
    """One request on its way through a plan."""

    def __init__(
        self,
        runner: Runner,
        exchange: Exchange,
        plan: Plan,
        call: ModelCall,
        facts: Facts,
        deadline: float | None,
        queue: list[Target],
    ) -> None:
        self._clock = runner._clock
        self._rng = runner._rng
        self._exchange = exchange
        self._plan = plan
        self._call = call
        self._facts = facts
        self._deadline = deadline
        self._queue = queue
        self._retries = 0
        self._rotations = 0
        self._made = 0
        self._tried: set[str] = set()

    async def answer(self) -> Answer:
        target, reason = self._queue.pop(0), ""
        if target not in self._plan.targets:
            reason = "fallback"
        while True:
            tried = await self._one(target, reason)
            if tried.kind is None and tried.answer is not None:
                return tried.answer
            step, pause = self._step(tried)
            following = self._following(step, tried)
            if following is None:
                return self._give_up(tried)
            self._drop(tried)
            target, reason = following
            if pause:
                await asyncio.sleep(pause)

    def _step(self, tried: Tried) -> tuple[Step, float]:
        plan, now, kind = self._plan, self._clock.monotonic(), tried.kind or "broken"
        left = None if self._deadline is None else self._deadline - now
        if left is not None and left <= 0:
            return "stop", 0.0
        pause = pause_s(plan.spec.retry, self._retries, tried.asked_s, self._rng)
        keys = tried.target.keys
        step = next_step(
            Situation(
                kind=kind,
                attempts=self._made,
                max_attempts=plan.spec.max_attempts,
                keys_left=(keys is not None and keys.ready and self._rotations < len(keys) - 1 and not tried.kept_back),
                may_retry=(
                    self._retries < plan.spec.retry.retries
                    and not tried.final
                    and pause is not None
                    and (left is None or pause < left)
                    and is_ready(tried.target, now)
                    and plan.state.retries.tokens >= 1
                ),
                targets_left=self._next_ready(self._queue) is not None,
                fallbacks_left=self._fallback(kind) is not None,
            )
        )
        return step, (pause or 0.0) if step == "retry" else 0.0

    def _following(self, step: Step, tried: Tried) -> tuple[Target, str] | None:
        if step == "rotate":
            self._rotations += 1
            return tried.target, "key"
        if step == "retry":
            self._retries += 1
            self._plan.state.retries.spend()
            return tried.target, "retry"
        found = None
        if step == "next":
            found = self._next_ready(self._queue)
            if found is not None:
                self._queue.remove(found)
        elif step == "fall_back":
            found = self._fallback(tried.kind or "broken")
        if found is None:
            return None
        self._retries = self._rotations = 0  # of this target
        return found, "fallback"

    def _next_ready(self, targets: list[Target]) -> Target | None:
        now = self._clock.monotonic()
        return next(
            (each for each in targets if each.model.entry.name not in self._tried and is_ready(each, now)), None
        )

    def _fallback(self, kind: FailureKind) -> Target | None:
        """Return the next model of the list for a kind of failure that was not asked yet."""
        name = TREATMENTS[kind].fallback
        listed = self._plan.fallbacks[name] if name else []
        return self._next_ready([each for each in listed if suits(each, self._facts, self._exchange.kind)])

    def _give_up(self, tried: Tried) -> Answer:
        if tried.made is not None:
            self._put_last(tried.made)
        if tried.answer is not None:
            return tried.answer
        if tried.error is not None:
            raise tried.error
        raise TetradError("an attempt had neither an answer nor an error")

    def _drop(self, tried: Tried) -> None:
        """Write down a failed attempt, which is not the request's own failure as long as another one may answer."""
        if tried.answer is not None and tried.made is not None:
            settle(self._exchange, tried.made, tried.answer, self._clock.now_ns())
            self._exchange.error_type = ""
            tried.answer.close()

    def _put_last(self, made: Attempt) -> None:
        attempts = self._exchange.attempts
        if attempts[-1] is not made:
            attempts.remove(made)
            attempts.append(made)

    # attempts

    async def _one(self, target: Target, reason: str) -> Tried:
        wait_s = self._hedge_after(target)
        if wait_s is None:
            return await self._try(target, reason)
        return await self._hedged(target, reason, wait_s)

    def _hedge_after(self, target: Target) -> float | None:
        """Return after how long the next target is asked too; None for never."""
        policy = self._plan.spec.hedge
        if not policy.enabled or not self._call.stream or self._made + 1 >= self._plan.spec.max_attempts:
            return None
        usual = target.health.first_token.quantile(0.95, policy.min_samples)
        return None if usual is None or self._next_ready(self._queue) is None else max(usual, policy.min_wait_s)

    async def _hedged(self, target: Target, reason: str, wait_s: float) -> Tried:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(self._try(target, reason))]
        try:
            await asyncio.wait(tasks, timeout=wait_s)
            other = self._next_ready(self._queue)
            if not tasks[0].done() and other is not None and self._plan.state.hedges.spend():
                self._queue.remove(other)
                tasks.append(loop.create_task(self._try(other, "hedge")))
            return await self._first_good(tasks, other)
        except BaseException:
            for task in tasks:
                task.cancel()
            await _ended(tasks)
            for task in tasks:  # one may have answered in the very turn in which the client left
                if not task.cancelled() and task.exception() is None:
                    self._drop(task.result())
            raise

    async def _first_good(self, tasks: list[asyncio.Task[Tried]], hedge: Target | None) -> Tried:
        waiting, failed = set(tasks), list[Tried]()
        while waiting:
            done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=tasks.index):
                tried = task.result()
                if tried.kept_back and hedge is not None and task is not tasks[0]:
                    self._unhedged(hedge)
                    continue
                if tried.kind is not None:
                    failed.append(tried)
                    continue
                for other in tasks:
                    if other is not task:
                        await self._lost(other)
                if tried.made is not None:
                    self._put_last(tried.made)
                return tried
        for tried in failed[:-1]:
            self._drop(tried)
        return failed[-1]

    def _unhedged(self, hedge: Target) -> None:
        """Go on as if no second target had been chosen: limits do not allow its call beside the first."""
        self._plan.state.hedges.tokens += 1
        self._tried.discard(hedge.model.entry.name)
        self._queue.insert(0, hedge)

    async def _lost(self, task: asyncio.Task[Tried]) -> None:
        """End the attempt that another one has overtaken, whether it still runs or has just answered too."""
        task.cancel()
        await _ended([task])
        if task.cancelled():
            return
        late = task.result()
        if late.made is not None and late.answer is not None:
            late.made.error_type = late.made.error_type or "hedge_lost"
        self._drop(late)

    async def _try(self, target: Target, reason: str) -> Tried:
        target.health.begin(self._clock.monotonic())
        self._tried.add(target.model.entry.name)
        if self._plan.toll is None:
            return await self._call_it(target, reason)
        return await self._let_in(target, reason, self._plan.toll)

    async def _let_in(self, target: Target, reason: str, toll: Toll) -> Tried:
        """Try a target if limits allow; another one may answer where they do not."""
        exchange, health, policy = self._exchange, target.health, self._plan.spec.breaker
        try:
            async with asyncio.timeout(self._limit_s(self._clock.monotonic())):
                ticket = await toll(exchange, target.model)
        except TimeoutError:
            health.kept_back(self._clock.monotonic(), policy)
            error = self._too_slow(target, self._plan.deadlines.first_token_s)
            return Tried(target, None, "timeout", None, error, final=True, kept_back=True)
        except TetradError as error:
            health.kept_back(self._clock.monotonic(), policy)
            return Tried(target, None, "rate_limit", None, error, error.retry_after_s, final=True, kept_back=True)
        except BaseException:
            health.in_flight -= 1
            health.given_up(self._clock.monotonic(), policy)
            raise
        place, tried = len(exchange.attempts), None
        try:
            tried = await self._call_it(target, reason)
            return tried
        finally:
            made = exchange.attempts[place] if len(exchange.attempts) > place else None
            ticket.ended(made, goes_on=tried is not None and tried.kind is None)

    async def _call_it(self, target: Target, reason: str) -> Tried:
        exchange, health, policy = self._exchange, target.health, self._plan.spec.breaker
        begun = self._clock.monotonic()
        limit_s = self._limit_s(begun)
        self._made += reason != "key"
        place = len(exchange.attempts)
        answer: Answer | None = None
        content: Content = "some"
        try:
            async with asyncio.timeout(limit_s) if limit_s is not None else contextlib.nullcontext():
                answer = await attempt(exchange, target.model, self._call, self._clock, reason)
                if answer.stream and answer.status < 400:
                    answer = held = _Counted(answer, self._clock, self._deadline, health, policy)
                    content = await held.hold()
        except TimeoutError:
            return self._failed(target, place, answer, self._too_slow(target, limit_s or 0.0))
        except TetradError as error:
            return self._failed(target, place, answer, error)
        except BaseException as error:
            self._end(place, answer, health, "cancelled" if isinstance(error, asyncio.CancelledError) else "internal")
            health.given_up(self._clock.monotonic(), policy)
            raise
        now, made = self._clock.monotonic(), exchange.attempts[place]
        kind = _refusal(answer) if content == "some" else _early_end(answer.outcome())
        if kind is None and self._plan.fallbacks["content_policy"] and _is_filtered(answer.outcome()):
            kind = "content_policy"
        if not isinstance(answer, _Counted):
            health.in_flight -= 1
        if kind is None:
            (health.first_token if answer.stream else health.whole).note(now - begun, now)
        asked_s = retry_after_s(answer.headers) if kind else None
        health.answered(kind, now, policy, asked_s)
        return Tried(target, made, kind, answer, None, asked_s, forbids_retry(answer.headers))

    def _limit_s(self, now: float) -> float | None:
        first = self._plan.deadlines.first_token_s or None
        if self._deadline is None:
            return first
        left = max(self._deadline - now, 0.0)
        return left if first is None else min(left, first)

    def _too_slow(self, target: Target, limit_s: float) -> TetradError:
        name = target.model.entry.name
        if self._deadline is not None and self._deadline <= self._clock.monotonic():
            return DeadlinePassed(
                f"the request's deadline passed before {name!r} had answered",
                hint="allow more time, or give the route faster targets",
            )
        return TetradError(
            f"{name!r} had no content within {limit_s:g} s",
            hint="try again, or raise the route's deadlines.first_token_s",
            code="upstream_timeout",
            status=504,
        )

    def _failed(self, target: Target, place: int, answer: Answer | None, error: TetradError) -> Tried:
        kind, now, health = classify_error(error), self._clock.monotonic(), target.health
        made = self._end(place, answer, health, error.code, error.message)
        if isinstance(error, DeadlinePassed):  # the client's hurry says nothing about the target
            health.given_up(now, self._plan.spec.breaker)
        else:
            health.answered(kind, now, self._plan.spec.breaker, error.retry_after_s)
        return Tried(target, made, kind, None, error, error.retry_after_s)

    def _end(self, place: int, answer: Answer | None, health: Health, code: str, message: str = "") -> Attempt | None:
        """Write down an attempt that gave no answer, and let go of what it held."""
        made = self._exchange.attempts[place] if len(self._exchange.attempts) > place else None
        if made is not None:
            if not made.end_ns or made.error_type == "cancelled":
                made.error_type, made.error_message = code, message
            settle(self._exchange, made, answer, self._clock.now_ns())
            self._exchange.error_type = ""
        if answer is not None:
            answer.close()
        if not isinstance(answer, _Counted):
            health.in_flight -= 1
        return made


class _Counted(Held):
    """A held stream that is a call under way until it is closed, and tells its target's health if it breaks off."""

    def __init__(
        self, answer: Answer, clock: Clock, deadline: float | None, health: Health, policy: BreakerPolicy
    ) -> None:
        super().__init__(answer, clock, deadline)
        self._health = health
        self._policy = policy
        self._closed = False

    async def read(self) -> bytes:
        try:
            return await super().read()
        except DeadlinePassed:
            raise
        except TetradError as error:
            self._health.answered(classify_error(error), self._clock.monotonic(), self._policy, error.retry_after_s)
            raise

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._health.in_flight -= 1
        super().close()


def _refusal(answer: Answer) -> FailureKind | None:
    if answer.status < 400:
        return None
    outcome = answer.outcome()
    return classify(answer.status, outcome.error_type, outcome.error_message)


def _early_end(outcome: Outcome) -> FailureKind | None:
    """Return what is wrong with a stream that tells an error, or ends, before any content; None for an empty answer."""
    return classify(0, outcome.error_type, outcome.error_message) if outcome.error_type else None


def _is_filtered(outcome: Outcome) -> bool:
    """Tell whether the provider ended every choice by its filter: a refusal that comes as a good answer."""
    return bool(outcome.finish_reasons) and _FILTERED.issuperset(outcome.finish_reasons)


def _deadline(exchange: Exchange, plan: Plan, now: float) -> float | None:
    total_s = plan.deadlines.total_s
    asked = exchange.headers.get(TIMEOUT_HEADER)
    if asked is not None:
        wanted = int(asked) if asked.isdigit() and len(asked) <= 9 else 0
        if not 1 <= wanted <= LONGEST_TIMEOUT_MS:
            raise RequestRefused(
                "the header x-tetrad-timeout-ms is no number of milliseconds",
                param="x-tetrad-timeout-ms",
                hint=f"1 to {LONGEST_TIMEOUT_MS}",
                code="bad_field",
            )
        total_s = min(total_s or wanted / 1000, wanted / 1000)
    return now + total_s if total_s else None


async def _ended(tasks: list[asyncio.Task[Tried]]) -> None:
    await asyncio.gather(*tasks, return_exceptions=True)
