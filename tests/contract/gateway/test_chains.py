"""A chain and a promised shape over a real gateway: the official client streams, the spool tells every step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import openai
import pytest

from support import gateway as g
from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home, spooled
from tetrad.serving import LimitRule, MessageTemplate, ModelRoute, ReleaseRoute, RouteTarget, Variable

CHAIN, SHAPED = "sha256:" + "5" * 64, "sha256:" + "6" * 64
MIXED = "sha256:" + "8" * 64
SCARCE = "sha256:" + "9" * 64
MESSAGES = [{"role": "user", "content": "hi"}]


def step(name: str, text: str, inputs: dict[str, str], model: str = "local/m1") -> ReleaseRoute:
    return ReleaseRoute(
        CHAIN, "default", "assistant", model, messages=(MessageTemplate("system", text),),
        variables=tuple(Variable(each) for each in inputs), step=name, inputs=inputs,
    )  # fmt: skip


@pytest.fixture
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
def gateway(upstream: FakeOpenAI, tetrad_home: Path) -> Iterator[GatewayProcess]:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    releases = {
        CHAIN: ReleaseRoute(
            CHAIN, "default", "assistant", "local/m1", variables=(Variable("topic"),),
            steps=(
                step("draft", "On {{t}}.", {"t": "variables.topic"}),
                step("polish", "Polish {{d}}", {"d": "draft.text"}),
            ),
        ),
        MIXED: ReleaseRoute(
            MIXED, "default", "assistant", "local/m1", variables=(Variable("topic"),),
            steps=(
                step("draft", "On {{t}}.", {"t": "variables.topic"}, model="careful"),
                msgspec.structs.replace(
                    step("polish", "JSON of {{d}}", {"d": "draft.text"}),
                    params={"response_format": msgspec.Raw(json.dumps(form).encode())},
                    output="report",
                    examples=(MessageTemplate("user", "a"), MessageTemplate("assistant", "{}")),
                ),
            ),
        ),
        SCARCE: ReleaseRoute(
            SCARCE, "default", "assistant", "local/m1",
            steps=(step("draft", "On rain.", {}), step("polish", "Polish.", {}, model="scarce")),
        ),
        SHAPED: ReleaseRoute(
            SHAPED, "default", "assistant", "local/m1", messages=(MessageTemplate("system", "JSON."),), repair=True,
            params={"response_format": msgspec.Raw(json.dumps(form).encode())},
        ),
    }  # fmt: skip
    table = make_table(upstream.base_url, models=("error:500", "echo", "slow:0"))
    careful = ModelRoute(
        name="careful", project="default",
        targets=(RouteTarget("local/error-500"), RouteTarget("local/m1", priority=1)),
    )  # fmt: skip
    scarce = ModelRoute(
        name="scarce", project="default", targets=(RouteTarget("local/echo"), RouteTarget("local/slow-0"))
    )
    limits = tuple(
        LimitRule(id=name, project="default", subject="model", name=name, measure="requests", amount=1)
        for name in ("local/echo", "local/slow-0")
    )
    routes = {"default/careful": careful, "default/scarce": scarce}
    table = msgspec.structs.replace(table, routes=routes, limits=limits)
    app = table.apps["default/assistant"]
    refs = {"production": CHAIN, "shaped": SHAPED, "mixed": MIXED, "scarce": SCARCE}
    apps = {"default/assistant": msgspec.structs.replace(app, refs=refs)}
    kept = {f"default/{digest}": release for digest, release in releases.items()}
    prepare_home(tetrad_home, msgspec.structs.replace(table, apps=apps, releases=kept))
    with GatewayProcess(tetrad_home, limits_wait_s=0.05) as gateway:  # nothing of a limit can be had without control
        yield gateway


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.url + "/v1", api_key=g.KEY, max_retries=0) as client:
        yield client


def test_a_chain_streams_its_last_step_and_records_each(
    client: openai.OpenAI, gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="app:assistant", messages=MESSAGES, stream=True, extra_body={"tetrad": {"variables": {"topic": "rain"}}}
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in raw.parse() if chunk.choices)
    assert (text, raw.headers["x-tetrad-step"]) == ("Hello world.", "polish")
    assert [request.body.get("stream", False) for request in upstream.requests] == [False, True]
    assert upstream.requests[1].body["messages"] == [{"role": "system", "content": "Polish Hello world."}]
    trace = raw.headers["x-tetrad-trace-id"]
    root, draft, polish = (span for span in spooled(gateway.home) if span.trace_id == trace)
    assert [span.attributes.get("tetrad.step") for span in (root, draft, polish)] == [None, "draft", "polish"]
    assert draft.cost == polish.cost == "0.00000465"
    assert draft.parent_id == polish.parent_id == root.span_id


def test_a_step_goes_by_a_route_of_its_own_and_the_last_one_reports_its_shape(
    client: openai.OpenAI, gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    raw = client.chat.completions.with_raw_response.create(
        model="app:assistant@mixed", messages=MESSAGES, extra_body={"tetrad": {"variables": {"topic": "rain"}}}
    )
    assert raw.parse().choices[0].message.content == "Hello world."
    assert [request.body["model"] for request in upstream.requests][-2:] == ["m1", "m1"]
    assert upstream.requests[0].body["model"] == "error:500"
    assert [message["content"] for message in upstream.requests[-1].body["messages"]] == [
        "JSON of Hello world.",
        "a",
        "{}",
    ]
    trace = raw.headers["x-tetrad-trace-id"]
    root, *tries = (span for span in spooled(gateway.home) if span.trace_id == trace)
    assert {span.attributes["tetrad.step"] for span in tries[:-1]} == {"draft"}
    assert tries[-1].attributes["tetrad.step"] == "polish"
    assert raw.headers["x-tetrad-output"] == "violated"
    assert {span.attributes["tetrad.model"] for span in tries} == {"local/error-500", "local/m1"}
    assert root.attributes.get("tetrad.step") is None


def test_a_chain_is_refused_before_it_costs_anything_where_a_later_step_can_go_nowhere(
    client: openai.OpenAI, gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    with pytest.raises(openai.RateLimitError, match="the step 'polish': ") as caught:
        client.chat.completions.create(model="app:assistant@scarce", messages=MESSAGES)
    assert "retry-after" in caught.value.response.headers
    assert upstream.requests == []


def test_an_answer_of_another_shape_is_tried_again_and_refused(
    client: openai.OpenAI, gateway: GatewayProcess, upstream: FakeOpenAI
) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="app:assistant@shaped", messages=MESSAGES)
    assert (caught.value.status_code, caught.value.code) == (502, "output_schema_violated")
    assert len(upstream.requests) == 2
    trace = caught.value.response.headers["x-tetrad-trace-id"]
    root, *tries = (span for span in spooled(gateway.home) if span.trace_id == trace)
    assert [span.error_type for span in (root, *tries)] == ["output_schema_violated"] * 3
    with (
        pytest.raises(openai.APIError, match="does not fit"),
        client.chat.completions.create(model="app:assistant@shaped", messages=MESSAGES, stream=True) as stream,
    ):
        list(stream)
