"""Exchanges as spans: one root for the request, one child per attempt, content as the key's policy allows."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from tetrad.kernel import UNREADABLE, TetradError
from tetrad.processes.gateway._metrics import Metrics
from tetrad.serving import Attempt, ContentPolicy, Exchange, KeyEntry
from tetrad.serving.ports import Outcome
from tetrad.tools import ToolExchange
from tetrad.traces import OwnFields, SharedFields, SpanGroup, encode_group

SERVICE = "tetrad-gateway"
_NOTHING = Outcome()
_STRUCTURE: dict[str, frozenset[str]] = {
    "role": frozenset(("system", "developer", "user", "assistant", "tool", "function")),
    "type": frozenset(
        ("text", "image_url", "input_audio", "file", "refusal", "function", "message", "input_text", "input_image",
         "input_file", "output_text", "function_call", "function_call_output", "reasoning", "summary_text",
         "reasoning_text", "image", "document", "thinking", "redacted_thinking", "tool_use", "tool_result", "base64",
         "url", "json_object", "json_schema", "custom", "item_reference")
    ),
    "finish_reason": frozenset(("stop", "length", "tool_calls", "content_filter", "function_call")),
    "format": frozenset(("wav", "mp3", "flac", "opus", "pcm16", "pcm", "aac")),
    "detail": frozenset(("low", "high", "auto", "original")),
}  # fmt: skip
"""What stays readable: the words of the protocols, by the fields that hold them. Anything else may be the user's."""
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,31}")
_QUOTING = frozenset(("output.violation",))
"""Attributes that may quote an answer."""
_HEAD_CHARS = 4096
_LEFT_OUT_CHARS = 1000
_REPEATED = 1024
"""An input of so many bytes is not written a second time, where it ends an attempt's."""


class Frames(Protocol):
    """Where records go: the spool, or what collects them for it until the end of an answer may be sent."""

    def append(self, frame: bytes, /) -> object:
        """Take a record; never raises."""
        ...


