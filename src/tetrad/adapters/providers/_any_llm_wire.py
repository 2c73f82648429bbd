"""What any-llm takes and gives, said in OpenAI's words: fields of a call, answers, chunks, failures."""

from __future__ import annotations

import base64
import re
from array import array
from collections.abc import Iterable
from typing import Any

import msgspec

from tetrad.adapters.providers._answers import CredentialRefused
from tetrad.kernel import UNREADABLE, InvalidInput, TetradError
from tetrad.kit.upstream import BrokenAnswer, ConnectFailed, TimedOut
from tetrad.serving.ports import ModelCall

CHAT_FIELDS = frozenset(
    (
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "n",
        "parallel_tool_calls",
        "presence_penalty",
        "prompt_cache_key",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
    )
)
"""What a client may say, besides model and messages. any-llm also takes keys, addresses and arguments of SDKs by
keyword: a body that could name those would send our secret where it likes."""
EMBEDDINGS_FIELDS = frozenset(("dimensions", "user"))
KEPT = frozenset(("tools", "response_format", "n"))
"""Without these the answer would be another one: where a provider does not know them, the call is refused."""
MAX_MESSAGE = 2000

_KINDS: dict[str, tuple[int, str]] = {
    "ContextLengthExceededError": (400, "context_length_exceeded"),
    "ContentFilterError": (400, "content_filter"),
    "RateLimitError": (429, "rate_limit_exceeded"),
    "InsufficientFundsError": (402, "insufficient_quota"),
    "ModelNotFoundError": (404, "model_not_found"),
    "UnsupportedParameterError": (400, "unsupported_parameter"),
    "UnsupportedProviderError": (501, "unsupported_provider"),
    "GatewayTimeoutError": (504, "upstream_timeout"),
    "UpstreamProviderError": (502, "upstream_failed"),
    "InvalidRequestError": (400, "invalid_request_error"),
}
"""Errors of any-llm's by their class: status and code, where the provider told none."""
_TOLD = frozenset(("ContextLengthExceededError", "ContentFilterError", "InsufficientFundsError"))
"""Kinds that are read out of the message; the gateway then needs no second guess."""
_KEY = re.compile(r"api[ _-]?key", re.IGNORECASE)
_NO_ANSWER = re.compile(r"timeout|timed out", re.IGNORECASE)
_NO_CONNECTION = re.compile(r"connect", re.IGNORECASE)


