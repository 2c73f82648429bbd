"""In whose limits a request to one MCP server, or to several, counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec
import pytest

from support.gateway import make_table
from support.limits import rule
from tetrad.kernel import SystemClock
from tetrad.limits import Gate, ToolLimits
from tetrad.limits._gate import Counted, Hold, Part
from tetrad.limits._pockets import Pockets
from tetrad.serving import BoundModel, Exchange, KeyEntry, LimitRule, ModelEntry, Upstream
from tetrad.tools._exchange import OPERATION


class Counting(Gate):
    """A gate that lets all pass and notes in which rules a request was counted."""

    def __init__(self) -> None:
        super().__init__(nowhere, SystemClock(), wake=print, wait_s=1.0, assumed_output=1)
        self.counted: list[str] = []

    async def enter(self, counted: Sequence[Counted], parts: Sequence[Part], exchange: Exchange) -> Hold:
        self.counted += [each.rule.subject for each in counted]
        return Hold(SystemClock(), parts)


def nowhere(_: LimitRule) -> Pockets:
    raise AssertionError("nothing is set aside here")


@pytest.mark.parametrize(
    ("who", "counted"),
    [
        ("all", ["key", "model", "project", "team"]),
        ("caller", ["key", "project", "team"]),
        ("server", ["model"]),
    ],
)
async def test_a_request_to_several_servers_is_one_of_its_caller_and_one_of_each_server(
    who: Literal["all", "caller", "server"], counted: list[str]
) -> None:
    rules = (
        rule(subject="key", name="*", measure="requests"),
        rule(subject="team", name="red", measure="concurrency"),
        rule(subject="project", name="", measure="requests"),
        rule(subject="model", name="mcp:*", measure="requests"),
        rule(subject="model", name="*", measure="requests"),
    )
    gate = Counting()
    table = msgspec.structs.replace(make_table("http://127.0.0.1:1/v1"), limits=rules)
    enter = ToolLimits(gate).bind(table)
    assert enter is not None
    exchange = Exchange(OPERATION, {}, 0)
    exchange.key = KeyEntry("key_1", "default", (), team="red")
    model = BoundModel(ModelEntry("mcp:one", "mcp:one", ""), Upstream("mcp:one", ""), None, None)  # type: ignore[arg-type]
    await enter(exchange, model, who)
    assert sorted(gate.counted) == counted
