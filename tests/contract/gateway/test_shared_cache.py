"""Two gateways of two hosts and one Valkey or Redis, with the real clients: what one paid for, the other need not."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import anthropic
import msgspec
import openai
import pytest

from contract.gateway.conftest import with_claude
from support import gateway as g
from support.fake_anthropic import FakeAnthropic
from support.fake_control import FakeControl
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home, spooled
from support.ports import free_port
from support.redis_server import RedisServer, lent_redis, skip_without_server
from support.wait import wait_until
from tetrad.adapters.answers_redis import REST_S
from tetrad.serving import CachePolicy, RouteTable

ON = {"x-tetrad-cache": "on"}
TABLE = {"default/": CachePolicy(use="asked", generation=1)}


class World:
    """Two hosts, the server that they share, and the upstream that is paid."""

    def __init__(self, upstream: FakeOpenAI, claude: FakeAnthropic, root: Path) -> None:
        self.upstream, self.claude, self.root = upstream, claude, root
        self.redis = RedisServer(root)

    def table(self, caches: dict[str, CachePolicy] | None = None) -> RouteTable:
        made = with_claude(make_table(self.upstream.base_url), self.claude.base_url)
        return msgspec.structs.replace(made, caches=TABLE if caches is None else caches)

    @contextmanager
    def gateway(self, name: str, caches: dict[str, CachePolicy] | None = None, **settings: Any) -> Iterator[Host]:
        home = self.root / name
        (home / "keys").mkdir(parents=True, exist_ok=True)
        if (self.root / "seal.key").exists():
            shutil.copy(self.root / "seal.key", home / "keys" / "seal.key")
        prepare_home(home, self.table(caches))
        shutil.copy(home / "keys" / "seal.key", self.root / "seal.key")
        told = {"gateway_cache_url": self.redis.url, "gateway_cache_deadline_s": 2, **settings}
        with GatewayProcess(home, **told) as process, Host(process) as host:
            yield host

    @contextmanager
    def hosts(self, *names: str, **settings: Any) -> Iterator[list[Host]]:
        with ExitStack() as stack:
            yield [stack.enter_context(self.gateway(name, **settings)) for name in names]


class Host:
    """One gateway, and a client of it."""

    def __init__(self, process: GatewayProcess) -> None:
        self.process = process
        self.client = openai.OpenAI(base_url=process.url + "/v1", api_key=g.KEY, max_retries=0, timeout=20)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def ask(self, text: str, *, key: str = g.KEY, headers: dict[str, str] = ON, **more: Any) -> Any:
        return self.client.with_options(api_key=key).chat.completions.with_raw_response.create(
            model="local/m1", messages=[{"role": "user", "content": text}], extra_headers=headers, **more
        )

    def cache(self, text: str, **more: Any) -> str:
        raw = self.ask(text, **more)
        assert raw.parse().choices[0].message.content == "Hello world."
        return str(raw.headers["x-tetrad-cache"])

    def server(self, outcome: str) -> int:
        page = self.process.get("/metrics")[1].decode()
        name = f'tetrad_gateway_cache_server_total{{worker="0",outcome="{outcome}"}} '
        return sum(int(line.rsplit(" ", 1)[1]) for line in page.splitlines() if line.startswith(name))

    def stored(self, count: int) -> None:
        """Wait until so many answers lie in the server: they get there behind the client's back."""
        wait_until(lambda: self.server("stored") >= count, what="the answer in the server")


@pytest.fixture(scope="module")
def lasting(
    upstream: FakeOpenAI, claude: FakeAnthropic, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, Host, Host]]:
    skip_without_server("the cache that gateways share")
    world = World(upstream, claude, tmp_path_factory.mktemp("world"))
    world.redis.start()
    try:
        with world.hosts("one", "two") as (one, two):
            yield world, one, two
    finally:
        world.redis.kill()


@pytest.fixture
def world(upstream: FakeOpenAI, claude: FakeAnthropic, tmp_path: Path) -> Iterator[World]:
    skip_without_server("the cache that gateways share")
    made = World(upstream, claude, tmp_path)
    made.redis.start()
    try:
        yield made
    finally:
        made.redis.kill()


Lasting = tuple[World, Host, Host]


