"""An upstream that speaks OpenAI's Responses and nothing else, and refuses what OpenAI refuses.

Model `m1` says some words and does not reason; `thinker` reasons and calls tools in three steps, and goes on only when
all of its thoughts come back as they were, where they stood, or none. Others select one of `ResponsesScript`'s acts.
"""

from __future__ import annotations

import json
from typing import Any

from support.fake_openai import WORDS, FakeOpenAI, Script

NOT_REASONING = ("m1",)
USAGE = {
    "input_tokens": 12,
    "input_tokens_details": {"cached_tokens": 2},
    "output_tokens": 5,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 17,
}
_KNOWN = frozenset(
    ("background", "include", "input", "instructions", "max_output_tokens", "metadata", "model", "parallel_tool_calls",
     "prompt_cache_key", "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream",
     "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user")
)  # fmt: skip
_READ = ("input_text", "input_image", "input_file")


class FakeResponses(FakeOpenAI):
    """See the module."""

    @property
    def script(self) -> type[Script]:
        return ResponsesScript


class Refused(Exception):
    """What is wrong with a request, and where."""

    def __init__(self, param: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.param, self.status = param, status


def reasoning(number: int, *summary: str) -> dict[str, Any]:
    """Return an item of reasoning; its encrypted content is told to whom asks for it."""
    parts = [{"type": "summary_text", "text": text} for text in summary]
    return {"id": f"rs_{number}", "type": "reasoning", "summary": parts, "encrypted_content": f"gAAAA{number}=="}


def said(number: int, *texts: str, kind: str = "output_text") -> dict[str, Any]:
    """Return the item of a message."""
    field = "refusal" if kind == "refusal" else "text"
    more = {} if kind == "refusal" else {"annotations": [], "logprobs": []}
    parts = [{"type": kind, field: text, **more} for text in texts]
    return {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed", "content": parts}


def called(number: int, city: str) -> dict[str, Any]:
    """Return the item of a call of the tool `weather`."""
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{number}",
        "name": "weather",
        "arguments": json.dumps({"city": city}),
    }


STEPS: list[list[dict[str, Any]]] = [
    [reasoning(1, "Cities first.", "Two of them."), called(2, "Oslo"), called(3, "Rome")],
    [reasoning(4), said(5, "One more."), reasoning(6, "Bergen?"), called(7, "Bergen")],
    [reasoning(8, "Done."), said(9, "It is cold.")],
]
"""What `thinker` answers, one after the other."""


def response(output: list[dict[str, Any]], body: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a whole response; without being asked for it, nothing encrypted and no summary is told."""
    sealed = "reasoning.encrypted_content" in body.get("include", ())
    told = (body.get("reasoning") or {}).get("summary") is not None
    items = []
    for item in output:
        if item["type"] == "reasoning":
            item = {**item, "summary": item["summary"] if told else []}
            if not sealed:
                del item["encrypted_content"]
        items.append(item)
    return {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": f"{body['model']}-2026",
        "output": items, "error": None, "incomplete_details": None, "parallel_tool_calls": True, "tool_choice": "auto",
        "tools": [], "usage": USAGE, "service_tier": "default", **more,
    }  # fmt: skip


def events_of_response(whole: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the events that tell a response, every text in two pieces."""
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    told: list[dict[str, Any]] = [{"type": "response.created", "response": begun},
                                  {"type": "response.in_progress", "response": begun}]  # fmt: skip
    for place, item in enumerate(whole["output"]):
        told += _item_events(place, item)
    told.append({"type": f"response.{whole['status']}", "response": whole})
    return [{**event, "sequence_number": number} for number, event in enumerate(told)]


def _halves(text: str) -> tuple[str, str]:
    return text[: len(text) // 2], text[len(text) // 2 :]


def _item_events(place: int, item: dict[str, Any]) -> list[dict[str, Any]]:
    where = {"item_id": item["id"], "output_index": place}
    empty, told = dict(item), []
    if item["type"] == "function_call":
        empty["arguments"] = ""
        told = [{"type": "response.function_call_arguments.delta", **where, "delta": half}
                for half in _halves(item["arguments"])]  # fmt: skip
        told.append({"type": "response.function_call_arguments.done", **where, "arguments": item["arguments"]})
    elif item["type"] == "reasoning":
        empty["summary"] = []
        for index, part in enumerate(item["summary"]):
            inner = {**where, "summary_index": index}
            told.append({"type": "response.reasoning_summary_part.added", **inner, "part": {**part, "text": ""}})
            told += [{"type": "response.reasoning_summary_text.delta", **inner, "delta": half, "obfuscation": "x"}
                     for half in _halves(part["text"])]  # fmt: skip
            told.append({"type": "response.reasoning_summary_text.done", **inner, "text": part["text"]})
            told.append({"type": "response.reasoning_summary_part.done", **inner, "part": part})
    elif item["type"] == "message":
        empty["content"] = []
        for index, part in enumerate(item["content"]):
            inner = {**where, "content_index": index}
            field, kind = ("refusal", "refusal") if part["type"] == "refusal" else ("text", "output_text")
            told.append({"type": "response.content_part.added", **inner, "part": {**part, field: ""}})
            told += [{"type": f"response.{kind}.delta", **inner, "delta": half, "logprobs": []}
                     for half in _halves(part[field])]  # fmt: skip
            told.append({"type": f"response.{kind}.done", **inner, field: part[field]})
            told.append({"type": "response.content_part.done", **inner, "part": part})
    return [
        {"type": "response.output_item.added", "output_index": place, "item": {**empty, "status": "in_progress"}},
        *told,
        {"type": "response.output_item.done", "output_index": place, "item": item},
    ]


def check(body: dict[str, Any]) -> None:
    """Raise `Refused` for what OpenAI refuses."""
    for name in body:
        if name not in _KNOWN:
            raise Refused(name, f"Unknown parameter: {name!r}.")
    if body.get("max_output_tokens", 16) < 16:
        raise Refused("max_output_tokens", "Expected a value >= 16")
    if "reasoning.encrypted_content" in body.get("include", ()) and body["model"] in NOT_REASONING:
        raise Refused("include", "Encrypted content is not supported with this model.")
    if body["model"] in NOT_REASONING and body.get("reasoning"):
        raise Refused("reasoning.effort", "Unsupported parameter")
    if "parallel_tool_calls" in body and not body.get("tools"):
        raise Refused("parallel_tool_calls", "only allowed when 'tools' are specified")
    for number, tool in enumerate(body.get("tools", ())):
        if tool.get("type") == "function" and not ("name" in tool and isinstance(tool.get("parameters"), dict)):
            raise Refused(f"tools[{number}]", "Missing required parameter")
        if tool.get("strict", True) and tool["parameters"].get("additionalProperties") is not False:
            raise Refused(f"tools[{number}].parameters", "'additionalProperties' is required to be false")
    form = (body.get("text") or {}).get("format") or {"type": "text"}
    if form["type"] == "json_schema" and not ("name" in form and "schema" in form):
        raise Refused("text.format.name", "Missing required parameter: 'text.format.name'.")
    if not isinstance(body["input"], str):
        _check_items(body["input"])


def _check_items(items: list[dict[str, Any]]) -> None:
    known = {item["id"]: item for step in STEPS for item in step if item["type"] == "reasoning"}
    open_calls: set[str] = set()
    for number, item in enumerate(items):
        path, kind = f"input[{number}]", item.get("type", "message")
        if kind == "message":
            _check_message(item, path)
        elif kind == "reasoning":
            if item.get("content"):
                raise Refused(f"{path}.content", "Invalid 'content': array too long. Expected maximum length 0")
            if item.get("encrypted_content") != known.get(item.get("id", ""), {}).get("encrypted_content", ""):
                raise Refused(path, f"Item with id {item.get('id')!r} not found, or it could not be verified.", 404)
            after = items[number + 1] if number + 1 < len(items) else {}
            if not (after.get("type") == "function_call" or after.get("role") == "assistant"):
                raise Refused(path, f"{item['id']!r} was provided without its required following item.")
        elif kind == "function_call":
            json.loads(item["arguments"])
            open_calls.add(item["call_id"])
        elif kind == "function_call_output":
            if item["call_id"] not in open_calls:
                raise Refused(path, f"No tool call found for function call output with call_id {item['call_id']}.")
            open_calls.discard(item["call_id"])
            if not isinstance(item["output"], str) and any(part["type"] not in _READ for part in item["output"]):
                raise Refused(f"{path}.output", "Invalid value")
        else:
            raise Refused(f"{path}.type", f"Invalid value: {kind!r}")
    if open_calls:
        raise Refused("input", f"No tool output found for function call {min(open_calls)}.")


def _check_message(item: dict[str, Any], path: str) -> None:
    wanted = ("output_text", "refusal") if item["role"] == "assistant" else _READ
    if set(item) - {"type", "role", "content", "id", "status"}:
        raise Refused(path, "Unknown parameter")
    for part in item["content"] if isinstance(item["content"], list) else ():
        if part["type"] not in wanted:
            raise Refused(f"{path}.content", f"Invalid value: {part['type']!r}. Supported values are: {wanted}")


class ResponsesScript(Script):
    """What it can do."""

    async def act_m1(self) -> bool:
        if self.target.endswith("/models"):
            return await super().act_m1()
        return await self.answer([said(1, "".join(WORDS))])

    async def act_thinker(self) -> bool:
        """Go on with the step after those that stand in the input, each as it was, or without a thought."""
        given = self.body["input"] if isinstance(self.body["input"], list) else []
        items = [item for item in given if item.get("role") not in ("user", "system", "developer")]
        outputs = [item for item in items if item["type"] == "function_call_output"]
        step = {0: 0, 2: 1, 3: 2}.get(len(outputs), 2)
        wanted = [_plain(item, self.body) for each in STEPS[:step] for item in each]
        back = [_plain(item, self.body) for item in items if item["type"] != "function_call_output"]
        if any(each[0] == "reasoning" for each in back) and back[: len(wanted)] != wanted:
            return await self.refuse(Refused("input", f"the reasoning is not what it was: {back}, not {wanted}"))
        return await self.answer(STEPS[step])

    async def act_refusal(self) -> bool:
        return await self.answer([said(1, "I will not.", kind="refusal")])

    async def act_cut(self) -> bool:
        more = {"status": "incomplete", "incomplete_details": {"reason": self.argument or "max_output_tokens"}}
        return await self.answer([{**said(1, "Half a"), "status": "incomplete"}], **more)

    async def act_failing(self) -> bool:
        """Fail after some words; `failing:event` with an event `error`."""
        failed = {"code": "rate_limit_exceeded", "message": "as scripted"}
        whole = response([said(1, "Hello world.")], self.body, status="failed", error=failed)
        if not self.streaming:
            return await self.json(200, {**whole, "output": []})
        told = events_of_response({**whole, "error": None})[:-1]
        if self.argument == "event":
            last = {"type": "error", **failed, "param": None, "sequence_number": len(told)}
        else:
            last = {"type": "response.failed", "response": whole, "sequence_number": len(told)}
        return await self.told([*told, last])

    async def act_midway(self) -> bool:
        """Fail after some words, as if it were too busy."""
        told = events_of_response(response([said(1, "Hello")], self.body))[:-1]
        return await self.told([*told, {"type": "error", "code": "unavailable", "message": "overloaded"}])

    async def act_tools(self) -> bool:
        """Call a tool; `tools:custom` one that takes text, `tools:hosted` one of the upstream's own."""
        if self.argument == "custom":
            call = {"id": "ctc_1", "type": "custom_tool_call", "status": "completed", "call_id": "call_1", "name": "n"}
            return await self.answer([{**call, "input": "Oslo"}])
        if self.argument == "hosted":
            search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
            return await self.answer([{**search, "action": {"type": "search", "query": "Oslo"}}, said(2, "Cold.")])
        return await self.answer([called(1, "Oslo")])

    async def act_split(self) -> bool:
        return await self.answer([said(1, "".join(WORDS))], step=1)

    async def act_nodone(self) -> bool:
        return await self.act_ending()

    async def act_ending(self) -> bool:
        """A stream that ends before the answer does."""
        return await self.told(events_of_response(response([said(1, "Hello")], self.body))[:-1])

    async def answer(self, output: list[dict[str, Any]], *, step: int = 997, **more: Any) -> bool:
        if self.target != "/v1/responses":
            return await self.refuse(Refused("", "this is not a chat model: use v1/responses", 404))
        try:
            check(self.body)
        except Refused as refused:
            return await self.refuse(refused)
        whole = response(output, self.body, **more)
        if not self.streaming:
            return await self.json(200, whole)
        return await self.told(events_of_response(whole), step)

    async def refuse(self, refused: Refused) -> bool:
        error = {"message": str(refused), "type": "invalid_request_error", "param": refused.param, "code": None}
        return await self.json(refused.status, {"error": error})

    async def told(self, events: list[dict[str, Any]], step: int = 997) -> bool:
        data = b"".join(b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)
        await self.head(200, "text/event-stream")
        for start in range(0, len(data), step):
            await self.chunk(data[start : start + step])
        await self.end()
        return True


def _plain(item: dict[str, Any], body: dict[str, Any]) -> Any:
    """Return what of an item has to be the same."""
    if item["type"] == "reasoning":
        told = (body.get("reasoning") or {}).get("summary") is not None
        return "reasoning", item["id"], item.get("encrypted_content"), item["summary"] if told else None
    if item["type"] == "function_call":
        return "call", item["call_id"], json.loads(item["arguments"])
    content = item["content"]
    return "message", content if isinstance(content, str) else "".join(part["text"] for part in content)
