"""Clients that speak Anthropic's Messages to upstreams that speak OpenAI's chat completions: the request.

Thinking goes back only to where it came from: a block without signature was made by an upstream of this kind and goes
back as `reasoning_content`; a block with one is Anthropic's and is left out. What Google signed (see `chat_answers`)
goes on to Google only.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from tetrad.serving._operations import CHAT
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation._kinds import Translation
from tetrad.serving.translation._saying import (
    Losses,
    as_list,
    as_object,
    as_text,
    bad,
    decoded,
    encoded,
    guarded,
)
from tetrad.serving.translation.chat_answers import ChatAnswers, read_google_signature

_SAME = ("model", "temperature", "top_p", "stream")
_SAID = frozenset(
    (*_SAME, "max_tokens", "messages", "system", "stop_sequences", "tools", "tool_choice", "metadata", "thinking",
     "output_config", "service_tier")
)  # fmt: skip
_MAX_USER = 64
_TIERS = {"auto": "auto", "standard_only": "default"}
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh"}
_MEDIUM_BUDGET, _HIGH_BUDGET = 4096, 16_384
_TOOL_FIELDS = frozenset(("type", "name", "description", "input_schema", "strict"))


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call in chat completions; see `Translator`."""
    return _translate(call, strict, on=False)


@guarded
def translate_on(call: ModelCall, strict: bool) -> Translation:
    """Return the call in chat completions that are translated once more, with the signatures that stand in it."""
    return _translate(call, strict, on=True)


def _translate(call: ModelCall, strict: bool, *, on: bool) -> Translation:
    body, losses = decoded(call.fields), Losses(strict)
    said: dict[str, Any] = {name: body[name] for name in _SAME if name in body}
    if "max_tokens" in body:
        said["max_completion_tokens"] = body["max_tokens"]
    origins: list[tuple[str, bool]] = []
    said["messages"] = _messages(body, losses, origins, on=on)
    if "stop_sequences" in body:
        said["stop"] = as_list(body["stop_sequences"], "stop_sequences")
    say_tools(body, said, losses)
    say_thinking(body, said, losses)
    say_rest(body, said, losses)
    if call.stream:
        said["stream_options"] = {"include_usage": True}
    fields = encoded(said)
    for name, raw in call.unsaid.items():
        fields.setdefault(name, raw)
    return ChatAnswers(
        ModelCall(CHAT, fields, call.stream, usage_asked=True, strict=call.strict, batch=call.batch),
        losses.paths,
        origins,
    )


