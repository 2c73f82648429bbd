"""One release in two environments, over a real gateway: two upstreams, the binding's digest on every span."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openai
import pytest

from support import gateway as g
from support.bindings import FakeInstalled, make_bindings
from support.databases import SqliteTemplate, opened
from support.fake_control import FakeControl
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, prepare_home, sealed, spooled
from support.tetrads import ALICE, wire
from support.wait import wait_until
from tetrad.bindings import Bindings
from tetrad.identity import KeyGrant
from tetrad.kernel import Digest, NotFound
from tetrad.processes.control._compile import Sources, compile_table
from tetrad.releases import App, AppRefs, Message, ResolvedRelease
from tetrad.serving import ProviderModel, ProviderSpec, RouteTable

RELEASE = Digest("sha256:" + "7" * 64)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
P = "default"
MESSAGES: Any = [{"role": "user", "content": "hi"}]


class Site:
    """Control's compilation over real bindings, two providers, and a gateway that follows the tables."""

    def __init__(self, bindings: Bindings, control: FakeControl, home: Path, urls: dict[str, str]) -> None:
        self.bindings, self.control, self.home, self.urls = bindings, control, home, urls
        self.version = 0
        self.problems: list[str] = []
        self.gateway: GatewayProcess | None = None

    def table(self) -> RouteTable:
        self.version += 1
        sources = Sources(
            grants=lambda: [KeyGrant(g.key_hash(g.KEY), "key_full", P, ("data", "pin"), "full", 0)],
            upstreams=dict,
            models=dict,
            providers=lambda: [
                ProviderSpec(name=name, project=P, base_url=url, models=(ProviderModel("m1"),), secret=f"{name}-key")
                for name, url in self.urls.items()
            ],
            secret=lambda _project, name: f"secret-of-{name}",
            price=lambda *_: None,
            apps=lambda: [
                AppRefs(App(P, "bot", "", "production", NOW, "me"), {"production": RELEASE, "staging": RELEASE})
            ],
            history=lambda *_: [RELEASE],
            resolve=resolved,
            bindings=self.bindings.set_of,
            candidates=list,
            resolve_candidate=lambda _candidate: resolved(P, RELEASE),
        )
        table = compile_table(sources, version=self.version, made_ns=self.version)
        self.problems = list(sources.problems)
        return table

    def publish(self) -> None:
        """Send the newest table and wait until the gateway routes by it."""
        table = self.table()
        self.control.publish(sealed(self.home, table))
        gateway = self.gateway
        assert gateway is not None
        wait_until(
            lambda: gateway.metric("tetrad_gateway_table_version") == table.version, what=f"table {table.version}"
        )

    def put(self, env: str, provider: str, **more: Any) -> str:
        """Bind the logical provider `llm` in an environment."""
        document = {"providers": {"llm": {"provider": provider, "models": {"gpt": "m1"}, **more}}}
        try:
            given: dict[str, Any] = {"expected": self.bindings.own(P, env).ref.digest}
        except NotFound:
            given = {"create": True}
        return self.bindings.put(P, env, document, actor=ALICE, **given).bound.ref.digest


def resolved(project: str, digest: Digest) -> ResolvedRelease:
    return ResolvedRelease(
        digest=digest, project=project, app="bot", model="llm/gpt", model_digest=digest, model_kind="hosted",
        messages=(Message("system", "Be kind."),),
    )  # fmt: skip


@pytest.fixture
def upstreams() -> Iterator[dict[str, FakeOpenAI]]:
    with FakeOpenAI() as us, FakeOpenAI() as eu:
        yield {"us": us, "eu": eu}


@pytest.fixture
def site(upstreams: dict[str, FakeOpenAI], tetrad_home: Path, tmp_path: Path) -> Iterator[Site]:
    url = SqliteTemplate(tmp_path).copy(tmp_path / "tetrad.db")
    installed = FakeInstalled(providers={"us": ["m1"], "eu": ["m1"]}, secrets={"OTHER"})
    with opened(url) as database, FakeControl() as control:
        urls = {name: fake.base_url for name, fake in upstreams.items()}
        found = Site(make_bindings(wire(database).registry, installed), control, tetrad_home, urls)
        found.put("production", "us")
        found.put("staging", "eu")
        prepare_home(tetrad_home, found.table())
        with GatewayProcess(tetrad_home, control_url=control.url) as gateway:
            found.gateway = gateway
            yield found


