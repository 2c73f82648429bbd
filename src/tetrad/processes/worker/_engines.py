"""Keep engines as control wants them, and control informed; either may be away for a while."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tetrad.kit.home import write_private
from tetrad.kit.trust import believed
from tetrad.serving import EngineReport, EngineSpec
from tetrad.serving._engine_supervisor import EngineSupervisor
from tetrad.serving.ports import EngineAdapter

log = logging.getLogger(__name__)
_CALL_S = 10.0


class EngineKeeper:
    """Runs an `EngineSupervisor` by control's wishes.

    The last wishes are kept in `wishes_path`, so that engines start while control does; a control that is away stops
    nothing, and one that came back without memory (a new epoch) hears everything again.
    """

    def __init__(
        self,
        adapters: Mapping[str, EngineAdapter],
        control: httpx.AsyncClient,
        wishes_path: Path,
        *,
        poll_s: float,
        report_s: float,
    ) -> None:
        self._control = control
        self._wishes_path = wishes_path
        self._poll_s, self._report_s = poll_s, report_s
        self._supervisor = EngineSupervisor(adapters, on_report=self._changed)
        self._news: dict[str, EngineReport] = {}
        self._waking = asyncio.Event()
        self._epoch = ""
        self._wished: bytes | None = None
        self._reachable = True

    def reports(self) -> list[EngineReport]:
        """What is known of each engine."""
        return self._supervisor.reports()

    async def run(self) -> None:
        """Work until cancelled, then drain and stop all engines."""
        following = asyncio.create_task(self._follow(), name="engine wishes")
        telling = asyncio.create_task(self._tell(), name="engine reports")
        try:
            await asyncio.gather(following, telling)
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
            closing = asyncio.ensure_future(self._supervisor.close())
            await asyncio.shield(closing)  # the drain is told to control while it goes on
            with contextlib.suppress(httpx.HTTPError):
                await self._send(self._news)
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _follow(self) -> None:
        await self._recall()
        while True:
            try:
                answer = await self._control.get("/internal/v1/engines")
                answer.raise_for_status()
                await self._obey(answer.json())
                self._note_control(None)
            except (httpx.HTTPError, KeyError, ValueError, TypeError) as error:
                self._note_control(error)
            await asyncio.sleep(self._poll_s if self._reachable else min(0.25, self._poll_s))

    async def _recall(self) -> None:
        try:
            wishes = json.loads(self._wishes_path.read_text("utf-8"))
            await self._apply(wishes)
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError) as error:
            log.warning("the kept wishes for engines cannot be read (%s); waiting for control", error)

    async def _obey(self, answer: dict[str, Any]) -> None:
        wishes = answer["engines"]
        if answer["epoch"] != self._epoch:
            self._epoch = answer["epoch"]
            for report in self.reports():
                self._changed(report)
        if json.dumps(wishes).encode() != self._wished:
            await self._apply(wishes)
            with contextlib.suppress(OSError):  # a full disk only costs the head start
                write_private(self._wishes_path, json.dumps(wishes))

    async def _apply(self, wishes: list[Any]) -> None:
        specs = msgspec.convert(wishes, list[EngineSpec])
        await self._supervisor.apply(specs)
        self._wished = json.dumps(wishes).encode()

    def _changed(self, report: EngineReport) -> None:
        self._news[report.name] = report
        self._waking.set()

    async def _tell(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._report_s):
                    await self._waking.wait()
            self._waking.clear()
            news, self._news = self._news or {report.name: report for report in self.reports()}, {}
            try:
                await self._send(news)
            except httpx.HTTPError:
                self._news = {**news, **self._news}
                self._waking.set()
                await asyncio.sleep(min(0.5, self._poll_s))

    async def _send(self, news: Mapping[str, EngineReport]) -> None:
        for name, report in news.items():
            answer = await self._control.put(f"/internal/v1/engines/{name}", json=msgspec.to_builtins(report))
            if answer.status_code == 404:
                continue  # nobody wants it any more
            answer.raise_for_status()

    def _note_control(self, error: Exception | None) -> None:
        if error is not None and self._reachable:
            log.warning("control does not answer (%s); engines keep running", str(error) or type(error).__name__)
        elif error is None and not self._reachable:
            log.info("control answers again")
        self._reachable = error is None


def control_client(base_url: str, token: str) -> httpx.AsyncClient:
    """Return a client of the internal API; proxies of the environment must not see its token."""
    return httpx.AsyncClient(
        base_url=base_url,
        verify=believed(base_url),
        headers={"authorization": f"Bearer {token}", "user-agent": "tetrad-worker"},
        timeout=_CALL_S,
        trust_env=False,
    )
