"""Chat clients that speak of functions as before there were tools (`functions`, `function_call`, the role `function`).

Upstreams of OpenAI's chat completions take that as it is. For all others it is said as tools first, and calls in their
answers are said as a `function_call` again. Clients that declare `tools` are answered with tools, whatever is left in
their conversation from before. A message has room for one call: where an upstream can be told so, it calls one function
at a time, and of several calls the first is told, the others are named as left out. What an upstream wants back with a
call (`extra_content`) is carried in the `function_call`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.serving._operations import CHAT
from tetrad.serving.errors import BadAnswer, RequestRefused
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._chained import chained
from tetrad.serving.translation._events import EventReader
from tetrad.serving.translation._kinds import Translation, Translator
from tetrad.serving.translation._naming import Naming
from tetrad.serving.translation._saying import Losses, as_list, as_object, as_text, bad, decoded, encoded, guarded

_ONE_AT_A_TIME = ("messages", "responses", "mistral")
"""Operations that can be told to call one tool at a time."""
_CALLS = b'"tool_calls"'
_OLD = re.compile(r"messages\[\d+\](?:\.function_call)?")
"""What translators lose of messages that call functions, or bring their results."""
_EMPTY = re.compile(rb"\[\s*\]")
_TOOL = re.compile(r"tools\[(\d+)\](?:\.function)?(.*)", re.DOTALL)
_CALL = re.compile(r"messages\[(\d+)\](?:\.tool_calls\[0\](?:\.function)?)?(.*)", re.DOTALL)
LEFT_OUT = "answer.left_out"
"""The attribute that names calls of an answer which its client was not told."""
_SHOWN_CHARS = 1000
_encode = msgspec.json.encode


def with_functions(target: str, further: Translator) -> Translator:
    """Return what `further` does for chat completions, for those that speak of functions too."""

    @guarded
    def nearer(call: ModelCall, strict: bool) -> Translation:
        return _translate(call, strict, target)

    def translate(call: ModelCall, strict: bool) -> Translation:
        if not _declared(call.fields):
            # what is old in messages is what `further` cannot say of them; to look for it first would be to read
            # everybody's conversation twice
            try:
                made = further(call, strict)
            except RequestRefused:
                if not _calls_functions(call.fields):
                    raise
            else:
                if not any(map(_OLD.fullmatch, made.dropped)) or not _calls_functions(call.fields):
                    return made
        near = nearer(call, strict)
        return chained(call, near, further, near.call, strict)

    return translate


def _declared(fields: Mapping[str, msgspec.Raw]) -> bool:
    """Tell whether a request declares functions; null declares none, nor does an empty list."""
    functions = bytes(fields.get("functions", b"null")).strip()
    return functions != b"null" and not _EMPTY.fullmatch(functions)


def _calls_functions(fields: Mapping[str, msgspec.Raw]) -> bool:
    """Tell whether a message calls a function, or is the result of one."""
    try:
        messages = msgspec.json.decode(fields.get("messages", b"null"))
    except UNREADABLE:
        return False  # whoever refused the request said so
    return isinstance(messages, list) and any(
        isinstance(each, dict) and (each.get("role") == "function" or each.get("function_call") is not None)
        for each in messages
    )


def _translate(call: ModelCall, strict: bool, target: str) -> _Functions:
    body, losses = decoded(call.fields), Losses(strict)
    turned = not body.get("tools")
    named = _tools(body, target, losses)
    origins = _messages(body, losses)
    asked = msgspec.structs.replace(call, operation=CHAT, fields=encoded(body))
    return _Functions(asked, losses.paths, _FunctionNaming(call.fields, origins, named), turned=turned)


def _tools(body: dict[str, Any], target: str, losses: Losses) -> bool:
    """Say functions as tools, and tell whether there are any. A choice among none is lost."""
    if body.get("functions") == []:
        losses.lose("functions")
        del body["functions"]
    functions, choice = body.pop("functions", None), body.pop("function_call", None)
    if functions is None:
        if choice is not None:
            losses.lose("function_call")
        return False
    if body.get("tools") or "tool_choice" in body:
        raise RequestRefused(
            "'functions' and 'tools' cannot both be there", param="functions", hint="send one of them", code="bad_field"
        )
    declared = as_list(functions, "functions")
    body["tools"] = [
        {"type": "function", "function": as_object(each, f"functions[{number}]")}
        for number, each in enumerate(declared)
    ]
    if target in _ONE_AT_A_TIME:
        body["parallel_tool_calls"] = False
    if choice in ("auto", "none"):
        body["tool_choice"] = choice
    elif choice is not None:
        name = as_text(as_object(choice, "function_call").get("name"), "function_call.name")
        body["tool_choice"] = {"type": "function", "function": {"name": name}}
    return True


def _messages(body: dict[str, Any], losses: Losses) -> list[tuple[int, bool]]:
    """Say calls and results as those of tools; return which of the client's messages each is, and if that was a call.

    A result belongs to the call before it; one without a call is lost.
    """
    said: list[dict[str, Any]] = []
    origins: list[tuple[int, bool]] = []
    waiting: tuple[str, Any] | None = None
    for number, each in enumerate(as_list(body.get("messages"), "messages")):
        path = f"messages[{number}]"
        message = as_object(each, path)
        function = message.get("function_call")
        if message.get("role") == "function":
            if waiting is None or message.get("name") not in (None, waiting[1]):
                losses.lose(path)
                continue
            losses.rest(message, ("role", "name", "content"), path)
            message = {"role": "tool", "tool_call_id": waiting[0], "content": message.get("content")}
            waiting = None
        elif "function_call" in message:
            message = {name: value for name, value in message.items() if name != "function_call"}
            if function is not None:
                message, waiting = _calling(message, function, path, f"call_function{number}")
        said.append(message)
        origins.append((number, function is not None))
    body["messages"] = said
    return origins


def _calling(message: dict[str, Any], given: Any, path: str, identity: str) -> tuple[dict[str, Any], tuple[str, Any]]:
    place = f"{path}.function_call"
    if message.get("role") != "assistant" or message.get("tool_calls"):
        raise bad(place, "what an assistant said, beside no `tool_calls`")
    function = dict(as_object(given, place))
    name = as_text(function.get("name"), f"{place}.name")
    carried = function.pop("extra_content", None)
    call = {"id": identity, "type": "function", "function": function}
    if carried is not None:
        call["extra_content"] = carried
    return {**message, "tool_calls": [call]}, (identity, name)


class _FunctionNaming(Naming):
    """Names for what gets lost of tools that the client called functions."""

    def __init__(self, said: Mapping[str, msgspec.Raw], origins: list[tuple[int, bool]], functions: bool) -> None:
        super().__init__("chat", "chat", said)
        self._functions = functions
        self._numbers = origins

    def of(self, path: str) -> str:
        if self._functions and (tool := _TOOL.fullmatch(path)) is not None:
            return f"functions[{tool[1]}]{tool[2]}"
        if self._functions and path.startswith("tool_choice"):
            return "function_call" + path.removeprefix("tool_choice").replace(".function", "", 1)
        if self._functions and path == "tools":
            return "functions"
        found = _CALL.fullmatch(path)
        if found is None or int(found[1]) >= len(self._numbers):
            return path
        number, called = self._numbers[int(found[1])]
        if called and ".tool_calls" in path:
            return f"messages[{number}].function_call{found[2]}"
        return f"messages[{number}]" + path[path.index("]") + 1 :]


class _Functions:
    """A `Translation` from tools to functions; of answers only where they are `turned`."""

    def __init__(self, call: ModelCall, dropped: tuple[str, ...], naming: Naming, *, turned: bool) -> None:
        self.call = call
        self.dropped = dropped
        self.naming = naming
        self._turned = turned
        self._lost: dict[str, None] = {}
        """Calls of the answer that its message has no room for."""

    def whole(self, body: bytes) -> bytes:
        if not self._turned:
            return body
        try:
            said = _said(body, "message", self._lost)[0]
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's answer is no chat completion: {error}") from None
        self.dropped = (*self.dropped, *self._lost)
        return said

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        """Return it as it is: errors are told in OpenAI's words already."""
        return status, body

    def events(self) -> _FunctionEvents:
        return _FunctionEvents(self._lost, turned=self._turned)

    def outcome(self, outcome: Outcome) -> Outcome:
        if not self._turned:
            return outcome
        reasons = tuple(map(_reason, outcome.finish_reasons))
        attributes = (
            {**outcome.attributes, LEFT_OUT: ", ".join(self._lost)[:_SHOWN_CHARS]} if self._lost else outcome.attributes
        )
        outcome = msgspec.structs.replace(outcome, finish_reasons=reasons, attributes=attributes)
        if _CALLS not in outcome.output:
            return outcome
        try:
            messages = msgspec.json.decode(outcome.output, type=list[Any])
        except UNREADABLE:
            return outcome
        for message in messages:
            if isinstance(message, dict):
                _name_call(message)
        return msgspec.structs.replace(outcome, output=_encode(messages))


