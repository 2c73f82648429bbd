"""What becomes of every entry of a LiteLLM configuration."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.adapters.litellm import Plan, read_config
from tetrad.adapters.litellm._config import MAX_DEPLOYMENTS, all_kinds
from tetrad.adapters.litellm._kinds import MODES, STRATEGIES
from tetrad.adapters.litellm._plan import BadLiteLLMConfig
from tetrad.kit.plain_yaml import BadYaml
from tetrad.serving import ModelRoute, ProviderSpec
from tetrad.serving._providers import check_provider
from tetrad.serving._route_spec import check_route

SECRET = "sk-literal-0123456789abcdef"
WHOLE = f"""
environment_variables:
  REDIS_PASSWORD: {SECRET}
model_list:
  - model_name: gpt-4o
    litellm_params:
      model: azure/gpt-4o-eu
      api_base: https://eu.openai.azure.com/
      api_key: os.environ/AZURE_API_KEY_EU
      api_version: "2025-01-01-preview"
      rpm: 300
      order: 2
  - model_name: gpt-4o
    litellm_params:
      model: openai/gpt-4o
      api_key: os.environ/OPENAI_API_KEY
      rpm: 100
      max_parallel_requests: 7
  - model_name: Claude Sonnet
    litellm_params:
      model: anthropic/claude-sonnet-5
      api_key: {SECRET}
      timeout: 120
    model_info:
      input_cost_per_token: 0.000003
      output_cost_per_token: 1.5e-05
      cache_read_input_token_cost: 3e-7
  - model_name: vectors
    litellm_params:
      model: text-embedding-3-small
    model_info:
      mode: embedding
  - model_name: house
    litellm_params:
      model: hosted_vllm/llama
      api_base: http://vllm.models.svc.cluster.local/v1
      max_budget: 25
      budget_duration: 1d
  - model_name: bed
    litellm_params:
      model: watsonx/ibm/granite
      aws_region_name: us-east-1
  - model_name: "groq/*"
    litellm_params:
      model: "groq/*"
router_settings:
  routing_strategy: usage-based-routing-v2
  num_retries: 3
  timeout: 30
  stream_timeout: 10
  allowed_fails: 3
  cooldown_time: 60
  redis_host: localhost
  model_group_alias:
    gpt-4: gpt-4o
    smart:
      model: Claude Sonnet
      hidden: true
  fallbacks:
    - gpt-4o: [Claude Sonnet]
  provider_budget_config:
    openai:
      budget_limit: 100
      time_period: 30d
litellm_settings:
  context_window_fallbacks: [{{house: [gpt-4o]}}]
  default_fallbacks: [house]
  drop_params: true
  success_callback: [langfuse]
  cache: true
  cache_params:
    type: redis
    ttl: 600
    mode: default_off
  max_budget: 1000
  budget_duration: 30d
general_settings:
  master_key: {SECRET}
  global_max_parallel_requests: 50
  database_url: postgresql://u:{SECRET}@h/db
