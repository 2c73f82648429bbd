"""Clients to upstreams that speak Amazon Bedrock's Converse: the request.

Converse is shaped like Anthropic's Messages, so it is said from these; chat completions are said in messages first.
Marks for the cache become `cachePoint` and are never dropped in silence. Source: docs.aws.amazon.com/bedrock,
"Converse".
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tetrad.serving._operations import CONVERSE, CONVERSE_COUNT, MESSAGES
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation._chained import chained
from tetrad.serving.translation._kinds import Translation, Translator
from tetrad.serving.translation._saying import Losses, as_list, as_object, as_text, bad, decoded, encoded, guarded
from tetrad.serving.translation.chat_to_messages import translate as chat_to_messages
from tetrad.serving.translation.chat_to_messages import translate_on as chat_to_messages_on
from tetrad.serving.translation.converse_answers import ConverseAnswers, ConverseCounts

_SAID = frozenset(
    ("model", "stream", "messages", "system", "max_tokens", "temperature", "top_p", "top_k", "stop_sequences", "tools",
     "tool_choice", "thinking", "output_config", "metadata")
)  # fmt: skip
_IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS = {
    "application/pdf": "pdf", "text/csv": "csv", "text/html": "html", "text/plain": "txt", "text/markdown": "md",
}  # fmt: skip
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9()\[\]-]+")
_CONTROL = "cache_control"
_LIMITS = ("max_tokens", "max_completion_tokens")


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call of a client of Messages in Converse; see `Translator`."""
    body, losses = decoded(call.fields), Losses(strict)
    for name in call.unsaid:
        losses.lose(name)
    said = _request(body, losses)
    said["model"] = body.get("model", "")
    translated = ModelCall(CONVERSE, encoded(said), call.stream, strict=call.strict, batch=call.batch)
    return ConverseAnswers(translated, losses.paths)


@guarded
def translate_chat(call: ModelCall, strict: bool) -> Translation:
    """Return the call of a client of chat completions in Converse; see `Translator`."""
    return _translate_chat(chat_to_messages, call, strict)


@guarded
def translate_chat_on(call: ModelCall, strict: bool) -> Translation:
    """Return a call that was said in chat completions already, whose answer is translated once more."""
    return _translate_chat(chat_to_messages_on, call, strict)


def _translate_chat(said_in_messages: Translator, call: ModelCall, strict: bool) -> Translation:
    near = said_in_messages(call, strict)
    fields = near.call.fields
    if not any(name in call.fields for name in _LIMITS):  # Messages needs a limit, and Converse has one per model
        fields = {name: raw for name, raw in fields.items() if name != "max_tokens"}
    asked = ModelCall(MESSAGES, fields, call.stream, strict=call.strict, batch=call.batch)
    return chained(call, near, translate, asked, strict)


@guarded
def count(call: ModelCall, strict: bool) -> Translation:
    """Return a count of tokens in Bedrock's words; see `Translator`."""
    body, losses = decoded(call.fields), Losses(strict)
    said = _request(body, losses)
    counted = {name: said[name] for name in ("messages", "system", "toolConfig") if name in said}
    fields = encoded({"model": body.get("model", ""), "input": {"converse": counted}})
    return ConverseCounts(ModelCall(CONVERSE_COUNT, fields, strict=call.strict), losses.paths)


def _request(body: dict[str, Any], losses: Losses) -> dict[str, Any]:
    said: dict[str, Any] = {"messages": _messages(body, losses)}
    system = body.get("system")
    if isinstance(system, str):
        said["system"] = [{"text": system}]
    elif system is not None:
        said["system"] = _blocks(system, "system", losses)
    _config(body, said, losses)
    _tools(body, said, losses)
    _more(body, said, losses)
    losses.rest(body, (*_SAID, _CONTROL), "")
    if body.get(_CONTROL) is not None:  # the whole request up to here is to be kept
        _mark(said["messages"][-1]["content"] if said["messages"] else [], body[_CONTROL], _CONTROL, losses)
    return said


