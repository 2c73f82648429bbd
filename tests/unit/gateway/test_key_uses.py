"""Control hears when keys were last used: seldom, and also of what it could not hear at first."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import gateway as g
from support.fake_control import FakeControl
from tetrad.kernel import Forbidden, Unauthenticated
from tetrad.kit.upstream import Client, parse_address
from tetrad.processes.gateway._health import HealthTeller
from tetrad.serving import CompiledTable, GatewayHealth, KeyUses, ServerRest
from tetrad.serving._key_uses import EVERY_NS, MAX_USES

NOW = 1_800_000_000 * 1_000_000_000


def test_a_key_that_is_in_use_all_the_time_is_told_once_a_minute() -> None:
    uses = KeyUses()
    uses.note("k", NOW)
    assert uses.take(NOW + 1) == {"k": NOW}, "the first use is told at once"
    uses.note("k", NOW + 2)
    assert uses.take(NOW + 3) == {}
    assert uses.take(NOW + 3, all_of_them=True) == {"k": NOW + 2}, "what is left is told before the worker ends"
    uses.note("k", NOW + 4)
    assert uses.take(NOW + 3 + EVERY_NS) == {"k": NOW + 4}


def test_what_control_did_not_hear_is_told_again_unless_a_later_use_is_known() -> None:
    uses = KeyUses()
    for key in ("a", "b"):
        uses.note(key, NOW)
    lost = uses.take(NOW)
    uses.note("b", NOW + 5)
    uses.give_back(lost)
    assert uses.take(NOW + 6) == {"a": NOW, "b": NOW + 5}


def test_a_clock_that_was_set_back_silences_no_key() -> None:
    uses = KeyUses()
    uses.note("k", NOW)
    uses.take(NOW)
    uses.note("k", NOW - 3 * EVERY_NS)
    assert uses.take(NOW - 3 * EVERY_NS) == {"k": NOW - 3 * EVERY_NS}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=40))
def test_each_last_use_is_heard_whatever_is_lost(steps: list[tuple[str, bool]]) -> None:
    uses, heard, last = KeyUses(), dict[str, int](), dict[str, int]()
    for at, (key, lost) in enumerate(steps):
        uses.note(key, at)
        last[key] = at
        told = uses.take(at)
        uses.give_back(told) if lost else heard.update(told)
    heard.update(uses.take(len(steps), all_of_them=True))
    assert heard == last


def test_a_report_holds_so_many_keys_and_the_rest_follows() -> None:
    uses = KeyUses()
    for number in range(MAX_USES + 5):
        uses.note(f"k{number}", NOW)
    assert (len(uses.take(NOW)), len(uses.take(NOW)), len(uses.take(NOW))) == (MAX_USES, 5, 0)


def test_a_table_notes_good_keys_only_and_the_next_one_goes_on() -> None:
    table = g.make_table("http://127.0.0.1:1/v1")
    first = CompiledTable(table, {})
    first.authenticate({b"authorization": b"Bearer " + g.KEY.encode()}, NOW)
    first.authenticate({b"authorization": b"Bearer " + g.KEY.encode()}, NOW + 1)
    for wrong in (f"Bearer {g.EXPIRED_KEY}", f"Bearer {g.CONTROL_KEY}", "Bearer nobody", "Basic x"):
        with pytest.raises((Unauthenticated, Forbidden)):
            first.authenticate({b"authorization": wrong.encode()}, NOW + 2)
    assert CompiledTable(table, {}, previous=first).key_uses.take(NOW + 3) == {"key_full": NOW + 1}


async def test_what_control_did_not_take_is_told_when_it_is_back() -> None:
    uses = KeyUses()
    with FakeControl(fail_with=503) as control:
        client = Client()
        address = parse_address(control.url)
        teller = HealthTeller(
            "host-0", GatewayHealth, uses=lambda: uses, client=client, control=address, token=lambda: g.TOKEN
        )
        try:
            assert not await teller.tell()
            assert control.refused == 0, "nothing is told where nothing is known"
            at = time.time_ns()
            uses.note("k", at)
            assert not await teller.tell()
            assert control.refused == 1
            control.fail_with = 0
            assert await teller.tell()
            assert json.loads(control.health["host-0"])["uses"] == {"k": at}
            uses.note("k", at + 1)
            await teller.flush(5)
            assert json.loads(control.health["host-0"])["uses"] == {"k": at + 1}
        finally:
            await client.close()


async def test_that_a_server_rests_no_more_is_told_too() -> None:
    rest = ServerRest("default", "files", "tools/list", "resting", 1, 4.0, 6.0, "tool_server_timeout", "no answer")
    health = GatewayHealth(rests=(rest,))
    with FakeControl() as control:
        client = Client()
        teller = HealthTeller(
            "host-0", lambda: health, uses=KeyUses, client=client, control=parse_address(control.url),
            token=lambda: g.TOKEN,
        )  # fmt: skip
        try:
            assert await teller.tell()
            assert json.loads(control.health["host-0"])["rests"][0]["server"] == "files"
            health = GatewayHealth()
            control.fail_with = 503
            assert not await teller.tell()
            control.fail_with = 0
            assert await teller.tell(), "control has not heard of it yet"
            assert json.loads(control.health["host-0"])["rests"] == []
            assert not await teller.tell(), "and now there is nothing to tell"
        finally:
            await client.close()


async def test_a_silent_control_does_not_keep_a_worker_from_its_end() -> None:
    uses = KeyUses()
    uses.note("k", NOW)

    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = Client()
    teller = HealthTeller(
        "host-0", GatewayHealth, uses=lambda: uses, client=client,
        control=parse_address(f"http://127.0.0.1:{port}"), token=lambda: g.TOKEN,
    )  # fmt: skip
    try:
        await teller.flush(0.05)
        assert uses.take(NOW, all_of_them=True) == {"k": NOW}
    finally:
        await client.close()
        server.close()
