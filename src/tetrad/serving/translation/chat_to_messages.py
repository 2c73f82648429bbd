"""Clients that speak OpenAI's chat completions to upstreams that speak Anthropic's Messages: the request.

Marks for the cache (`cache_control`, on parts, messages and tools, as many chat clients say it) are kept. Reasoning
goes back with the signatures that came with it, in `extra_content.anthropic`, to where it stood, or not at all.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.serving._operations import MESSAGES
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation._chat_parts import Media, Text, chat_parts
from tetrad.serving.translation._chat_tools import LostCalls, choice_of, declared_functions
from tetrad.serving.translation._kinds import Translation
from tetrad.serving.translation._placing import Placed, placed
from tetrad.serving.translation._saying import (
    Losses,
    as_list,
    as_object,
    as_text,
    bad,
    decoded,
    encoded,
    guarded,
    no_role,
)
from tetrad.serving.translation.messages_answers import MessagesAnswers

DEFAULT_MAX_TOKENS = 8192
"""Anthropic needs a limit. This is what a client gets that names none: what every current model of theirs can do."""

_SAME = ("model", "top_p", "stream", "thinking", "top_k", "cache_control")
_SAID = frozenset(
    (*_SAME, "messages", "max_tokens", "max_completion_tokens", "stop", "n", "stream_options", "tools", "tool_choice",
     "parallel_tool_calls", "response_format", "reasoning_effort", "user", "temperature", "service_tier", "modalities")
)  # fmt: skip
_NEUTRAL: dict[str, Any] = {
    "frequency_penalty": 0, "presence_penalty": 0, "logprobs": False, "top_logprobs": 0, "store": False,
    "logit_bias": {}, "verbosity": "medium", "metadata": {},
}  # fmt: skip
"""What says nothing, so that leaving it out loses nothing."""
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "minimal": "low"}
_TIERS = {"auto": "auto", "default": "standard_only"}
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9_-]")
_CONTROL = "cache_control"
_MEDIA = ("image_url", "file")


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call in messages; see `Translator`."""
    return _translate(call, strict, on=False)


@guarded
def translate_on(call: ModelCall, strict: bool) -> Translation:
    """Return the call in messages, its answer in chat completions that are translated once more."""
    return _translate(call, strict, on=True)


def _translate(call: ModelCall, strict: bool, *, on: bool) -> Translation:
    body, losses = decoded(call.fields), Losses(strict)
    said: dict[str, Any] = {name: body[name] for name in _SAME if name in body}
    said["max_tokens"] = _limit(body)
    _messages(body, said, losses)
    _sampling(body, said, losses)
    _tools(body, said, losses)
    _output(body, said, losses)
    for name, value in body.items():
        if name not in _SAID and not (name in _NEUTRAL and value == _NEUTRAL[name]):
            losses.lose(name)
    translated = ModelCall(MESSAGES, encoded(said), call.stream, strict=call.strict, batch=call.batch)
    return MessagesAnswers(translated, losses.paths, usage_asked=call.usage_asked, on=on)


def say_messages(messages: list[Any]) -> tuple[str | list[dict[str, Any]] | None, list[dict[str, Any]]]:
    """Return chat messages as Anthropic's `system` and `messages`; raises `RequestRefused` for what are none."""
    said: dict[str, Any] = {}
    _messages({"messages": messages}, said, Losses(strict=False))
    return said.get("system"), said["messages"]


def say_params(params: dict[str, msgspec.Raw]) -> tuple[dict[str, msgspec.Raw], dict[str, msgspec.Raw]]:
    """Return parameters of chat completions as fields of messages, and those that cannot be said there.

    Raises `RequestRefused` for a parameter that is malformed.
    """
    body, losses = decoded(params), Losses(strict=False)
    said: dict[str, Any] = {name: body[name] for name in _SAME if name in body}
    if "max_tokens" in body or "max_completion_tokens" in body:
        said["max_tokens"] = _limit(body)
    _sampling(body, said, losses)
    _tools(body, said, losses)
    _output(body, said, losses)
    lost = {re.split(r"[.\[]", path)[0] for path in losses.paths}
    return encoded(said), {name: raw for name, raw in params.items() if name in lost or name not in _SAID}


