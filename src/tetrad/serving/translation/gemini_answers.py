"""Answers of upstreams that speak Google's generateContent, said to clients that speak chat completions.

Parts that are thoughts become `reasoning_content`. Signatures of thoughts stand where Google's own compatible API has
them: `extra_content.google.thought_signature` of a call, or of the message.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, TetradError, Usage, new_id, usage_of_parts
from tetrad.serving.errors import BadAnswer, error_body, error_event
from tetrad.serving.ports import ModelCall, Outcome
from tetrad.serving.translation._events import StreamTranslator
from tetrad.serving.translation.usage import chat_usage

MAX_CALLS = 1024
FINISH_REASONS = {"STOP": "stop", "MAX_TOKENS": "length"}
"""Every other reason is a filter's, but for those in `_FAULTS`."""
_FAULTS = frozenset(
    ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "OTHER", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE")
)
"""The model did not manage an answer; another try may."""
_NOTHING = msgspec.Raw(b"")
_ERROR_STATUSES = {
    "INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "OUT_OF_RANGE": 400, "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429, "CANCELLED": 499, "INTERNAL": 500,
    "UNAVAILABLE": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip


class _Call(msgspec.Struct, frozen=True):
    name: str = ""
    args: msgspec.Raw = _NOTHING
    id: str = ""


class _Data(msgspec.Struct, frozen=True):
    mimeType: str = ""  # noqa: N815 - the wire's name
    data: str = ""


class _Part(msgspec.Struct, frozen=True):
    text: str | None = None
    thought: bool = False
    thoughtSignature: str = ""  # noqa: N815
    functionCall: _Call | None = None  # noqa: N815
    inlineData: _Data | None = None  # noqa: N815


class _Content(msgspec.Struct, frozen=True):
    parts: list[_Part] = []


class _Candidate(msgspec.Struct, frozen=True):
    content: _Content = _Content()
    finishReason: str = ""  # noqa: N815
    finishMessage: str = ""  # noqa: N815
    index: int = 0


class _Feedback(msgspec.Struct, frozen=True):
    blockReason: str = ""  # noqa: N815
    blockReasonMessage: str = ""  # noqa: N815


class GeminiUsage(msgspec.Struct, frozen=True, gc=False):
    """What Google says of usage: the prompt with what was cached of it; the answer without the thoughts."""

    promptTokenCount: int = 0  # noqa: N815
    cachedContentTokenCount: int = 0  # noqa: N815
    candidatesTokenCount: int = 0  # noqa: N815
    thoughtsTokenCount: int = 0  # noqa: N815
    toolUsePromptTokenCount: int = 0  # noqa: N815

    def usage(self) -> Usage:
        """Return it in disjoint buckets."""
        read, thoughts = self.promptTokenCount + self.toolUsePromptTokenCount, self.thoughtsTokenCount
        if self.candidatesTokenCount < 0:
            return Usage(output=self.candidatesTokenCount)  # which nobody believes
        made = self.candidatesTokenCount + thoughts
        return usage_of_parts(read, made, cached=self.cachedContentTokenCount, reasoning=thoughts)


class GeminiAnswer(msgspec.Struct, frozen=True):
    """A whole answer, or a piece of a streamed one."""

    candidates: list[_Candidate] = []
    promptFeedback: _Feedback | None = None  # noqa: N815
    usageMetadata: GeminiUsage | None = None  # noqa: N815
    modelVersion: str = ""  # noqa: N815
    responseId: str = ""  # noqa: N815
    error: msgspec.Raw = _NOTHING

    @property
    def reason(self) -> str:
        """Why the answer ended, in Google's words; "" while it has not."""
        blocked = self.promptFeedback.blockReason if self.promptFeedback else ""
        return next((each.finishReason for each in self.candidates if each.finishReason), blocked)


class _Error(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""
    status: str = ""


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


_answers = msgspec.json.Decoder(GeminiAnswer)
_error_bodies = msgspec.json.Decoder(_ErrorBody)
_error_lists = msgspec.json.Decoder(list[_ErrorBody])
_errors = msgspec.json.Decoder(_Error)
_recorded = msgspec.json.Decoder(list[_Content])
_encode = msgspec.json.encode


def read_gemini(body: bytes) -> GeminiAnswer:
    """Read an answer or a piece of one; raises `msgspec.MsgspecError` for what is none."""
    return _answers.decode(body)


def read_gemini_error(body: bytes) -> _Error | None:
    """Return what an error body says; None where it is none. Streams are refused with a list of one."""
    try:
        found = _error_lists.decode(body) if body.lstrip().startswith(b"[") else [_error_bodies.decode(body)]
    except UNREADABLE:
        return None
    return found[0].error if found else None


def as_error(said: _Error, status: int = 0) -> TetradError:
    """Return Google's error in our words; its code is the status in small letters, as clients of OpenAI's know them."""
    status = status or _ERROR_STATUSES.get(said.status, 500)
    return TetradError(
        said.message or "the upstream failed", code=said.status.lower() or "upstream_error", status=status
    )


def finish_reason(reason: str, called: bool) -> str:
    """Return why an answer ended in chat completions' words; raises `BadAnswer` where there is none."""
    if reason in _FAULTS:
        raise BadAnswer(f"the model gave up its answer ({reason})", hint="try again")
    found = FINISH_REASONS.get(reason, "content_filter")
    return "tool_calls" if called and found == "stop" else found


class GeminiAnswers:
    """A `Translation` whose answers come in Google's words and go out as chat completions."""

    def __init__(self, call: ModelCall, dropped: tuple[str, ...], *, usage_asked: bool) -> None:
        self.call = call
        self.dropped = dropped
        self._usage_asked = usage_asked

    def whole(self, body: bytes) -> bytes:
        try:
            answer = _answers.decode(body)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's answer is none of Google's: {error}") from None
        candidate = answer.candidates[0] if answer.candidates else _Candidate()
        message = _message(candidate.content)
        refusal = _refusal(answer, candidate)
        if refusal and message["content"] is None:
            message["refusal"] = refusal
        reason = finish_reason(answer.reason or "STOP", "tool_calls" in message)
        said: dict[str, Any] = {
            "id": answer.responseId or new_id("chatcmpl"),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": answer.modelVersion,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": reason}],
        }
        if answer.usageMetadata is not None:
            said["usage"] = chat_usage(answer.usageMetadata.usage())
        return _encode(said)

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        said = read_gemini_error(body) or _Error(message=body[:1000].decode("utf-8", "replace"))
        return status, error_body(as_error(said, status))

    def events(self) -> GeminiEvents:
        return GeminiEvents(usage_asked=self._usage_asked)

    def outcome(self, outcome: Outcome) -> Outcome:
        output, called = outcome.output, False
        if output:
            try:
                messages = [_message(content) for content in _recorded.decode(output)]
            except UNREADABLE:
                messages = []
            if messages:
                called = any("tool_calls" in message for message in messages)
                output = _encode(messages)
        reasons = []
        for reason in outcome.finish_reasons:
            found = FINISH_REASONS.get(reason, "content_filter")
            reasons.append("tool_calls" if called and found == "stop" else found)
        return msgspec.structs.replace(outcome, finish_reasons=tuple(reasons), output=output)