class Recorder:
    """Write an exchange's spans to the spool, in one piece, before its answer is whole."""

    def __init__(self, spool: Frames, metrics: Metrics, *, record_bytes: int) -> None:
        self._spool = spool
        self._metrics = metrics
        self._record_bytes = record_bytes

    def __call__(self, exchange: Exchange) -> None:
        """Record; requests of unknown clients are only counted."""
        self._metrics.finished(exchange)
        if exchange.key is None:
            return
        try:
            frame = encode_group(self.group(exchange, exchange.key))
        except (TetradError, msgspec.MsgspecError, ValueError, OverflowError):
            self._metrics.unrecorded += 1
            return
        self._spool.append(frame)

    def group(self, exchange: Exchange, key: KeyEntry) -> SpanGroup:
        """Return the spans of a finished exchange, the root first."""
        policy = key.content
        root = self._root(exchange, policy)
        own = [root]
        for number, attempt in enumerate(exchange.attempts, 1):
            child = self._child(exchange, policy, number, attempt)
            if len(root.input) >= _REPEATED and child.input.endswith(memoryview(root.input)[1:]):
                # what the client said is the end of what the model got: behind the prompt, and behind the bracket
                rest = len(root.input) - 1
                child = msgspec.structs.replace(child, input=child.input[:-rest], input_rest=rest)
            own.append(child)
        return SpanGroup(_shared(exchange, key), tuple(own))

    def _root(self, x: Exchange, policy: ContentPolicy) -> OwnFields:
        outcome = (x.attempts[-1].outcome if x.attempts else None) or _NOTHING
        attributes = {"gateway.table_version": str(x.table_version)}
        if x.route:
            attributes["tetrad.route"] = x.route
        if x.key is not None and x.key.batch:
            attributes["tetrad.batch"] = x.key.batch
        if x.background:
            attributes["tetrad.background"] = x.background
        if x.variables and policy == "full" and len(x.variables) <= self._record_bytes:
            attributes["tetrad.variables"] = x.variables.decode("utf-8", "replace")
        failed, message = bool(x.error_type), ""
        if failed:
            message = _message(policy, x.error_type, x.error.message if x.error else outcome.error_message)
        return OwnFields(
            f"{x.operation.name} {x.model or 'unknown'}",  # name
            x.span_id,
            x.parent_id,
            "SERVER",
            x.start_ns,
            x.end_ns,
            "error" if failed else "ok",
            message,
            x.error_type,
            x.status,
            "",  # provider
            x.model,
            outcome.response_model,
            outcome.response_id,
            outcome.finish_reasons,
            None,  # usage stands on attempts only
            None,
            "USD",
            outcome.first_chunk_ns,
            0,  # attempt
            self._content(policy, x.input),
            self._content(policy, outcome.output),
            attributes,
        )

    def _child(self, x: Exchange, policy: ContentPolicy, number: int, attempt: Attempt) -> OwnFields:
        outcome, model, upstream = attempt.outcome or _NOTHING, attempt.model, attempt.upstream
        attributes = {"upstream": upstream.name, "tetrad.model": model.name, **outcome.attributes}
        if policy != "full":
            attributes = {name: value for name, value in attributes.items() if name not in _QUOTING}
        if attempt.reason:
            attributes["tetrad.attempt.reason"] = attempt.reason
        if model.digest:
            attributes["tetrad.model.digest"] = model.digest
        if attempt.step:
            attributes["tetrad.step"] = attempt.step
        if outcome.truncated:
            attributes["output.truncated"] = "true"
        failed, message = bool(attempt.error_type), ""
        if failed:
            message = _message(policy, attempt.error_type, attempt.error_message)
        return OwnFields(
            f"{x.operation.name} {model.upstream_model}",  # name
            attempt.span_id,
            x.span_id,
            "CLIENT",
            attempt.start_ns,
            attempt.end_ns or x.end_ns,
            "error" if failed else "ok",
            message,
            attempt.error_type,
            attempt.status,
            upstream.provider,
            model.upstream_model,
            outcome.response_model,
            outcome.response_id,
            outcome.finish_reasons,
            outcome.usage,
            attempt.cost,
            attempt.currency,
            outcome.first_chunk_ns,
            number,
            self._content(policy, attempt.input),
            self._content(policy, outcome.output),
            attributes,
        )

    def tool_group(self, exchange: ToolExchange, key: KeyEntry) -> SpanGroup:
        """Return the span of a call, in the words of OpenTelemetry's GenAI and MCP conventions.

        It is of a tool, a prompt or a resource; addresses of resources, which are many, are in no span's name.
        """
        x, policy = exchange, key.content
        attributes = {
            "gateway.table_version": str(x.table_version),
            "mcp.method.name": x.rpc,
            "tetrad.tool.server": x.server,
        }
        if x.tool:
            attributes |= {"gen_ai.tool.name": x.tool, "gen_ai.tool.type": "extension"}
        elif x.prompt:
            attributes["gen_ai.prompt.name"] = x.prompt
        elif x.resource:
            attributes["mcp.resource.uri"] = x.resource
        if x.left_out:
            attributes["tetrad.tool.left_out"] = ", ".join(x.left_out)[:_LEFT_OUT_CHARS]
        if x.digest:
            attributes["tetrad.tool.digest"] = x.digest
        if x.protocol:
            attributes["mcp.protocol.version"] = x.protocol
        if x.unanswered:
            attributes["tetrad.tool.answered"] = "on another stream"
        failed = bool(x.error_type)
        told = x.error.message if x.error is not None else ""
        own = OwnFields(
            f"execute_tool {x.tool}" if x.tool else f"{x.rpc} {x.prompt}".rstrip(),  # name
            x.span_id,
            x.parent_id,
            "SERVER",
            x.start_ns,
            x.end_ns,
            "error" if failed else "unset" if x.unanswered else "ok",
            _message(policy, x.error_type, told) if failed else "",
            x.error_type,
            x.status,
            "",  # provider
            "",
            "",
            "",
            (),
            None,  # a tool has no usage of tokens
            None,
            "USD",
            0,
            0,  # attempt
            self._content(policy, x.arguments),
            self._content(policy, x.output),
            attributes,
        )
        return SpanGroup(_shared(x, key), (own,))

    def tool(self, exchange: ToolExchange) -> None:
        """Count an exchange with an MCP server; record it where it is a call, or had to do without some server."""
        self._metrics.tool_finished(exchange)
        if exchange.key is not None and exchange.is_told:
            self._write(lambda key: self.tool_group(exchange, key), exchange.key)

    def _write(self, group: Callable[[KeyEntry], SpanGroup], key: KeyEntry) -> None:
        try:
            frame = encode_group(group(key))
        except (TetradError, msgspec.MsgspecError, ValueError, OverflowError):
            self._metrics.unrecorded += 1
            return
        self._spool.append(frame)

    def _content(self, policy: ContentPolicy, document: bytes) -> bytes:
        if policy == "full" and len(document) <= self._record_bytes:  # nearly always
            return document
        if policy == "off" or not document:
            return b""
        if len(document) > self._record_bytes:
            head = document[:_HEAD_CHARS].decode("utf-8", "replace") if policy == "full" else ""
            return msgspec.json.encode({"truncated": True, "bytes": len(document), "head": head})
        return document if policy == "full" else redacted(document)


def redacted(document: bytes) -> bytes:
    """Return a JSON document's structure: texts by their length, numbers gone, roles and types of protocols kept."""
    try:
        return msgspec.json.encode(_redact(msgspec.json.decode(document)))
    except UNREADABLE:
        return msgspec.json.encode({"redacted": True, "bytes": len(document)})


def _redact(value: Any) -> Any:
    if isinstance(value, str):
        return f"[{len(value)} characters]"
    if isinstance(value, dict):
        return {
            key if _FIELD.fullmatch(key) else f"[field {number}]": item
            if isinstance(item, str) and item in _STRUCTURE.get(key, ())
            else _redact(item)
            for number, (key, item) in enumerate(value.items())
        }
    if isinstance(value, list):
        if value and all(isinstance(item, (int, float)) for item in value):
            return [f"[{len(value)} numbers]"]
        return [_redact(item) for item in value]
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return 0
    return value


def _message(policy: ContentPolicy, code: str, message: str) -> str:
    """An upstream's words may quote the prompt, so they go where content goes."""
    return message[:2000] if policy == "full" else code


def _shared(x: Exchange, key: KeyEntry) -> SharedFields:
    release = x.release
    return SharedFields(
        key.project,
        x.trace_id,
        x.kind,
        x.stream,
        x.app,
        x.ref,
        release.digest if release else "",
        x.binding,
        release.prompt_name if release else "",
        release.prompt_version if release else "",
        x.code,
        x.code_match,  # type: ignore[arg-type] # the pipeline sets nothing else
        x.session,
        x.user,
        x.unit,
        key.id,
        SERVICE,
    )
