"""A transport closes before its protocol is told; whatever is written in between is dropped without a word."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from support.fed_http import Core, Transport, settled
from tetrad.processes.gateway._http1 import HttpServer
from tetrad.processes.gateway._http1_connection import HttpConnection

REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
Answering = Callable[[Any, Transport], Awaitable[None]]


async def in_pieces(reply: Any, transport: Transport) -> None:
    await reply.begin(200, [])
    assert reply.put(b"one")
    transport.close()
    assert not reply.put(b"two")
    await reply.write(b"three")
    await reply.end(b"four")


async def as_a_whole(reply: Any, transport: Transport) -> None:
    transport.close()
    await reply.whole(200, [], b"{}")


async def large(reply: Any, transport: Transport) -> None:
    transport.close()
    await reply.whole(200, [], bytes(1_000_000))


async def before_its_head_is_out(reply: Any, transport: Transport) -> None:
    await reply.begin(200, [])
    transport.close()
    await asyncio.sleep(0)


@pytest.mark.parametrize("answering", [in_pieces, as_a_whole, large, before_its_head_is_out])
async def test_what_is_answered_to_a_client_that_is_gone_raises_nothing(answering: Answering) -> None:
    transport, failed = Transport(), list[BaseException]()

    class Answers(Core):
        async def serve(self, exchange: Any, reply: Any) -> None:
            try:
                await answering(reply, transport)
            except BaseException as error:
                failed.append(error)
                raise

    server = HttpServer(Answers([], 1_000), header_timeout_s=10, keep_alive_s=10, drain_s=1)
    connection = HttpConnection(server, asyncio.get_running_loop())
    connection.connection_made(transport)  # type: ignore[arg-type]
    connection.data_received(REQUEST)
    await settled(connection)
    connection.connection_lost(None)
    assert not failed
    assert server.core.metrics.in_flight == 0


async def test_nothing_is_left_of_a_connection_that_has_ended() -> None:
    server = HttpServer(Core([], 1_000), header_timeout_s=10, keep_alive_s=10, drain_s=1)
    connection = HttpConnection(server, asyncio.get_running_loop())
    connection.connection_made(Transport())  # type: ignore[arg-type]
    connection.data_received(REQUEST)
    await settled(connection)
    gc.disable()  # a gateway's collector of cycles comes seldom
    try:
        connection.connection_lost(None)
        left = weakref.ref(connection)
        del connection
        await asyncio.sleep(0)
        assert left() is None
    finally:
        gc.enable()
