"""The entries of LiteLLM's configuration that are known by name, and what to do about those without a counterpart."""

from __future__ import annotations

import re

PRICES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}
PLACES = ("aws_region_name", "vertex_project", "vertex_location")
PLACE = re.compile(r"[a-z0-9-]{1,63}")
RELIABILITY = (
    "num_retries", "request_timeout", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
    "default_fallbacks", "allowed_fails", "cooldown_time",
)  # fmt: skip
KNOWN_ROUTER = frozenset(
    (*RELIABILITY, "routing_strategy", "model_group_alias", "timeout", "stream_timeout", "disable_cooldowns",
     "provider_budget_config", "optional_pre_call_checks")
)  # fmt: skip
KNOWN_PARAMS = frozenset(
    ("model", "api_key", "api_base", "base_url", "custom_llm_provider", "weight", "rpm", "tpm", "order",
     "max_parallel_requests", "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "vertex_credentials",
     *PLACES, "timeout", "request_timeout", "max_budget", "budget_duration", "api_version",
     *PRICES.values())
)  # fmt: skip
PARAMS = {
    "ssl_verify": "certificates are always checked; give your own with `tetrad provider set … --ca FILE`",
    "temperature": "put it in a release's parameters: see docs/how-to/change-and-roll-back.md",
    "max_tokens": "put it in a release's parameters: see docs/how-to/change-and-roll-back.md",
    "stream_timeout": "set it for the route: tetrad route set … --first-token SECONDS",
    "max_retries": "set it for the route: tetrad route set … --retries N",
    "organization": "put it in the key: OpenAI's project keys belong to one organization",
    "tags": "give the target a condition: see docs/how-to/route-and-fall-back.md",
}
ROUTER = {
    "redis_host": "limits are shared without Redis; with it: TETRAD_LIMITS_URL",
    "redis_port": "limits are shared without Redis; with it: TETRAD_LIMITS_URL",
    "redis_password": "limits are shared without Redis; with it: TETRAD_LIMITS_URL",
    "redis_url": "limits are shared without Redis; with it: TETRAD_LIMITS_URL",
    "enable_pre_call_checks": "what is too long for a model goes to the fallbacks for context windows",
    "retry_policy": "what is tried again depends on the kind of failure; see docs/how-to/route-and-fall-back.md",
    "allowed_fails_policy": "which failures count depends on their kind; see docs/how-to/route-and-fall-back.md",
    "enable_tag_filtering": "give targets conditions: see docs/how-to/route-and-fall-back.md",
}
LOGS = "every call is a trace here, with its cost: tetrad trace list"
LIBRARY = {
    "success_callback": LOGS,
    "failure_callback": LOGS,
    "callbacks": LOGS,
    "service_callbacks": "gateways show metrics for Prometheus at /metrics",
    "turn_off_message_logging": "say it per key: tetrad key create … --content off",
    "drop_params": "what a protocol cannot say is left out and named; --translation strict refuses it",
    "set_verbose": "TETRAD_LOG_LEVEL=debug",
    "json_logs": "logs are JSON already",
    "ssl_verify": "certificates are always checked; give your own with `tetrad provider set … --ca FILE`",
    "max_internal_user_budget": "tetrad budget set user AMOUNT",
    "default_internal_user_params": "tetrad budget set user AMOUNT",
    "default_team_settings": "tetrad team set, tetrad budget set team",
}
GENERAL = {
    "master_key": "the admin key is $TETRAD_HOME/keys/admin.key; make keys for clients: tetrad key create",
    "database_url": "TETRAD_DATABASE_URL; keys and spend of LiteLLM's database are not read",
    "store_model_in_db": "models that were added in LiteLLM's console are not in its file: add them to it first",
    "alerting": "tetrad budget alerts",
    "max_parallel_requests": "per provider: tetrad provider set … --max-concurrency N",
    "completion_model": "clients name a model, or an app: model=app:NAME",
    "enforce_user_param": "tetrad limit set user --rpm N",
    "pass_through_endpoints": "only calls of models are forwarded",
}
SECTIONS = {
    "environment_variables": ("environment_variables", "set them where Tetrad runs; secrets with `tetrad secret set`"),
    "guardrails": ("guardrails", "they are not imported"),
    "mcp_servers": ("mcp_servers", "they are not imported"),
    "vector_store_registry": ("vector_store_registry", "they are not imported"),
    "prompts": ("prompts", "tetrad prompt import"),
    "include": ("included files", "import each of them"),
    "files_settings": ("files_settings", "they are not imported"),
    "credential_list": ("credential_list", "set each as a secret and name it: tetrad provider set … --secret NAME"),
}
