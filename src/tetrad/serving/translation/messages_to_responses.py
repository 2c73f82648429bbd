"""Clients that speak Anthropic's Messages to upstreams that speak OpenAI's Responses: the request.

Blocks and items follow each other in the same order, so nothing has to be put anywhere else. Thinking goes back to its
maker only (see `openai_signatures`); what others signed, or nobody, is left out. Nothing is stored.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.serving._operations import RESPONSES
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation import _response_input as item
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
from tetrad.serving.translation.chat_to_responses import say_options
from tetrad.serving.translation.messages_from_responses import MessagesFromResponses
from tetrad.serving.translation.messages_to_chat import data_url, joined_texts, say_rest, say_thinking, say_tools
from tetrad.serving.translation.openai_signatures import is_sealed_reasoning, open_reasoning

_SAME = ("model", "temperature", "top_p", "stream")
_THOUGHTS = {"thinking": "signature", "redacted_thinking": "data"}
"""Kinds of blocks that hold thoughts, with the field that is sent back unread."""
_Parts = list[dict[str, Any]]


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call in responses; see `Translator`."""
    body, losses = decoded(call.fields), Losses(strict)
    said: dict[str, Any] = {"input": _messages(body, losses, call.maker)}
    if "system" in body:
        system = body["system"]
        said["instructions"] = system if isinstance(system, str) else joined_texts(system, "system", losses)
    options: dict[str, Any] = {name: body[name] for name in _SAME if name in body}
    _options(body, options, said, losses)
    for name, raw in call.unsaid.items():
        options.setdefault(name, msgspec.json.decode(raw))
    say_options({name: value for name, value in options.items() if value is not None}, said, losses, limit="max_tokens")
    translated = ModelCall(
        RESPONSES, encoded(said), call.stream, usage_asked=True, strict=call.strict, batch=call.batch
    )
    return MessagesFromResponses(translated, losses.paths, call.maker)


