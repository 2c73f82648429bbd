"""Clients that speak OpenAI's chat completions to upstreams that speak Google's generateContent: the request.

What Google signs of a model's thoughts stands where Google's own compatible API has it, in
`extra_content.google.thought_signature` of a call of a tool or of a message, and goes back from there. A call that
another model made has none; Gemini 3 refuses such a history unless it is told to skip the check.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.serving._operations import COUNT_TOKENS, GEMINI, GEMINI_COUNT
from tetrad.serving.errors import RequestRefused
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation._chat_parts import Media, Text, chat_parts
from tetrad.serving.translation._chat_tools import LostCalls, choice_of, declared_functions
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
    no_role,
)
from tetrad.serving.translation.gemini_answers import GeminiAnswers, GeminiCounts
from tetrad.serving.translation.gemini_schema import clean_schema

UNSIGNED = "skip_thought_signature_validator"
"""What Google's documentation gives for calls that its models did not make ("Thought signatures", ai.google.dev)."""
_NUMBERS = {
    "temperature": "temperature", "top_p": "topP", "top_k": "topK", "seed": "seed",
    "presence_penalty": "presencePenalty", "frequency_penalty": "frequencyPenalty",
}  # fmt: skip
_SAID = frozenset(
    (*_NUMBERS, "model", "stream", "messages", "max_tokens", "max_completion_tokens", "stop", "n", "stream_options",
     "tools", "tool_choice", "response_format", "reasoning_effort", "modalities", "extra_body", "logprobs",
     "top_logprobs", "parallel_tool_calls")
)  # fmt: skip
_NEUTRAL: dict[str, Any] = {
    "store": False, "logit_bias": {}, "verbosity": "medium", "metadata": {}, "service_tier": "auto",
    "parallel_tool_calls": True,
}  # fmt: skip
_BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576}
_LEVELS = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
_OWN_FILES = re.compile(r"gs://|https://generativelanguage\.googleapis\.com/|https://(?:www\.)?youtu(?:be\.com|\.be)/")
_GENERATION = re.compile(r"gemini-(\d+)")
_MEDIA = ("image_url", "input_audio", "file")
_SOUNDS = {"wav": "audio/wav", "mp3": "audio/mp3"}


@guarded
def translate(call: ModelCall, strict: bool) -> Translation:
    """Return the call in Google's words; see `Translator`."""
    body, losses = decoded(call.fields), Losses(strict)
    said = _request(body, losses)
    said["model"] = body.get("model", "")
    translated = ModelCall(GEMINI, encoded(said), call.stream, strict=call.strict, batch=call.batch)
    return GeminiAnswers(translated, losses.paths, usage_asked=call.usage_asked)


@guarded
def count(call: ModelCall, strict: bool) -> Translation:
    """Return a count of tokens, asked in Anthropic's words, in Google's; see `Translator`."""
    from tetrad.serving.translation.messages_to_chat import translate_on

    asked = translate_on(ModelCall(COUNT_TOKENS, call.fields, headers=call.headers), strict)
    body, losses = decoded(asked.call.fields), Losses(strict)
    said = _request(body, losses)
    said.pop("generationConfig", None)  # it is not part of what is counted
    model = body.get("model", "")
    fields = {"model": model, "generateContentRequest": {"model": f"models/{model}", **said}}
    dropped = tuple(dict.fromkeys((*asked.dropped, *losses.paths)))
    return GeminiCounts(ModelCall(GEMINI_COUNT, encoded(fields), strict=call.strict), dropped)


def _request(body: dict[str, Any], losses: Losses) -> dict[str, Any]:
    said: dict[str, Any] = {}
    model = str(body.get("model", ""))
    _contents(body, said, losses, model)
    config = _config(body, losses, model)
    _output(body, config, losses)
    _tools(body, said, losses)
    _extra(body, said, config, losses)
    if config:
        said["generationConfig"] = config
    for name, value in body.items():
        if (name not in _SAID or name == "parallel_tool_calls") and not (name in _NEUTRAL and value == _NEUTRAL[name]):
            losses.lose(name)
    return said


def _config(body: dict[str, Any], losses: Losses, model: str) -> dict[str, Any]:
    config = {theirs: body[ours] for ours, theirs in _NUMBERS.items() if ours in body}
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    if limit is not None:
        config["maxOutputTokens"] = limit
    if "stop" in body:
        stop = body["stop"]
        config["stopSequences"] = [stop] if isinstance(stop, str) else as_list(stop, "stop")
    if body.get("n", 1) != 1:
        losses.lose("n")
    if body.get("modalities", ["text"]) != ["text"]:
        losses.lose("modalities")
    for name in ("logprobs", "top_logprobs"):
        if body.get(name):
            losses.lose(name)
    if "reasoning_effort" in body:
        effort = as_text(body["reasoning_effort"], "reasoning_effort")
        thinking = _thinking(effort, model)
        if thinking is None:
            losses.lose("reasoning_effort")
        else:
            config["thinkingConfig"] = thinking
    return config


