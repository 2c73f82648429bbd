"""Engine requirements, answers as they are compared, and requests as an isolated engine gets them."""

from __future__ import annotations

import json

import msgspec
import pytest

from tetrad.kernel import Digest
from tetrad.processes.control._reproducing import GatewayRendering, _is_whole
from tetrad.releases import Message, ResolvedRelease, ResolvedVariable, answer_of
from tetrad.releases._engine_requirement import EngineRequirement, is_version_requirement, unmet
from tetrad.serving import RequestRefused

RELEASE = ResolvedRelease(
    digest=Digest("sha256:" + "1" * 64), project="default", app="bot", model="local/m",
    model_digest=Digest("sha256:" + "2" * 64), model_kind="weights", prompt_name="p",
    messages=(Message("system", "Be {{tone}}."),), variables=(ResolvedVariable("tone", "string", False, "kind"),),
    params={"temperature": 0.2, "max_tokens": 5, "cache_prompt": True},
)  # fmt: skip


def rendered(release: ResolvedRelease = RELEASE, variables: str = "", seed: int = 7) -> dict:
    body = GatewayRendering().render(
        release, b'[{"role":"user","content":"Hi"}]', variables.encode(), model="local/m", seed=seed
    )
    return dict(json.loads(body))


def test_an_isolated_request_is_the_gateways_with_its_seed_and_without_stream_and_cache() -> None:
    found = rendered(variables='{"tone":"curt"}')
    assert [message["content"] for message in found["messages"]] == ["Be curt.", "Hi"]
    assert (found["seed"], found["stream"], found["cache_prompt"], found["temperature"]) == (7, False, False, 0.2)


@pytest.mark.parametrize(("own", "sent"), [(3, 3), (0, 0), (-1, 7), (True, 7), ("x", 7), (None, 7)])
def test_a_seed_of_the_release_stays_and_one_that_fixes_nothing_does_not(own: object, sent: object) -> None:
    assert rendered(msgspec.structs.replace(RELEASE, params={"seed": own}))["seed"] == sent


def test_a_value_that_does_not_fit_is_refused_as_the_gateway_does() -> None:
    with pytest.raises(RequestRefused, match="tone"):
        rendered(variables='{"tone": 3}')


def test_of_an_answer_the_choices_are_compared_without_ids_and_counters() -> None:
    body = {
        "id": "chatcmpl-1", "created": 1, "usage": {"total_tokens": 3}, "timings": {},
        "choices": [{"index": 0, "finish_reason": "stop", "logprobs": None, "message": {
            "role": "assistant", "content": "Hi", "refusal": None,
            "tool_calls": [{"id": "call_8f", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}}],
    }  # fmt: skip
    other = json.loads(json.dumps(body).replace("chatcmpl-1", "chatcmpl-2").replace("call_8f", "call_9a"))
    assert answer_of(body) == answer_of(other)
    assert "Hi" in answer_of(body)
    assert answer_of({"choices": []}) != answer_of(body)


@pytest.mark.parametrize(
    ("wanted", "problems"),
    [
        (None, 0),
        (EngineRequirement("llama_cpp"), 0),
        (EngineRequirement("llama_cpp", ">=2026.10,<2027", 2048), 0),
        (EngineRequirement("llama_cpp", "==2025.1"), 1),
        (EngineRequirement("llama_cpp", "", 4096), 1),
        (EngineRequirement("vllm", ">=1", 4096), 2),
    ],
)
def test_an_engine_is_what_the_release_asks_for_or_it_is_said_what_not(
    wanted: EngineRequirement | None, problems: int
) -> None:
    assert len(unmet(wanted, kind="llama_cpp", version="2026.10.11549", context=2048)) == problems


@pytest.mark.parametrize(
    ("text", "good"),
    [(">=1.2,<2", True), ("1.2.3", True), ("==1.*", True), ("~=2026.10", True), ("", False), ("new", False),
     (">=", False), (">=1 <2", False), ("1," * 60 + "1", False)],
)  # fmt: skip
def test_a_version_requirement_is_clauses_or_nothing(text: str, good: bool) -> None:
    assert is_version_requirement(text) is good


@pytest.mark.parametrize(
    ("document", "whole"),
    [(b'[{"role":"user","content":"Hi"}]', True), (b'[{"role":"user","content":"[2 characters]"}]', False),
     (b'{"truncated":true,"bytes":9}', False), (b"[]", False), (b"nonsense", False)],
)  # fmt: skip
def test_only_whole_messages_of_traces_are_recorded(document: bytes, whole: bool) -> None:
    assert _is_whole(document) is whole
