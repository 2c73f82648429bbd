"""What kind of failure an upstream's answer is, and what may be done about each kind: tables, and no state.

Sources: the error references of OpenAI, Azure OpenAI, Anthropic, Google Gemini, Amazon Bedrock, Mistral, Groq,
Together, DeepSeek and OpenRouter, and what vLLM, SGLang and llama.cpp's server say.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from tetrad.kernel import TetradError
from tetrad.serving._route_spec import FallbackKind

FailureKind = Literal[
    "caller",
    "context_window",
    "content_policy",
    "rate_limit",
    "quota",
    "credential",
    "overloaded",
    "busy",
    "timeout",
    "unavailable",
    "broken",
    "missing",
]


class Treatment(NamedTuple):
    """What is done about a kind of failure.

    `retry`: the same target may answer another time. `fallback`: which list of models takes over. `next_target`: the
    route's other targets may answer. `counts`: it tells that the target is unwell, which opens its breaker.
    """

    retry: bool
    fallback: FallbackKind | None
    next_target: bool
    counts: bool


TREATMENTS: dict[FailureKind, Treatment] = {
    "caller": Treatment(False, None, False, False),
    "context_window": Treatment(False, "context_window", False, False),
    "content_policy": Treatment(False, "content_policy", False, False),
    "rate_limit": Treatment(True, "rate_limit", True, False),
    "quota": Treatment(False, "rate_limit", True, False),
    "credential": Treatment(False, "error", True, True),
    "overloaded": Treatment(True, "error", True, True),
    "busy": Treatment(True, "rate_limit", True, False),
    "timeout": Treatment(False, "error", True, True),
    "unavailable": Treatment(True, "error", True, True),
    "broken": Treatment(True, "error", True, True),
    "missing": Treatment(False, "error", True, False),
}
"""A timeout is not tried again on the same target: it has just shown how long it takes."""

_CODES: dict[str, FailureKind] = {
    # the request is too long for the model
    "context_length_exceeded": "context_window",
    "string_above_max_length": "context_window",
    "exceed_context_size_error": "context_window",
    "model_max_prompt_tokens_exceeded": "context_window",
    # the provider does not want to see or say it
    "content_filter": "content_policy",
    "content_policy_violation": "content_policy",
    "responsibleaipolicyviolation": "content_policy",
    "moderation_blocked": "content_policy",
    "data_inspection_failed": "content_policy",
    "content_filtered": "content_policy",
    # too much, for now
    "rate_limit_exceeded": "rate_limit",
    "rate_limit_error": "rate_limit",
    "requests_limit_exceeded": "rate_limit",
    "tokens_limit_exceeded": "rate_limit",
    "resource_exhausted": "rate_limit",
    "throttlingexception": "rate_limit",
    "too_many_requests": "rate_limit",
    # no money
    "insufficient_quota": "quota",
    "billing_hard_limit_reached": "quota",
    "billing_not_active": "quota",
    "billing_error": "quota",
    "insufficient_balance": "quota",
    "servicequotaexceededexception": "quota",
    # the key
    "invalid_api_key": "credential",
    "authentication_error": "credential",
    "permission_error": "credential",
    "upstream_credential_refused": "credential",
    "accessdeniedexception": "credential",
    # too much for everybody
    "overloaded_error": "overloaded",
    "overloaded": "overloaded",
    "engine_overloaded": "overloaded",
    "modelnotreadyexception": "overloaded",
    # too much for what we allow ourselves
    "upstream_busy": "busy",
    "binding_at_capacity": "busy",
    "provider_at_capacity": "busy",
    # there is no such model
    "model_not_found": "missing",
    "deploymentnotfound": "missing",
    "model_decommissioned": "missing",
    # ours, about an upstream
    "upstream_timeout": "timeout",
    "timeout_error": "timeout",
    "upstream_unreachable": "unavailable",
    "egress_refused": "missing",
    "upstream_not_ready": "unavailable",
    "upstream_lost": "unavailable",
    "upstream_no_identity": "unavailable",
    "upstream_broken": "broken",
    "upstream_failed": "broken",
    "stream_truncated": "unavailable",
    "api_error": "broken",
    "server_error": "broken",
    "internalserverexception": "broken",
}

_STATUSES: dict[int, FailureKind] = {
    401: "credential",
    402: "quota",
    403: "credential",
    404: "missing",
    408: "timeout",
    409: "overloaded",
    413: "context_window",
    425: "overloaded",
    429: "rate_limit",
    498: "overloaded",
    500: "broken",
    502: "unavailable",
    503: "overloaded",
    504: "timeout",
    520: "unavailable",
    521: "unavailable",
    522: "unavailable",
    523: "unavailable",
    524: "timeout",
    529: "overloaded",
}

_TOO_LONG = re.compile(
    r"maximum context length|context[ _](?:length|window|size)|prompt is too long|input is too long"
    r"|input token count.{0,80}exceeds|too many (?:input )?tokens|exceeds? the (?:available|maximum|model'?s?).{0,40}"
    r"(?:context|token)|max_tokens_exceeded|longer than the model'?s context|tokens_limit_reached"
    r"|reduce the length of the (?:messages|input|prompt)",
    re.IGNORECASE,
)
_FORBIDDEN_WORDS = re.compile(
    r"content (?:management )?polic|content[ _]filter|safety system|usage polic(?:y|ies)|responsible ai"
    r"|flagged (?:as|by|for)|blocked by (?:our|the) (?:content|safety|moderation)|inappropriate content"
    r"|prompt was blocked|violat\w+ (?:our|the|anthropic'?s) .{0,30}polic",
    re.IGNORECASE,
)
_NO_MONEY = re.compile(
    r"credit balance is too low|exceeded your current quota|insufficient (?:balance|credits|funds|quota)"
    r"|billing (?:hard )?limit|payment required",
    re.IGNORECASE,
)
_TOO_LARGE = re.compile(r"rate.?limit|tokens per (?:min|day)|\bTPM\b|\bRPM\b", re.IGNORECASE)
_LOOKED_AT = 4000


def classify(status: int, code: str = "", message: str = "") -> FailureKind:
    """Return the kind of a failed answer by its status (0: none), its error code or type, and its message.

    What a message says decides only where status and code are ambiguous: providers tell "too long" and "not allowed"
    with 400 and a general type.
    """
    known = _CODES.get(code.lower().rpartition(".")[2] if code else "")
    if known is not None and (known != "rate_limit" or not _NO_MONEY.search(message[:_LOOKED_AT])):
        return known
    words = message[:_LOOKED_AT]
    if status in (400, 413, 422, 500, 0):  # 500: servers of open models tell a long prompt so
        if _TOO_LONG.search(words) and not _TOO_LARGE.search(words):
            return "context_window"
        if _FORBIDDEN_WORDS.search(words):
            return "content_policy"
    if status in (400, 402, 403, 429) and _NO_MONEY.search(words):
        return "quota"
    if status == 413 and _TOO_LARGE.search(words):  # one request above the limit per minute, as Groq tells it
        return "rate_limit"
    if status in (400, 403) and _FORBIDDEN_WORDS.search(words):
        return "content_policy"
    found = _STATUSES.get(status)
    if found is not None:
        return found
    return "broken" if status >= 500 or not status else "caller"


def classify_error(error: TetradError) -> FailureKind:
    """Return the kind of what came instead of an answer.

    A refusal of ours (a guard, a limit, a request that cannot be said in the upstream's protocol) stands: no other
    model is asked in its place.
    """
    known = _CODES.get(error.code)
    if known is not None:
        return known
    if error.status == 504:
        return "timeout"
    if error.status < 500:
        return "caller"
    return classify(0, error.code, error.message)


def retry_after_s(headers: list[tuple[bytes, bytes]]) -> float | None:
    """Return the pause that an upstream asks for, in seconds; None where it asks for none that can be read.

    A date (RFC 9110 10.2.3) is not understood: model providers send seconds, and clocks differ.
    """
    for name, scale in ((b"retry-after-ms", 1000.0), (b"retry-after", 1.0)):
        for key, value in headers:
            if key == name:
                try:
                    seconds = float(value) / scale
                except ValueError:
                    continue
                if 0 <= seconds < 1e6:
                    return seconds
    return None


def forbids_retry(headers: list[tuple[bytes, bytes]]) -> bool:
    """Tell whether the upstream says that trying again is no use, as OpenAI's `x-should-retry` does."""
    return (b"x-should-retry", b"false") in headers
