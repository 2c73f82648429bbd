"""Streams whose pieces go from the upstream to the client without a task being woken for each."""

from __future__ import annotations

from collections.abc import Callable

from tetrad.serving.ports import Answer

Put = Callable[[bytes], bool]
"""Takes a piece; tells whether more may come now. It must not raise."""


async def pumped(answer: Answer, put: Put) -> None:
    """Let a stream hand on its pieces, all but the last, until `put` returns False; `read` then goes on.

    What wraps a stream has a method `pump` of this promise that hands on what it makes of the pieces. Returns at once
    where a stream has none: each of its pieces is read.
    """
    pump = getattr(answer, "pump", None)
    if pump is not None:
        await pump(put)
