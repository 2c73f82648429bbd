"""Which protocols reach which, and what a call gets that no translator can help."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import msgspec
import pytest

from support.translation import translated as said_in
from tetrad.serving import (
    CHAT,
    EMBEDDINGS,
    BadAnswer,
    Operation,
    RequestRefused,
    StreamBroken,
    Upstream,
    translated,
)
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


@pytest.mark.parametrize(
    ("asked", "setting", "refused"),
    [(None, "lossy", False), (None, "strict", True), (False, "strict", False), (True, "lossy", True)],
)
async def test_the_client_decides_about_strictness_else_the_provider(
    asked: bool | None, setting: Any, refused: bool
) -> None:
    reached: list[ModelCall] = []

    async def following(call: ModelCall) -> Any:
        reached.append(call)
        raise BadAnswer("enough")

    fields = {"model": msgspec.Raw(b'"m"'), "messages": msgspec.Raw(b"[]"), "seed": msgspec.Raw(b"1")}
    call = ModelCall(CHAT, fields, strict=asked)
    with pytest.raises(RequestRefused if refused else BadAnswer):
        await translated(call, ["messages"], Upstream("up", "", translation=setting), following)
    assert len(reached) == (0 if refused else 1)


class Answered:
    """A stream whose first pieces say nothing to a client of the other protocol."""

    status, stream, done, received_ns, dropped = 200, True, False, 0, ()

    def __init__(self, pieces: list[bytes]) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self._pieces = pieces
        self.closed = 0

    async def read(self) -> bytes:
        piece = self._pieces.pop(0)
        self.done = not self._pieces
        return piece

    def outcome(self) -> Outcome:
        return Outcome(finish_reasons=("end_turn",))

    def close(self) -> None:
        self.closed += 1


async def test_a_stream_waits_for_something_to_say_and_ends_with_it() -> None:
    start = b'data: {"type":"message_start","message":{"id":"m","model":"c"}}\n\n'
    text = b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}\n\n'
    reason = b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
    pings = [b'data: {"type":"ping"}\n\n'] * 200
    source = Answered([start, *pings, text, reason, b'data: {"type":"message_stop"}\n\n'])

    async def following(call: ModelCall) -> Any:
        assert call.operation.name == "messages"
        return source

    call = ModelCall(CHAT, {"model": msgspec.Raw(b'"m"'), "messages": msgspec.Raw(b"[]")}, stream=True)
    answer = await translated(call, ["messages"], Upstream("up", ""), following)
    pieces = []
    while not answer.done:
        pieces.append(await answer.read())
    assert all(pieces)
    assert b'"content":"a"' in pieces[1]
    assert pieces[-1].endswith(b"data: [DONE]\n\n")
    assert answer.outcome().finish_reasons == ("stop",)
    answer.close()
    assert source.closed == 1


async def test_a_stream_that_ends_too_early_is_an_error() -> None:
    start = b'data: {"type":"message_start","message":{"id":"m","model":"c"}}\n\n'

    async def following(_call: ModelCall) -> Any:
        return Answered([start, b""])

    call = ModelCall(CHAT, {"model": msgspec.Raw(b'"m"'), "messages": msgspec.Raw(b"[]")}, stream=True)
    answer = await translated(call, ["messages"], Upstream("up", ""), following)
    await answer.read()
    with pytest.raises(StreamBroken):
        await answer.read()


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


FUNCTIONS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("now", "weather")]


def narrowed(client: str, upstream: str, mode: str, *names: str) -> dict[str, Any]:
    """Return what an upstream is asked where the client lets the model call the functions of these names alone."""
    if client == "chat":
        allowed: dict[str, Any] = {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [
            {"type": "function", "function": {"name": name}} for name in names]}}  # fmt: skip
        body = {"messages": [{"role": "user", "content": "hi"}], "tools": FUNCTIONS}
    else:
        told = [{"type": "function", "name": name} for name in names]
        allowed = {"type": "allowed_tools", "mode": mode, "tools": told}
        body = {"input": "hi", "tools": [{"type": "function", **each["function"]} for each in FUNCTIONS]}  # type: ignore[dict-item]
    made = said_in(client, upstream, {"model": "m", **body, "tool_choice": allowed}, strict=True)
    return {name: msgspec.json.decode(raw) for name, raw in made.call.fields.items()}


@pytest.mark.parametrize("client", ["chat", "responses"])
def test_some_of_the_tools_are_allowed_in_the_words_of_every_protocol(client: str) -> None:
    def asked(upstream: str, mode: str = "required") -> dict[str, Any]:
        return narrowed(client, upstream, mode, "weather")

    body = asked("messages")
    assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["weather"], {"type": "any"})
    assert asked("messages", "auto")["tool_choice"] == {"type": "auto"}
    body = asked("mistral")
    assert ([tool["function"]["name"] for tool in body["tools"]], body["tool_choice"]) == (["weather"], "any")
    body = asked("gemini")
    assert [each["name"] for each in body["tools"][0]["functionDeclarations"]] == ["weather"]
    assert body["toolConfig"]["functionCallingConfig"]["mode"] == "ANY"
    body = asked("converse")["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in body["tools"]] == ["weather"]
    assert body["toolChoice"] == {"any": {}}
    if client == "chat":
        body = asked("responses")
        assert ([tool["name"] for tool in body["tools"]], body["tool_choice"]) == (["weather"], "required")
    else:
        body = asked("chat")
        assert ([tool["function"]["name"] for tool in body["tools"]], body["tool_choice"]) == (["weather"], "required")


@pytest.mark.parametrize("upstream", ["messages", "mistral", "gemini", "converse"])
@pytest.mark.parametrize("client", ["chat", "responses"])
def test_tools_that_are_allowed_and_not_there_are_refused(client: str, upstream: str) -> None:
    for mode, names in (("auto", ("king",)), ("auto", ()), ("perhaps", ("now",))):
        with pytest.raises(RequestRefused, match="tool_choice") as caught:
            narrowed(client, upstream, mode, *names)
        assert caught.value.code == "bad_field"


def test_a_name_that_is_none_is_refused_where_some_tools_are_allowed() -> None:
    allowed = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": FUNCTIONS}}
    odd = [*FUNCTIONS, {"type": "function", "function": {"name": ["now"]}}]
    for upstream in ("messages", "mistral", "gemini", "converse"):
        with pytest.raises(RequestRefused, match=r"tools\[2\]"):
            said_in("chat", upstream, {"model": "m", "messages": [], "tools": odd, "tool_choice": allowed})


CUSTOM = [{"type": "custom", "custom": {"name": name}} for name in ("shell", "now")]


@pytest.mark.parametrize("upstream", ["messages", "mistral", "gemini", "converse"])
def test_custom_tools_alone_that_are_allowed_are_named_where_an_upstream_has_none(upstream: str) -> None:
    body = {"model": "amazon.titan", "messages": [{"role": "user", "content": "hi"}], "tools": [*FUNCTIONS, *CUSTOM]}
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": CUSTOM[:1]}}
    made = said_in("chat", upstream, {**body, "tool_choice": choice})
    assert made.dropped == ("tools[2]", "tool_choice"), "and none of the functions, which may not be called"
    assert not {"tools", "tool_choice", "toolConfig"} & set(made.call.fields)
    with pytest.raises(RequestRefused, match=r"the upstream's protocol cannot say 'tools\[2\]'"):
        said_in("chat", upstream, {**body, "tool_choice": choice}, strict=True)


@pytest.mark.parametrize("upstream", ["messages", "mistral", "gemini", "converse"])
def test_of_functions_and_custom_tools_that_are_allowed_the_functions_are_told(upstream: str) -> None:
    body = {"model": "amazon.titan", "messages": [{"role": "user", "content": "hi"}], "tools": [*FUNCTIONS, *CUSTOM]}
    allowed = [FUNCTIONS[1], CUSTOM[0]]
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": allowed}}
    made = said_in("chat", upstream, {**body, "tool_choice": choice})
    assert made.dropped == ("tools[2]",)
    told = b"".join(map(bytes, made.call.fields.values()))
    assert (b'"weather"' in told, b'"now"' in told) == (True, False)


@pytest.mark.parametrize("upstream", ["messages", "mistral", "gemini", "converse", "responses"])
def test_a_custom_tool_of_a_functions_name_is_another_tool(upstream: str) -> None:
    allowed = {"mode": "auto", "tools": [{"type": "custom", "custom": {"name": "weather"}}]}
    body = {"model": "amazon.titan", "messages": [{"role": "user", "content": "hi"}], "tools": FUNCTIONS}
    with pytest.raises(RequestRefused, match="must be tools that `tools` declares") as caught:
        said_in("chat", upstream, {**body, "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}})
    assert caught.value.param == "tool_choice.allowed_tools.tools"


def test_a_choice_that_mistral_does_not_know_is_named() -> None:
    body = {
        "model": "m",
        "messages": [],
        "tools": FUNCTIONS,
        "tool_choice": {"type": "custom", "custom": {"name": "x"}},
    }
    made = said_in("chat", "mistral", body)
    assert ("tool_choice" in made.call.fields, made.dropped) == (False, ("tool_choice",))


PICTURE = {"type": "image", "source": {"type": "url", "url": "https://example.test/a.png"}}
WORKED: list[dict[str, Any]] = [
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "now", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "12"}, PICTURE]},
]
STRICT_TOOL = {"type": "function", "name": "now", "parameters": {}, "strict": True}
TWICE: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("messages", "gemini", {"system": "Be kind.", "messages": [{"role": "user", "content": [PICTURE]}],
                            "metadata": {"user_id": "u"}}, ("messages[0].content[0].source", "metadata.user_id")),
    ("messages", "gemini", {"messages": WORKED}, ("messages[2]",)),
    ("messages", "gemini", {"messages": WORKED[:1], "tools": [
        {"name": "now", "input_schema": {"type": "object", "properties": {"a": {"not": {}}}}, "strict": True}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
     ("tools[0].input_schema.properties.a.not", "tools[0].strict", "tool_choice.disable_parallel_tool_use")),
    ("responses", "gemini", {"input": "hi", "text": {"verbosity": "low"}, "tools": [STRICT_TOOL],
                             "parallel_tool_calls": False},
     ("text.verbosity", "tools[0].strict", "parallel_tool_calls")),
    ("responses", "gemini", {"input": [{"role": "user", "content": [
        {"type": "input_image", "image_url": "https://example.test/a.png"}]}]}, ("input[0].content[0].image_url",)),
    ("responses", "gemini", {"input": "hi", "tools": [{**STRICT_TOOL, "name": "other"}, STRICT_TOOL], "tool_choice": {
        "type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "now"}]}}, ("tools",)),
    ("responses", "gemini", {"input": "hi", "tools": [{"type": "web_search"}, STRICT_TOOL], "tool_choice": {
        "type": "allowed_tools", "mode": "auto", "tools": [{"type": "web_search"}]}}, ("tools[0]", "tool_choice")),
    ("chat", "converse", {"messages": WORKED[:1], "reasoning_effort": "low", "tools": FUNCTIONS,
                          "parallel_tool_calls": False}, ("reasoning_effort", "parallel_tool_calls")),
]  # fmt: skip


@pytest.mark.parametrize(("client", "upstream", "body", "paths"), TWICE)
def test_what_gets_lost_on_the_second_half_of_the_way_is_named_in_the_clients_words(
    client: str, upstream: str, body: dict[str, Any], paths: tuple[str, ...]
) -> None:
    body = {"model": "amazon.titan" if upstream == "converse" else "m", **body}
    lost = said_in(client, upstream, body).dropped
    assert sorted(lost) == sorted(paths)
    with pytest.raises(RequestRefused) as caught:
        said_in(client, upstream, body, strict=True)
    assert caught.value.param in paths
    assert repr(caught.value.param) in caught.value.message


def test_what_an_assistant_refused_and_a_call_without_arguments_reach_mistral() -> None:
    history = [
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "I will not."}]},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "now", "arguments": ""}}]},
    ]  # fmt: skip
    made = said_in("chat", "mistral", {"model": "m", "messages": history})
    refused, called = msgspec.json.decode(made.call.fields["messages"])
    assert refused["content"] == [{"type": "text", "text": "I will not."}]
    assert called["tool_calls"][0]["function"] == {"name": "now", "arguments": "{}"}
    assert made.dropped == ()
