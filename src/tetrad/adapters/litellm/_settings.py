"""Everything else: the cache, budgets and limits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tetrad.adapters.litellm._draft import Draft
from tetrad.adapters.litellm._plan import Step
from tetrad.adapters.litellm._reading import is_number
from tetrad.adapters.litellm._words import GENERAL, LIBRARY, RELIABILITY
from tetrad.kit.plain_yaml import Path


class Settings:
    """Reads `litellm_settings` and `general_settings`."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def cache(self, library: Mapping[str, Any]) -> list[Step]:
        """Return the step that puts the cache, if there is one."""
        given = library.get("cache_params")
        params: dict[str, Any] = given if isinstance(given, dict) else {}
        if library.get("cache") is not True:
            return []
        kind = str(params.get("type") or "local")
        body: dict[str, Any] = {"use": "asked" if params.get("mode") == "default_off" else "always"}
        if is_number(params.get("ttl"), least=1):
            body["ttl_s"] = int(params["ttl"])
        if kind.endswith("semantic"):
            body["semantic"] = "any"
            self._draft.say(
                ("litellm_settings", "cache_params", "type"), "changed", f"{kind}: similar questions get one answer",
                "the threshold is ours, not similarity_threshold: models of embeddings differ",
            )  # fmt: skip
        elif kind not in ("local", "in-memory"):
            self._draft.say(
                ("litellm_settings", "cache_params", "type"), "changed", f"the cache in {kind}",
                "answers are kept in each gateway's memory, and on its disk with TETRAD_GATEWAY_CACHE_DISK_BYTES",
            )  # fmt: skip
        if params.get("supported_call_types"):
            self._draft.say(
                ("litellm_settings", "cache_params", "supported_call_types"), "left", "supported_call_types",
                "what can be cached is decided by operation",
            )  # fmt: skip
        self._draft.say(("litellm_settings", "cache"), "taken", "answers are cached")
        return [Step("cache", "-", "caches/-", body)]

    def library(self, library: Mapping[str, Any]) -> None:
        """Take the budgets, and say what is left of `litellm_settings`."""
        self._draft.budget(("litellm_settings",), library, "max_budget", "budget_duration", "project", "*")
        for name in library:
            if name in (*RELIABILITY, "cache", "cache_params", "max_budget", "budget_duration"):
                continue
            self._draft.say(("litellm_settings", name), "left", name, LIBRARY.get(name, "it has no counterpart"))
        providers = self._draft.section("router_settings").get("provider_budget_config")
        for kind, budget in (providers if isinstance(providers, dict) else {}).items():
            path: Path = ("router_settings", "provider_budget_config", kind)
            names = [each.name for (known, _, _), each in self._draft.providers.items() if known == kind]
            if not names or not isinstance(budget, dict):
                self._draft.say(path, "left", f"the budget of {kind}", "no deployment of it was taken")
            for name in names if isinstance(budget, dict) else ():
                self._draft.budget(path, budget, "budget_limit", "time_period", "model", f"{name}/*")

    def general(self, general: Mapping[str, Any]) -> None:
        """Take the limit of all calls, and say what is left of `general_settings`."""
        most = general.get("global_max_parallel_requests")
        if is_number(most, least=1):
            body = {"subject": "project", "name": "*", "measure": "concurrency", "amount": int(most), "hard": True}
            self._draft.rules.append(Step("limit", "project concurrency", "limits", body))
            self._draft.say(("general_settings", "global_max_parallel_requests"), "taken", f"{most} calls at once")
        for name in general:
            if name != "global_max_parallel_requests":
                self._draft.say(("general_settings", name), "left", name, GENERAL.get(name, "it has no counterpart"))
