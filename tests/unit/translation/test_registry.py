"""Which protocols reach which, and what a call gets that no translator can help."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import msgspec
import pytest

from tetrad.serving import EMBEDDINGS, Operation, RequestRefused, Upstream, translated
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation import TRANSLATORS, find

NEAR, FAR = Operation("near", "/near", "chat"), Operation("far", "/far", "chat")
CALL = ModelCall(NEAR, {"model": msgspec.Raw(b'"m"')}, stream=True)


class Marked:
    """Says everything as it is, with a mark."""

    done = False

    def __init__(self, call: ModelCall, mark: bytes) -> None:
        self.call, self._mark = call, mark
        self.dropped: tuple[str, ...] = (mark.decode(), "both")

    def whole(self, body: bytes) -> bytes:
        return body + self._mark

    feed = whole

    def end(self) -> bytes:
        return b"end " + self._mark

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        return status + 1, body + self._mark

    def events(self) -> Marked:
        return self

    def outcome(self, outcome: Outcome) -> Outcome:
        return msgspec.structs.replace(outcome, output=outcome.output + self._mark)


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("support_translators")
    module.near = lambda call, _strict: Marked(call, b"N")
    module.far = lambda call, _strict: Marked(msgspec.structs.replace(call, operation=FAR), b"F")
    monkeypatch.setitem(sys.modules, "support_translators", module)
    monkeypatch.setitem(TRANSLATORS, ("near", "chat"), "support_translators:near")
    monkeypatch.setitem(TRANSLATORS, ("chat", "far"), "support_translators:far")


def test_two_translators_that_meet_at_chat_make_one(pairs: None) -> None:
    translate = find("near", ["nothing", "far"])
    assert translate is not None
    both = translate(CALL, False)
    assert both.call.operation is FAR
    assert both.dropped == ("N", "both", "F")
    assert both.whole(b"-") == b"-FN"
    assert both.error(400, b"-") == (402, b"-FN")
    assert both.outcome(Outcome(output=b"-")).output == b"-FN"
    events = both.events()
    assert (events.feed(b"-"), events.end()) == (b"-FN", b"end FNend N")


def test_there_is_not_always_a_way(pairs: None) -> None:
    assert find("far", ["near"]) is None
    assert find("near", []) is None


async def test_a_call_that_nobody_can_translate_is_refused_and_says_what_the_upstream_speaks() -> None:
    async def never(call: ModelCall) -> Any:
        raise AssertionError

    call = ModelCall(EMBEDDINGS, {})
    with pytest.raises(RequestRefused, match="'up' cannot do embeddings: it speaks messages only") as caught:
        await translated(call, ["messages"], Upstream("up", ""), never)
    assert caught.value.code == "operation_not_served"