def _limit(body: dict[str, Any]) -> Any:
    given = body.get("max_completion_tokens", body.get("max_tokens"))
    if given is not None:
        return given
    thinking = body.get("thinking")
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    return DEFAULT_MAX_TOKENS + (budget if isinstance(budget, int) and budget > 0 else 0)


def _sampling(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    if "temperature" in body:
        heat = body["temperature"]
        if not isinstance(heat, (int, float)) or isinstance(heat, bool):
            raise bad("temperature", "a number")
        if heat > 1:
            losses.lose("temperature")
            heat = 1
        said["temperature"] = heat
    if "stop" in body:
        stop = body["stop"]
        said["stop_sequences"] = [stop] if isinstance(stop, str) else as_list(stop, "stop")
    if body.get("n", 1) != 1:
        losses.lose("n")
    if body.get("modalities", ["text"]) != ["text"]:
        losses.lose("modalities")
    if "user" in body:
        said["metadata"] = {"user_id": as_text(body["user"], "user")}
    if "service_tier" in body:
        tier = _TIERS.get(as_text(body["service_tier"], "service_tier"))
        if tier is None:
            losses.lose("service_tier")
        else:
            said["service_tier"] = tier


def _output(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    config: dict[str, Any] = {}
    form = as_object(body.get("response_format", {}), "response_format")
    kind = form.get("type", "text")
    if kind == "json_schema":
        spec = as_object(form.get("json_schema"), "response_format.json_schema")
        schema = as_object(spec.get("schema"), "response_format.json_schema.schema")
        config["format"] = {"type": "json_schema", "schema": schema}
        losses.rest(spec, ("name", "schema", "strict"), "response_format.json_schema")
    elif kind != "text":
        losses.lose("response_format")
    if "reasoning_effort" in body:
        effort = as_text(body["reasoning_effort"], "reasoning_effort")
        if effort == "none":
            said.setdefault("thinking", {"type": "disabled"})
        elif effort in _EFFORTS:
            if effort == "minimal":
                losses.lose("reasoning_effort")
            config["effort"] = _EFFORTS[effort]
            said.setdefault("thinking", {"type": "adaptive"})
        else:
            losses.lose("reasoning_effort")
    if config:
        said["output_config"] = config


def _tools(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    tools = []
    for path, tool, function, given in declared_functions(body, losses, _CONTROL):
        schema = function.get("parameters")
        given["input_schema"] = (
            {"type": "object", "properties": {}} if schema is None else as_object(schema, f"{path}.function.parameters")
        )
        if function.get("strict") is not None:
            given["strict"] = function["strict"]
        _keep_control(tool, given)
        tools.append(given)
    if tools:
        said["tools"] = tools
    choice = _choice(choice_of(body, losses), losses)
    parallel = body.get("parallel_tool_calls")
    if parallel is not None:
        if choice is None and tools:
            choice = {"type": "auto"}
        if choice is not None and choice["type"] != "none":
            choice["disable_parallel_tool_use"] = not parallel
    if choice is not None:
        said["tool_choice"] = choice


def _choice(given: Any, losses: Losses) -> dict[str, Any] | None:
    if given is None:
        return None
    if given == "required":
        return {"type": "any"}
    if given in ("auto", "none"):
        return {"type": given}
    choice = as_object(given, "tool_choice")
    if choice.get("type") == "function":
        function = as_object(choice.get("function"), "tool_choice.function")
        return {"type": "tool", "name": as_text(function.get("name"), "tool_choice.function.name")}
    losses.lose("tool_choice")
    return None


def _keep_control(given: dict[str, Any], said: dict[str, Any]) -> None:
    if given.get(_CONTROL) is not None:
        said[_CONTROL] = given[_CONTROL]


def _messages(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    system: list[dict[str, Any]] = []
    messages: list[dict[str, Any]] = []
    lost = LostCalls(losses)
    for number, item in enumerate(as_list(body.get("messages"), "messages")):
        path = f"messages[{number}]"
        message = as_object(item, path)
        role = message.get("role")
        if role in ("system", "developer"):
            losses.rest(message, ("role", "content", _CONTROL), path)
            system += _parts(message, path, losses, media=False)
        elif role == "user":
            losses.rest(message, ("role", "content", _CONTROL), path)
            content = message.get("content")
            plain = isinstance(content, str) and message.get(_CONTROL) is None
            blocks = content if plain else _parts(message, path, losses, media=True)
            messages.append({"role": "user", "content": blocks})
        elif role == "assistant":
            said_by_it = _assistant(message, path, losses, lost)
            if said_by_it is not None:
                messages.append(said_by_it)
        elif role == "tool":
            if lost.result(message, path):
                continue
            result = _tool_result(message, path, losses)
            if messages and messages[-1].get("role") == "user" and _holds_results(messages[-1]):
                messages[-1]["content"].append(result)
            else:
                messages.append({"role": "user", "content": [result]})
        else:
            no_role(role, path, losses)
    if len(system) == 1 and set(system[0]) == {"type", "text"}:
        said["system"] = system[0]["text"]
    elif system:
        said["system"] = system
    said["messages"] = messages


def _holds_results(message: dict[str, Any]) -> bool:
    content = message["content"]
    return bool(content) and isinstance(content, list) and content[0].get("type") == "tool_result"


def _tool_result(message: dict[str, Any], path: str, losses: Losses) -> dict[str, Any]:
    losses.rest(message, ("role", "content", "tool_call_id", _CONTROL), path)
    call_id = as_text(message.get("tool_call_id"), f"{path}.tool_call_id")
    result: dict[str, Any] = {"type": "tool_result", "tool_use_id": _NOT_IN_IDS.sub("_", call_id)}
    content = message.get("content")
    if isinstance(content, list):
        content = _parts({"content": content}, path, losses, media=True)
    elif content is not None and not isinstance(content, str):
        raise bad(f"{path}.content", "a string or an array")
    if content is not None:
        result["content"] = content
    _keep_control(message, result)
    return result


def _assistant(message: dict[str, Any], path: str, losses: Losses, lost: LostCalls) -> dict[str, Any] | None:
    """Return what an assistant said; None where that were calls alone, all of them lost."""
    losses.rest(
        message,
        ("role", "content", "refusal", "tool_calls", "reasoning_content", "reasoning", "extra_content", _CONTROL),
        path,
    )
    content = message.get("content")
    thoughts = _thoughts(message, path, losses)
    calls = as_list(message.get("tool_calls") or [], f"{path}.tool_calls")
    refusal = message.get("refusal")
    if isinstance(content, str) and not (thoughts or calls or refusal or message.get(_CONTROL)):
        return {"role": "assistant", "content": content}
    texts: list[dict[str, Any]] = []
    if content is not None and content != "":
        texts = _parts(message, path, losses, media=False)
    if refusal is not None:
        texts.append({"type": "text", "text": as_text(refusal, f"{path}.refusal")})
    uses = []
    for number, item in enumerate(calls):
        place = f"{path}.tool_calls[{number}]"
        call = as_object(item, place)
        if not lost.call(call, place):
            uses.append(_tool_use(call, place))
    blocks = placed(thoughts, texts, uses)
    return {"role": "assistant", "content": blocks} if blocks or not calls else None


def _tool_use(call: dict[str, Any], path: str) -> dict[str, Any]:
    function = as_object(call.get("function"), f"{path}.function")
    arguments = as_text(function.get("arguments") or "{}", f"{path}.function.arguments")
    try:
        given = msgspec.json.decode(arguments if arguments.strip() else "{}")
    except UNREADABLE:
        given = None
    if not isinstance(given, dict):
        raise bad(f"{path}.function.arguments", "the text of a JSON object")
    return {
        "type": "tool_use",
        "id": _NOT_IN_IDS.sub("_", as_text(call.get("id"), f"{path}.id")),
        "name": as_text(function.get("name"), f"{path}.function.name"),
        "input": given,
    }


def _thoughts(message: dict[str, Any], path: str, losses: Losses) -> list[Placed]:
    """Return the blocks of thinking that Anthropic signed; see `messages_answers` for how they are carried."""
    text = message.get("reasoning_content", message.get("reasoning")) or ""
    as_text(text, f"{path}.reasoning_content")
    extra = as_object(message.get("extra_content") or {}, f"{path}.extra_content")
    losses.rest(extra, ("anthropic",), f"{path}.extra_content")
    place = f"{path}.extra_content.anthropic"
    state = as_object(extra.get("anthropic") or {}, place)
    if state.get("blocks"):
        blocks: list[Placed] = []
        at = 0
        for number, item in enumerate(as_list(state["blocks"], f"{place}.blocks")):
            block, inner = as_object(item, f"{place}.blocks[{number}]"), f"{place}.blocks[{number}]"
            after = _count(block, "after_chars", inner, 0), _count(block, "after_calls", inner, 0)
            if block.get("type") == "redacted_thinking":
                said = {"type": "redacted_thinking", "data": as_text(block.get("data"), f"{inner}.data")}
                blocks.append((*after, said))
                continue
            thought = block.get("thinking")
            if thought is None:
                count = _count(block, "chars", inner, None)
                thought = text[at : at + count]
                at += count
            signature = as_text(block.get("signature"), f"{inner}.signature")
            said = {"type": "thinking", "thinking": as_text(thought, f"{inner}.thinking"), "signature": signature}
            blocks.append((*after, said))
        return blocks
    if state.get("signature"):
        signature = as_text(state["signature"], f"{place}.signature")
        return [(0, 0, {"type": "thinking", "thinking": text, "signature": signature})]
    if text:
        losses.lose(f"{path}.reasoning_content")
    return []


def _count(block: dict[str, Any], name: str, path: str, default: int | None) -> int:
    count = block.get(name, default)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise bad(f"{path}.{name}", "a number")
    return count


def _parts(message: dict[str, Any], path: str, losses: Losses, *, media: bool) -> list[dict[str, Any]]:
    """Return content as blocks; a mark for the cache on the message goes to its last block."""
    blocks: list[dict[str, Any]] = []
    # sound is lost: no message of Anthropic's can hold it
    for part in chat_parts(message, path, losses, media=_MEDIA if media else (), marks=(_CONTROL,)):
        block = {"type": "text", "text": part.text} if isinstance(part, Text) else _media(part, losses)
        if block is not None:
            _keep_control(part.item, block)
            blocks.append(block)
    if blocks:
        _keep_control(message, blocks[-1])
    return blocks


def _media(part: Media, losses: Losses) -> dict[str, Any] | None:
    if part.kind == "file":
        return _file(part, losses)
    if part.data is not None:
        return {"type": "image", "source": {"type": "base64", "media_type": part.form, "data": part.data}}
    if part.url is not None and part.url.startswith(("http://", "https://")):
        return {"type": "image", "source": {"type": "url", "url": part.url}}
    raise bad(part.place, "a web address, or base64 in a data: URL")


def _file(part: Media, losses: Losses) -> dict[str, Any] | None:
    if part.data is None or part.form != "application/pdf":
        losses.lose(part.path)
        return None
    losses.rest(part.file, ("file_data", "filename"), f"{part.path}.file")
    source = {"type": "base64", "media_type": part.form, "data": part.data}
    block: dict[str, Any] = {"type": "document", "source": source}
    if part.file.get("filename") is not None:
        block["title"] = as_text(part.file["filename"], f"{part.path}.file.filename")
    return block