guardrails: []
surprise: {SECRET}
"""


def plan_of(text: str, **environ: str) -> Plan:
    return read_config(text, where="config.yaml", environ=environ)


def body_of(plan: Plan, kind: str, name: str) -> dict[str, Any]:
    [found] = [step.body for step in plan.steps if step.kind == kind and step.name == name]
    return found


def said(plan: Plan, where: str) -> list[tuple[str, str]]:
    return [(each.outcome, each.to_do) for each in plan.findings if each.where == where]


def test_deployments_become_providers_and_groups_become_routes() -> None:
    plan = plan_of(WHOLE)
    providers = {step.name: step.body for step in plan.steps if step.kind == "provider"}
    assert {name: (body["base_url"], body["adapter"], body["secret"]) for name, body in providers.items()} == {
        "azure": ("https://eu.openai.azure.com/openai/v1", "openai", "AZURE_API_KEY_EU"),
        "openai": ("https://api.openai.com/v1", "openai", "OPENAI_API_KEY"),
        "anthropic": ("https://api.anthropic.com/v1", "anthropic", "anthropic-key"),
        "hosted-vllm": ("http://vllm.models.svc.cluster.local/v1", "openai", ""),
    }
    assert [(model["name"], model["kinds"]) for model in providers["openai"]["models"]] == [
        ("gpt-4o", ["chat"]),
        ("text-embedding-3-small", ["embeddings"]),
    ]
    assert providers["anthropic"]["models"][0]["price"] == {
        "currency": "USD", "input": "3", "output": "15", "cache_read": "0.3", "cache_write": None,
    }  # fmt: skip
    assert providers["anthropic"]["total_timeout_s"] == 120
    route = body_of(plan, "route", "gpt-4o")
    assert route["targets"] == [
        {"model": "azure/gpt-4o-eu", "weight": 300, "priority": 2},
        {"model": "openai/gpt-4o", "weight": 100, "max_in_flight": 7},
    ]
    assert route["aliases"] == ["gpt-4"]
    assert route["strategy"] == "least-busy"
    assert route["retry"] == {"retries": 3}
    assert route["deadlines"] == {"total_s": 30, "first_token_s": 10}
    assert route["breaker"] == {"consecutive": 4, "open_s": 60, "longest_open_s": 120}
    assert route["fallbacks"]["error"] == route["fallbacks"]["rate_limit"] == [{"model": "anthropic/claude-sonnet-5"}]
    assert body_of(plan, "route", "house")["fallbacks"] == {
        "context_window": [{"model": "azure/gpt-4o-eu"}, {"model": "openai/gpt-4o"}]
    }
    assert body_of(plan, "route", "vectors")["fallbacks"]["error"] == [{"model": "hosted-vllm/llama"}]
    assert body_of(plan, "route", "claude-sonnet")["aliases"] == ["smart"]


def test_budgets_limits_and_the_cache_are_taken() -> None:
    plan = plan_of(WHOLE)
    budgets = [step.body for step in plan.steps if step.kind == "budget"]
    assert [(each["subject"], each["name"], each["amount"], each["period"]) for each in budgets] == [
        ("model", "hosted-vllm/llama", "25", "day"),
        ("project", "*", "1000", "month"),
        ("model", "openai/*", "100", "month"),
    ]
    limits = [step.body for step in plan.steps if step.kind == "limit"]
    assert [(each["subject"], each["name"], each["measure"], each["amount"], each["hard"]) for each in limits] == [
        ("model", "azure/gpt-4o-eu", "requests", 300, False),
        ("model", "openai/gpt-4o", "requests", 100, False),
        ("project", "*", "concurrency", 50, True),
    ]
    assert body_of(plan, "cache", "-") == {"use": "asked", "ttl_s": 600}


def test_every_entry_is_told_of_and_what_is_left_says_what_to_do() -> None:
    plan = plan_of(WHOLE)
    for where in (
        "model_list[5]", "model_list[6]", "router_settings.redis_host", "litellm_settings.success_callback",
        "general_settings.master_key", "general_settings.database_url", "environment_variables", "guardrails",
        "surprise",
    ):  # fmt: skip
        [(outcome, to_do)] = said(plan, where)
        assert (outcome, bool(to_do)) == ("left", True), where
    told = {each.where.split(".")[0].split("[")[0] for each in plan.findings}
    assert told == {
        "model_list", "router_settings", "litellm_settings", "general_settings", "environment_variables", "guardrails",
        "surprise",
    }  # fmt: skip
    for number in range(7):
        assert any(each.where.startswith(f"model_list[{number}]") for each in plan.findings), number
    assert all(each.line > 1 for each in plan.findings)


def test_deployments_in_clouds_get_their_address_from_region_and_project() -> None:
    plan = read_config(
        """
model_list:
  - {model_name: a, litellm_params: {model: bedrock/converse/us.amazon.nova-pro-v1:0, aws_region_name: eu-west-1}}
  - {model_name: b, litellm_params: {model: vertex_ai/gemini-2.5-pro, vertex_project: os.environ/PROJECT}}
  - model_name: c
    litellm_params: {model: vertex_ai/claude-sonnet-4-5, vertex_project: ours, vertex_location: europe-west1}
  - {model_name: d, litellm_params: {model: bedrock/x, aws_region_name: "evil.example/"}}
""",
        where="config.yaml",
        environ={"PROJECT": "found"},
    )
    providers = {step.name: step.body for step in plan.steps if step.kind == "provider"}
    vertex = "-aiplatform.googleapis.com/v1/projects"
    assert {name: (body["base_url"], body["adapter"], body["auth"]) for name, body in providers.items()} == {
        "bedrock": ("https://bedrock-runtime.eu-west-1.amazonaws.com", "bedrock", "sigv4"),
        "vertex-ai": (
            f"https://us-central1{vertex}/found/locations/us-central1/publishers/google", "gemini", "google",
        ),
        "vertex-ai-anthropic": (
            f"https://europe-west1{vertex}/ours/locations/europe-west1/publishers/anthropic", "vertex-anthropic",
            "google",
        ),
    }  # fmt: skip
    assert providers["bedrock"]["models"][0]["name"] == "us.amazon.nova-pro-v1:0"
    assert plan.secrets == {"bedrock-login": "", "vertex-ai-login": "", "vertex-ai-anthropic-login": ""}
    assert [outcome for outcome, _ in said(plan, "model_list[3]")] == ["left"], "a region is a word"
    for step in plan.steps:
        if step.kind == "provider":
            check_provider(msgspec.convert({**step.body, "name": step.name, "project": "p"}, ProviderSpec))


def test_no_key_of_the_file_gets_out() -> None:
    plan = plan_of(WHOLE)
    assert SECRET not in repr(plan)
    assert SECRET not in json.dumps([step.body for step in plan.steps])
    assert plan.secrets == {
        "AZURE_API_KEY_EU": "AZURE_API_KEY_EU", "OPENAI_API_KEY": "OPENAI_API_KEY", "anthropic-key": "",
    }  # fmt: skip


def test_what_is_made_is_what_the_api_takes() -> None:
    import msgspec

    for step in plan_of(WHOLE).steps:
        if step.kind == "provider":
            check_provider(msgspec.convert({**step.body, "name": step.name, "project": "p"}, ProviderSpec))
        if step.kind == "route":
            check_route(msgspec.convert({**step.body, "name": step.name, "project": "p"}, ModelRoute))


def test_an_address_may_come_from_the_environment_and_a_key_may_not() -> None:
    text = """