def say_rest(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    """Say who asks and how soon it is needed; what nobody says is lost."""
    if "metadata" in body:
        metadata = as_object(body["metadata"], "metadata")
        if metadata.get("user_id") is not None:
            said["user"] = _bounded(as_text(metadata["user_id"], "metadata.user_id"))
        losses.rest(metadata, ("user_id",), "metadata")
    if "service_tier" in body:
        tier = _TIERS.get(as_text(body["service_tier"], "service_tier"))
        if tier is None:
            losses.lose("service_tier")
        else:
            said["service_tier"] = tier
    losses.rest(body, _SAID, "")


def _bounded(user: str) -> str:
    """Return who asks as OpenAI takes it: 64 characters at most. A longer name is told by its digest."""
    return user if len(user) <= _MAX_USER else hashlib.sha256(user.encode()).hexdigest()


def say_thinking(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    """Say how hard to think, and in which form to answer."""
    config = as_object(body.get("output_config", {}), "output_config")
    form = as_object(config.get("format") or {}, "output_config.format")
    if form:
        if form.get("type") == "json_schema":
            schema = as_object(form.get("schema"), "output_config.format.schema")
            said["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "output", "schema": schema, "strict": True},
            }
            losses.rest(form, ("type", "schema"), "output_config.format")
        else:
            losses.lose("output_config.format")
    losses.rest(config, ("format", "effort"), "output_config")
    effort = config.get("effort")
    thinking = as_object(body.get("thinking", {}), "thinking")
    kind = thinking.get("type")
    if kind == "enabled":
        losses.lose("thinking.budget_tokens")  # an effort is no budget
        budget = thinking.get("budget_tokens")
        if not isinstance(budget, int):
            raise bad("thinking.budget_tokens", "a number")
        said["reasoning_effort"] = "low" if budget < _MEDIUM_BUDGET else "medium" if budget < _HIGH_BUDGET else "high"
    elif kind not in (None, "adaptive"):
        losses.lose("thinking.type")
    losses.rest(thinking, ("type", "budget_tokens"), "thinking")
    if effort is not None:
        name = as_text(effort, "output_config.effort")
        if name not in _EFFORTS:
            losses.lose("output_config.effort")
        said["reasoning_effort"] = _EFFORTS.get(name, "xhigh" if name == "max" else "medium")


def say_tools(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    """Say which tools there are, and which of them must be called."""
    tools = []
    for number, item in enumerate(as_list(body.get("tools", []), "tools")):
        path = f"tools[{number}]"
        tool = as_object(item, path)
        if tool.get("type") not in (None, "custom"):
            losses.lose(path)
            continue
        function: dict[str, Any] = {"name": as_text(tool.get("name"), f"{path}.name")}
        if tool.get("description") is not None:
            function["description"] = tool["description"]
        function["parameters"] = as_object(tool.get("input_schema"), f"{path}.input_schema")
        if tool.get("strict") is not None:
            function["strict"] = tool["strict"]
        losses.rest(tool, _TOOL_FIELDS, path)
        tools.append({"type": "function", "function": function})
    if tools:
        said["tools"] = tools
    if "tool_choice" not in body:
        return
    choice = as_object(body["tool_choice"], "tool_choice")
    kind = choice.get("type")
    if kind in ("auto", "none"):
        said["tool_choice"] = kind
    elif kind == "any":
        said["tool_choice"] = "required"
    elif kind == "tool":
        name = as_text(choice.get("name"), "tool_choice.name")
        said["tool_choice"] = {"type": "function", "function": {"name": name}}
    else:
        losses.lose("tool_choice")
    if choice.get("disable_parallel_tool_use") is not None:
        said["parallel_tool_calls"] = not choice["disable_parallel_tool_use"]
    losses.rest(choice, ("type", "name", "disable_parallel_tool_use"), "tool_choice")


def _messages(
    body: dict[str, Any], losses: Losses, origins: list[tuple[str, bool]], *, on: bool
) -> list[dict[str, Any]]:
    """Return the messages; `origins` gets what each was to the client, and whether its parts are where they were."""
    said: list[dict[str, Any]] = []
    system = body.get("system")
    if system is not None:
        text = system if isinstance(system, str) else joined_texts(system, "system", losses)
        said.append({"role": "system", "content": text})
        origins.append(("system", False))
    for number, item in enumerate(as_list(body.get("messages"), "messages")):
        path = f"messages[{number}]"
        message = as_object(item, path)
        role, content = message.get("role"), message.get("content")
        losses.rest(message, ("role", "content"), path)
        if role == "system":
            text = content if isinstance(content, str) else joined_texts(content, f"{path}.content", losses)
            said.append({"role": "system", "content": text})
        elif role == "user":
            said += [{"role": "user", "content": content}] if isinstance(content, str) else _user(content, path, losses)
        elif role == "assistant":
            said.append(
                {"role": "assistant", "content": content}
                if isinstance(content, str)
                else _assistant(content, path, losses, on=on)
            )
        else:
            raise bad(f"{path}.role", "'user', 'assistant' or 'system'")
        made = said[len(origins) :]
        same = len(made) == 1 and _as_many(made[0]["content"], content)
        origins += [(path, same)] * len(made)
    return said


def _as_many(said: Any, given: Any) -> bool:
    return isinstance(said, list) and isinstance(given, list) and len(said) == len(given)


def joined_texts(blocks: Any, path: str, losses: Losses) -> str:
    """Return blocks of text as one text; others are lost."""
    texts = []
    for number, item in enumerate(as_list(blocks, path)):
        place = f"{path}[{number}]"
        block = as_object(item, place)
        if block.get("type") != "text":
            losses.lose(place)
            continue
        losses.rest(block, ("type", "text"), place)
        texts.append(as_text(block.get("text"), f"{place}.text"))
    return "\n\n".join(texts)


def _user(content: Any, path: str, losses: Losses) -> list[dict[str, Any]]:
    """Results of tools become messages of their own, which must come first."""
    results: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    for number, item in enumerate(as_list(content, f"{path}.content")):
        place = f"{path}.content[{number}]"
        block = as_object(item, place)
        if block.get("type") == "tool_result":
            result, media = _tool_result(block, place, losses)
            results.append(result)
            parts += media
        else:
            parts += _part(block, place, losses)
    if parts or not results:
        results.append({"role": "user", "content": parts})
    return results


def _tool_result(block: dict[str, Any], path: str, losses: Losses) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the tool's message, and what only a user's message may hold, which is to follow it."""
    losses.rest(block, ("type", "tool_use_id", "content", *(() if block.get("is_error") else ("is_error",))), path)
    content = block.get("content")
    said: Any = content
    media: list[dict[str, Any]] = []
    if content is None:
        said = ""
    elif not isinstance(content, str):
        said = []
        for number, item in enumerate(as_list(content, f"{path}.content")):
            place = f"{path}.content[{number}]"
            for part in _part(as_object(item, place), place, losses):
                (said if part["type"] == "text" else media).append(part)
    call_id = as_text(block.get("tool_use_id"), f"{path}.tool_use_id")
    return {"role": "tool", "tool_call_id": call_id, "content": said}, media


def _part(block: dict[str, Any], path: str, losses: Losses) -> list[dict[str, Any]]:
    kind = block.get("type")
    if kind == "text":
        losses.rest(block, ("type", "text"), path)
        return [{"type": "text", "text": as_text(block.get("text"), f"{path}.text")}]
    if kind == "image":
        return _image(block, path, losses)
    if kind == "document":
        return _document(block, path, losses)
    losses.lose(path)
    return []


def _image(block: dict[str, Any], path: str, losses: Losses) -> list[dict[str, Any]]:
    source = as_object(block.get("source"), f"{path}.source")
    losses.rest(block, ("type", "source"), path)
    if source.get("type") == "base64":
        return [{"type": "image_url", "image_url": {"url": data_url(source, f"{path}.source")}}]
    if source.get("type") == "url":
        return [{"type": "image_url", "image_url": {"url": as_text(source.get("url"), f"{path}.source.url")}}]
    losses.lose(f"{path}.source")
    return []


def _document(block: dict[str, Any], path: str, losses: Losses) -> list[dict[str, Any]]:
    source, place = as_object(block.get("source"), f"{path}.source"), f"{path}.source"
    kind = source.get("type")
    if kind == "base64":
        losses.rest(block, ("type", "source", "title"), path)
        title = block.get("title")
        name = as_text(title, f"{path}.title") if title is not None else "document.pdf"
        return [{"type": "file", "file": {"filename": name, "file_data": data_url(source, place)}}]
    if kind == "text":
        losses.rest(block, ("type", "source"), path)
        return [{"type": "text", "text": as_text(source.get("data"), f"{place}.data")}]
    if kind == "content":
        losses.rest(block, ("type", "source"), path)
        content = source.get("content")
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        parts: list[dict[str, Any]] = []
        for number, item in enumerate(as_list(content, f"{place}.content")):
            inner = f"{place}.content[{number}]"
            part = as_object(item, inner)
            if part.get("type") == "document":  # documents hold no documents
                losses.lose(inner)
            else:
                parts += _part(part, inner, losses)
        return parts
    losses.lose(path)
    return []


def data_url(source: dict[str, Any], path: str) -> str:
    """Return a source in base64 as a `data:` URL."""
    kind = as_text(source.get("media_type"), f"{path}.media_type")
    return f"data:{kind};base64,{as_text(source.get('data'), f'{path}.data')}"


def _assistant(content: Any, path: str, losses: Losses, *, on: bool) -> dict[str, Any]:
    signed: dict[str, str] = {}
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for number, item in enumerate(as_list(content, f"{path}.content")):
        place = f"{path}.content[{number}]"
        block = as_object(item, place)
        kind = block.get("type")
        if kind == "text":
            losses.rest(block, ("type", "text", *(() if block.get("citations") else ("citations",))), place)
            texts.append(as_text(block.get("text"), f"{place}.text"))
        elif kind == "tool_use":
            losses.rest(block, ("type", "id", "name", "input", "caller"), place)
            calls.append(_tool_call(block, place))
            if signature := signed.pop("call", ""):
                calls[-1]["extra_content"] = {"google": {"thought_signature": signature}}
        elif on and (found := read_google_signature(block)) is not None:
            signed[found[0]] = found[1]
        elif kind == "thinking" and not block.get("signature"):
            thoughts.append(as_text(block.get("thinking"), f"{place}.thinking"))
        else:
            losses.lose(place)
    said: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts or not calls else None}
    if thoughts:
        said["reasoning_content"] = "".join(thoughts)
    if calls:
        said["tool_calls"] = calls
    if signature := signed.pop("text", ""):
        said["extra_content"] = {"google": {"thought_signature": signature}}
    return said


def _tool_call(block: dict[str, Any], path: str) -> dict[str, Any]:
    arguments = msgspec.json.encode(as_object(block.get("input", {}), f"{path}.input")).decode()
    return {
        "id": as_text(block.get("id"), f"{path}.id"),
        "type": "function",
        "function": {"name": as_text(block.get("name"), f"{path}.name"), "arguments": arguments},
    }