def _refusal(answer: GeminiAnswer, candidate: _Candidate) -> str:
    feedback = answer.promptFeedback
    if feedback is not None and feedback.blockReason and not answer.candidates:
        return feedback.blockReasonMessage or f"the prompt was blocked: {feedback.blockReason}"
    reason = candidate.finishReason
    if reason and reason not in FINISH_REASONS and reason not in _FAULTS:
        return candidate.finishMessage or f"the answer was blocked: {reason}"
    return ""


def _signed(signature: str) -> dict[str, Any]:
    return {"google": {"thought_signature": signature}}


def _image(data: _Data) -> dict[str, Any]:
    """Return a picture as several compatible APIs say one in a message."""
    return {"type": "image_url", "image_url": {"url": f"data:{data.mimeType};base64,{data.data}"}}


def _called(call: _Call, signature: str) -> dict[str, Any]:
    said: dict[str, Any] = {
        "id": call.id or new_id("call"),
        "type": "function",
        "function": {"name": call.name, "arguments": (bytes(call.args) or b"{}").decode()},
    }
    if signature:
        said["extra_content"] = _signed(signature)
    return said


def _message(content: _Content) -> dict[str, Any]:
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    signature = ""
    for part in content.parts:
        if part.functionCall is not None:
            calls.append(_called(part.functionCall, part.thoughtSignature))
            continue
        signature = part.thoughtSignature or signature
        if part.text:
            (thoughts if part.thought else texts).append(part.text)
        if part.inlineData is not None:
            images.append(_image(part.inlineData))
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    if thoughts:
        message["reasoning_content"] = "".join(thoughts)
    if images:
        message["images"] = images
    if calls:
        message["tool_calls"] = calls
    if signature:
        message["extra_content"] = _signed(signature)
    return message


