"""Clients that speak chat completions to upstreams that speak OpenAI's Responses: the request.

Nothing is stored unless the client says so. Reasoning goes back to its maker, from `extra_content.openai` (see
`openai_signatures`) to where it stood, or not at all.
"""

from __future__ import annotations

from typing import Any

from tetrad.serving._operations import RESPONSES
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation import _response_input as item
from tetrad.serving.translation._chat_tools import choice_of, declared_tools
from tetrad.serving.translation._kinds import Translation
from tetrad.serving.translation._placing import Placed, placed
from tetrad.serving.translation._saying import (
    Losses,
    as_count,
    as_list,
    as_object,
    as_text,
    bad,
    decoded,
    encoded,
    guarded,
    no_role,
)
from tetrad.serving.translation.chat_from_responses import ChatFromResponses
from tetrad.serving.translation.openai_signatures import is_sealed_reasoning, open_reasoning

LEAST_TOKENS = 16
"""OpenAI refuses a `max_output_tokens` below it."""

_SAME = (
    "model", "temperature", "top_p", "stream", "top_logprobs", "user", "service_tier", "prompt_cache_key",
    "prompt_cache_retention", "safety_identifier", "metadata",
)  # fmt: skip
_SAID = frozenset(
    (*_SAME, "messages", "max_tokens", "max_completion_tokens", "n", "stream_options", "tools", "tool_choice", "store",
     "parallel_tool_calls", "response_format", "reasoning_effort", "verbosity", "logprobs", "modalities")
)  # fmt: skip
_NEUTRAL: dict[str, Any] = {"frequency_penalty": 0, "presence_penalty": 0, "logit_bias": {}, "stop": []}
"""What says nothing, so that leaving it out loses nothing."""
_KINDS = {"function": ("parameters", "strict"), "custom": ("format",)}
"""The tools that Responses have too, and what they say besides a name and a description."""
_SEALED = "reasoning.encrypted_content"


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call in responses; see `Translator`."""
    body, losses = decoded(call.fields), Losses(strict)
    said: dict[str, Any] = {"input": _messages(body, losses, call.maker)}
    say_options(body, said, losses)
    translated = ModelCall(RESPONSES, encoded(said), call.stream, strict=call.strict, batch=call.batch)
    return ChatFromResponses(translated, losses.paths, call.maker, usage_asked=call.usage_asked)


def say_options(body: dict[str, Any], said: dict[str, Any], losses: Losses, *, limit: str = "") -> None:
    """Add the parameters of chat completions to a request whose `input` is there; the limit of tokens is at `limit`."""
    said.update({name: body[name] for name in _SAME if name in body})
    said["store"] = body.get("store") is True
    _limit(body, said, losses, limit)
    _tools(body, said, losses)
    _text(body, said, losses)
    include = []
    if "reasoning_effort" in body:
        effort = as_text(body["reasoning_effort"], "reasoning_effort")
        said["reasoning"] = {**said.get("reasoning", {}), "effort": effort}
    thinks = said.get("reasoning", {"effort": "none"}).get("effort") != "none"
    if said.get("reasoning") == {}:
        del said["reasoning"]
    if thinks or any(each["type"] == "reasoning" for each in said["input"]):
        include.append(_SEALED)  # only where it is: models without are refused with it
    if body.get("logprobs") or body.get("top_logprobs"):
        include.append("message.output_text.logprobs")
    if include:
        said["include"] = include
    if body.get("n", 1) != 1:
        losses.lose("n")
    if body.get("modalities", ["text"]) != ["text"]:
        losses.lose("modalities")
    for name, value in body.items():
        if name not in _SAID and not (name in _NEUTRAL and value == _NEUTRAL[name]):
            losses.lose(name)


def _limit(body: dict[str, Any], said: dict[str, Any], losses: Losses, place: str) -> None:
    name = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    if name not in body:
        return
    most = as_count(body[name], place or name)
    if most < LEAST_TOKENS:
        losses.lose(place or name)
    said["max_output_tokens"] = max(most, LEAST_TOKENS)


def _text(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    text: dict[str, Any] = {}
    form = as_object(body.get("response_format", {}), "response_format")
    kind = form.get("type", "text")
    if kind == "json_schema":
        path = "response_format.json_schema"
        spec = as_object(form.get("json_schema"), path)
        names = ("name", "schema", "strict", "description")
        text["format"] = {"type": kind, **{name: spec[name] for name in names if spec.get(name) is not None}}
        as_text(spec.get("name"), f"{path}.name")
        as_object(spec.get("schema"), f"{path}.schema")
        losses.rest(spec, names, path)
    elif kind == "json_object":
        text["format"] = {"type": kind}
    elif kind != "text":
        losses.lose("response_format")
    if "verbosity" in body:
        text["verbosity"] = as_text(body["verbosity"], "verbosity")
    if text:
        said["text"] = text


def _tools(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    tools = []
    for path, tool, function, said_of in declared_tools(body, losses, _KINDS):
        if tool["type"] == "custom":
            tools.append({"type": "custom", **said_of, **_format(function.get("format"), f"{path}.custom.format")})
            continue
        given = {"type": "function", **said_of}
        given["parameters"] = function.get("parameters") or {"type": "object", "properties": {}}
        given["strict"] = function.get("strict") is True  # Responses are strict where nothing is said
        tools.append(given)
    choice = choice_of(body, losses, _KINDS)
    if tools:
        said["tools"] = tools
        if body.get("parallel_tool_calls") is not None:
            said["parallel_tool_calls"] = body["parallel_tool_calls"]
    elif choice in (None, "auto", "none"):
        return
    if choice in ("auto", "none", "required"):
        said["tool_choice"] = choice
    elif choice is not None:
        chosen = as_object(choice, "tool_choice")
        kind = chosen.get("type")
        if isinstance(kind, str) and kind in _KINDS:
            named = as_object(chosen.get(kind), f"tool_choice.{kind}")
            said["tool_choice"] = {"type": kind, "name": as_text(named.get("name"), f"tool_choice.{kind}.name")}
        else:
            losses.lose("tool_choice")


def _format(given: Any, path: str) -> dict[str, Any]:
    """Return how the input of a custom tool is written: a grammar stands in an object of its own with chat clients."""
    if given is None:
        return {}
    said = as_object(given, path)
    if said.get("type") != "grammar":
        return {"format": said}
    grammar = as_object(said.get("grammar"), f"{path}.grammar")
    names = ("syntax", "definition")
    return {"format": {"type": "grammar", **{n: as_text(grammar.get(n), f"{path}.grammar.{n}") for n in names}}}


def _messages(body: dict[str, Any], losses: Losses, maker: str) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    custom: set[str] = set()
    for number, each in enumerate(as_list(body.get("messages"), "messages")):
        path = f"messages[{number}]"
        message = as_object(each, path)
        role = message.get("role")
        if role in ("system", "developer", "user"):
            losses.rest(message, ("role", "content"), path)
            said.append(item.message(role, _parts(message.get("content"), path, losses, media=role == "user")))
        elif role == "assistant":
            items = _assistant(message, path, losses, maker)
            custom.update(each["call_id"] for each in items if each["type"] == "custom_tool_call")
            said += items
        elif role == "tool":
            losses.rest(message, ("role", "content", "tool_call_id"), path)
            call_id = as_text(message.get("tool_call_id"), f"{path}.tool_call_id")
            output = message.get("content")
            result = item.result(call_id, _parts("" if output is None else output, path, losses, media=True))
            said.append({**result, "type": "custom_tool_call_output"} if call_id in custom else result)
        else:
            no_role(role, path, losses)
    return said


def _parts(content: Any, path: str, losses: Losses, *, media: bool) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    said: list[dict[str, Any]] = []
    for number, each in enumerate(as_list(content, f"{path}.content")):
        place = f"{path}.content[{number}]"
        part = as_object(each, place)
        kind = part.get("type")
        if kind == "text":
            losses.rest(part, ("type", "text"), place)
            said.append(item.text(as_text(part.get("text"), f"{place}.text")))
        elif kind == "image_url" and media:
            losses.rest(part, ("type", "image_url"), place)
            given = part.get("image_url")
            picture = {"url": given} if isinstance(given, str) else as_object(given, f"{place}.image_url")
            losses.rest(picture, ("url", "detail"), f"{place}.image_url")
            url = as_text(picture.get("url"), f"{place}.image_url.url")
            said.append(item.image(url, picture.get("detail") or "auto"))
        elif kind == "file" and media:
            losses.rest(part, ("type", "file"), place)
            file = as_object(part.get("file"), f"{place}.file")
            names = ("file_id", "file_data", "filename")
            losses.rest(file, names, f"{place}.file")
            said.append({"type": "input_file", **{name: file[name] for name in names if file.get(name) is not None}})
        else:
            losses.lose(place)
    return said


def _assistant(message: dict[str, Any], path: str, losses: Losses, maker: str) -> list[dict[str, Any]]:
    names = ("role", "content", "refusal", "tool_calls", "reasoning_content", "reasoning", "extra_content")
    losses.rest({name: each for name, each in message.items() if name != "annotations" or each}, names, path)
    texts: list[dict[str, Any]] = []
    content = message.get("content")
    if isinstance(content, str):
        texts.append({"type": "text", "text": content})
    else:
        for number, each in enumerate(as_list(content or [], f"{path}.content")):
            place = f"{path}.content[{number}]"
            part = as_object(each, place)
            kind = part.get("type")
            if kind not in ("text", "refusal"):
                losses.lose(place)
                continue
            losses.rest(part, ("type", kind), place)
            texts.append({"type": kind, "text": as_text(part.get(kind), f"{place}.{kind}")})
    if message.get("refusal") is not None:
        texts.append({"type": "refusal", "text": as_text(message["refusal"], f"{path}.refusal")})
    calls = []
    for number, each in enumerate(as_list(message.get("tool_calls") or [], f"{path}.tool_calls")):
        place = f"{path}.tool_calls[{number}]"
        call = as_object(each, place)
        kind = call.get("type", "function")
        if kind == "custom":
            calls.append(_custom(call, place, losses))
        elif kind == "function":
            calls.append(_call(call, place, losses))
        else:
            losses.lose(place)
    thoughts = _thoughts(message, path, losses, maker)
    texts = [each for each in texts if each["text"]] if calls or thoughts else texts
    return item.turn(map(_piece, placed(thoughts, texts, calls)), losses)


def _piece(block: dict[str, Any]) -> item.Piece:
    kind = block["type"]
    if kind == "text":
        return "", item.spoken(block["text"])
    if kind == "refusal":
        return "", {"type": "refusal", "refusal": block["text"]}
    if kind == "reasoning":
        return block["path"], block["item"]
    return "", block


def _call(call: dict[str, Any], path: str, losses: Losses) -> dict[str, Any]:
    function = as_object(call.get("function"), f"{path}.function")
    losses.rest(call, ("id", "type", "function", "index"), path)
    losses.rest(function, ("name", "arguments"), f"{path}.function")
    return item.call(
        as_text(call.get("id"), f"{path}.id"),
        as_text(function.get("name"), f"{path}.function.name"),
        as_text(function.get("arguments") or "{}", f"{path}.function.arguments"),
    )


def _custom(call: dict[str, Any], path: str, losses: Losses) -> dict[str, Any]:
    inner = as_object(call.get("custom"), f"{path}.custom")
    losses.rest(call, ("id", "type", "custom", "index"), path)
    losses.rest(inner, ("name", "input"), f"{path}.custom")
    return {
        "type": "custom_tool_call",
        "call_id": as_text(call.get("id"), f"{path}.id"),
        "name": as_text(inner.get("name"), f"{path}.custom.name"),
        "input": as_text(inner.get("input"), f"{path}.custom.input"),
    }


def _thoughts(message: dict[str, Any], path: str, losses: Losses, maker: str) -> list[Placed]:
    """Return the items of reasoning that the maker of the next answer made too, and where in the turn they stood."""
    text = as_text(message.get("reasoning_content", message.get("reasoning")) or "", f"{path}.reasoning_content")
    extra = as_object(message.get("extra_content") or {}, f"{path}.extra_content")
    losses.rest(extra, ("openai",), f"{path}.extra_content")
    place, found, known = f"{path}.extra_content.openai", [], 0
    state = as_object(extra.get("openai") or {}, place)
    losses.rest(state, ("blocks",), place)
    for number, each in enumerate(as_list(state.get("blocks") or [], f"{place}.blocks")):
        inner = f"{place}.blocks[{number}]"
        block = as_object(each, inner)
        sealed = block.get("encrypted_content")
        if not is_sealed_reasoning(sealed):
            raise bad(f"{inner}.encrypted_content", "what came with the answer")
        thought = open_reasoning(sealed, f"{inner}.encrypted_content")
        names = ("after_thought_chars", "after_chars", "after_calls")
        at, chars, calls = (as_count(block.get(name, 0), f"{inner}.{name}") for name in names)
        own = text[at : at + thought.length]
        known += len(own)
        if not maker or thought.maker != maker:
            losses.lose(inner)
            continue
        found.append((chars, calls, {"type": "reasoning", "path": inner, "item": thought.item(own)}))
    if known < len(text):
        losses.lose(f"{path}.reasoning_content")
    return found