def _config(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    names = {"max_tokens": "maxTokens", "temperature": "temperature", "top_p": "topP"}
    config = {theirs: body[ours] for ours, theirs in names.items() if ours in body}
    if "stop_sequences" in body:
        config["stopSequences"] = as_list(body["stop_sequences"], "stop_sequences")
    if config:
        said["inferenceConfig"] = config
    metadata = as_object(body.get("metadata", {}), "metadata")
    user = metadata.get("user_id")
    if user is not None:
        text = as_text(user, "metadata.user_id")
        if re.fullmatch(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}", text):
            said["requestMetadata"] = {"user_id": text}
        else:
            losses.lose("metadata.user_id")
    losses.rest(metadata, ("user_id",), "metadata")


def _more(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    """Say what only some models know, and the form of the answer."""
    model, more = str(body.get("model", "")), {}
    config = as_object(body.get("output_config", {}), "output_config")
    form = as_object(config.get("format") or {}, "output_config.format")
    if form.get("type") == "json_schema":
        schema = as_object(form.get("schema"), "output_config.format.schema")
        text = msgspec.json.encode(schema).decode()
        said["outputConfig"] = {
            "textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"name": "output", "schema": text}}}
        }
    elif form:
        losses.lose("output_config.format")
    losses.rest(config, ("format", "effort"), "output_config")
    effort = config.get("effort")
    if "anthropic" in model:
        if "thinking" in body:
            more["thinking"] = body["thinking"]
        if effort is not None:
            more["output_config"] = {"effort": effort}
        if "top_k" in body:
            more["top_k"] = body["top_k"]
    else:
        if effort is not None and "gpt-oss" in model:
            more["reasoning_effort"] = effort
        elif effort is not None:
            losses.lose("output_config.effort")
        thinking = as_object(body.get("thinking", {}), "thinking")
        if thinking.get("type") == "enabled":
            losses.lose("thinking")
        if "top_k" in body:
            if "nova" in model:
                more["inferenceConfig"] = {"topK": body["top_k"]}
            else:
                losses.lose("top_k")
    if more:
        said["additionalModelRequestFields"] = more


def _tools(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    choice = as_object(body.get("tool_choice") or {}, "tool_choice")
    if choice.get("type") == "none" and not _has_used_tools(body):
        for number, item in enumerate(as_list(body.get("tools", []), "tools")):
            if as_object(item, f"tools[{number}]").get(_CONTROL) is not None:
                losses.lose(f"tools[{number}].{_CONTROL}")
        return  # what the model is not told of it cannot call
    tools: list[dict[str, Any]] = []
    for number, item in enumerate(as_list(body.get("tools", []), "tools")):
        path = f"tools[{number}]"
        tool = as_object(item, path)
        if tool.get("type") not in (None, "custom"):
            losses.lose(path)
            continue
        given: dict[str, Any] = {"name": as_text(tool.get("name"), f"{path}.name")}
        if tool.get("description"):  # an empty one is refused
            given["description"] = tool["description"]
        schema = as_object(tool.get("input_schema"), f"{path}.input_schema")
        given["inputSchema"] = {"json": schema if schema.get("type") else {"type": "object", **schema}}
        if tool.get("strict") is not None:
            given["strict"] = tool["strict"]
        tools.append({"toolSpec": given})
        losses.rest(tool, ("type", "name", "description", "input_schema", "strict", _CONTROL), path)
        if tool.get(_CONTROL) is not None:
            _mark(tools, tool[_CONTROL], f"{path}.{_CONTROL}", losses)
    if not tools:
        return
    config: dict[str, Any] = {"tools": tools}
    kind = choice.get("type")
    if kind == "any":
        config["toolChoice"] = {"any": {}}
    elif kind == "tool":
        config["toolChoice"] = {"tool": {"name": as_text(choice.get("name"), "tool_choice.name")}}
    elif kind == "auto":
        config["toolChoice"] = {"auto": {}}
    elif kind is not None:
        losses.lose("tool_choice")  # Converse cannot forbid tools, and wants to be told of those that were used
    if choice.get("disable_parallel_tool_use"):
        losses.lose("tool_choice.disable_parallel_tool_use")
    losses.rest(choice, ("type", "name", "disable_parallel_tool_use"), "tool_choice")
    said["toolConfig"] = config


def _has_used_tools(body: dict[str, Any]) -> bool:
    return any(
        isinstance(block, dict) and block.get("type") in ("tool_use", "tool_result")
        for message in as_list(body.get("messages", []), "messages")
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for block in message["content"]
    )


def _mark(blocks: list[dict[str, Any]], control: Any, path: str, losses: Losses) -> None:
    """Say that everything up to here is to be kept in the cache."""
    given = as_object(control, path)
    point: dict[str, Any] = {"type": "default"}
    if given.get("ttl") is not None:
        point["ttl"] = given["ttl"]
    losses.rest(given, ("type", "ttl"), path)
    blocks.append({"cachePoint": point})


def _messages(body: dict[str, Any], losses: Losses) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for number, item in enumerate(as_list(body.get("messages"), "messages")):
        path = f"messages[{number}]"
        message = as_object(item, path)
        role, content = message.get("role"), message.get("content")
        losses.rest(message, ("role", "content"), path)
        if role not in ("user", "assistant"):
            if role == "system":
                losses.lose(path)
                continue
            raise bad(f"{path}.role", "'user' or 'assistant'")
        blocks = [{"text": content}] if isinstance(content, str) else _blocks(content, f"{path}.content", losses)
        blocks = [block for block in blocks if block.get("text", "x").strip()]  # a blank text is refused
        if not blocks:
            continue
        if said and said[-1]["role"] == role:  # turns have to alternate
            said[-1]["content"] += blocks
        else:
            said.append({"role": role, "content": blocks})
    return said


def _blocks(content: Any, path: str, losses: Losses) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    for number, item in enumerate(as_list(content, path)):
        place = f"{path}[{number}]"
        block = as_object(item, place)
        said = _block(block, place, losses)
        if said is not None:
            blocks.append(said)
        if block.get(_CONTROL) is not None:
            _mark(blocks, block[_CONTROL], f"{place}.{_CONTROL}", losses)
    return blocks


def _block(block: dict[str, Any], path: str, losses: Losses) -> dict[str, Any] | None:
    kind = block.get("type")
    if kind == "text":
        given = ("type", "text", _CONTROL, *(() if block.get("citations") else ("citations",)))
        losses.rest(block, given, path)
        return {"text": as_text(block.get("text"), f"{path}.text")}
    if kind == "image":
        losses.rest(block, ("type", "source", _CONTROL), path)
        return _image(as_object(block.get("source"), f"{path}.source"), path, losses)
    if kind == "document":
        return _document(block, path, losses)
    if kind == "tool_use":
        losses.rest(block, ("type", "id", "name", "input", "caller", _CONTROL), path)
        given_input = as_object(block.get("input", {}), f"{path}.input")
        name = as_text(block.get("name"), f"{path}.name")
        return {"toolUse": {"toolUseId": as_text(block.get("id"), f"{path}.id"), "name": name, "input": given_input}}
    if kind == "tool_result":
        return _result(block, path, losses)
    if kind == "thinking" and block.get("signature") and not str(block["signature"]).startswith("tetrad."):
        thought = {"text": as_text(block.get("thinking"), f"{path}.thinking"), "signature": block["signature"]}
        return {"reasoningContent": {"reasoningText": thought}}
    if kind == "redacted_thinking" and not str(block.get("data", "")).startswith("tetrad."):
        return {"reasoningContent": {"redactedContent": as_text(block.get("data"), f"{path}.data")}}
    losses.lose(path)
    return None


def _image(source: dict[str, Any], path: str, losses: Losses) -> dict[str, Any] | None:
    form = _IMAGES.get(str(source.get("media_type")))
    if source.get("type") != "base64" or form is None:
        losses.lose(f"{path}.source")  # Bedrock fetches nothing from the web
        return None
    return {"image": {"format": form, "source": {"bytes": as_text(source.get("data"), f"{path}.source.data")}}}


def _document(block: dict[str, Any], path: str, losses: Losses) -> dict[str, Any] | None:
    source = as_object(block.get("source"), f"{path}.source")
    losses.rest(block, ("type", "source", "title", _CONTROL), path)
    title = _NOT_IN_NAMES.sub(" ", str(block.get("title") or "document")).strip()[:200] or "document"
    if source.get("type") == "text":
        return {"text": as_text(source.get("data"), f"{path}.source.data")}
    form = _DOCUMENTS.get(str(source.get("media_type")))
    if source.get("type") != "base64" or form is None:
        losses.lose(f"{path}.source")
        return None
    data = as_text(source.get("data"), f"{path}.source.data")
    return {"document": {"format": form, "name": title, "source": {"bytes": data}}}


def _result(block: dict[str, Any], path: str, losses: Losses) -> dict[str, Any]:
    losses.rest(block, ("type", "tool_use_id", "content", "is_error", _CONTROL), path)
    content = block.get("content")
    parts: list[dict[str, Any]]
    if content is None:
        parts = []
    elif isinstance(content, str):
        parts = [{"text": content}]
    else:
        parts = [part for part in _blocks(content, f"{path}.content", losses) if "cachePoint" not in part]
    result: dict[str, Any] = {
        "toolUseId": as_text(block.get("tool_use_id"), f"{path}.tool_use_id"),
        "content": parts or [{"text": "(nothing)"}],
    }
    if block.get("is_error"):
        result["status"] = "error"
    return {"toolResult": result}
