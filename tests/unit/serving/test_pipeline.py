"""The request pipeline without a network: who may call what, and what reaches the model."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from support import gateway as g
from support.pipeline import Bench, FakeReply
from tetrad.kernel import SystemClock, TetradError, Unavailable
from tetrad.serving import CHAT, AnswerTorn, Exchange, Pipeline
from tetrad.serving.ports import Outcome


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({}, 401, "missing_api_key"),
        ({b"authorization": b"Basic x"}, 401, "invalid_api_key"),
        ({b"authorization": b"Bearer "}, 401, "invalid_api_key"),
        ({b"authorization": b"Bearer nobody"}, 401, "invalid_api_key"),
        ({b"x-api-key": b"nobody"}, 401, "invalid_api_key"),
        ({b"authorization": f"Bearer {g.EXPIRED_KEY}".encode()}, 401, "expired_api_key"),
        ({b"authorization": f"Bearer {g.CONTROL_KEY}".encode()}, 403, "missing_scope"),
    ],
)
def test_a_request_without_a_good_key_is_refused(bench: Bench, headers: dict, status: int, code: str) -> None:
    with pytest.raises(TetradError) as caught:
        bench.pipeline.authenticate(Exchange(CHAT, headers, time.time_ns()))
    assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize("header", [(b"authorization", b"bearer %s"), (b"x-api-key", b"%s")])
def test_a_key_comes_as_bearer_or_as_x_api_key(bench: Bench, header: tuple[bytes, bytes]) -> None:
    exchange = Exchange(CHAT, {header[0]: header[1] % g.KEY.encode()}, time.time_ns())
    bench.pipeline.authenticate(exchange)
    assert exchange.key is not None
    assert exchange.key.id == "key_full"


async def test_a_model_gets_the_clients_bytes_and_only_its_name_is_changed(bench: Bench) -> None:
    body = (
        b'{"model" : "local/m1","messages":[ {"role":"user","content":"\\u00fc \xc3\xbc"} ],"odd":{"a":2.50},"n":1e3}'
    )
    reply = await bench.ask(body)
    assert reply.status == 200
    fields = bench.provider.calls[0].fields
    assert bytes(fields["model"]) == b'"m1"'
    assert bytes(fields["messages"]) == b'[ {"role":"user","content":"\\u00fc \xc3\xbc"} ]'
    assert bytes(fields["odd"]) == b'{"a":2.50}'
    assert bytes(fields["n"]) == b"1e3"


async def test_a_release_puts_prompt_and_examples_before_the_client(bench: Bench) -> None:
    reply = await bench.chat("app:assistant", tetrad={"variables": {"name": 'Åsa "\n'}})
    assert reply.status == 200
    assert reply.headers[b"x-tetrad-release"] == g.RELEASE.encode()
    assert bench.provider.sent["messages"] == [
        {"role": "system", "content": 'You help Åsa "\n.'},
        {"role": "user", "content": "2+2?"},
        {"role": "assistant", "content": "4 {{kept}}"},
        {"role": "user", "content": "hi"},
    ]
    assert "tetrad" not in bench.provider.sent


async def test_examples_stand_between_the_system_prompt_and_what_follows_it(bench: Bench) -> None:
    await bench.chat("app:assistant@static")
    contents = [message["content"] for message in bench.provider.sent["messages"]]
    assert contents == ["Be brief.", "a", "b", "Begin.", "hi"]


@pytest.mark.parametrize("messages", [b"[]", b"[ ]", None])
async def test_an_app_answers_without_messages_of_the_client(bench: Bench, messages: bytes | None) -> None:
    rest = b"" if messages is None else b',"messages":' + messages
    reply = await bench.ask(b'{"model":"app:assistant@static"' + rest + b"}")
    assert reply.status == 200
    assert len(bench.provider.sent["messages"]) == 4


async def test_parameters_of_a_release_are_defaults_unless_fixed(bench: Bench) -> None:
    variables = {"variables": {"name": "x"}}
    await bench.chat("app:assistant", tetrad=variables, temperature=0.9)
    assert (bench.provider.sent["temperature"], bench.provider.sent["seed"]) == (0.9, 7)
    assert bench.provider.sent["max_tokens"] == 99
    await bench.chat("app:assistant", tetrad=variables, max_completion_tokens=5)
    assert "max_tokens" not in bench.provider.sent, "two names of one limit must not meet"
    assert (await bench.chat("app:assistant", tetrad=variables, seed=7)).status == 200
    refused = await bench.chat("app:assistant", tetrad=variables, seed=8)
    assert (refused.status, refused.error["param"], refused.error["code"]) == (400, "seed", "param_fixed")


async def test_variables_may_come_as_text_in_metadata_which_the_upstream_does_not_see(bench: Bench) -> None:
    reply = await bench.chat("app:assistant", metadata={"tetrad.variables": '{"name":"Bo"}', "team": "x"})
    assert reply.status == 200
    assert bench.provider.sent["messages"][0]["content"] == "You help Bo."
    assert bench.provider.sent["metadata"] == {"team": "x"}
    await bench.chat("app:assistant", metadata={"tetrad.variables": '{"name":"Bo"}'})
    assert "metadata" not in bench.provider.sent


async def test_variables_that_the_release_does_not_know_are_left_out_and_named(bench: Bench) -> None:
    plain = await bench.chat("app:assistant", tetrad={"variables": {"name": "x"}})
    sent = bench.provider.sent
    reply = await bench.chat("app:assistant", tetrad={"variables": {"name": "x", "nmae": "y", "a\r\nb": 1}})
    assert plain.status == reply.status == 200
    assert bench.provider.sent == sent, "a rollback to a release with fewer variables breaks no caller"
    assert reply.headers[b"x-tetrad-unused-variables"] == b"nmae, and 1 more"


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "name"),
        ({"name": 5}, "name"),
        ({"name": None}, "name"),
        ([1], "variables"),
    ],
)
async def test_wrong_variables_are_refused_by_name_before_any_call(bench: Bench, variables: Any, named: str) -> None:
    reply = await bench.chat("app:assistant", tetrad={"variables": variables})
    assert reply.status == 400
    assert named in reply.error["message"]
    assert reply.error["param"] == "tetrad.variables"
    assert not bench.provider.calls


@pytest.mark.parametrize("model", ["local/m1", "app:assistant"])
@pytest.mark.parametrize(
    "place",
    [
        '"messages":%s',
        '"messages":[%s]',
        '"messages":[{"role":"user","content":%s}]',
        '"messages":[],"tools":[{"type":"function","function":{"name":"f","parameters":%s}}]',
        '"messages":[],"response_format":%s',
        '"messages":[],"stop":%s',
        '"messages":[],"metadata":%s',
        '"messages":[],"stream_options":%s',
        '"messages":[],"tetrad":%s',
        '"messages":[],"tetrad":{"variables":{"name":%s}}',
        '"messages":[],"%s":1',
    ],
)
async def test_what_nests_deeply_is_passed_on_or_refused_on_every_python(bench: Bench, model: str, place: str) -> None:
    for levels in (250, 900, 3_000):  # 3.11 reads the first, 3.13 all of them
        for deep in ("[" * levels + "]" * levels, '{"a":' * levels + "1" + "}" * levels):
            said = place.replace("%s", json.dumps(deep)[1:-1] if place.endswith('"%s":1') else deep)
            reply = await bench.ask(f'{{"model":"{model}",{said}}}'.encode())
            assert reply.status in (200, 400), reply.pieces


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        (b"", "empty_body", None),
        (b"{", "malformed_json", None),
        (b"[1]", "malformed_json", None),
        (b"null", "malformed_json", None),
        (b'{"model":"local/m1"} x', "malformed_json", None),
        (b'{"model":"local/m1","messages":[{"content":"\xff"}]}', "malformed_json", None),
        (b'{"model":"local/m1","messages":' + b"[" * 100_000, "malformed_json", None),
        (b'{"messages":[]}', "missing_field", "model"),
        (b'{"model":5,"messages":[]}', "bad_field", "model"),
        (b'{"model":"","messages":[]}', "bad_field", "model"),
        (b'{"model":"local/m1"}', "missing_field", "messages"),
        (b'{"model":"local/m1","messages":"hi"}', "bad_field", "messages"),
        (b'{"model":"local/m1","messages":[],"stream":"yes"}', "bad_field", "stream"),
        (b'{"model":"local/m1","messages":[],"stream":true,"stream_options":4}', "bad_field", "stream_options"),
        (b'{"model":"local/m1","messages":[],"tetrad":7}', "bad_field", "tetrad"),
        (b'{"model":"local/m1","messages":[],"metadata":{"tetrad.variables":{}}}', "bad_field", "metadata"),
    ],
)
async def test_a_bad_body_is_refused_and_says_where(bench: Bench, body: bytes, code: str, param: str | None) -> None:
    reply = await bench.ask(body)
    assert (reply.status, reply.error["code"], reply.error["param"]) == (400, code, param)
    assert reply.error["type"] == "invalid_request_error"
    assert not bench.provider.calls
    assert [record.status for record in bench.records] == [400], "a known client's mistakes are recorded"


@pytest.mark.parametrize(
    ("model", "key", "status", "code"),
    [
        ("nope", g.KEY, 404, "model_not_found"),
        ("app:nope", g.KEY, 404, "model_not_found"),
        ("app:assistant@nope", g.KEY, 404, "model_not_found"),
        ("app:assistant", g.OTHER_KEY, 404, "model_not_found"),
        (f"release:{g.RELEASE}", g.KEY, 403, "missing_scope"),
        (f"app:assistant@{g.RELEASE}", g.KEY, 403, "missing_scope"),
        (f"release:{g.RELEASE}", g.OTHER_KEY, 404, "model_not_found"),
        ("release:sha256:123", g.PIN_KEY, 404, "model_not_found"),
        (f"app:nope@{g.RELEASE}", g.PIN_KEY, 404, "model_not_found"),
        ("app:assistant@broken", g.KEY, 503, "release_unusable"),
        ("app:assistant@lost", g.KEY, 503, "release_unusable"),
        ("local/unbound", g.KEY, 503, "model_unusable"),
        ("local/down", g.KEY, 503, "upstream_not_ready"),
    ],
)
async def test_what_cannot_be_routed_says_why(bench: Bench, model: str, key: str, status: int, code: str) -> None:
    reply = await bench.ask({"model": model, "messages": [{"role": "user", "content": "x"}]}, key=key)
    assert (reply.status, reply.error["code"]) == (status, code)
    assert not bench.provider.calls


@pytest.mark.parametrize("model", [f"release:{g.RELEASE}", f"app:assistant@{g.RELEASE}"])
async def test_a_key_with_the_scope_pin_calls_a_release_by_digest(bench: Bench, model: str) -> None:
    body = {"model": model, "messages": [], "tetrad": {"variables": {"name": "x"}}}
    reply = await bench.ask(body, key=g.PIN_KEY)
    assert reply.status == 200
    assert (bench.records[0].app, bench.records[0].ref) == ("assistant", "")


async def test_one_broken_release_does_not_take_the_table_with_it(bench: Bench) -> None:
    assert set(bench.compiled.problems) == {f"release default/{g.BROKEN_RELEASE}", "model local/unbound"}
    assert (await bench.chat("local/m1")).status == 200


async def test_embeddings_go_to_models_that_do_them(bench: Bench) -> None:
    reply = await bench.ask({"model": "local/m1", "input": ["a"]}, kind="embeddings")
    assert reply.status == 200
    assert bench.provider.sent == {"model": "m1", "input": ["a"]}
    wrong = await bench.ask({"model": "local/chatonly", "input": "a"}, kind="embeddings")
    assert (wrong.status, wrong.error["code"]) == (400, "wrong_kind_of_model")
    missing = await bench.ask({"model": "local/m1"}, kind="embeddings")
    assert (missing.status, missing.error["param"]) == (400, "input")


async def test_the_cost_is_exact_and_counts_each_token_once(bench: Bench) -> None:
    await bench.chat("local/m1")
    [attempt] = bench.records[0].attempts
    # ten fresh tokens at 0.15, two cached ones at 0.075, four of output at 0.6, each per million
    assert (attempt.cost, attempt.currency) == ("0.00000405", "USD")


async def test_an_unknown_price_is_an_unknown_cost(bench: Bench) -> None:
    await bench.chat("local/chatonly")
    assert bench.records[0].attempts[0].cost is None
    bench.provider.outcome = Outcome()
    await bench.chat("local/m1")
    assert bench.records[1].attempts[0].cost is None


@pytest.mark.parametrize("stream", [False, True])
async def test_the_record_is_written_before_the_last_byte_goes_out(bench: Bench, stream: bool) -> None:
    bench.provider.pieces = [b"a", b"b", b"c"] if stream else [b"{}"]
    reply = await bench.chat("local/m1", stream=stream)
    assert reply.recorded_before_end is True
    assert len(bench.records) == 1
    assert bench.provider.answers[0].closed == 1


@pytest.mark.parametrize("where", ["read", "outcome"])
async def test_a_fault_of_ours_in_the_middle_of_a_stream_tears_it_and_is_recorded_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    bench.provider.pieces = [b"data: 1\n\n", ZeroDivisionError() if where == "read" else b"data: 2\n\n"]

    def fails(_: object) -> None:
        raise ZeroDivisionError

    if where == "outcome":
        monkeypatch.setattr("support.pipeline.FakeAnswer.outcome", fails)
    with pytest.raises(AnswerTorn):
        await bench.chat("local/m1", stream=True)
    [record] = bench.records
    assert (record.error_type, record.recorded) == ("internal", True)


async def test_a_stream_that_fails_ends_with_an_error_event(bench: Bench) -> None:
    bench.provider.pieces = [b"data: 1\n\n", Unavailable("gone", code="upstream_lost")]
    reply = await bench.chat("local/m1", stream=True)
    assert reply.status == 200
    assert reply.pieces[0] == b"data: 1\n\n"
    event = json.loads(reply.pieces[1].removeprefix(b"data: "))
    assert event["error"]["code"] == "upstream_lost"
    record = bench.records[0]
    assert (record.error_type, record.attempts[0].error_type) == ("upstream_lost", "upstream_lost")


async def test_a_fault_of_ours_is_a_500_that_tells_nothing_but_the_trace(bench: Bench) -> None:
    bench.provider.error = RuntimeError("secret detail")
    reply = await bench.chat("local/m1")
    assert reply.status == 500
    assert "secret detail" not in reply.error["message"]
    assert bench.records[0].trace_id in reply.error["message"]


@pytest.mark.parametrize(
    ("announced", "model", "match"),
    [
        (g.CODE, "app:assistant", "match"),
        ("sha256:" + "0" * 64, "app:assistant", "mismatch"),
        (None, "app:assistant", "unannounced"),
        (None, "app:assistant@static", ""),
        (g.CODE, "local/m1", ""),
    ],
)
async def test_the_announced_code_is_compared_with_the_releases(
    bench: Bench, announced: str | None, model: str, match: str
) -> None:
    headers = {b"x-tetrad-code": announced.encode()} if announced else {}
    variables = {"variables": {"name": "x"} if model == "app:assistant" else {}}
    body = {"model": model, "messages": [{"role": "user", "content": "x"}], "tetrad": variables}
    assert (await bench.ask(body, headers=headers)).status == 200
    assert (bench.records[0].code_match, bench.records[0].code) == (match, announced or "")


@pytest.mark.parametrize(
    ("headers", "fields", "unit"),
    [
        ({}, {}, "key_full"),
        ({}, {"user": "u"}, "u"),
        ({b"x-tetrad-session": b"s"}, {"user": "u"}, "s"),
        ({b"x-tetrad-session": b"s", b"x-tetrad-unit": b"x"}, {}, "x"),
        ({}, {"tetrad": {"session": "s2", "user": "u2"}}, "s2"),
    ],
)
async def test_the_unit_is_session_else_user_else_key(bench: Bench, headers: dict, fields: dict, unit: str) -> None:
    await bench.ask({"model": "local/m1", "messages": [], **fields}, headers=headers)
    assert bench.records[0].unit == unit


async def test_an_endless_label_is_refused(bench: Bench) -> None:
    reply = await bench.ask({"model": "local/m1", "messages": []}, headers={b"x-tetrad-session": b"s" * 257})
    assert (reply.status, reply.error["param"]) == (400, "x-tetrad-session")


TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (f"00-{TRACE}-{PARENT}-01", True),
        (f"01-{TRACE}-{PARENT}-01-future", True),
        (f"00-{TRACE}-{PARENT}-01-more", False),
        (f"ff-{TRACE}-{PARENT}-01", False),
        (f"00-{'0' * 32}-{PARENT}-01", False),
        (f"00-{TRACE}-{'0' * 16}-01", False),
        (f"00-{TRACE.upper()}-{PARENT}-01", False),
        (f"00-{TRACE[:-1]}-{PARENT}-011", False),
        ("garbage", False),
        ("\xff" * 55, False),
    ],
)
def test_a_good_traceparent_is_honoured_and_a_bad_one_ignored(header: str, taken: bool) -> None:
    exchange = Exchange(CHAT, {b"traceparent": header.encode("latin-1")}, 1)
    assert (exchange.trace_id == TRACE) is taken
    assert exchange.parent_id == (PARENT if taken else "")
    assert len(exchange.trace_id) == 32


async def test_before_the_first_table_everything_is_503_with_retry_after() -> None:
    pipeline = Pipeline({}, record=lambda _: None, clock=SystemClock())
    reply = FakeReply()
    reply.exchange = exchange = Exchange(CHAT, {}, time.time_ns())
    with pytest.raises(Unavailable) as caught:
        pipeline.authenticate(exchange)
    await pipeline.refuse(exchange, caught.value, reply)
    assert (reply.status, reply.error["code"], reply.headers[b"retry-after"]) == (503, "no_route_table", b"1")


async def test_a_new_table_compiles_only_releases_that_it_has_not_met(bench: Bench) -> None:
    before = dict(bench.compiled._releases)
    after = bench.pipeline.install(g.make_table("http://127.0.0.1:2/v1", version=2))
    assert after._releases["default", g.RELEASE] is before["default", g.RELEASE]


def test_the_list_of_models_shows_a_key_its_own_projects_apps(bench: Bench) -> None:
    keys = bench.compiled.table.keys
    mine = [name for name, _, _ in bench.compiled.names(keys[g.key_hash(g.KEY)])]
    others = [name for name, _, _ in bench.compiled.names(keys[g.key_hash(g.OTHER_KEY)])]
    assert "app:assistant" in mine
    assert not any(name.startswith("app:") for name in others)
    assert "local/m1" in others


async def test_the_static_part_of_a_release_is_the_same_bytes_in_every_request(bench: Bench) -> None:
    """Upstreams cache prompts by their first bytes: what changes from request to request must come after them."""
    sent = []
    for text in ("a", "b", "c" * 5000):
        await bench.chat("app:assistant@static", [{"role": "user", "content": text}])
        sent.append(bytes(bench.provider.calls[-1].fields["messages"]))
    await bench.chat("app:assistant@static", [{"role": "user", "content": "d"}], tetrad={"variables": {"odd": 1}})
    sent.append(bytes(bench.provider.calls[-1].fields["messages"]))
    static = sent[0][: sent[0].index(b'{"role": "user"')]
    assert b"Be brief." in static
    assert b"Begin." in static
    assert all(each.startswith(static) for each in sent)
