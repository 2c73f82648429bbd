"""Clients that speak OpenAI's Responses to upstreams that speak chat completions: the request.

Items become messages: what an assistant said and called next to each other is one message, as chat completions want
it. Reasoning that has a text goes back as `reasoning_content`; encrypted reasoning belongs to whom it came from and is
left out, but for what Google or Anthropic signed, on the way to a protocol that may want it back.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeAlias

from tetrad.serving._operations import CHAT
from tetrad.serving.errors import RequestRefused
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
from tetrad.serving.translation.anthropic_signatures import MAX_THOUGHTS, is_sealed_thought, open_thought
from tetrad.serving.translation.google_signatures import google_extra, unsealed
from tetrad.serving.translation.responses_answers import ResponsesAnswers

MAX_ITEMS = 20_000

_SAME = (
    "model", "temperature", "top_p", "stream", "parallel_tool_calls", "top_logprobs", "user", "service_tier",
    "prompt_cache_key", "prompt_cache_retention", "safety_identifier",
)  # fmt: skip
_SAID = frozenset(
    (*_SAME, "input", "instructions", "max_output_tokens", "tools", "tool_choice", "text", "reasoning", "include",
     "metadata", "store", "stream_options", "truncation", "background")
)  # fmt: skip
_NEEDS_MEMORY = ("previous_response_id", "conversation")
_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_FORMAT = ("name", "schema", "strict", "description")
Signer: TypeAlias = 'Literal["", "google", "anthropic"]'
"""Whose signatures the upstream may want back."""


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call in chat completions; see `Translator`."""
    return _translate(call, strict, "")


@guarded
def translate_to_google(call: ModelCall, strict: bool) -> Translation:
    """Return the call in chat completions that are said in Google's words next, with what Google signed."""
    return _translate(call, strict, "google")


@guarded
def translate_to_anthropic(call: ModelCall, strict: bool) -> Translation:
    """Return the call in chat completions that are said in Messages next, with the thinking of the call's `maker`."""
    return _translate(call, strict, "anthropic")


def _translate(call: ModelCall, strict: bool, signer: Signer) -> Translation:
    body, losses = decoded(call.fields), Losses(strict)
    for name in _NEEDS_MEMORY:
        if name in body:
            raise RequestRefused(
                f"{name!r} needs stored responses, and this gateway keeps none",
                param=name,
                hint="send the whole conversation as `input`",
                code="state_unavailable",
            )
    said: dict[str, Any] = {name: body[name] for name in _SAME if name in body}
    said["messages"] = _messages(body, losses, signer, call.maker)
    if "max_output_tokens" in body:
        said["max_completion_tokens"] = body["max_output_tokens"]
    _tools(body, said, losses)
    _text(body, said, losses)
    _rest(body, said, losses, signer)
    if call.stream:
        said["stream_options"] = {"include_usage": True}
    fields = encoded(said)
    for name, raw in call.unsaid.items():
        fields.setdefault(name, raw)
    return ResponsesAnswers(
        ModelCall(CHAT, fields, call.stream, usage_asked=True, strict=call.strict), losses.paths, body,
        call.maker if signer == "anthropic" else None, partial(_place, body, signer, call.maker),
    )  # fmt: skip


def _place(body: dict[str, Any], signer: Signer, maker: str) -> Callable[[int, str], str]:
    from tetrad.serving.translation._response_places import Places

    return Places(body, signer, maker)


def _rest(body: dict[str, Any], said: dict[str, Any], losses: Losses, signer: Signer) -> None:
    reasoning = as_object(body.get("reasoning", {}), "reasoning")
    if reasoning.get("effort") is not None:
        said["reasoning_effort"] = as_text(reasoning["effort"], "reasoning.effort")
    losses.rest(reasoning, ("effort",), "reasoning")
    for number, name in enumerate(as_list(body.get("include", []), "include")):
        if name == "message.output_text.logprobs":
            said["logprobs"] = True
        elif not (signer and name == "reasoning.encrypted_content"):  # what there is of it is always told
            losses.lose(f"include[{number}]")
    if "top_logprobs" in said:
        said["logprobs"] = True
    if body.get("truncation", "disabled") != "disabled":
        losses.lose("truncation")
    if body.get("background"):
        raise RequestRefused(
            "the model's upstream answers nothing in the background",
            param="background",
            hint="leave 'background' out, and stream the answer if it takes long",
            code="cannot_translate",
        )
    losses.rest(body, _SAID, "")


