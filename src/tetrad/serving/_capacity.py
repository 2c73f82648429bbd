"""How many calls one gateway worker makes at once for what a binding limits."""

from __future__ import annotations

from tetrad.kernel import Overloaded
from tetrad.serving.ports import Answer, Handler, ModelCall, Outcome

RETRY_AFTER_S = 1.0


class Capacity:
    """Counts the calls under way. It outlives route tables, so that a new one does not forget what is running."""

    __slots__ = ("in_flight", "limit", "name")

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.in_flight = 0

    def bind(self, following: Handler) -> Handler:
        """Return what refuses a call with `Overloaded` while `limit` of them are under way, and else makes it."""

        async def call(call: ModelCall) -> Answer:
            if self.in_flight >= self.limit:
                raise Overloaded(
                    f"{self.limit} calls are under way, as many as {self.name} allows at once",
                    hint="try again in a moment, or raise max_concurrency in the binding",
                    code="binding_at_capacity",
                    retry_after_s=RETRY_AFTER_S,
                )
            self.in_flight += 1
            try:
                answer = await following(call)
            except BaseException:
                self.in_flight -= 1
                raise
            return _Counted(answer, self)

        return call


class _Counted:
    """An answer that gives its place back when it is closed, which its reader always does."""

    __slots__ = ("_answer", "_capacity", "done", "dropped", "headers", "received_ns", "status", "stream")

    def __init__(self, answer: Answer, capacity: Capacity) -> None:
        self._answer = answer
        self._capacity: Capacity | None = capacity
        self.status, self.headers, self.stream = answer.status, answer.headers, answer.stream
        self.done, self.received_ns, self.dropped = answer.done, answer.received_ns, answer.dropped

    async def read(self) -> bytes:
        piece = await self._answer.read()
        self.done, self.received_ns = self._answer.done, self._answer.received_ns
        return piece

    def outcome(self) -> Outcome:
        return self._answer.outcome()

    def close(self) -> None:
        capacity, self._capacity = self._capacity, None
        if capacity is not None:
            capacity.in_flight -= 1
        self._answer.close()
