"""What the lines of a batch used and cost, as spans tell."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from tetrad.batches import Batches
from tetrad.kit.http import requires
from tetrad.processes.control._usage import SpentView
from tetrad.traces import Traces

_SECOND_NS = 10**9
_LEAD_S, _TAIL_S = 60, 3600
"""Clocks of other machines differ a little, and calls that were begun in time may end after their batch."""


class BatchCostView(BaseModel):
    """What the calls of a batch's lines used and cost, so far as their spans are kept."""

    calls: int = Field(description="Calls of models that spans tell of, repeated ones too")
    unpriced_calls: int = Field(description="Calls that cost what nobody knows; they are not in `costs`")
    input_tokens: int
    output_tokens: int
    costs: list[SpentView]


def batch_cost_router(batches: Batches, traces: Traces) -> APIRouter:
    """Return the routes; they bring their prefix with them."""
    routes = APIRouter(prefix="/api/v1/projects/{project}", tags=["batches"])

    @routes.get("/batches/{identity}/cost", dependencies=[requires("control")], operation_id="get_batch_cost")
    def get_batch_cost(project: str, identity: Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,64}$")]) -> BatchCostView:
        """Add up what the calls of a batch's lines used and cost."""
        batch = batches.batch(project, identity)
        ended_s = None if batch.open else max(batch.times.values(), default=batch.created_s)
        window = traces.window(
            (batch.created_s - _LEAD_S) * _SECOND_NS, None if ended_s is None else (ended_s + _TAIL_S) * _SECOND_NS
        )
        sums = traces.batch_sums(project, batch.id, batch.key_id, window)
        tokens = sums.tokens
        return BatchCostView(
            calls=sums.calls,
            unpriced_calls=sums.answers_without_cost,
            input_tokens=tokens.input + tokens.cache_read + tokens.cache_write,
            output_tokens=tokens.output + tokens.reasoning,
            costs=[SpentView(amount=cost.amount, currency=cost.currency) for cost in sums.costs],
        )

    return routes