def _generation(model: str) -> int:
    found = _GENERATION.search(model)
    return int(found[1]) if found else 0


def _thinking(effort: str, model: str) -> dict[str, Any] | None:
    """Return how much is to be thought: a level since Gemini 3, a budget before."""
    if _generation(model) >= 3:
        if effort == "none":
            return {"thinkingLevel": "minimal"} if "flash" in model else None
        return {"thinkingLevel": _LEVELS[effort], "includeThoughts": True} if effort in _LEVELS else None
    budget = _BUDGETS.get(effort)
    return None if budget is None else {"thinkingBudget": budget, "includeThoughts": budget > 0}


def _output(body: dict[str, Any], config: dict[str, Any], losses: Losses) -> None:
    form = as_object(body.get("response_format", {}), "response_format")
    kind = form.get("type", "text")
    if kind == "json_schema":
        spec = as_object(form.get("json_schema"), "response_format.json_schema")
        path = "response_format.json_schema.schema"
        config["responseMimeType"] = "application/json"
        config["responseSchema"] = clean_schema(as_object(spec.get("schema"), path), losses, path)
        losses.rest(spec, ("name", "schema", "strict", "description"), "response_format.json_schema")
    elif kind == "json_object":
        config["responseMimeType"] = "application/json"
    elif kind != "text":
        losses.lose("response_format")


def _extra(body: dict[str, Any], said: dict[str, Any], config: dict[str, Any], losses: Losses) -> None:
    """Say what only Google knows, as clients of its compatible API say it: `extra_body.google`."""
    extra = as_object(body.get("extra_body", {}), "extra_body")
    google = as_object(extra.get("google", {}), "extra_body.google")
    thinking = google.get("thinking_config")
    if thinking is not None:
        wanted = as_object(thinking, "extra_body.google.thinking_config")
        names = {"include_thoughts": "includeThoughts", "thinking_budget": "thinkingBudget",
                 "thinking_level": "thinkingLevel"}  # fmt: skip
        config["thinkingConfig"] = {names[name]: value for name, value in wanted.items() if name in names}
        losses.rest(wanted, names, "extra_body.google.thinking_config")
    if google.get("cached_content") is not None:
        said["cachedContent"] = as_text(google["cached_content"], "extra_body.google.cached_content")
    if google.get("safety_settings") is not None:
        said["safetySettings"] = as_list(google["safety_settings"], "extra_body.google.safety_settings")
    losses.rest(google, ("thinking_config", "cached_content", "safety_settings"), "extra_body.google")
    losses.rest(extra, ("google",), "extra_body")


def _tools(body: dict[str, Any], said: dict[str, Any], losses: Losses) -> None:
    declared = []
    for path, _, function, given in declared_functions(body, losses):
        if function.get("parameters") is not None:
            place = f"{path}.function.parameters"
            schema = clean_schema(as_object(function["parameters"], place), losses, place)
            if schema.get("properties") or schema.get("anyOf"):  # an object without properties is refused
                given["parameters"] = schema
        if function.get("strict"):
            losses.lose(f"{path}.function.strict")
        declared.append(given)
    if declared:
        said["tools"] = [{"functionDeclarations": declared}]
    choice = choice_of(body, losses)
    if choice is None or not declared:
        return
    config: dict[str, Any] = {}
    if choice in ("auto", "none", "required"):
        config["mode"] = {"auto": "AUTO", "none": "NONE", "required": "ANY"}[choice]
    else:
        chosen = as_object(choice, "tool_choice")
        if chosen.get("type") != "function":
            losses.lose("tool_choice")
            return
        function = as_object(chosen.get("function"), "tool_choice.function")
        name = as_text(function.get("name"), "tool_choice.function.name")
        config = {"mode": "ANY", "allowedFunctionNames": [name]}
    said["toolConfig"] = {"functionCallingConfig": config}


def _contents(body: dict[str, Any], said: dict[str, Any], losses: Losses, model: str) -> None:
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    lost = LostCalls(losses)
    for number, item in enumerate(as_list(body.get("messages"), "messages")):
        path = f"messages[{number}]"
        message = as_object(item, path)
        role = message.get("role")
        if role in ("system", "developer"):
            losses.rest(message, ("role", "content", "name"), path)
            system += _parts(message, path, losses, media=False)
        elif role == "user":
            losses.rest(message, ("role", "content"), path)
            _join(contents, "user", _parts(message, path, losses, media=True))
        elif role == "assistant":
            _join(contents, "model", _assistant(message, path, losses, names, model, lost))
        elif role == "tool":
            if not lost.result(message, path):
                _join(contents, "user", _result(message, path, losses, names))
        else:
            no_role(role, path, losses)
    if system:
        said["systemInstruction"] = {"parts": system}
    said["contents"] = contents


def _join(contents: list[dict[str, Any]], role: str, parts: list[dict[str, Any]]) -> None:
    """Add parts; those of one role that follow each other are one turn, as results of parallel calls must be."""
    if not parts:
        return
    if contents and contents[-1]["role"] == role:
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts})