def _reason(reason: Any) -> Any:
    return "function_call" if reason == "tool_calls" else reason


def _said(payload: bytes, field: str, lost: dict[str, None]) -> tuple[bytes, bool]:
    """Return an answer, or a chunk of one, whose calls are calls of functions; and whether it says anything still.

    Calls that are left out are put into `lost`.
    """
    if _CALLS not in payload:
        return payload, True
    body = msgspec.json.decode(payload, type=dict[str, Any])
    choices = body.get("choices")
    telling = not choices or bool(body.get("usage"))
    for number, choice in enumerate(choices if isinstance(choices, list) else ()):
        if not isinstance(choice, dict):
            continue
        message = choice.get(field)
        if isinstance(message, dict):
            told = choice.get("index")
            place = f"choices[{told if isinstance(told, int) else number}].message.tool_calls"
            lost.update(dict.fromkeys(f"{place}[{each}]" for each in _name_call(message)))
            telling = telling or any(value is not None for value in message.values())
        choice["finish_reason"] = _reason(choice.get("finish_reason"))
        telling = telling or choice["finish_reason"] is not None
    return _encode(body), telling


def _name_call(message: dict[str, Any]) -> list[int]:
    """Say the first of the calls, or what a chunk adds to it, as that of a function; return the numbers of the others.

    Whole messages number no calls: there it is their place that counts.
    """
    calls = message.pop("tool_calls", None)
    said: dict[str, Any] = {}
    others = []
    for place, call in enumerate(calls if isinstance(calls, list) else ()):
        if not isinstance(call, dict):
            continue
        number = call.get("index", place)
        if number not in (0, None):
            others.append(number if isinstance(number, int) else place)
            continue
        function = call.get("function")
        if isinstance(function, dict):
            for name, value in function.items():
                known = said.get(name)
                said[name] = known + value if isinstance(known, str) and isinstance(value, str) else value
        if call.get("extra_content") is not None:
            said["extra_content"] = call["extra_content"]
    if said:
        message["function_call"] = said
    return others


class _FunctionEvents:
    """Chunks of a chat completion in and out; what gets lost of them is put into `lost`."""

    def __init__(self, lost: dict[str, None], *, turned: bool) -> None:
        self.done = False
        self._lost = lost
        self._turned = turned
        self._reader = EventReader()

    def feed(self, data: bytes) -> bytes:
        return self._told(self._reader.feed(data))

    def end(self) -> bytes:
        """Return what is left; whether the answer was whole is told by whoever said it in chat completions."""
        said = self._told(self._reader.rest())
        self.done = True
        return said

    def _told(self, payloads: list[bytes]) -> bytes:
        said = []
        for payload in payloads:
            if self.done:
                break
            telling = True
            if payload == b"[DONE]":
                self.done = True
            else:
                try:
                    payload, telling = _said(payload, "delta", self._lost) if self._turned else (payload, True)
                except UNREADABLE as error:
                    raise BadAnswer(f"the upstream's stream holds what is no chunk: {error}") from None
            if telling:
                said.append(b"data: " + payload + b"\n\n")
        return b"".join(said)