model_list:
  - {model_name: m, litellm_params: {model: openai/m, api_base: os.environ/BASE, api_key: os.environ/KEY}}
"""
    assert not plan_of(text).steps
    assert plan_of(text).findings[0].to_do == "set it and import again"
    plan = plan_of(text, BASE="http://10.0.0.9:8000/v1", KEY=SECRET)
    assert body_of(plan, "provider", "openai")["base_url"] == "http://10.0.0.9:8000/v1"
    assert SECRET not in repr(plan)


def test_two_keys_of_one_provider_are_two_providers_and_the_same_key_is_one() -> None:
    text = """
model_list:
  - {model_name: m, litellm_params: {model: openai/a, api_key: os.environ/K1}}
  - {model_name: m, litellm_params: {model: openai/a, api_key: os.environ/K2}}
  - {model_name: n, litellm_params: {model: openai/b, api_key: os.environ/K1}}
"""
    plan = plan_of(text)
    assert [step.name for step in plan.steps if step.kind == "provider"] == ["openai", "openai-2"]
    assert [each["model"] for each in body_of(plan, "route", "m")["targets"]] == ["openai/a", "openai-2/a"]


def test_the_same_deployment_twice_weighs_twice() -> None:
    text = "model_list: [" + ",".join(["{model_name: m, litellm_params: {model: openai/a, weight: 2}}"] * 2) + "]"
    assert body_of(plan_of(text), "route", "m")["targets"] == [{"model": "openai/a", "weight": 4}]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("{model_name: m, litellm_params: {model: unheard/of}}", True),
        ("{model_name: m, litellm_params: {model: azure/d}}", True),
        ("{model_name: m, litellm_params: {model: vertex_ai/gemini}}", True),
        ("{model_name: m, litellm_params: {model: 5}}", True),
        ("{model_name: m}", True),
        ("just text", True),
        ("{model_name: m, litellm_params: {model: openai/a, api_base: 'http://u:p@h'}}", True),
        ("{model_name: m, litellm_params: {model: 'openai/a b'}}", True),
        ("{model_name: m, litellm_params: {model: claude-opus-5}}", False),
        ("{model_name: m, litellm_params: {model: house, api_base: 'http://h/v1'}}", False),
        ("{model_name: m, litellm_params: {model: house, custom_llm_provider: openai}}", False),
    ],
)
def test_a_deployment_that_cannot_be_reached_is_left_and_the_rest_taken(text: str, left: bool) -> None:
    plan = plan_of(f"model_list:\n  - {text}\n  - {{model_name: good, litellm_params: {{model: openai/good}}}}\n")
    assert [step.name for step in plan.steps if step.kind == "route"] == (["good"] if left else ["m", "good"])
    assert (plan.findings[0].outcome == "left") is left


@pytest.mark.parametrize("text", ["[]", "text", "model_list: 5", "null"])
def test_what_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(BadLiteLLMConfig):
        plan_of(text)


@pytest.mark.parametrize("text", ["a: [", "a: &x 1\nb: *x", "a: 1\na: 2", "x" * 300_000])
def test_what_cannot_be_read_one_way_only_says_where(text: str) -> None:
    with pytest.raises(BadYaml):
        plan_of(text)


def test_so_many_deployments_and_no_more() -> None:
    entry = "\n  - {model_name: m, litellm_params: {model: openai/a}}"
    with pytest.raises(BadLiteLLMConfig):
        plan_of("model_list:" + entry * (MAX_DEPLOYMENTS + 1))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["model_list", "litellm_params", "model", "model_name", "router_settings", "fallbacks", "model_info",
                 "cache", "cache_params", "litellm_settings", "general_settings", "model_group_alias", "rpm", "api_key",
                 "provider_budget_config", "max_budget", "input_cost_per_token", "weight", "num_retries", "api_base"]
            ),
            inner,
            max_size=4,
        ),
        max_leaves=20,
    )
)  # fmt: skip
def test_no_shape_of_a_file_is_a_crash(document: Any) -> None:
    try:
        plan = plan_of(json.dumps({"model_list": [], **(document if isinstance(document, dict) else {"x": document})}))
    except (BadYaml, BadLiteLLMConfig):
        return
    json.dumps([step.body for step in plan.steps])


def test_every_provider_in_the_table_is_reached_or_says_what_to_do() -> None:
    for name, reached in all_kinds():
        if reached.missing:
            continue
        text = f"model_list: [{{model_name: m, litellm_params: {{model: {name}/m, api_base: 'https://h.example/v1'}}}}]"
        assert len([step for step in plan_of(text).steps if step.kind == "provider"]) == 1, name
    assert set(MODES.values()) <= {"chat", "embeddings", "moderations", "rerank", "images", "transcriptions", "speech"}
    assert {strategy for strategy, _ in STRATEGIES.values()} <= {"order", "weighted", "least-busy", "latency", "cost"}
