"""Batches that their provider's own batch API does: the way there, and the way back.

Everything that must outlast this process is with control before the next step is taken: that the batch is about to be
submitted, then its id at the provider, then each answer with what it cost.
"""

from __future__ import annotations

import logging
from threading import Event

import httpx

from tetrad.batches import BatchError, Carriage
from tetrad.processes.worker._batch_control import Callers, Control
from tetrad.processes.worker._native_back import Back
from tetrad.processes.worker._native_desk import Desk, Stopped
from tetrad.processes.worker._native_there import Calls, There

log = logging.getLogger(__name__)


class Native:
    """One batch on its way through its provider, where it has one that does batches."""

    def __init__(self, callers: Callers, stopping: Event, control: Control, gateway: httpx.AsyncClient) -> None:
        self._desk = Desk(callers, stopping, control, gateway)

    async def run(self) -> BatchError | None:
        """Hand the batch over, wait for its end and settle its answers; again, it goes on where it was.

        Returns why it had to stop. Where its lines are calls nothing was done of them.
        """
        desk = self._desk
        await desk.look()
        try:
            if desk.carriage.way != "calls" and not desk.carriage.batch:
                await There(desk).go()
            if self.handed_over:
                await Back(desk).come()
        except Calls as why:
            await desk.carry(Carriage(way="calls", why=str(why)[:500]))
        except Stopped as why:
            log.warning("the batch %s cannot go on: %s", desk.work.id, why)
        return desk.work.problem

    @property
    def handed_over(self) -> bool:
        """Whether the provider has the batch."""
        return self._desk.carriage.way == "native" and bool(self._desk.carriage.batch)