def _text(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    text = as_object(body.get("text", {}), "text")
    if text.get("verbosity") not in (None, "medium"):
        said["verbosity"] = text["verbosity"]
    losses.rest(text, ("format", "verbosity"), "text")
    form = as_object(text.get("format") or {}, "text.format")
    kind = form.get("type", "text")
    if kind == "json_schema":
        schema = {name: form[name] for name in _FORMAT if form.get(name) is not None}
        as_text(schema.get("name"), "text.format.name")
        as_object(schema.get("schema"), "text.format.schema")
        said["response_format"] = {"type": "json_schema", "json_schema": schema}
        losses.rest(form, ("type", *_FORMAT), "text.format")
    elif kind == "json_object":
        said["response_format"] = {"type": "json_object"}
    elif kind != "text":
        losses.lose("text.format")


def _tools(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    tools = []
    choice = body.get("tool_choice")
    allowed: frozenset[str] | None = None
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed, choice = _allowed(choice), choice.get("mode")
    for number, item in enumerate(as_list(body.get("tools", []), "tools")):
        path = f"tools[{number}]"
        tool = as_object(item, path)
        if tool.get("type") != "function":
            losses.lose(path)
            continue
        function: dict[str, Any] = {"name": as_text(tool.get("name"), f"{path}.name")}
        if allowed is not None and function["name"] not in allowed:
            continue
        for name in ("description", "parameters", "strict"):
            if tool.get(name) is not None:
                function[name] = tool[name]
        losses.rest(tool, ("type", "name", "description", "parameters", "strict"), path)
        tools.append({"type": "function", "function": function})
    if tools:
        said["tools"] = tools
    elif "parallel_tool_calls" in said:
        del said["parallel_tool_calls"]  # chat completions refuse it without tools
    if allowed is not None and not tools:
        if allowed or not _declares_others(body):
            raise bad("tool_choice.tools", "tools that `tools` declares")
        losses.lose("tool_choice")  # all that it may call got lost
        return
    if choice is None or (not tools and choice in ("auto", "none")):
        return
    if choice in ("auto", "none", "required"):
        said["tool_choice"] = choice
        return
    chosen = as_object(choice, "tool_choice")
    if chosen.get("type") == "function":
        name = as_text(chosen.get("name"), "tool_choice.name")
        said["tool_choice"] = {"type": "function", "function": {"name": name}}
        losses.rest(chosen, ("type", "name"), "tool_choice")
    else:
        losses.lose("tool_choice")


def _allowed(choice: dict[str, Any]) -> frozenset[str]:
    """Return the functions that the model may call; it is told of these alone, which any upstream understands."""
    if choice.get("mode") not in ("auto", "required"):
        raise bad("tool_choice.mode", "'auto' or 'required'")
    named = [as_object(each, "tool_choice.tools") for each in as_list(choice.get("tools"), "tool_choice.tools")]
    names = (each.get("name") for each in named if each.get("type") == "function")
    return frozenset(name for name in names if isinstance(name, str))


def _declares_others(body: dict[str, Any]) -> bool:
    """Tell whether each tool that the model may call is declared, and of a kind that others do not have."""
    named = as_list(body["tool_choice"].get("tools"), "tool_choice.tools")
    wanted = {str(as_object(each, "tool_choice.tools").get("type")) for each in named}
    declared = {str(each.get("type")) for each in as_list(body.get("tools", []), "tools") if isinstance(each, dict)}
    return bool(wanted) and wanted <= declared - {"function"}


def _messages(body: dict[str, Any], losses: Losses, signer: Signer, maker: str) -> list[dict[str, Any]]:
    return talked(Talk(losses, signer, maker), body)


def talked(talk: Talk, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the messages of a whole request."""
    if "instructions" in body:
        talk.say("system", as_text(body["instructions"], "instructions"))
    given = body.get("input")
    if isinstance(given, str):
        talk.say("user", given)
    else:
        items = as_list(given, "input")
        if len(items) > MAX_ITEMS:
            raise RequestRefused(f"the input has {len(items):,} items", param="input", hint=f"at most {MAX_ITEMS:,}")
        for number, item in enumerate(items):
            talk.take(as_object(item, f"input[{number}]"), f"input[{number}]")
    return talk.finished()


class Talk:
    """Messages in the making. `_turn` is the assistant's message that calls and thoughts still join.

    `_chars` counts the characters of its content. It is `_parted` where the last thing in it is a thought that
    Anthropic signed: then a text goes on with it, so that the thought is followed by what it was followed by.
    """

    def __init__(self, losses: Losses, signer: Signer, maker: str) -> None:
        self._losses = losses
        self._signer = signer
        self._maker = maker
        self._thoughts: list[tuple[dict[str, Any], str]] = []
        self._chars, self._parted = 0, False
        self._signature, self._signed_at = "", ""
        self._messages: list[dict[str, Any]] = []
        self._turn: dict[str, Any] | None = None

    def say(self, role: str, content: Any) -> None:
        self._turn = None
        self._messages.append({"role": role, "content": content})

    def finished(self) -> list[dict[str, Any]]:
        """Return the messages; thoughts without a word or a call in their turn say nothing."""
        self._unused()
        for turn, path in self._thoughts:
            if not _says(turn):
                self._losses.lose(path)
        return [each for each in self._messages if _says(each)]

    def take(self, item: dict[str, Any], path: str) -> None:
        kind = item.get("type", "message")
        if self._signer == "anthropic" and kind == "reasoning":
            self._thinking(item, path)
            return
        if self._signer and kind == "reasoning" and (found := unsealed(item.get("encrypted_content"))) is not None:
            self._signed(*found, path)
            if not item.get("content"):
                return
        elif kind not in ("function_call", "reasoning"):
            self._unused()
        if kind == "message":
            self._message(item, path)
        elif kind == "function_call":
            self._call(item, path)
        elif kind == "function_call_output":
            self._result(item, path)
        elif kind == "reasoning":
            self._thought(item, path)
        elif kind == "item_reference":
            raise RequestRefused(
                f"{path} refers to an item that this gateway does not keep",
                param=path,
                hint="send the item itself",
                code="item_not_found",
            )
        else:
            self._losses.lose(path)

    def _message(self, item: dict[str, Any], path: str) -> None:
        named = item.get("role")
        role = _ROLES.get(named) if isinstance(named, str) else None
        if role is None:
            raise bad(f"{path}.role", "'user', 'assistant', 'system' or 'developer'")
        self._losses.rest(item, ("type", "role", "content", "id", "status", "phase"), path)
        content = item.get("content")
        if not isinstance(content, str):
            content = self._parts(content, role, f"{path}.content")
        if role != "assistant":
            self.say(role, content)
            return
        if self._turn is not None and _says(self._turn) and not self._parted:
            self._turn = None
        turn = self._assistant()
        turn["content"] = content if turn["content"] is None else [*_as_parts(turn["content"]), *_as_parts(content)]
        self._chars += sum(len(part.get("text") or part.get("refusal") or "") for part in _as_parts(content))
        self._parted = False

    def _assistant(self) -> dict[str, Any]:
        if self._turn is None:
            self._turn = {"role": "assistant", "content": None}
            self._chars, self._parted = 0, False
            self._messages.append(self._turn)
        return self._turn

    def _call(self, item: dict[str, Any], path: str) -> None:
        self._losses.rest(item, ("type", "call_id", "name", "arguments", "id", "status"), path)
        call = {
            "id": as_text(item.get("call_id"), f"{path}.call_id"),
            "type": "function",
            "function": {
                "name": as_text(item.get("name"), f"{path}.name"),
                "arguments": as_text(item.get("arguments"), f"{path}.arguments"),
            },
        }
        if self._signature:
            call["extra_content"] = google_extra(self._signature)
            self._signature = ""
        self._assistant().setdefault("tool_calls", []).append(call)
        self._parted = False

    def _thinking(self, item: dict[str, Any], path: str) -> None:
        """Keep a block that the maker of the next answer made too, and where in its turn it stood."""
        sealed = item.get("encrypted_content")
        if not is_sealed_thought(sealed):
            self._losses.lose(path)
            return
        thought = open_thought(sealed, f"{path}.encrypted_content")
        if thought.maker != self._maker:
            self._losses.lose(path)
            return
        turn = self._assistant()
        blocks = turn.setdefault("extra_content", {"anthropic": {"blocks": []}})["anthropic"]["blocks"]
        if len(blocks) >= MAX_THOUGHTS:
            raise RequestRefused(
                f"{path} is one thought too many of the same turn", param=path, hint=f"at most {MAX_THOUGHTS:,}"
            )
        place = {"after_chars": self._chars, "after_calls": len(turn.get("tool_calls", ()))}
        blocks.append({**thought.block(), **place})
        self._thoughts.append((turn, path))
        self._parted = True

    def _signed(self, what: str, signature: str, path: str) -> None:
        """Keep what is signed of the call that follows, or put it to the text that it stands behind."""
        self._unused()
        if what == "call":
            self._signature, self._signed_at = signature, path
        elif self._turn is not None and self._turn["content"] is not None:
            self._turn["extra_content"] = google_extra(signature)
        else:
            self._losses.lose(path)

    def _unused(self) -> None:
        if self._signature:
            self._losses.lose(self._signed_at)
            self._signature = ""

    def _result(self, item: dict[str, Any], path: str) -> None:
        self._losses.rest(item, ("type", "call_id", "output", "id", "status"), path)
        output = item.get("output")
        if not isinstance(output, str):
            output = self._parts(output, "tool", f"{path}.output")
        self._turn = None
        call_id = as_text(item.get("call_id"), f"{path}.call_id")
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": output})

    def _thought(self, item: dict[str, Any], path: str) -> None:
        texts = []
        for number, each in enumerate(as_list(item.get("content") or [], f"{path}.content")):
            place = f"{path}.content[{number}]"
            part = as_object(each, place)
            if part.get("type") == "reasoning_text":
                texts.append(as_text(part.get("text"), f"{place}.text"))
            else:
                self._losses.lose(place)
        if not texts:
            self._losses.lose(path)
            return
        if item.get("encrypted_content") is not None and not (self._signer and unsealed(item["encrypted_content"])):
            self._losses.lose(f"{path}.encrypted_content")
        self._turn = None
        self._assistant()["reasoning_content"] = "".join(texts)

    def _parts(self, content: Any, role: str, path: str) -> Any:
        """Return the parts as chat completions say them; an assistant's texts as one text, which all servers take."""
        parts: list[dict[str, Any]] = []
        for number, each in enumerate(as_list(content, path)):
            place = f"{path}[{number}]"
            parts += self._part(as_object(each, place), place)
        if role != "user" and all(part["type"] == "text" for part in parts):
            return "".join(part["text"] for part in parts)
        return parts

    def _part(self, part: dict[str, Any], path: str) -> list[dict[str, Any]]:
        kind, losses = part.get("type"), self._losses
        if kind in ("input_text", "output_text", "text"):
            if part.get("annotations"):
                losses.lose(f"{path}.annotations")
            losses.rest(part, ("type", "text", "annotations", "logprobs"), path)
            return [{"type": "text", "text": as_text(part.get("text"), f"{path}.text")}]
        if kind == "refusal":
            return [{"type": "refusal", "refusal": as_text(part.get("refusal"), f"{path}.refusal")}]
        if kind == "input_image" and part.get("image_url") is not None:
            image: dict[str, Any] = {"url": as_text(part["image_url"], f"{path}.image_url")}
            if part.get("detail") is not None:
                image["detail"] = part["detail"]
            losses.rest(part, ("type", "image_url", "detail"), path)
            return [{"type": "image_url", "image_url": image}]
        if kind == "input_file" and (part.get("file_data") is not None or part.get("file_id") is not None):
            file = {name: part[name] for name in ("file_data", "file_id", "filename") if part.get(name) is not None}
            losses.rest(part, ("type", *file), path)
            return [{"type": "file", "file": file}]
        if kind == "input_audio":
            audio = as_object(part.get("input_audio"), f"{path}.input_audio")
            return [{"type": "input_audio", "input_audio": audio}]
        losses.lose(path)
        return []


def _says(message: dict[str, Any]) -> bool:
    return message["content"] is not None or "tool_calls" in message


def _as_parts(content: str | list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
