"""Routes by bindings: one release, two environments; what is broken stays where it is; capacity is kept."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import msgspec
import pytest

from support import gateway as g
from tetrad.kernel import SystemClock
from tetrad.serving import (
    OPERATIONS,
    BindingRoute,
    BindingTarget,
    Exchange,
    ModelEntry,
    Pipeline,
    Readiness,
    RouteTable,
    Upstream,
    decode_route_table,
    encode_route_table,
)
from tetrad.serving.ports import Answer, ModelCall, Outcome

ONE, TWO = "sha256:" + "1" * 64, "sha256:" + "2" * 64


OPERATION = {operation.name: operation for operation in OPERATIONS}


class Whole:
    """An answer that is whole at once."""

    def __init__(self) -> None:
        self.status, self.headers, self.stream, self.done = 200, [], False, True
        self.received_ns, self.dropped = time.time_ns(), ()

    async def read(self) -> bytes:
        return b"{}"

    def outcome(self) -> Outcome:
        return Outcome()

    def close(self) -> None:
        return None


class Named:
    """A provider whose endpoints note which upstream was called with which secret, and wait where told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, str]] = []
        self.called = asyncio.Event()
        self.hold: asyncio.Event | None = None
        self.fail: Exception | None = None

    def endpoint(self, upstream: Upstream) -> Any:
        outer = self

        class Endpoint:
            async def call(self, call: ModelCall) -> Answer:
                model = json.loads(bytes(call.fields["model"]))
                outer.calls.append((upstream.name, upstream.secret, model))
                outer.called.set()
                if outer.hold is not None:
                    await outer.hold.wait()
                if outer.fail is not None:
                    raise outer.fail
                return Whole()

        return Endpoint()

    async def close(self) -> None:
        return None


class Reply:
    def __init__(self) -> None:
        self.status, self.headers, self.body = 0, {}, b""

    async def whole(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, dict(headers), body

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["error"]["code"])


class Bench:
    def __init__(self, table: RouteTable) -> None:
        self.provider = Named()
        self.records: list[Exchange] = []
        self.pipeline = Pipeline(
            {"openai": self.provider}, record=self.records.append, clock=SystemClock(), stages=(Readiness(),)
        )
        self.pipeline.install(decode_route_table(encode_route_table(table)))

    async def ask(self, model: str, key: str = g.KEY, kind: str = "chat") -> Reply:
        exchange = Exchange(OPERATION[kind], {b"authorization": f"Bearer {key}".encode()}, time.time_ns())
        self.pipeline.authenticate(exchange)
        exchange.body = json.dumps({"model": model, "messages": [], "input": "x"}).encode()
        reply = Reply()
        await self.pipeline.serve(exchange, reply)  # type: ignore[arg-type]
        return reply


def make_table(targets: dict[str, BindingTarget], problem: str = "") -> RouteTable:
    """Return a table whose app has one release at two refs; only `production` is bound by `targets`."""
    table = g.make_table("http://127.0.0.1:1/v1")
    app = table.apps["default/assistant"]
    refs = {"production": g.STATIC_RELEASE, "staging": g.STATIC_RELEASE}
    return msgspec.structs.replace(
        table,
        upstreams={**table.upstreams, "eu": Upstream("eu", "http://127.0.0.1:2/v1", secret="eu-secret")},
        models={**table.models, "eu/gpt": ModelEntry("eu/gpt", "eu", "gpt", project="default")},
        apps={
            "default/assistant": msgspec.structs.replace(
                app, refs=refs, bindings={"production": "bindings/production", "staging": "bindings/staging"}
            )
        },
        bindings={
            "default/bindings/production": BindingRoute("bindings/production", ONE, targets, problem),
            "default/bindings/staging": BindingRoute("bindings/staging", TWO),
        },
    )


async def test_one_release_answers_elsewhere_in_each_environment() -> None:
    bench = Bench(make_table({"local/m1": BindingTarget("eu/gpt")}))
    first, second = await bench.ask("app:assistant"), await bench.ask("app:assistant@staging")
    assert bench.provider.calls == [("eu", "eu-secret", "gpt"), ("up", g.SECRET, "m1")]
    assert first.headers[b"x-tetrad-binding"] == ONE.encode()
    assert second.headers[b"x-tetrad-binding"] == TWO.encode(), "told where it leaves a name alone, too"
    assert [record.binding for record in bench.records] == [ONE, TWO]
    assert [record.attempts[0].model.name for record in bench.records] == ["eu/gpt", "local/m1"]


async def test_a_bare_model_and_an_app_without_a_binding_have_none() -> None:
    bench = Bench(g.make_table("http://127.0.0.1:1/v1"))
    for model in ("local/m1", "app:assistant@static"):
        reply = await bench.ask(model)
        assert reply.status == 200
        assert b"x-tetrad-binding" not in reply.headers
    assert [record.binding for record in bench.records] == ["", ""]


async def test_a_binding_may_not_name_a_secret_for_what_is_called_as_the_machine() -> None:
    # it would not be used: who named it to be charged elsewhere would be charged as the machine
    table = make_table({"local/m1": BindingTarget("eu/gpt", secret="of the team")})
    machine = msgspec.structs.replace(table.upstreams["eu"], secret="", auth="aws-machine")
    bench = Bench(msgspec.structs.replace(table, upstreams={**table.upstreams, "eu": machine}))
    reply = await bench.ask("app:assistant")
    assert (reply.status, reply.code) == (503, "binding_broken")
    assert b"called as the machine that the gateway runs on" in reply.body
    assert bench.provider.calls == []


