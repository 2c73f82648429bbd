"""Exchanges as spans: one root for the request, one child per attempt, content as the key's policy allows."""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.kernel import TetradError
from tetrad.kit.spool import SpoolWriter
from tetrad.processes.gateway._metrics import Metrics
from tetrad.serving import Attempt, ContentPolicy, Exchange
from tetrad.serving.ports import Outcome
from tetrad.traces import Span, encode_frame

SERVICE = "tetrad-gateway"
_NOTHING = Outcome()
_STRUCTURE = frozenset(("role", "type", "index", "finish_reason", "format", "detail"))
_HEAD_CHARS = 4096


class Recorder:
    """Write an exchange's spans to the spool, in one piece, before its answer is whole."""

    def __init__(self, spool: SpoolWriter, metrics: Metrics, *, record_bytes: int) -> None:
        self._spool = spool
        self._metrics = metrics
        self._record_bytes = record_bytes

    def __call__(self, exchange: Exchange) -> None:
        """Record; requests of unknown clients are only counted."""
        self._metrics.finished(exchange)
        if exchange.key is None:
            return
        try:
            frames = b"".join(encode_frame(span) for span in self.spans(exchange))
        except (TetradError, msgspec.MsgspecError, ValueError):
            self._metrics.unrecorded += 1
            return
        self._spool.append(frames)

    def spans(self, exchange: Exchange) -> list[Span]:
        """Return the spans of a finished exchange, the root first."""
        return [self._root(exchange), *(self._child(exchange, i, a) for i, a in enumerate(exchange.attempts, 1))]

    def _root(self, x: Exchange) -> Span:
        outcome = (x.attempts[-1].outcome if x.attempts else None) or _NOTHING
        policy: ContentPolicy = x.key.content if x.key else "off"
        attributes = {"gateway.table_version": str(x.table_version)}
        if x.variables and policy == "full" and len(x.variables) <= self._record_bytes:
            attributes["tetrad.variables"] = x.variables.decode("utf-8", "replace")
        message = x.error.message if x.error else outcome.error_message
        failed = bool(x.error_type)
        return Span(
            name=f"{x.kind} {x.model or 'unknown'}",
            span_id=x.span_id,
            parent_id=x.parent_id,
            kind="SERVER",
            start_ns=x.start_ns,
            end_ns=x.end_ns,
            status="error" if failed else "ok",
            status_message=_message(policy, x.error_type, message) if failed else "",
            error_type=x.error_type,
            http_status=x.status,
            request_model=x.model,
            response_model=outcome.response_model,
            response_id=outcome.response_id,
            finish_reasons=outcome.finish_reasons,
            first_chunk_ns=outcome.first_chunk_ns,
            input=self._content(policy, x.input),
            output=self._content(policy, outcome.output),
            attributes=attributes,
            **_shared(x),
        )

    def _child(self, x: Exchange, number: int, attempt: Attempt) -> Span:
        outcome = attempt.outcome or _NOTHING
        policy: ContentPolicy = x.key.content if x.key else "off"
        failed = bool(attempt.error_type)
        attributes = {"upstream": attempt.upstream.name, "tetrad.model": attempt.model.name, **outcome.attributes}
        if attempt.model.digest:
            attributes["tetrad.model.digest"] = attempt.model.digest
        if outcome.truncated:
            attributes["output.truncated"] = "true"
        return Span(
            name=f"{x.kind} {attempt.model.upstream_model}",
            span_id=attempt.span_id,
            parent_id=x.span_id,
            kind="CLIENT",
            start_ns=attempt.start_ns,
            end_ns=attempt.end_ns or x.end_ns,
            status="error" if failed else "ok",
            status_message=_message(policy, attempt.error_type, attempt.error_message) if failed else "",
            error_type=attempt.error_type,
            http_status=attempt.status,
            provider=attempt.upstream.provider,
            request_model=attempt.model.upstream_model,
            response_model=outcome.response_model,
            response_id=outcome.response_id,
            finish_reasons=outcome.finish_reasons,
            usage=outcome.usage,
            cost=attempt.cost,
            currency=attempt.currency,
            first_chunk_ns=outcome.first_chunk_ns,
            attempt=number,
            input=self._content(policy, attempt.input),
            output=self._content(policy, outcome.output),
            attributes=attributes,
            **_shared(x),
        )

    def _content(self, policy: ContentPolicy, document: bytes) -> bytes:
        if policy == "off" or not document:
            return b""
        if len(document) > self._record_bytes:
            head = document[:_HEAD_CHARS].decode("utf-8", "replace") if policy == "full" else ""
            return msgspec.json.encode({"truncated": True, "bytes": len(document), "head": head})
        return document if policy == "full" else redacted(document)


def redacted(document: bytes) -> bytes:
    """Return a JSON document's structure: texts by their length, numbers gone, roles and types kept."""
    try:
        return msgspec.json.encode(_redact(msgspec.json.decode(document)))
    except (msgspec.MsgspecError, RecursionError):
        return msgspec.json.encode({"redacted": True, "bytes": len(document)})


def _redact(value: Any) -> Any:
    if isinstance(value, str):
        return f"[{len(value)} characters]"
    if isinstance(value, dict):
        return {
            key: item if key in _STRUCTURE and isinstance(item, (str, int)) and len(str(item)) <= 32 else _redact(item)
            for key, item in value.items()
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


def _shared(x: Exchange) -> dict[str, Any]:
    key, release = x.key, x.release
    return {
        "project": key.project if key else "",
        "trace_id": x.trace_id,
        "operation": x.kind,
        "stream": x.stream,
        "app": x.app,
        "ref": x.ref,
        "release": release.digest if release else "",
        "binding": x.binding,
        "prompt_name": release.prompt_name if release else "",
        "prompt_version": release.prompt_version if release else "",
        "code_digest": x.code,
        "code_match": x.code_match,
        "session": x.session,
        "user": x.user,
        "unit": x.unit,
        "key_id": key.id if key else "",
        "service": SERVICE,
    }
