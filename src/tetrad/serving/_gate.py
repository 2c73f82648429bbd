"""How many calls a worker makes to one provider at once, who waits for a place, and who is sent away in time.

Three things bound it: a number that a person gave; a number that falls when the provider says it is too much and
rises while it answers (additive increase, multiplicative decrease, as in TCP); and the time that calls wait for a
place (CoDel, RFC 8289): a queue that does not drain is refused at its tail before its waits explode.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from tetrad.kernel import Clock, Overloaded, TetradError
from tetrad.serving._failures import FailureKind, classify, classify_error
from tetrad.serving._pumping import Put, pumped
from tetrad.serving.ports import Answer, Handler, ModelCall, Outcome

INTERVAL_S = 2.0
"""For how long no call must have waited less than the target before newcomers are refused."""
_SHRINK = 0.8
_SHRINK_EVERY_S = 1.0
_TOO_MUCH = frozenset(("rate_limit", "overloaded", "timeout"))


class GatePolicy(msgspec.Struct, frozen=True):
    """Calls at once, calls that may wait, and seconds of waiting that are still well."""

    max_concurrency: int
    max_queue: int = 64
    target_s: float = 1.0


class Level(msgspec.Struct, frozen=True, gc=False):
    """The adaptive limit: how many calls at once, and when it last fell."""

    limit: float
    fell_at: float = float("-inf")


def adapted(level: Level, kind: FailureKind | None, now: float, most: int) -> Level:
    """Return the limit after an answer: a little more after a good one, a fifth less after "too much", at least 1."""
    if kind is None:
        return level if level.limit >= most else Level(min(level.limit + 1 / level.limit, most), level.fell_at)
    if kind in _TOO_MUCH and now - level.fell_at >= _SHRINK_EVERY_S:
        return Level(max(level.limit * _SHRINK, 1.0), now)
    return level


class Waits(msgspec.Struct, frozen=True, gc=False):
    """Since when every call has waited longer than the target; negative: they do not."""

    above_since: float = -1.0


def waited(waits: Waits, seconds: float, now: float, target_s: float) -> Waits:
    """Take in how long a call waited that got its place now."""
    if seconds < target_s:
        return waits if waits.above_since < 0 else Waits()
    return Waits(now) if waits.above_since < 0 else waits


def is_standing(waits: Waits, now: float) -> bool:
    """Tell whether the queue stands: it is not a burst that drains."""
    return waits.above_since >= 0 and now - waits.above_since >= INTERVAL_S


class _Place:
    __slots__ = ("batch", "given", "since")

    def __init__(self, given: asyncio.Future[None], since: float, *, batch: bool) -> None:
        self.given = given
        self.since = since
        self.batch = batch


class Gate:
    """The places of one provider in one worker. It outlives route tables."""

    def __init__(self, upstream: str, policy: GatePolicy, clock: Clock) -> None:
        self.upstream = upstream
        self.policy = policy
        self.in_flight = 0
        self.refused = 0
        self._clock = clock
        self._level = Level(float(policy.max_concurrency))
        self._waits = Waits()
        self._waiting: tuple[deque[_Place], deque[_Place]] = (deque(), deque())

    def follow(self, policy: GatePolicy) -> None:
        """Keep another policy from now on."""
        if policy.max_concurrency != self.policy.max_concurrency:
            self._level = Level(float(policy.max_concurrency))
        self.policy = policy
        self._admit()

    def counts(self) -> dict[str, float]:
        """Return what people watch."""
        waiting = sum(map(len, self._waiting))
        return {
            "limit": round(self._level.limit, 2), "in_flight": self.in_flight, "waiting": waiting,
            "refused": self.refused,
        }  # fmt: skip

    async def enter(self, *, batch: bool) -> None:
        """Take a place, waiting for one where the queue allows; raises `Overloaded`. Interactive calls go first."""
        interactive, patient = self._waiting
        if self.in_flight < int(self._level.limit) and not interactive and not patient:
            self.in_flight += 1
            return
        now = self._clock.monotonic()
        if is_standing(self._waits, now) and (batch or self._oldest(now) > self.policy.target_s):
            raise self._full("calls have waited too long for a place")
        if len(interactive) + len(patient) >= self.policy.max_queue and (batch or not self._send_away(patient)):
            raise self._full(f"{self.policy.max_queue} calls wait for a place already")
        place = _Place(asyncio.get_running_loop().create_future(), now, batch=batch)
        (patient if batch else interactive).append(place)
        try:
            await place.given
        except BaseException:
            if place.given.done() and not place.given.cancelled() and place.given.exception() is None:
                self.in_flight -= 1  # the place was given in the moment in which it was given up
                self._admit()
            else:
                self._forget(place)
            raise

    def leave(self, kind: FailureKind | None) -> None:
        """Take in how a call went; its place is given back by `free`."""
        self._level = adapted(self._level, kind, self._clock.monotonic(), self.policy.max_concurrency)

    def free(self) -> None:
        """Give a place back, to whoever waits."""
        self.in_flight -= 1
        self._admit()

    def bind(self, following: Handler) -> Handler:
        """Return what calls only with a place."""

        async def call(call: ModelCall) -> Answer:
            await self.enter(batch=call.batch)
            try:
                answer = await following(call)
            except BaseException as error:
                if isinstance(error, TetradError):
                    self.leave(classify_error(error))
                self.free()
                raise
            if answer.status < 400:
                self.leave(None)
            else:
                outcome = answer.outcome()
                self.leave(classify(answer.status, outcome.error_type, outcome.error_message))
            if answer.stream:
                return _Held(answer, self.free)
            self.free()
            return answer

        return call

    def _admit(self) -> None:
        now = self._clock.monotonic()
        for queue in self._waiting:
            while queue and self.in_flight < int(self._level.limit):
                place = queue.popleft()
                if place.given.done():
                    continue
                self._waits = waited(self._waits, now - place.since, now, self.policy.target_s)
                self.in_flight += 1
                place.given.set_result(None)
        if not any(self._waiting):
            self._waits = Waits()

    def _oldest(self, now: float) -> float:
        return max((now - queue[0].since for queue in self._waiting if queue), default=0.0)

    def _send_away(self, patient: deque[_Place]) -> bool:
        """Refuse the youngest batch call that waits, so that an interactive one may; tell whether there was one."""
        while patient:
            place = patient.pop()
            if not place.given.done():
                place.given.set_exception(self._full("an interactive call took its place in the queue"))
                return True
        return False

    def _forget(self, place: _Place) -> None:
        queue = self._waiting[place.batch]
        if place in queue:
            queue.remove(place)

    def _full(self, why: str) -> Overloaded:
        self.refused += 1
        return Overloaded(
            f"the provider {self.upstream!r} has {self.in_flight} calls of this worker under way, and {why}",
            hint="try again later, or raise the provider's max_concurrency",
            code="provider_at_capacity",
            retry_after_s=max(1.0, round(self._oldest(self._clock.monotonic()))),
        )


class _Held:
    """A stream that gives its place back when it is closed, which its reader always does."""

    stream = True

    def __init__(self, answer: Answer, free: Callable[[], None]) -> None:
        self._answer = answer
        self._free: Callable[[], None] | None = free
        self.status, self.headers = answer.status, answer.headers
        self.done, self.received_ns, self.dropped = answer.done, answer.received_ns, answer.dropped

    async def read(self) -> bytes:
        piece = await self._answer.read()
        self.done, self.received_ns = self._answer.done, self._answer.received_ns
        return piece

    async def pump(self, put: Put) -> None:
        """Hand on pieces as they come; see `pumped`."""
        await pumped(self._answer, put)

    def outcome(self) -> Outcome:
        return self._answer.outcome()

    def close(self) -> None:
        free, self._free = self._free, None
        if free is not None:
            free()
        self._answer.close()
