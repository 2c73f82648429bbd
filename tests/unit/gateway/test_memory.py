"""What a gateway asks control about responses, while control is well and while it is away."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tetrad.kernel import Overloaded, TetradError, Unavailable
from tetrad.kit.upstream import parse_address
from tetrad.processes.gateway._memory import ControlMemory
from tetrad.serving import RequestRefused
from tetrad.serving.ports import Turn

TURN = Turn("default", "key_1", "up", False, msgspec.Raw(b"[]"))


class Answering:
    """A client that answers one status, or does not answer."""

    def __init__(self, status: int = 204, body: bytes = b"") -> None:
        self.status, self.body, self.away = status, body, False
        self.asked: list[str] = []
        self.told: dict[str, str] = {}
        self.headers: list[tuple[bytes, bytes]] = []

    def prepare(self, method: str, _address: Any, path: str, headers: Any) -> str:
        self.told = dict(headers)
        return f"{method} {path}"

    async def send(self, request: str, _body: bytes, timeouts: Any) -> Answering:
        self.asked.append(request)
        if self.away:
            raise Unavailable("nobody there")
        return self

    async def read_all(self, _most: int) -> bytes:
        return self.body


def memory(client: Answering) -> ControlMemory:
    return ControlMemory(client, parse_address("http://127.0.0.1:1"), lambda: "token")  # type: ignore[arg-type]


async def test_while_control_is_away_answers_do_not_wait_for_it_one_by_one() -> None:
    client = Answering()
    client.away = True
    kept = memory(client)
    for _ in range(5):
        with pytest.raises(Unavailable) as caught:
            await kept.keep(TURN, "resp_12345678", b"{}")
        assert caught.value.code == "state_unavailable"
    assert len(client.asked) == 1
    with pytest.raises(Unavailable):
        await kept.recall("default", "resp_12345678")
    assert len(client.asked) == 2
    client.away, client.status, client.body = False, 200, b'{"items": []}'
    assert bytes((await kept.recall("default", "resp_12345678")).items) == b"[]"
    client.status = 204
    await kept.keep(TURN, "resp_12345678", b"{}")


@pytest.mark.parametrize("identity", ["../../status", "a b", "", "x" * 200, "resp_1234567\n"])
async def test_an_id_never_becomes_another_path_of_control(identity: str) -> None:
    client = Answering(200)
    with pytest.raises(RequestRefused):
        await memory(client).recall("default", identity)
    with pytest.raises(TetradError):
        await memory(client).keep(TURN, identity, b"{}")
    with pytest.raises(RequestRefused):
        await memory(client).page("GET", f"/v1/responses/{identity}", "", "default", "r1")
    assert client.asked == []


async def test_a_client_cannot_name_another_project() -> None:
    client = Answering(200, b"{}")
    await memory(client).page(
        "GET", "/v1/responses/resp_12345678/input_items", "project=other&limit=3&x=1", "default", "r1"
    )
    assert client.asked == ["GET /internal/v1/responses/resp_12345678/input_items?project=default&limit=3"]
    assert client.told["x-request-id"] == "r1", "what the client sees is what control's log has"


@pytest.mark.parametrize("body", [b"<html>", b'{"items": 3, "native": "x"}', b""])
async def test_a_control_that_answers_nonsense_is_unavailable(body: bytes) -> None:
    with pytest.raises(Unavailable):
        await memory(Answering(200, body)).recall("default", "resp_12345678")


async def test_what_control_says_of_a_conversation_past_its_limit_reaches_the_client() -> None:
    problem = b'{"detail": "the conversation is too large", "hint": "begin anew", "code": "response_too_large"}'
    with pytest.raises(RequestRefused, match="too large") as caught:
        await memory(Answering(413, problem)).recall("default", "resp_12345678")
    assert (caught.value.status, caught.value.code) == (413, "response_too_large")


async def test_no_more_follow_than_may_and_who_leaves_makes_room() -> None:
    page = b'{"events":[{"type":"response.created","sequence_number":0}],"last":0,"over":true}'
    kept = ControlMemory(
        Answering(200, page),  # type: ignore[arg-type]
        parse_address("http://127.0.0.1:1"),
        lambda: "token",
        most_followers=1,
    )
    first = kept.follow("default", "resp_12345678")
    assert await first.read() == (b'event: response.created\ndata: {"type":"response.created","sequence_number":0}\n\n')
    assert await first.read() == b""
    with pytest.raises(Overloaded, match="follow responses") as caught:
        kept.followed("GET", "/v1/responses/resp_12345678", "stream=true", "default")
    assert (caught.value.code, caught.value.status) == ("too_many_streams", 429)
    first.close()
    again = kept.followed("GET", "/v1/responses/resp_12345678", "stream=true&starting_after=4", "default")
    assert again is not None
    again.close()
    assert kept.followed("GET", "/v1/responses/resp_12345678", "stream=false", "default") is None