class GeminiEvents(StreamTranslator):
    """Pieces of Google's answer in, chunks of a chat completion out. The end of the stream is that of its bytes."""

    def __init__(self, *, usage_asked: bool) -> None:
        super().__init__()
        self._usage_asked = usage_asked
        self._head = b""
        self._calls = 0
        self._reason = ""
        self._refusal = ""
        self._spoke = False
        self._usage: GeminiUsage | None = None

    def _take(self, payload: bytes, said: list[bytes]) -> None:
        try:
            answer = _answers.decode(payload)
        except UNREADABLE as error:
            raise BadAnswer(f"the upstream's stream holds what is no piece of Google's answer: {error}") from None
        if bytes(answer.error) not in (b"", b"null"):
            said.append(_told(bytes(answer.error)))
            self.done = True
            return
        if not self._head:
            head = {
                "id": answer.responseId or new_id("chatcmpl"),
                "object": "chat.completion.chunk",
                "created": int(time.time()),
                "model": answer.modelVersion,
            }
            self._head = b"data: " + _encode(head)[:-1]
            said.append(self._chunk({"role": "assistant", "content": ""}))
        self._usage = answer.usageMetadata or self._usage
        for candidate in answer.candidates:
            if candidate.index:
                continue  # one answer was asked for
            for part in candidate.content.parts:
                self._part(part, said)
            self._refusal = self._refusal or _refusal(answer, candidate)
        if not answer.candidates:
            self._refusal = self._refusal or _refusal(answer, _Candidate())
        self._reason = self._reason or answer.reason

    def _part(self, part: _Part, said: list[bytes]) -> None:
        if part.functionCall is not None:
            if self._calls >= MAX_CALLS:
                raise BadAnswer(f"the answer has more than {MAX_CALLS} calls of tools")
            call = {"index": self._calls, **_called(part.functionCall, part.thoughtSignature)}
            self._calls += 1
            said.append(self._chunk({"tool_calls": [call]}))
            return
        if part.text:
            self._spoke = self._spoke or not part.thought
            said.append(self._chunk({"reasoning_content" if part.thought else "content": part.text}))
        if part.inlineData is not None:
            self._spoke = True
            said.append(self._chunk({"images": [_image(part.inlineData)]}))
        if part.thoughtSignature:
            said.append(self._chunk({"extra_content": _signed(part.thoughtSignature)}))

    def _chunk(self, delta: dict[str, Any]) -> bytes:
        return b'%s,"choices":[{"index":0,"delta":%s,"finish_reason":null}]}\n\n' % (self._head, _encode(delta))

    def _finish(self, said: list[bytes]) -> None:
        if self._refusal and not self._spoke:
            said.append(self._chunk({"refusal": self._refusal}))
        reason = finish_reason(self._reason, bool(self._calls)).encode()
        said.append(b'%s,"choices":[{"index":0,"delta":{},"finish_reason":"%s"}]}\n\n' % (self._head, reason))
        if self._usage_asked:
            usage = chat_usage(self._usage.usage() if self._usage is not None else Usage())
            said.append(b'%s,"choices":[],"usage":%s}\n\n' % (self._head, _encode(usage)))
        said.append(b"data: [DONE]\n\n")
        self.done = True


def _told(raw: bytes) -> bytes:
    try:
        said = _errors.decode(raw)
    except UNREADABLE:
        said = _Error(message=raw[:1000].decode("utf-8", "replace"))
    return error_event(as_error(said))


class _Count(msgspec.Struct, frozen=True):
    totalTokens: int  # noqa: N815


class GeminiCounts:
    """A `Translation` of counts of tokens, for clients of Anthropic's protocol."""

    def __init__(self, call: ModelCall, dropped: tuple[str, ...]) -> None:
        self.call = call
        self.dropped = dropped

    def whole(self, body: bytes) -> bytes:
        try:
            return _encode({"input_tokens": msgspec.json.decode(body, type=_Count).totalTokens})
        except msgspec.MsgspecError as error:
            raise BadAnswer(f"the upstream's answer is no count of tokens: {error}") from None

    def error(self, status: int, body: bytes) -> tuple[int, bytes]:
        said = read_gemini_error(body) or _Error(message=body[:1000].decode("utf-8", "replace"))
        return status, error_body(as_error(said, status), "anthropic")

    def events(self) -> GeminiEvents:
        raise BadAnswer("a count of tokens is no stream")

    def outcome(self, outcome: Outcome) -> Outcome:
        return outcome
