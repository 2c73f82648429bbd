"""The list of models: deployments become providers, their models, and the targets of routes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from tetrad.adapters.litellm._draft import Draft, Group, Provider
from tetrad.adapters.litellm._kinds import KINDS, MODES, Reached, split_model
from tetrad.adapters.litellm._plan import Step
from tetrad.adapters.litellm._reading import is_number, slug, whole_weight
from tetrad.adapters.litellm._words import KNOWN_PARAMS, PARAMS, PLACE, PLACES, PRICES
from tetrad.kit.plain_yaml import Path

MAX_TARGETS = 32
_ENVIRONMENT = "os.environ/"
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_SECRET = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
_QUIET = frozenset(("id", "description", "created_at", "updated_at", "max_tokens", "max_input_tokens"))


class Models:
    """Reads `model_list`."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft

    def deployment(self, path: Path, entry: Any) -> None:
        """Take one entry, or say why it is left out."""
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        group = entry.get("model_name") if isinstance(entry, dict) else None
        if not isinstance(params, dict) or not isinstance(group, str) or not isinstance(params.get("model"), str):
            self._draft.say(
                path, "left", "an entry without model_name or litellm_params.model", "complete it, or take it out"
            )
            return
        info = entry.get("model_info") if isinstance(entry.get("model_info"), dict) else {}
        base = self._address(path, params)
        if base is None:
            return
        kind, model = split_model(params["model"], str(params.get("custom_llm_provider") or ""), base_url=bool(base))
        reached = KINDS.get(kind)
        if reached is None or reached.missing:
            why = reached.missing if reached else "name its provider before the model, such as openai/…, or see --help"
            self._draft.say(path, "left", f"{group!r}: {params['model']!r} cannot be reached", why)
            return
        if "*" in group or "*" in model:
            self._draft.say(
                path, "left", f"{group!r}: a wildcard", "list the models that are meant; a provider names its models"
            )
            return
        if not _MODEL.fullmatch(model):
            self._draft.say(path, "left", f"{group!r}: {model[:80]!r} cannot name a model", "use another name")
            return
        url = (
            self._placed(path, group, reached, params)
            if "{" in reached.base_url and not base
            else (_base_url(reached, base))
        )
        if url is None:
            return
        if not url:
            self._draft.say(path, "left", f"{group!r}: {kind} needs an address", "add api_base")
            return
        if "@" in url:
            self._draft.say(
                (*path, "litellm_params", "api_base"),
                "left",
                f"{group!r}: its address holds a password",
                "set a secret",
            )
            return
        provider = self._provider(path, kind, reached, url, params)
        self._model(path, provider, model, params, info)
        self._target(path, group, provider, model, params)

    def _placed(self, path: Path, group: str, reached: Reached, params: Mapping[str, Any]) -> str | None:
        """Return an address that names a region or a project; None, having said so, where one of them is not known."""
        places = dict(reached.defaults)
        for name in PLACES:
            value = params.get(name)
            if isinstance(value, str) and value.startswith(_ENVIRONMENT):
                value = self._draft.environ.get(value.removeprefix(_ENVIRONMENT), "")
            elif value is None:
                value = self._draft.environ.get(name.upper(), "")
            if isinstance(value, str) and PLACE.fullmatch(value):
                places[name] = value
        try:
            return reached.base_url.format_map(places)
        except KeyError as lacking:
            name = str(lacking.args[0])
            self._draft.say(
                path, "left", f"{group!r}: it has no {name}", f"add it, or set {name.upper()} and import again"
            )
            return None

    def _address(self, path: Path, params: Mapping[str, Any]) -> str | None:
        """Return the address that an entry names, empty for none; None, having said so, where it cannot be known."""
        value = params.get("api_base") or params.get("base_url") or ""
        if not isinstance(value, str):
            self._draft.say(path, "left", "api_base is no text", "correct it")
            return None
        if not value.startswith(_ENVIRONMENT):
            return value
        variable = value.removeprefix(_ENVIRONMENT)
        found = self._draft.environ.get(variable, "")
        if not found:
            self._draft.say(path, "left", f"its address is in {variable}, which is not set", "set it and import again")
            return None
        return found

    def _provider(self, path: Path, kind: str, reached: Reached, url: str, params: Mapping[str, Any]) -> Provider:
        key = params.get("api_key")
        secret = variable = ""
        if isinstance(key, str) and key.startswith(_ENVIRONMENT):
            variable = key.removeprefix(_ENVIRONMENT)
        elif key is None:
            variable = reached.variable
        wanted = slug(kind)
        # what a key is never tells deployments apart, only where it is kept; keys in the file are told by their place
        place = variable or (f"#{path[1]}" if key else "")
        found = self._draft.providers.get((kind, url, place))
        if found is not None:
            return found
        name, number = wanted, 1
        while any(each.name == name for each in self._draft.providers.values()):
            number += 1
            name = f"{wanted}-{number}"
        if variable:
            secret = variable if _SECRET.fullmatch(variable) else f"{name}-key"
        elif key:
            secret = f"{name}-key"
            self._draft.say(
                (*path, "litellm_params", "api_key"), "changed", f"a key stands in the file; it becomes {secret!r}",
                f"it is not copied: tetrad secret set {secret}",
            )  # fmt: skip
        elif reached.auth:
            secret = f"{name}-login"
            self._draft.say(
                path, "changed", f"{name}: its login becomes the secret {secret!r}", f"it is to hold {reached.holds}"
            )
        if secret:
            self._draft.secrets[secret] = variable
        made = Provider(name, reached, url, secret, key=bool(variable or key))
        self._draft.providers[kind, url, place] = made
        if kind == "azure":
            self._draft.say(
                path, "changed", f"{name}: called by Azure's v1 API, without api_version", "the model is the deployment"
            )
        return made

    def _model(
        self, path: Path, provider: Provider, model: str, params: Mapping[str, Any], info: Mapping[str, Any]
    ) -> None:
        mode = str(info.get("mode") or "chat")
        kind = MODES.get(mode)
        if kind is None:
            self._draft.say(
                (*path, "model_info", "mode"), "changed", f"{model}: the mode {mode!r} is not known", "taken as chat"
            )
            kind = "chat"
        if provider.reached.adapter == "anthropic" and kind != "chat":
            kind = "chat"
        entry = provider.models.setdefault(model, {"name": model, "kinds": []})
        if kind not in entry["kinds"]:
            entry["kinds"].append(kind)
        price = self._price(path, {**info, **{name: params[name] for name in PRICES.values() if name in params}})
        if price:
            entry["price"] = price
            entry["price_origin"] = {"source": "litellm"}
        for name in ("timeout", "request_timeout"):
            if is_number(params.get(name)):
                provider.timeouts.add(float(params[name]))
        for name in info:
            if name not in (*PRICES.values(), *_QUIET, "mode", "base_model") and not name.startswith("supports_"):
                self._draft.say((*path, "model_info", name), "left", f"model_info.{name}", "it has no counterpart")

    def _price(self, path: Path, found: Mapping[str, Any]) -> dict[str, str | None] | None:
        given = {ours: found.get(theirs) for ours, theirs in PRICES.items()}
        if given["input"] is None and given["output"] is None:
            return None
        price: dict[str, str | None] = {"currency": "USD"}
        for ours, value in given.items():
            needed = ours in ("input", "output")
            if value is None:
                price[ours] = "0" if needed else None
            elif not is_number(value, least=0):
                self._draft.say(path, "left", f"the price {PRICES[ours]} is no number", "correct it")
                return None
            else:
                price[ours] = format((Decimal(str(value)) * 1_000_000).normalize(), "f")
        return price

    def _target(self, path: Path, group: str, provider: Provider, model: str, params: Mapping[str, Any]) -> None:
        name = f"{provider.name}/{model}"
        known = self._draft.groups.setdefault(group, Group(group))
        weight = next((params[each] for each in ("weight", "rpm", "tpm") if is_number(params.get(each), least=0)), None)
        if name not in known.targets and len(known.targets) >= MAX_TARGETS:
            self._draft.say(path, "left", f"{group!r} has more than {MAX_TARGETS} deployments", "make two groups of it")
            return
        target = known.targets.setdefault(name, {"model": name, "weight": 0})
        target["weight"] = min(1_000_000, target["weight"] + (1 if weight is None else whole_weight(weight)))
        if is_number(params.get("order"), least=0):
            target["priority"] = min(1000, int(params["order"]))
        if is_number(params.get("max_parallel_requests"), least=1):
            target["max_in_flight"] = min(100_000, int(params["max_parallel_requests"]))
        self._draft.say(path, "taken", f"{group!r} is answered by {name}")
        self._deployment_rules(path, name, params)
        for each in params:
            if each not in KNOWN_PARAMS:
                self._draft.say(
                    (*path, "litellm_params", each),
                    "left",
                    f"{group!r}: {each}",
                    PARAMS.get(each, "it has no counterpart"),
                )

    def _deployment_rules(self, path: Path, model: str, params: Mapping[str, Any]) -> None:
        router = self._draft.config.get("router_settings")
        checks = router.get("optional_pre_call_checks") if isinstance(router, dict) else None
        hard = isinstance(checks, list) and "enforce_model_rate_limits" in checks
        for name, measure in (("rpm", "requests"), ("tpm", "tokens")):
            if is_number(params.get(name), least=1):
                body = {
                    "subject": "model",
                    "name": model,
                    "measure": measure,
                    "amount": int(params[name]),
                    "hard": hard,
                }
                self._draft.rules.append(Step("limit", f"{model} {measure}", "limits", body))
                if not hard:
                    self._draft.say(
                        (*path, "litellm_params", name), "changed", f"{model}: {name} is its weight, and is counted",
                        "refuse what is past it: tetrad limit set model " + model + f" --{name} {int(params[name])}",
                    )  # fmt: skip
        self._draft.budget((*path, "litellm_params"), params, "max_budget", "budget_duration", "model", model)

    def provider_step(self, provider: Provider) -> Step:
        """Return the step that puts a provider."""
        body: dict[str, Any] = {
            "base_url": provider.base_url,
            "adapter": provider.reached.adapter,
            "system": provider.reached.system or "openai",
            "secret": provider.secret,
            "auth": "" if provider.key else provider.reached.auth,
            "models": list(provider.models.values()),
        }
        if provider.timeouts:
            longest = min(86_400.0, max(provider.timeouts))
            body["total_timeout_s"] = longest
            if len(provider.timeouts) > 1:
                self._draft.say(
                    ("model_list",), "changed", f"{provider.name}: its deployments have several timeouts",
                    f"the longest holds, {longest:g} s; a route's own: tetrad route set … --timeout",
                )  # fmt: skip
        return Step("provider", provider.name, f"providers/{provider.name}", body)


def _base_url(reached: Reached, given: str) -> str:
    url = given.rstrip("/")
    if not url:
        return reached.base_url
    return url if not reached.suffix or url.endswith(reached.suffix) else url + reached.suffix