class Refusal(msgspec.Struct, frozen=True):
    """An error that the provider answered with, as the client is to see it."""

    status: int
    code: str
    message: str
    param: str = ""
    retry_after: str = ""

    @property
    def body(self) -> bytes:
        """The error in OpenAI's shape."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        told = {"message": self.message, "type": kind, "param": self.param or None, "code": self.code}
        return msgspec.json.encode({"error": told})


def arguments(call: ModelCall, known: frozenset[str]) -> tuple[dict[str, Any], list[str]]:
    """Return the fields of a call that any-llm has arguments for, and the names of those that it has none for."""
    said: dict[str, Any] = {}
    lost = list(call.unsaid)
    for name, raw in call.fields.items():
        if name in ("model", "messages", "input", "stream", "encoding_format") or bytes(raw) == b"null":
            continue
        if name in known:
            said[name] = decoded(call, name)
        else:
            lost.append(name)
    return said, lost


def decoded(call: ModelCall, name: str) -> Any:
    """Return a field of a call, None where it is absent; raises `InvalidInput` for one that is nested too deeply."""
    raw = call.fields.get(name)
    try:
        return None if raw is None else msgspec.json.decode(raw)
    except UNREADABLE:
        raise InvalidInput(f"the field {name!r} cannot be read", hint="nest it less", code="bad_field") from None


def completion(given: Any) -> dict[str, Any]:
    """Return a whole answer; raises `BrokenAnswer` for what is none."""
    answer = _plain(given)
    for choice in _list(answer, "choices"):
        message = choice.get("message")
        if not isinstance(message, dict):
            raise BrokenAnswer("any-llm returned a choice without a message")
        message.setdefault("content", None)
        _thoughts(message)
    return answer


def chunk(given: Any) -> tuple[bytes, bool]:
    """Return an event of a stream, and whether it ends a choice; raises `BrokenAnswer` for what is no chunk."""
    piece = _plain(given)
    ends = False
    for choice in _list(piece, "choices"):
        choice.setdefault("finish_reason", None)
        ends = ends or choice["finish_reason"] is not None
        if isinstance(delta := choice.setdefault("delta", {}), dict):
            _thoughts(delta)
    return b"data: " + msgspec.json.encode(piece) + b"\n\n", ends


def embeddings(given: Any, encoding: str) -> dict[str, Any]:
    """Return embeddings, as numbers, or as the base64 of 32-bit floats where `encoding` is that."""
    answer = _plain(given)
    for each in _list(answer, "data"):
        numbers = each.get("embedding")
        if encoding == "base64" and isinstance(numbers, list):
            each["embedding"] = base64.b64encode(array("f", numbers).tobytes()).decode()
    return answer


def kinds_of(error: BaseException) -> Iterable[str]:
    """Return the names of an error's class and of those above it: any-llm's are told without importing it."""
    return [each.__name__ for each in type(error).__mro__]


def refusal_of(error: Exception, upstream: str) -> Refusal:
    """Return what a failed call is to the client.

    Raises `TetradError` where it is no answer: a refused credential, no connection, what nobody can read.
    """
    kinds = kinds_of(error)
    kind = next((name for name in kinds if name in _KINDS), "")
    status = getattr(error, "status_code", None)
    words = words_of(error)
    if isinstance(error, ImportError):
        raise TetradError(
            f"any-llm lacks a package that the upstream {upstream!r} needs: {words}",
            hint="install it in every gateway: pip install 'any-llm-sdk[PROVIDER]'",
            code="missing_extra",
            status=501,
        )
    if "AuthenticationError" in kinds or "MissingApiKeyError" in kinds or status in (401, 403):
        # the class is guessed from words where the status does not say it: "author" is enough
        if status in (None, 401, 403) or _KEY.search(words):
            raise CredentialRefused(
                f"the upstream {upstream!r} refused this gateway's credential ({status or 'unsent'})",
                hint="an administrator must check the provider's secret",
            )
        kind = kind or "InvalidRequestError"
    if isinstance(status, int) and status < 400:
        raise BrokenAnswer(f"the upstream {upstream!r} answered {status} with what any-llm cannot read")
    if status is None and not kind:
        raise _unanswered(error, kinds, words, upstream)
    usual, code = _KINDS.get(kind, (502, "upstream_error"))
    told = getattr(error, "code", None) or getattr(error, "error_type", None)
    return Refusal(
        status if isinstance(status, int) else usual,
        code if kind in _TOLD or not told else str(told),
        words,
        str(getattr(error, "param", None) or getattr(error, "parameter_name", None) or ""),
        str(getattr(error, "retry_after", None) or _retry_after(error)),
    )


def words_of(error: Exception) -> str:
    """Return what the provider itself said, where its SDK kept it; else what the error says."""
    body = getattr(getattr(error, "original_exception", None), "body", None)
    if isinstance(body, dict):
        inner = body.get("error")
        for each in (inner, body):
            said = each.get("message") if isinstance(each, dict) else None
            if isinstance(said, str):
                return said[:MAX_MESSAGE]
    return str(getattr(error, "message", "") or error)[:MAX_MESSAGE]


def _unanswered(error: Exception, kinds: Iterable[str], words: str, upstream: str) -> TetradError:
    cause = getattr(error, "original_exception", None) or error
    if isinstance(error, NotImplementedError):
        return TetradError(
            f"any-llm cannot do this with the upstream {upstream!r}: {words}", code="operation_not_served", status=404
        )
    if "ValidationError" in kinds and getattr(error, "title", "") == "CompletionParams":
        return TetradError(f"any-llm does not take this request: {words}", code="bad_field", status=400)
    name = type(cause).__name__
    if _NO_ANSWER.search(name):
        return TimedOut(f"the upstream {upstream!r} did not answer any-llm in time")
    if _NO_CONNECTION.search(name):
        return ConnectFailed(f"any-llm has no connection to the upstream {upstream!r}, or lost it")
    return BrokenAnswer(f"the call of the upstream {upstream!r} through any-llm failed ({name}): {words}")


def _retry_after(error: Exception) -> str:
    headers = getattr(getattr(getattr(error, "original_exception", None), "response", None), "headers", None)
    get = getattr(headers, "get", None)
    found = get("retry-after") if callable(get) else None
    return found if isinstance(found, str) else ""


def _plain(given: Any) -> dict[str, Any]:
    dump = getattr(given, "model_dump", None)
    if not callable(dump):
        raise BrokenAnswer(f"any-llm returned {type(given).__name__}, which is no answer")
    plain = dump(mode="json", exclude_none=True, warnings=False)
    if not isinstance(plain, dict):
        raise BrokenAnswer("any-llm returned what is no object")
    return plain


def _list(answer: dict[str, Any], name: str) -> list[dict[str, Any]]:
    items = answer.setdefault(name, [])
    if not isinstance(items, list) or not all(isinstance(each, dict) for each in items):
        raise BrokenAnswer(f"any-llm returned an answer whose {name} are no list of objects")
    return items


def _thoughts(message: dict[str, Any]) -> None:
    """any-llm says `reasoning`, as some servers do; clients and translations read `reasoning_content`."""
    thought = message.pop("reasoning", None)
    if isinstance(thought, str) and thought:
        message.setdefault("reasoning_content", thought)
