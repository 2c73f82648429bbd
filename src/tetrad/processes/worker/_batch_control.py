"""Control's side of a batch, or of a response in the background, for the worker that does it."""

from __future__ import annotations

import asyncio
from threading import Event, Semaphore
from typing import NamedTuple, Self

import httpx

from tetrad.kernel import NotFound
from tetrad.kit.jobs import JobCutOff
from tetrad.kit.trust import believed

_CONTROL_S = 600.0
_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0


class Callers(NamedTuple):
    """Whom a batch's worker speaks to, and how many of its lines at once.

    `poll_s` is the longest pause between two looks at a batch that its provider does. A batch whose lines are calls
    takes one of the `turns` (none: there is no bound), so that those that wait for their provider keep nobody waiting.
    One whose submission nobody answered is looked for `doubt_s`.
    """

    control_url: str
    token: str
    gateway_url: str
    concurrency: int
    line_bytes: int
    poll_s: float = 30.0
    turns: Semaphore | None = None
    doubt_s: float = 90_000.0


class WorkGone(NotFound):
    """Control knows of nothing to be done there any more."""

    code = "work_gone"


class Control:
    """Control's side of one batch, or of what is `under` another path. While it is away everything waits.

    That ends when the worker stops.
    """

    def __init__(self, callers: Callers, stopping: Event, name: str, under: str = "/internal/v1/batches") -> None:
        self._stopping = stopping
        self._path = f"{under}/{name}"
        self._http = httpx.AsyncClient(
            base_url=callers.control_url,
            verify=believed(callers.control_url),
            headers={"authorization": f"Bearer {callers.token}", "content-type": "application/json"},
            timeout=_CONTROL_S,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str = "", body: bytes = b"") -> bytes:
        """Return control's answer; raises `WorkGone`, and `JobCutOff` where the worker stops before there is one."""
        pause_s = _PAUSE_S
        while True:
            why = ""
            try:
                answer = await self._http.request(method, self._path + path, content=body or None)
                if answer.is_success:
                    return answer.content
                why = f"{answer.status_code}: {answer.text[:300]}"
                if answer.status_code == 404:
                    raise WorkGone(f"control knows no {self._path}: {answer.text[:200]}")
                if answer.status_code < 500 and answer.status_code != 429:
                    raise RuntimeError(f"control refused {method} {self._path}{path}: {why}")
            except httpx.TransportError as error:
                why = type(error).__name__
            if self._stopping.is_set():
                raise JobCutOff(f"the worker stops; control said {why}")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