def _options(body: dict[str, Any], options: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    """Say in chat completions' words what is said of the answer as a whole, and how much of its thinking is told."""
    if "max_tokens" in body:
        options["max_completion_tokens"] = body["max_tokens"]
    if as_list(body.get("stop_sequences", []), "stop_sequences"):
        losses.lose("stop_sequences")
    say_tools(body, options, losses)
    thinking = dict(as_object(body.get("thinking", {}), "thinking"))
    shown = thinking.pop("display", None)
    if thinking.get("type") in ("enabled", "adaptive"):
        said["reasoning"] = {} if shown == "omitted" else {"summary": "auto"}
    say_thinking({**body, "thinking": thinking}, options, losses)
    say_rest(body, options, losses)


def _messages(body: dict[str, Any], losses: Losses, maker: str) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    for number, each in enumerate(as_list(body.get("messages"), "messages")):
        path = f"messages[{number}]"
        message = as_object(each, path)
        losses.rest(message, ("role", "content"), path)
        role, content = message.get("role"), message.get("content")
        if role not in ("user", "assistant", "system"):
            raise bad(f"{path}.role", "'user', 'assistant' or 'system'")
        if isinstance(content, str):
            said.append(item.message(role, content))
        elif role == "user":
            said += _user(content, path, losses)
        elif role == "assistant":
            said += item.turn(_assistant(content, path, losses, maker), losses)
        else:
            said.append(item.message(role, joined_texts(content, f"{path}.content", losses)))
    return said


def _user(content: Any, path: str, losses: Losses) -> list[dict[str, Any]]:
    """Results of calls are items of their own; what stands beside them follows."""
    results: list[dict[str, Any]] = []
    parts: _Parts = []
    for number, each in enumerate(as_list(content, f"{path}.content")):
        place = f"{path}.content[{number}]"
        block = as_object(each, place)
        if block.get("type") == "tool_result":
            results.append(_result(block, place, losses))
        else:
            parts += _part(block, place, losses)
    return [*results, item.message("user", parts)] if parts or not results else results


def _result(block: dict[str, Any], path: str, losses: Losses) -> dict[str, Any]:
    failed = () if block.get("is_error") else ("is_error",)
    losses.rest(block, ("type", "tool_use_id", "content", *failed), path)
    content = block.get("content")
    output: str | _Parts = content if isinstance(content, str) else []
    if not isinstance(output, str):
        for number, each in enumerate(as_list(content or [], f"{path}.content")):
            place = f"{path}.content[{number}]"
            output += _part(as_object(each, place), place, losses)
    return item.result(as_text(block.get("tool_use_id"), f"{path}.tool_use_id"), output or "")


def _part(block: dict[str, Any], path: str, losses: Losses) -> _Parts:
    kind = block.get("type")
    if kind == "text":
        losses.rest(block, ("type", "text"), path)
        return [item.text(as_text(block.get("text"), f"{path}.text"))]
    if kind not in ("image", "document"):
        losses.lose(path)
        return []
    place = f"{path}.source"
    source = as_object(block.get("source"), place)
    how = source.get("type")
    losses.rest(block, ("type", "source", *(("title",) if (kind, how) == ("document", "base64") else ())), path)
    if how == "url":
        url = as_text(source.get("url"), f"{place}.url")
        return [item.image(url) if kind == "image" else {"type": "input_file", "file_url": url}]
    if how == "base64":
        data = data_url(source, place)
        if kind == "image":
            return [item.image(data)]
        title = block.get("title")
        name = "document.pdf" if title is None else as_text(title, f"{path}.title")
        return [{"type": "input_file", "filename": name, "file_data": data}]
    if kind == "document" and how == "text":
        return [item.text(as_text(source.get("data"), f"{place}.data"))]
    if kind == "document" and how == "content":
        return _held(source.get("content"), f"{place}.content", losses)
    losses.lose(place)
    return []


def _held(content: Any, path: str, losses: Losses) -> _Parts:
    if isinstance(content, str):
        return [item.text(content)]
    parts: _Parts = []
    for number, each in enumerate(as_list(content, path)):
        place = f"{path}[{number}]"
        part = as_object(each, place)
        if part.get("type") == "document":  # documents hold no documents
            losses.lose(place)
        else:
            parts += _part(part, place, losses)
    return parts


def _assistant(content: Any, path: str, losses: Losses, maker: str) -> list[item.Piece]:
    said: list[item.Piece] = []
    for number, each in enumerate(as_list(content, f"{path}.content")):
        place = f"{path}.content[{number}]"
        block = as_object(each, place)
        kind = block.get("type")
        if kind == "text":
            losses.rest(block, ("type", "text", *(() if block.get("citations") else ("citations",))), place)
            said.append((place, item.spoken(as_text(block.get("text"), f"{place}.text"))))
        elif kind == "tool_use":
            losses.rest(block, ("type", "id", "name", "input", "caller"), place)
            arguments = msgspec.json.encode(as_object(block.get("input", {}), f"{place}.input")).decode()
            call_id, name = as_text(block.get("id"), f"{place}.id"), as_text(block.get("name"), f"{place}.name")
            said.append((place, item.call(call_id, name, arguments)))
        elif (thought := _thought(block, place, maker)) is not None:
            losses.rest(block, ("type", "thinking", "signature", "data"), place)
            said.append((place, thought))
        else:
            losses.lose(place)
    return said


def _thought(block: dict[str, Any], path: str, maker: str) -> dict[str, Any] | None:
    """Return the item of reasoning that a block was made of, where the maker of the next answer made it."""
    name = _THOUGHTS.get(str(block.get("type")))
    sealed = block.get(name) if name is not None else None
    if not is_sealed_reasoning(sealed):
        return None
    thought = open_reasoning(sealed, f"{path}.{name}")
    if not maker or thought.maker != maker:
        return None
    return thought.item(as_text(block.get("thinking") or "", f"{path}.thinking"))