def test_what_one_gateway_paid_for_the_other_answers_at_no_cost(lasting: Lasting) -> None:
    world, one, two = lasting
    first = one.ask("shared")
    assert first.headers["x-tetrad-cache"] == "miss"
    one.stored(1)
    before = len(world.upstream.requests)
    second = two.ask("shared")
    assert second.headers["x-tetrad-cache"] == "hit"
    assert second.parse() == first.parse()
    assert len(world.upstream.requests) == before
    _, span = [each for each in spooled(two.process.home) if each.trace_id == second.headers["x-tetrad-trace-id"]]
    assert (span.cost, span.attributes["cache.level"]) == ("0", "server")
    assert span.attributes["cache.saved_cost"] == "0.00000465 USD"
    asked = two.server("found") + two.server("absent")
    assert two.cache("shared") == "hit"
    assert two.server("found") + two.server("absent") == asked, "what is in memory is not asked of the server"


def test_a_stream_that_one_kept_is_a_stream_and_a_whole_answer_at_the_other(lasting: Lasting) -> None:
    _, one, two = lasting
    stored = one.server("stored")
    list(one.ask("streamed", stream=True).parse())
    one.stored(stored + 1)
    raw = two.ask("streamed", stream=True)
    chunks = list(raw.parse())
    assert raw.headers["x-tetrad-cache"] == "hit"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Hello world."
    assert two.cache("streamed") == "hit"


def test_anthropics_client_gets_what_another_gateway_kept(lasting: Lasting) -> None:
    world, one, two = lasting
    found = []
    stored = one.server("stored")
    for host in (one, two):
        with anthropic.Anthropic(base_url=host.process.url, api_key=g.KEY, max_retries=0) as client:
            raw = client.messages.with_raw_response.create(
                model="claude/m1", max_tokens=64, messages=[{"role": "user", "content": "shared"}], extra_headers=ON
            )
            found.append((raw.headers["x-tetrad-cache"], raw.parse().content))
        one.stored(stored + 1)
    assert [each[0] for each in found] == ["miss", "hit"]
    assert found[0][1] == found[1][1]
    assert len(world.claude.requests) == 1


def test_what_may_not_be_recorded_or_kept_does_not_reach_the_server(lasting: Lasting) -> None:
    world, one, two = lasting
    stored, lying = one.server("stored"), world.redis.names()
    for key in (g.OFF_KEY, g.REDACTED_KEY):
        assert [one.cache("kept off", key=key), two.cache("kept off", key=key)] == ["miss", "miss"]
    assert one.cache("kept off", headers={"x-tetrad-cache": "off"}) == "off"
    assert one.ask("kept off", headers={}).headers.get("x-tetrad-cache") is None
    assert one.cache("the last one") == "miss"
    one.stored(stored + 1)
    assert len(set(world.redis.names()) - set(lying)) == 1


def test_nobody_who_reads_the_server_reads_answers_or_questions(lasting: Lasting) -> None:
    world, one, _ = lasting
    stored = one.server("stored")
    one.cache("a very private question")
    one.stored(stored + 1)
    names = world.redis.names()
    assert names
    for name in names:
        box = world.redis.say("GET", name)
        for word in (b"Hello", b"world", b"private", b"choices", b"assistant", b"local/m1"):
            assert word not in box + name


def test_another_generation_finds_nothing_of_before(lasting: Lasting) -> None:
    world, one, _ = lasting
    stored = one.server("stored")
    one.cache("cleared")
    one.stored(stored + 1)
    with world.gateway("cleared", {"default/": CachePolicy(use="asked", generation=2)}) as cleared:
        assert cleared.cache("cleared") == "miss"
    with world.gateway("not cleared") as other:
        assert other.cache("cleared") == "hit"


def test_garbage_that_somebody_planted_is_a_miss_and_is_counted(lasting: Lasting) -> None:
    world, one, two = lasting
    stored, before = one.server("stored"), set(world.redis.names())
    one.cache("victim")
    one.stored(stored + 1)
    (victim,) = set(world.redis.names()) - before
    one.cache("bait")
    one.stored(stored + 2)
    (bait,) = set(world.redis.names()) - before - {victim}
    for planted in (b"\x00garbage", b""):
        world.redis.say("SET", victim, planted)
        with world.gateway(f"reader{len(planted)}") as reader:
            assert reader.cache("victim") == "miss"
            assert reader.server("broken") == (1 if planted else 0)
            reader.stored(1)
    world.redis.say("COPY", bait, victim, "REPLACE")
    assert two.cache("victim") == "miss"
    assert (two.server("broken"), two.process.alive()) == (1, True)


