"""What upstreams say when they fail, in the words of their documentation, and what it is taken for."""

from __future__ import annotations

import pytest

from tetrad.kernel import Forbidden, Overloaded, TetradError, Unavailable
from tetrad.kit.upstream import BrokenAnswer, ConnectFailed, ConnectionLost, TimedOut
from tetrad.serving import RequestRefused
from tetrad.serving._failures import TREATMENTS, classify, classify_error, forbids_retry, retry_after_s


@pytest.mark.parametrize(
    ("provider", "status", "code", "message", "kind"),
    [
        ("openai", 400, "context_length_exceeded", "This model's maximum context length is 8192", "context_window"),
        ("openai", 400, "string_above_max_length", "string too long", "context_window"),
        ("openai", 429, "rate_limit_exceeded", "Rate limit reached for gpt-5 on tokens per min (TPM)", "rate_limit"),
        ("openai", 429, "insufficient_quota", "You exceeded your current quota", "quota"),
        ("openai", 400, "content_policy_violation", "Your request was rejected by our safety system", "content_policy"),
        ("openai", 400, "invalid_prompt", "flagged as potentially violating our usage policy", "content_policy"),
        ("openai", 404, "model_not_found", "The model `x` does not exist", "missing"),
        ("openai", 500, "server_error", "The server had an error", "broken"),
        ("openai", 503, "", "Slow down", "overloaded"),
        ("openai", 400, "invalid_value", "temperature must be at most 2", "caller"),
        ("azure", 400, "content_filter", "triggering Azure OpenAI's content management policy", "content_policy"),
        ("azure", 404, "DeploymentNotFound", "The API deployment does not exist", "missing"),
        ("azure", 429, "429", "Requests have exceeded call rate limit. Please retry after 6 seconds", "rate_limit"),
        ("anthropic", 400, "invalid_request_error", "prompt is too long: 215000 tokens > 200000", "context_window"),
        ("anthropic", 400, "invalid_request_error", "Your credit balance is too low", "quota"),
        ("anthropic", 400, "invalid_request_error", "messages: at least one message is required", "caller"),
        ("anthropic", 413, "request_too_large", "Request exceeds the maximum size", "context_window"),
        ("anthropic", 529, "overloaded_error", "Overloaded", "overloaded"),
        ("anthropic", 429, "rate_limit_error", "would exceed your organization's rate limit", "rate_limit"),
        ("anthropic", 0, "overloaded_error", "Overloaded", "overloaded"),
        ("gemini", 400, "INVALID_ARGUMENT", "The input token count (1200000) exceeds the maximum", "context_window"),
        ("gemini", 429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).", "rate_limit"),
        ("gemini", 503, "UNAVAILABLE", "The model is overloaded. Please try again later.", "overloaded"),
        ("gemini", 400, "INVALID_ARGUMENT", "The prompt was blocked", "content_policy"),
        ("bedrock", 400, "ValidationException", "Input is too long for requested model.", "context_window"),
        ("bedrock", 429, "ThrottlingException", "Too many requests, please wait", "rate_limit"),
        ("bedrock", 403, "AccessDeniedException", "not authorized", "credential"),
        ("bedrock", 429, "ModelNotReadyException", "not ready", "overloaded"),
        ("groq", 413, "rate_limit_exceeded", "Request too large on tokens per minute (TPM): Limit 6000", "rate_limit"),
        ("groq", 498, "", "Flex tier capacity exceeded", "overloaded"),
        ("mistral", 400, "", "too large for model with 32768 maximum context length", "context_window"),
        ("deepseek", 402, "invalid_request_error", "Insufficient Balance", "quota"),
        ("openrouter", 402, "402", "Insufficient credits", "quota"),
        ("openrouter", 408, "408", "Your request timed out", "timeout"),
        ("dashscope", 400, "data_inspection_failed", "Output may contain inappropriate content.", "content_policy"),
        ("vllm", 400, "BadRequestError", "This model's maximum context length is 4096 tokens.", "context_window"),
        ("llama.cpp", 400, "exceed_context_size_error", "exceeds the available context size", "context_window"),
        ("llama.cpp", 500, "500", "context size has been exceeded", "context_window"),
        ("cloudflare", 524, "", "a timeout occurred", "timeout"),
        ("cloudflare", 522, "", "", "unavailable"),
        ("anybody", 401, "", "", "credential"),
        ("anybody", 418, "", "", "caller"),
        ("anybody", 599, "", "", "broken"),
        ("anybody", 0, "", "", "broken"),
    ],
)  # fmt: skip
def test_an_error_of_a_provider_is_recognised(provider: str, status: int, code: str, message: str, kind: str) -> None:
    assert classify(status, code, message) == kind, provider


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ConnectFailed("no"), "unavailable"),
        (ConnectionLost("gone", received=True), "unavailable"),
        (TimedOut("late"), "timeout"),
        (BrokenAnswer("nonsense"), "broken"),
        (Unavailable("loading", code="upstream_not_ready"), "unavailable"),
        (Overloaded("full", code="binding_at_capacity"), "busy"),
        (Forbidden("a guard says no", code="guard_refused"), "caller"),
        (Overloaded("a limit of ours", code="rate_limited"), "caller"),
        (RequestRefused("cannot be said in that protocol"), "caller"),
        (TetradError("unknown"), "broken"),
    ],
)
def test_an_error_of_ours_is_recognised_and_our_own_refusals_stand(error: TetradError, kind: str) -> None:
    assert classify_error(error) == kind


def test_a_long_message_costs_no_more_than_its_beginning() -> None:
    assert classify(400, "", "x" * 10_000_000 + "maximum context length") == "caller"


def test_every_kind_is_treated_and_only_unwell_targets_open_breakers() -> None:
    assert {kind for kind, treatment in TREATMENTS.items() if treatment.counts} == {
        "credential", "overloaded", "timeout", "unavailable", "broken",
    }  # fmt: skip
    assert not any(
        TREATMENTS[kind].retry for kind in ("caller", "context_window", "content_policy", "timeout", "quota")
    )


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([(b"retry-after", b"7")], 7.0),
        ([(b"retry-after-ms", b"250"), (b"retry-after", b"1")], 0.25),
        ([(b"retry-after", b"Wed, 21 Oct 2015 07:28:00 GMT")], None),
        ([(b"retry-after", b"-1")], None),
        ([(b"retry-after", b"nan")], None),
        ([(b"retry-after", b"inf")], None),
        ([(b"retry-after", b"1e9")], None),
        ([], None),
    ],
)
def test_the_pause_that_an_upstream_asks_for_is_read_carefully(headers: list, seconds: float | None) -> None:
    assert retry_after_s(headers) == seconds


def test_only_a_clear_no_forbids_a_retry() -> None:
    assert forbids_retry([(b"x-should-retry", b"false")])
    assert not forbids_retry([(b"x-should-retry", b"true")])
