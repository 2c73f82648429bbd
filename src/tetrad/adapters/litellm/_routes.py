"""Groups of deployments become routes, with what the router's settings say of all of them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from tetrad.adapters.litellm._draft import Draft, Group
from tetrad.adapters.litellm._kinds import STRATEGIES
from tetrad.adapters.litellm._models import MAX_TARGETS
from tetrad.adapters.litellm._plan import Step
from tetrad.adapters.litellm._reading import as_list, is_number, slug
from tetrad.adapters.litellm._words import KNOWN_ROUTER, RELIABILITY, ROUTER
from tetrad.kit.plain_yaml import Path

MAX_ALIASES, MAX_RETRIES = 16, 8
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,126}")


class Routes:
    """Reads `router_settings`, and what of `litellm_settings` is said of routes."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def steps(self, router: Mapping[str, Any], library: Mapping[str, Any]) -> list[Step]:
        """Return the steps that put the routes."""
        both = {**{name: library[name] for name in RELIABILITY if name in library}, **router}
        common = self._common(both)
        self._aliases(both.get("model_group_alias"))
        fallbacks = {
            kind: self._fallback_lists(both, name)
            for kind, name in (
                ("error", "fallbacks"),
                ("context_window", "context_window_fallbacks"),
                ("content_policy", "content_policy_fallbacks"),
            )
        }
        default = [each for each in as_list(both.get("default_fallbacks")) if isinstance(each, str)]
        default = default or fallbacks["error"].pop("*", [])
        steps, taken = [], set[str]()
        for group in self._draft.groups.values():
            chosen = {kind: self._expanded(group, lists.get(group.name, [])) for kind, lists in fallbacks.items()}
            if not chosen["error"]:
                chosen["error"] = self._expanded(group, default)
            chosen["rate_limit"] = chosen["error"]  # LiteLLM's `fallbacks` are taken for refusals by rate too
            name = slug(group.name, dots=True)
            number = 1
            while name in taken:
                number += 1
                name = f"{slug(group.name, dots=True)[:60]}-{number}"
            taken.add(name)
            aliases = [each for each in dict.fromkeys((group.name, *group.aliases)) if each != name]
            good = [each for each in aliases if _ALIAS.fullmatch(each)][:MAX_ALIASES]
            for each in aliases:
                if each not in good:
                    self._draft.say(
                        ("model_list",), "left", f"the name {each[:80]!r} cannot be an alias", f"call {name!r}"
                    )
            body: dict[str, Any] = {
                **common,
                "targets": list(group.targets.values()),
                "aliases": good,
                "fallbacks": {kind: [{"model": each} for each in models] for kind, models in chosen.items() if models},
            }
            steps.append(Step("route", name, f"routes/{name}", body))
        for name in router:
            if name not in KNOWN_ROUTER:
                self._draft.say(("router_settings", name), "left", name, ROUTER.get(name, "it has no counterpart"))
        return steps

    def _common(self, both: Mapping[str, Any]) -> dict[str, Any]:
        asked = str(both.get("routing_strategy") or "simple-shuffle")
        strategy, note = STRATEGIES.get(asked, ("weighted", "it has no counterpart; calls are spread by weight"))
        if note:
            self._draft.say(("router_settings", "routing_strategy"), "changed", asked, note)
        common: dict[str, Any] = {"strategy": strategy}
        retries = both.get("num_retries")
        if is_number(retries, least=0):
            common["retry"] = {"retries": min(MAX_RETRIES, int(retries))}
            if int(retries) > MAX_RETRIES:
                self._draft.say(
                    ("router_settings", "num_retries"), "changed", f"{retries} retries", f"at most {MAX_RETRIES}"
                )
        deadlines = {}
        total = both.get("timeout", both.get("request_timeout"))
        if is_number(total):
            deadlines["total_s"] = min(86_400.0, float(total))
        if is_number(both.get("stream_timeout")):
            deadlines["first_token_s"] = min(86_400.0, float(both["stream_timeout"]))
        if deadlines:
            common["deadlines"] = deadlines
        breaker: dict[str, Any] = {}
        if both.get("disable_cooldowns") is True:
            self._draft.say(
                ("router_settings", "disable_cooldowns"), "left", "no cooldowns", "a target that fails is left alone"
            )
        if is_number(both.get("allowed_fails"), least=0):
            breaker["consecutive"] = min(1000, int(both["allowed_fails"]) + 1)
            self._draft.say(
                ("router_settings", "allowed_fails"), "changed", "allowed_fails", "counted in a row, not a minute"
            )
        if is_number(both.get("cooldown_time")):
            breaker["open_s"] = min(3600.0, float(both["cooldown_time"]))
            breaker["longest_open_s"] = max(120.0, breaker["open_s"])
        if breaker:
            common["breaker"] = breaker
        return common

    def _aliases(self, given: Any) -> None:
        for alias, meant in (given if isinstance(given, dict) else {}).items():
            name = meant.get("model") if isinstance(meant, dict) else meant
            group = self._draft.groups.get(str(name))
            path: Path = ("router_settings", "model_group_alias", alias)
            if group is None or alias in self._draft.groups:
                self._draft.say(
                    path,
                    "left",
                    f"the alias {alias!r} of {name!r}",
                    "no deployment answers it, or it is a name already",
                )
            else:
                group.aliases.append(alias)
                self._draft.say(path, "taken", f"{alias!r} means {name!r}")

    def _fallback_lists(self, both: Mapping[str, Any], name: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        section = "router_settings" if name in self._draft.section("router_settings") else "litellm_settings"
        for number, entry in enumerate(as_list(both.get(name))):
            for group, models in (entry if isinstance(entry, dict) else {}).items():
                path: Path = (section, name, number)
                listed = [each for each in as_list(models) if isinstance(each, str)]
                if group not in self._draft.groups and group != "*":
                    self._draft.say(path, "left", f"{name} of {group!r}", "no deployment of that name was taken")
                    continue
                if len(listed) != len(as_list(models)):
                    self._draft.say(
                        path, "changed", f"{name} of {group!r}", "those with parameters of their own are left out"
                    )
                missing = [each for each in listed if each not in self._draft.groups]
                if missing:
                    self._draft.say(
                        path, "changed", f"{name} of {group!r}: without {', '.join(missing)}", "no deployment was taken"
                    )
                found.setdefault(group, []).extend(each for each in listed if each in self._draft.groups)
                self._draft.say(path, "taken", f"{name} of {group!r}: {', '.join(listed)}")
        return found

    def _expanded(self, group: Group, names: list[str]) -> list[str]:
        """A route falls back to models, not to routes: a group stands for its deployments."""
        models = [model for name in names if name in self._draft.groups for model in self._draft.groups[name].targets]
        return [model for model in dict.fromkeys(models) if model not in group.targets][:MAX_TARGETS]