def test_a_server_that_hangs_or_dies_in_the_middle_fails_no_call(world: World) -> None:
    with world.hosts("one", "two", gateway_cache_deadline_s=0.2) as (one, two):
        assert [one.cache("a"), one.cache("a")] == ["miss", "hit"]
        one.stored(1)
        wait_until(lambda: two.server("absent") or two.cache("warm"), what="a connection")
        world.redis.pause()
        started = time.monotonic()
        assert two.cache("b") == "miss"
        assert [two.cache(f"b{number}") for number in range(20)] == ["miss"] * 20
        silences = 2 + (time.monotonic() - started) / REST_S  # a write may have been under way
        assert two.server("failed") <= silences, "twenty calls waited for one silence"
        assert two.process.metric("tetrad_gateway_cache_server_up") == 0
        world.redis.kill()
        assert [two.cache("c"), two.cache("c")] == ["miss", "hit"]
        world.redis.start()
        wait_until(
            lambda: two.cache(f"{two.server('failed')} {two.server('passed')}") == "miss"
            and two.process.metric("tetrad_gateway_cache_server_up") == 1,
            what="the server's return", timeout_s=20,
        )  # fmt: skip
        stored = two.server("stored")
        two.cache("d")
        two.stored(stored + 1)
        assert one.process.alive()
        assert "Traceback" not in one.process.log() + two.process.log()


def test_a_full_server_is_told_of_and_fails_no_call(world: World) -> None:
    with world.gateway("one") as one:
        one.cache("a")
        one.stored(1)
        world.redis.say("CONFIG", "SET", "maxmemory", "1")
        assert [one.cache("b"), one.cache("b")] == ["miss", "hit"]
        wait_until(lambda: one.server("failed") == 1, what="the refusal")
        assert one.process.metric("tetrad_gateway_cache_server_up") == 1
        assert one.process.metric("tetrad_gateway_cache_server_writable") == 0
        assert "OOM" in one.process.log()


def test_control_is_told_how_the_server_does(world: World) -> None:
    with FakeControl() as control, world.gateway("one", control_url=control.url) as one:
        one.cache("a")
        one.stored(1)

        def told() -> dict[str, Any] | None:
            reports = [json.loads(report)["answers"] for report in control.health.values()]
            return next((each for each in reports if each["counts"]["stored"] == 1), None)

        answers = wait_until(told, timeout_s=20, what="a report")
        assert answers is not None
        assert (answers["state"], answers["why"], answers["counts"]["absent"]) == ("up", "", 1)


def test_disk_and_server_together_are_asked_in_this_order(world: World) -> None:
    with world.gateway("one") as one:
        one.cache("a")
        one.stored(1)
    disk = {"gateway_cache_disk_bytes": 10_000_000}
    with world.gateway("two", **disk) as two:
        assert two.cache("a") == "hit"
        wait_until(lambda: list((two.process.home / "cache").rglob("*.whole")), what="the answer on disk")
    world.redis.kill()
    with world.gateway("two", **disk) as again:
        assert again.cache("a") == "hit"
        assert again.process.metric("tetrad_gateway_cache_server_up") == 0


def test_over_tls_with_a_password_and_an_authority_of_ones_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = world.root / "server.key", world.root / "server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", str(key), "-out", str(certificate), "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    (world.root / "tls").mkdir()
    with lent_redis(world.root / "tls", *tls, "--tls-auth-clients", "no", "--requirepass", "right word"):
        url = f"rediss://:right%20word@127.0.0.1:{port}/0"
        with world.gateway("distrusting", gateway_cache_url=url) as distrusting:
            assert distrusting.cache("a") == "miss"
            wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in distrusting.process.log(), what="the reason")
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        with world.hosts("one", "two", gateway_cache_url=url) as (one, two):
            assert one.cache("a") == "miss"
            one.stored(1)
            assert two.cache("a") == "hit"
            assert "right word" not in one.process.log() + two.process.log()


def test_what_is_no_address_or_no_prefix_stops_the_gateway_with_a_hint(world: World) -> None:
    for settings, hint in (
        ({"gateway_cache_url": "http://x"}, "redis://host:6379/0"),
        ({"gateway_cache_url": "redis://:s3cr[et@127.0.0.1:6379/0"}, "%5B"),
        ({"gateway_cache_prefix": "a b"}, "TETRAD_GATEWAY_CACHE_PREFIX"),
    ):
        home = world.root / "refused"
        prepare_home(home, world.table())
        with GatewayProcess(home, wait=False, **{"gateway_cache_url": world.redis.url, **settings}) as refused:
            assert refused.process is not None
            assert refused.process.wait(30) != 0
            wait_until(lambda log=refused.log, hint=hint: hint in log(), what="the hint")  # type: ignore[misc]
            assert "Traceback" not in refused.log()
            assert "s3cr" not in refused.log()