def _result(message: dict[str, Any], path: str, losses: Losses, names: dict[str, str]) -> list[dict[str, Any]]:
    losses.rest(message, ("role", "content", "tool_call_id", "name"), path)
    call_id = as_text(message.get("tool_call_id"), f"{path}.tool_call_id")
    name = names.get(call_id) or message.get("name")
    if not name:
        raise RequestRefused(
            f"{path} is the result of a call that no earlier message makes",
            param=f"{path}.tool_call_id",
            hint="send the assistant's message with that call before it",
            code="bad_field",
        )
    content = message.get("content")
    media: list[dict[str, Any]] = []
    if isinstance(content, list):
        parts = _parts(message, path, losses, media=True)
        content = "".join(part["text"] for part in parts if "text" in part)
        media = [part for part in parts if "text" not in part]
    elif content is not None and not isinstance(content, str):
        raise bad(f"{path}.content", "a string or an array")
    response = {"name": as_text(name, f"{path}.name"), "response": _as_answer(content or "")}
    return [{"functionResponse": response}, *media]


def _as_answer(text: str) -> dict[str, Any]:
    """Return a tool's result as the object that Gemini wants: itself, where it is one."""
    try:
        given = msgspec.json.decode(text)
    except UNREADABLE:
        given = text
    return given if isinstance(given, dict) else {"result": given}


def _assistant(
    message: dict[str, Any], path: str, losses: Losses, names: dict[str, str], model: str, lost: LostCalls
) -> list[dict[str, Any]]:
    losses.rest(
        message,
        ("role", "content", "refusal", "tool_calls", "reasoning_content", "reasoning", "extra_content", "name"),
        path,
    )
    parts: list[dict[str, Any]] = []
    if message.get("content") not in (None, ""):
        parts = _parts(message, path, losses, media=False)
    if message.get("refusal") is not None:
        parts.append({"text": as_text(message["refusal"], f"{path}.refusal")})
    signature = _signature(message, path, losses)
    if signature and parts:
        parts[-1]["thoughtSignature"] = signature
    if (message.get("reasoning_content") or message.get("reasoning")) and not signature and not _signs(message):
        losses.lose(f"{path}.reasoning_content")  # thoughts that are not signed are not taken back
    first = True
    for number, item in enumerate(as_list(message.get("tool_calls") or [], f"{path}.tool_calls")):
        place = f"{path}.tool_calls[{number}]"
        call = as_object(item, place)
        if lost.call(call, place):
            continue
        function = as_object(call.get("function"), f"{place}.function")
        name = as_text(function.get("name"), f"{place}.function.name")
        arguments = as_text(function.get("arguments") or "{}", f"{place}.function.arguments")
        try:
            given = msgspec.json.decode(arguments if arguments.strip() else "{}")
        except UNREADABLE:
            given = None
        if not isinstance(given, dict):
            raise bad(f"{place}.function.arguments", "the text of a JSON object")
        names[as_text(call.get("id"), f"{place}.id")] = name
        part: dict[str, Any] = {"functionCall": {"name": name, "args": given}}
        own = _signature(call, place, losses)
        if own:
            part["thoughtSignature"] = own
        elif first and _generation(model) >= 3:
            part["thoughtSignature"] = UNSIGNED
        parts.append(part)
        first = False
    return parts


def _signs(message: dict[str, Any]) -> bool:
    calls = message.get("tool_calls")
    return isinstance(calls, list) and any(isinstance(each, dict) and each.get("extra_content") for each in calls)


def _signature(holder: dict[str, Any], path: str, losses: Losses) -> str:
    """Return what Google signed; what another provider did stays away."""
    extra = as_object(holder.get("extra_content") or {}, f"{path}.extra_content")
    losses.rest(extra, ("google",), f"{path}.extra_content")
    google = as_object(extra.get("google") or {}, f"{path}.extra_content.google")
    return as_text(google.get("thought_signature") or "", f"{path}.extra_content.google.thought_signature")


def _parts(message: dict[str, Any], path: str, losses: Losses, *, media: bool) -> list[dict[str, Any]]:
    said = []
    for part in chat_parts(message, path, losses, media=_MEDIA if media else ()):
        found = {"text": part.text} if isinstance(part, Text) else _media(part, losses)
        if found is not None:
            said.append(found)
    return said


def _media(part: Media, losses: Losses) -> dict[str, Any] | None:
    if part.kind == "file":
        losses.rest(part.file, ("file_data", "filename"), f"{part.path}.file")
    if part.kind == "input_audio":
        return {"inlineData": {"mimeType": _SOUNDS.get(part.form, f"audio/{part.form}"), "data": part.data}}
    if part.data is not None:
        return {"inlineData": {"mimeType": part.form, "data": part.data}}
    if part.url is not None and _OWN_FILES.match(part.url):
        return {"fileData": {"fileUri": part.url}}
    losses.lose(part.path if part.url is None else part.place)  # Gemini fetches nothing from the web
    return None