@pytest.fixture
def client(site: Site) -> Iterator[openai.OpenAI]:
    assert site.gateway is not None
    with openai.OpenAI(base_url=site.gateway.url + "/v1", api_key=g.KEY, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI, model: str) -> Any:
    return client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES)


def all_spans(site: Site) -> list[Any]:
    """Return what went to control and what still lies in the spool, each span once."""
    found = {span.span_id: span for span in [*site.control.spans, *spooled(site.home)]}
    return list(found.values())


def test_one_release_goes_to_another_upstream_in_each_environment(
    site: Site, client: openai.OpenAI, upstreams: dict[str, FakeOpenAI]
) -> None:
    for ref, provider in (("production", "us"), ("staging", "eu")):
        answer = ask(client, f"app:bot@{ref}")
        digest = site.bindings.find(P, ref).digest
        assert answer.headers["x-tetrad-release"] == RELEASE
        assert answer.headers["x-tetrad-binding"] == digest
        (request,) = upstreams[provider].requests
        assert (request.body["model"], request.headers["authorization"]) == ("m1", f"Bearer secret-of-{provider}-key")
        trace = answer.headers["x-tetrad-trace-id"]
        wait_until(lambda t=trace: len([span for span in all_spans(site) if span.trace_id == t]) == 2)
        spans = [span for span in all_spans(site) if span.trace_id == trace]
        assert {span.binding for span in spans} == {digest}
        assert {span.release for span in spans} == {RELEASE}
        assert {span.attributes.get("upstream") for span in spans} == {None, provider}
    pinned = ask(client, f"release:{RELEASE}")
    assert pinned.headers["x-tetrad-binding"] == site.bindings.find(P, "production").digest


def test_a_binding_to_what_is_gone_closes_one_environment(site: Site, client: openai.OpenAI) -> None:
    del site.urls["eu"]
    site.publish()
    with pytest.raises(openai.APIStatusError) as caught:
        ask(client, "app:bot@staging")
    assert caught.value.status_code == 503
    assert "binding_broken" in caught.value.response.text
    assert caught.value.response.headers["x-tetrad-binding"] == site.bindings.find(P, "staging").digest
    assert "bot/staging" in site.problems[0]
    assert ask(client, "app:bot").http_response.status_code == 200


def test_a_binding_is_moved_and_rolled_back_under_load_without_a_failed_answer(
    site: Site, upstreams: dict[str, FakeOpenAI]
) -> None:
    assert site.gateway is not None
    stop = threading.Event()
    answers: list[tuple[int, str, str]] = []
    faults: list[BaseException] = []

    def load() -> None:
        assert site.gateway is not None
        try:
            while not stop.is_set():
                status, headers, _ = site.gateway.chat("app:bot")
                answers.append((status, headers.get("x-tetrad-binding", ""), headers["x-tetrad-trace-id"]))
        except (OSError, KeyError, AssertionError) as fault:  # told by the test's own thread
            faults.append(fault)

    def answered_by(digest: str) -> Callable[[], bool]:
        seen = len(answers)
        return lambda: bool(faults) or any(binding == digest for _, binding, _ in answers[seen:])

    threads = [threading.Thread(target=load) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        us = site.bindings.find(P, "production").digest
        wait_until(answered_by(us))
        for number in range(1, 4):
            eu = site.put("production", "eu", max_concurrency=100 + number)
            site.publish()
            wait_until(answered_by(eu))
            assert site.bindings.roll_back(P, "production", actor=ALICE).new == us
            site.publish()
            wait_until(answered_by(us))
    finally:
        stop.set()
        for thread in threads:
            thread.join(30)
    assert faults == []
    assert {status for status, _, _ in answers} == {200}
    assert len({binding for _, binding, _ in answers}) == 4
    wait_until(lambda: len(all_spans(site)) >= 2 * len(answers), what="every span", timeout_s=30)
    went_to = {(span.binding == us, span.attributes["upstream"]) for span in all_spans(site) if span.kind == "CLIENT"}
    assert went_to == {(True, "us"), (False, "eu")}, "a span names the binding that really chose its upstream"
    assert all(fake.requests for fake in upstreams.values())