@pytest.mark.parametrize("model", [f"release:{g.STATIC_RELEASE}", f"app:assistant@{g.STATIC_RELEASE}"])
async def test_a_pinned_release_is_bound_as_the_default_ref_is(model: str) -> None:
    bench = Bench(make_table({"local/m1": BindingTarget("eu/gpt")}))
    reply = await bench.ask(model, key=g.PIN_KEY)
    assert bench.provider.calls == [("eu", "eu-secret", "gpt")]
    assert reply.headers[b"x-tetrad-binding"] == ONE.encode()


@pytest.mark.parametrize(
    ("targets", "problem", "why"),
    [
        ({"local/m1": BindingTarget(problem="the provider 'eu' is gone")}, "", "the provider 'eu' is gone"),
        ({"local/m1": BindingTarget("eu/none")}, "", "not in the route table"),
        ({"local/m1": BindingTarget("local/unbound")}, "", "nowhere"),
        ({}, "it is of a later kind", "later kind"),
    ],
)
async def test_a_broken_binding_closes_its_ref_and_says_why(
    targets: dict[str, BindingTarget], problem: str, why: str
) -> None:
    bench = Bench(make_table(targets, problem))
    reply = await bench.ask("app:assistant")
    assert (reply.status, reply.code) == (503, "binding_broken")
    assert why in reply.body.decode()
    assert reply.headers[b"x-tetrad-binding"] == ONE.encode()
    record = bench.records[0]
    assert (record.app, record.ref, record.binding) == ("assistant", "production", ONE)
    assert record.release is not None
    assert record.error_type == "binding_broken"
    assert (await bench.ask("app:assistant@staging")).status == 200
    assert (await bench.ask("local/m1")).status == 200


async def test_a_ref_whose_binding_is_not_in_the_table_is_closed_too() -> None:
    table = make_table({})
    app = msgspec.structs.replace(table.apps["default/assistant"], bindings={"production": "bindings/lost"})
    bench = Bench(msgspec.structs.replace(table, apps={"default/assistant": app}))
    reply = await bench.ask("app:assistant")
    assert (reply.status, reply.code) == (503, "binding_broken")


async def test_a_binding_may_send_another_secret() -> None:
    bench = Bench(make_table({"local/m1": BindingTarget("eu/gpt", secret="other-secret")}))
    await bench.ask("app:assistant")
    await bench.ask("eu/gpt")
    assert bench.provider.calls == [("eu", "other-secret", "gpt"), ("eu", "eu-secret", "gpt")]


async def test_the_kind_of_the_model_that_answers_is_the_one_that_counts() -> None:
    bench = Bench(make_table({"local/m1": BindingTarget("eu/gpt")}))
    reply = await bench.ask("app:assistant", kind="embeddings")
    assert (reply.status, reply.code) == (400, "wrong_kind_of_model")
    assert (await bench.ask("app:assistant@staging", kind="embeddings")).status == 200


def limited(limit: int) -> RouteTable:
    target = BindingTarget("eu/gpt", max_concurrency=limit, capacity="default/bindings/production:local")
    return make_table({"local/m1": target})


async def started(bench: Bench, calls: int) -> list[asyncio.Task[Reply]]:
    """Begin calls that wait at the upstream, one after the other."""
    tasks = []
    for _ in range(calls):
        bench.provider.called.clear()
        tasks.append(asyncio.get_running_loop().create_task(bench.ask("app:assistant")))
        await asyncio.wait_for(bench.provider.called.wait(), 5)
    return tasks


async def test_no_more_calls_than_the_binding_allows_are_under_way_at_once() -> None:
    bench = Bench(limited(2))
    bench.provider.hold = asyncio.Event()
    tasks = await started(bench, 2)
    refused = await bench.ask("app:assistant")
    assert (refused.status, refused.code, refused.headers[b"retry-after"]) == (429, "binding_at_capacity", b"1")
    assert (await asyncio.wait_for(bench_other(bench), 5)).status == 200, "another ref has its own capacity"
    bench.provider.hold.set()
    assert [reply.status for reply in await asyncio.gather(*tasks)] == [200, 200]
    assert (await bench.ask("app:assistant")).status == 200


async def bench_other(bench: Bench) -> Reply:
    held, bench.provider.hold = bench.provider.hold, None
    reply = await bench.ask("app:assistant@staging")
    bench.provider.hold = held
    return reply


async def test_a_new_table_does_not_forget_the_calls_under_way() -> None:
    bench = Bench(limited(2))
    bench.provider.hold = asyncio.Event()
    tasks = await started(bench, 2)
    bench.pipeline.install(limited(2))
    assert (await bench.ask("app:assistant")).code == "binding_at_capacity"
    bench.pipeline.install(limited(3))
    tasks += await started(bench, 1)
    bench.provider.hold.set()
    assert [reply.status for reply in await asyncio.gather(*tasks)] == [200, 200, 200]


async def test_a_call_that_fails_or_whose_client_leaves_gives_its_place_back() -> None:
    bench = Bench(limited(1))
    bench.provider.fail = RuntimeError("broken")
    assert (await bench.ask("app:assistant")).status == 500
    bench.provider.fail, bench.provider.hold = None, asyncio.Event()
    (task,) = await started(bench, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    bench.provider.hold = None
    assert (await bench.ask("app:assistant")).status == 200


async def test_what_works_is_resolved_once_for_all_requests() -> None:
    bench = Bench(make_table({"local/m1": BindingTarget("eu/gpt")}))
    compiled = bench.pipeline.current()
    key = compiled.table.keys[g.key_hash(g.KEY)]
    assert compiled.resolve(key, "app:assistant", "chat") is compiled.resolve(key, "app:assistant@production", "chat")
