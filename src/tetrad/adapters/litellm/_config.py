"""Read a LiteLLM `config.yaml` into the steps that make the same of Tetrad, and say of every entry what becomes of it.

Pure: the same text and the same environment give the same plan. Values of secrets are neither kept nor shown. The
shapes are those of docs.litellm.ai/docs/proxy/configs, /config_settings, /load_balancing, /reliability, /caching and
/custom_pricing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeGuard

from tetrad.adapters.litellm._kinds import KINDS, MODES, STRATEGIES, Reached, split_model
from tetrad.kernel import InvalidInput
from tetrad.kit.plain_yaml import Path, PlainYaml, parse_yaml

Outcome = Literal["taken", "changed", "left"]
MAX_DEPLOYMENTS = 2000
MAX_ALIASES, MAX_TARGETS, MAX_RETRIES = 16, 32, 8
_ENVIRONMENT = "os.environ/"
_PRICES = {
    "input": "input_cost_per_token",
    "output": "output_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write": "cache_creation_input_token_cost",
}
_PERIODS = {"1d": "day", "24h": "day", "7d": "week", "1w": "week", "30d": "month", "1mo": "month"}
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}")
_ALIAS = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/+-]{0,126}")
_SECRET = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
_QUIET = frozenset(("id", "description", "created_at", "updated_at", "max_tokens", "max_input_tokens"))


class BadLiteLLMConfig(InvalidInput):
    """The file is no configuration of LiteLLM's proxy."""

    code = "bad_litellm_config"


@dataclass(frozen=True, slots=True)
class Finding:
    """What becomes of one entry: `taken` as it is, `changed` on the way, or `left` out; `to_do` says what remains."""

    where: str
    line: int
    outcome: Outcome
    what: str
    to_do: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the API that puts a thing, the same again when it is made again. `path` follows the project's."""

    kind: Literal["provider", "route", "limit", "budget", "cache"]
    name: str
    path: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, in order. `secrets` are the names to set, each with the variable that may hold its value."""

    steps: tuple[Step, ...]
    secrets: dict[str, str]
    findings: tuple[Finding, ...]


def read_config(text: str, *, where: str, environ: Mapping[str, str]) -> Plan:
    """Return what a configuration asks for; raises `BadYaml` or `BadLiteLLMConfig` for what is none.

    `environ` gives addresses that the file takes from the environment; no key is looked up in it.
    """
    document = parse_yaml(text, where=where)
    if not isinstance(document.value, dict) or not isinstance(document.value.get("model_list", []), list):
        raise BadLiteLLMConfig(
            f"{where} is no configuration of LiteLLM's proxy", hint="name the file that `litellm --config` is given"
        )
    if len(document.value.get("model_list") or []) > MAX_DEPLOYMENTS:
        raise BadLiteLLMConfig(f"{where} lists more than {MAX_DEPLOYMENTS} deployments", hint="split the file")
    return _Reader(document, environ).plan()


@dataclass(slots=True)
class _Provider:
    name: str
    reached: Reached
    base_url: str
    secret: str
    key: bool = False
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    timeouts: set[float] = field(default_factory=set)


@dataclass(slots=True)
class _Group:
    name: str
    targets: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: list[str] = field(default_factory=list)


class _Reader:
    def __init__(self, document: PlainYaml, environ: Mapping[str, str]) -> None:
        self._lines = document
        self._config: dict[str, Any] = document.value
        self._environ = environ
        self._findings: list[Finding] = []
        self._providers: dict[tuple[str, str, str], _Provider] = {}
        self._groups: dict[str, _Group] = {}
        self._secrets: dict[str, str] = {}
        self._rules: list[Step] = []

    def plan(self) -> Plan:
        for number, entry in enumerate(self._config.get("model_list") or []):
            self._deployment(("model_list", number), entry)
        router, library = self._section("router_settings"), self._section("litellm_settings")
        routes = self._routes(router, library)
        cache = self._cache(library)
        self._settings(library)
        self._general(self._section("general_settings"))
        for name in self._config:
            if name not in ("model_list", "router_settings", "litellm_settings", "general_settings"):
                self._say((name,), "left", *_SECTIONS.get(name, (f"{name}", "it has no counterpart")))
        steps = [self._provider_step(each) for each in self._providers.values()]
        return Plan((*steps, *routes, *self._rules, *cache), self._secrets, tuple(self._findings))

    # the list of models

    def _deployment(self, path: Path, entry: Any) -> None:
        params = entry.get("litellm_params") if isinstance(entry, dict) else None
        group = entry.get("model_name") if isinstance(entry, dict) else None
        if not isinstance(params, dict) or not isinstance(group, str) or not isinstance(params.get("model"), str):
            self._say(
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
            self._say(path, "left", f"{group!r}: {params['model']!r} cannot be reached", why)
            return
        if "*" in group or "*" in model:
            self._say(
                path, "left", f"{group!r}: a wildcard", "list the models that are meant; a provider names its models"
            )
            return
        if not _MODEL.fullmatch(model):
            self._say(path, "left", f"{group!r}: {model[:80]!r} cannot name a model", "use another name")
            return
        url = (
            self._placed(path, group, reached, params)
            if "{" in reached.base_url and not base
            else (_base_url(reached, base))
        )
        if url is None:
            return
        if not url:
            self._say(path, "left", f"{group!r}: {kind} needs an address", "add api_base")
            return
        if "@" in url:
            self._say(
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
        for name in _PLACES:
            value = params.get(name)
            if isinstance(value, str) and value.startswith(_ENVIRONMENT):
                value = self._environ.get(value.removeprefix(_ENVIRONMENT), "")
            elif value is None:
                value = self._environ.get(name.upper(), "")
            if isinstance(value, str) and _PLACE.fullmatch(value):
                places[name] = value
        try:
            return reached.base_url.format_map(places)
        except KeyError as lacking:
            name = str(lacking.args[0])
            self._say(path, "left", f"{group!r}: it has no {name}", f"add it, or set {name.upper()} and import again")
            return None

    def _address(self, path: Path, params: Mapping[str, Any]) -> str | None:
        """Return the address that an entry names, empty for none; None, having said so, where it cannot be known."""
        value = params.get("api_base") or params.get("base_url") or ""
        if not isinstance(value, str):
            self._say(path, "left", "api_base is no text", "correct it")
            return None
        if not value.startswith(_ENVIRONMENT):
            return value
        variable = value.removeprefix(_ENVIRONMENT)
        found = self._environ.get(variable, "")
        if not found:
            self._say(path, "left", f"its address is in {variable}, which is not set", "set it and import again")
            return None
        return found

    def _provider(self, path: Path, kind: str, reached: Reached, url: str, params: Mapping[str, Any]) -> _Provider:
        key = params.get("api_key")
        secret = variable = ""
        if isinstance(key, str) and key.startswith(_ENVIRONMENT):
            variable = key.removeprefix(_ENVIRONMENT)
        elif key is None:
            variable = reached.variable
        wanted = _slug(kind)
        # what a key is never tells deployments apart, only where it is kept; keys in the file are told by their place
        place = variable or (f"#{path[1]}" if key else "")
        found = self._providers.get((kind, url, place))
        if found is not None:
            return found
        name, number = wanted, 1
        while any(each.name == name for each in self._providers.values()):
            number += 1
            name = f"{wanted}-{number}"
        if variable:
            secret = variable if _SECRET.fullmatch(variable) else f"{name}-key"
        elif key:
            secret = f"{name}-key"
            self._say(
                (*path, "litellm_params", "api_key"), "changed", f"a key stands in the file; it becomes {secret!r}",
                f"it is not copied: tetrad secret set {secret}",
            )  # fmt: skip
        elif reached.auth:
            secret = f"{name}-login"
            self._say(
                path, "changed", f"{name}: its login becomes the secret {secret!r}", f"it is to hold {reached.holds}"
            )
        if secret:
            self._secrets[secret] = variable
        made = _Provider(name, reached, url, secret, key=bool(variable or key))
        self._providers[kind, url, place] = made
        if kind == "azure":
            self._say(
                path, "changed", f"{name}: called by Azure's v1 API, without api_version", "the model is the deployment"
            )
        return made

    def _model(
        self, path: Path, provider: _Provider, model: str, params: Mapping[str, Any], info: Mapping[str, Any]
    ) -> None:
        mode = str(info.get("mode") or "chat")
        kind = MODES.get(mode)
        if kind is None:
            self._say(
                (*path, "model_info", "mode"), "changed", f"{model}: the mode {mode!r} is not known", "taken as chat"
            )
            kind = "chat"
        if provider.reached.adapter == "anthropic" and kind != "chat":
            kind = "chat"
        entry = provider.models.setdefault(model, {"name": model, "kinds": []})
        if kind not in entry["kinds"]:
            entry["kinds"].append(kind)
        price = self._price(path, {**info, **{name: params[name] for name in _PRICES.values() if name in params}})
        if price:
            entry["price"] = price
        for name in ("timeout", "request_timeout"):
            if _number(params.get(name)):
                provider.timeouts.add(float(params[name]))
        for name in info:
            if name not in (*_PRICES.values(), *_QUIET, "mode", "base_model") and not name.startswith("supports_"):
                self._say((*path, "model_info", name), "left", f"model_info.{name}", "it has no counterpart")

    def _price(self, path: Path, found: Mapping[str, Any]) -> dict[str, str | None] | None:
        given = {ours: found.get(theirs) for ours, theirs in _PRICES.items()}
        if given["input"] is None and given["output"] is None:
            return None
        price: dict[str, str | None] = {"currency": "USD"}
        for ours, value in given.items():
            needed = ours in ("input", "output")
            if value is None:
                price[ours] = "0" if needed else None
            elif not _number(value, least=0):
                self._say(path, "left", f"the price {_PRICES[ours]} is no number", "correct it")
                return None
            else:
                price[ours] = format((Decimal(str(value)) * 1_000_000).normalize(), "f")
        return price

    def _target(self, path: Path, group: str, provider: _Provider, model: str, params: Mapping[str, Any]) -> None:
        name = f"{provider.name}/{model}"
        known = self._groups.setdefault(group, _Group(group))
        weight = next((params[each] for each in ("weight", "rpm", "tpm") if _number(params.get(each), least=0)), None)
        if name not in known.targets and len(known.targets) >= MAX_TARGETS:
            self._say(path, "left", f"{group!r} has more than {MAX_TARGETS} deployments", "make two groups of it")
            return
        target = known.targets.setdefault(name, {"model": name, "weight": 0})
        target["weight"] = min(1_000_000, target["weight"] + (1 if weight is None else _whole(weight)))
        if _number(params.get("order"), least=0):
            target["priority"] = min(1000, int(params["order"]))
        if _number(params.get("max_parallel_requests"), least=1):
            target["max_in_flight"] = min(100_000, int(params["max_parallel_requests"]))
        self._say(path, "taken", f"{group!r} is answered by {name}")
        self._deployment_rules(path, name, params)
        for each in params:
            if each not in _KNOWN_PARAMS:
                self._say(
                    (*path, "litellm_params", each),
                    "left",
                    f"{group!r}: {each}",
                    _PARAMS.get(each, "it has no counterpart"),
                )

    def _deployment_rules(self, path: Path, model: str, params: Mapping[str, Any]) -> None:
        router = self._config.get("router_settings")
        checks = router.get("optional_pre_call_checks") if isinstance(router, dict) else None
        hard = isinstance(checks, list) and "enforce_model_rate_limits" in checks
        for name, measure in (("rpm", "requests"), ("tpm", "tokens")):
            if _number(params.get(name), least=1):
                body = {
                    "subject": "model",
                    "name": model,
                    "measure": measure,
                    "amount": int(params[name]),
                    "hard": hard,
                }
                self._rules.append(Step("limit", f"{model} {measure}", "limits", body))
                if not hard:
                    self._say(
                        (*path, "litellm_params", name), "changed", f"{model}: {name} is its weight, and is counted",
                        "refuse what is past it: tetrad limit set model " + model + f" --{name} {int(params[name])}",
                    )  # fmt: skip
        self._budget((*path, "litellm_params"), params, "max_budget", "budget_duration", "model", model)

    # routes

    def _routes(self, router: Mapping[str, Any], library: Mapping[str, Any]) -> list[Step]:
        both = {**{name: library[name] for name in _RELIABILITY if name in library}, **router}
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
        default = [each for each in _listed(both.get("default_fallbacks")) if isinstance(each, str)]
        default = default or fallbacks["error"].pop("*", [])
        steps, taken = [], set[str]()
        for group in self._groups.values():
            chosen = {kind: self._expanded(group, lists.get(group.name, [])) for kind, lists in fallbacks.items()}
            if not chosen["error"]:
                chosen["error"] = self._expanded(group, default)
            chosen["rate_limit"] = chosen["error"]  # LiteLLM's `fallbacks` are taken for refusals by rate too
            name = _slug(group.name, dots=True)
            number = 1
            while name in taken:
                number += 1
                name = f"{_slug(group.name, dots=True)[:60]}-{number}"
            taken.add(name)
            aliases = [each for each in dict.fromkeys((group.name, *group.aliases)) if each != name]
            good = [each for each in aliases if _ALIAS.fullmatch(each)][:MAX_ALIASES]
            for each in aliases:
                if each not in good:
                    self._say(("model_list",), "left", f"the name {each[:80]!r} cannot be an alias", f"call {name!r}")
            body: dict[str, Any] = {
                **common,
                "targets": list(group.targets.values()),
                "aliases": good,
                "fallbacks": {kind: [{"model": each} for each in models] for kind, models in chosen.items() if models},
            }
            steps.append(Step("route", name, f"routes/{name}", body))
        for name in router:
            if name not in _KNOWN_ROUTER:
                self._say(("router_settings", name), "left", name, _ROUTER.get(name, "it has no counterpart"))
        return steps

    def _common(self, both: Mapping[str, Any]) -> dict[str, Any]:
        asked = str(both.get("routing_strategy") or "simple-shuffle")
        strategy, note = STRATEGIES.get(asked, ("weighted", "it has no counterpart; calls are spread by weight"))
        if note:
            self._say(("router_settings", "routing_strategy"), "changed", asked, note)
        common: dict[str, Any] = {"strategy": strategy}
        retries = both.get("num_retries")
        if _number(retries, least=0):
            common["retry"] = {"retries": min(MAX_RETRIES, int(retries))}
            if int(retries) > MAX_RETRIES:
                self._say(("router_settings", "num_retries"), "changed", f"{retries} retries", f"at most {MAX_RETRIES}")
        deadlines = {}
        total = both.get("timeout", both.get("request_timeout"))
        if _number(total):
            deadlines["total_s"] = min(86_400.0, float(total))
        if _number(both.get("stream_timeout")):
            deadlines["first_token_s"] = min(86_400.0, float(both["stream_timeout"]))
        if deadlines:
            common["deadlines"] = deadlines
        breaker: dict[str, Any] = {}
        if both.get("disable_cooldowns") is True:
            self._say(
                ("router_settings", "disable_cooldowns"), "left", "no cooldowns", "a target that fails is left alone"
            )
        if _number(both.get("allowed_fails"), least=0):
            breaker["consecutive"] = min(1000, int(both["allowed_fails"]) + 1)
            self._say(
                ("router_settings", "allowed_fails"), "changed", "allowed_fails", "counted in a row, not a minute"
            )
        if _number(both.get("cooldown_time")):
            breaker["open_s"] = min(3600.0, float(both["cooldown_time"]))
            breaker["longest_open_s"] = max(120.0, breaker["open_s"])
        if breaker:
            common["breaker"] = breaker
        return common

    def _aliases(self, given: Any) -> None:
        for alias, meant in (given if isinstance(given, dict) else {}).items():
            name = meant.get("model") if isinstance(meant, dict) else meant
            group = self._groups.get(str(name))
            path: Path = ("router_settings", "model_group_alias", alias)
            if group is None or alias in self._groups:
                self._say(
                    path,
                    "left",
                    f"the alias {alias!r} of {name!r}",
                    "no deployment answers it, or it is a name already",
                )
            else:
                group.aliases.append(alias)
                self._say(path, "taken", f"{alias!r} means {name!r}")

    def _fallback_lists(self, both: Mapping[str, Any], name: str) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        section = "router_settings" if name in self._section("router_settings") else "litellm_settings"
        for number, entry in enumerate(_listed(both.get(name))):
            for group, models in (entry if isinstance(entry, dict) else {}).items():
                path: Path = (section, name, number)
                listed = [each for each in _listed(models) if isinstance(each, str)]
                if group not in self._groups and group != "*":
                    self._say(path, "left", f"{name} of {group!r}", "no deployment of that name was taken")
                    continue
                if len(listed) != len(_listed(models)):
                    self._say(
                        path, "changed", f"{name} of {group!r}", "those with parameters of their own are left out"
                    )
                missing = [each for each in listed if each not in self._groups]
                if missing:
                    self._say(
                        path, "changed", f"{name} of {group!r}: without {', '.join(missing)}", "no deployment was taken"
                    )
                found.setdefault(group, []).extend(each for each in listed if each in self._groups)
                self._say(path, "taken", f"{name} of {group!r}: {', '.join(listed)}")
        return found

    def _expanded(self, group: _Group, names: list[str]) -> list[str]:
        """A route falls back to models, not to routes: a group stands for its deployments."""
        models = [model for name in names if name in self._groups for model in self._groups[name].targets]
        return [model for model in dict.fromkeys(models) if model not in group.targets][:MAX_TARGETS]

    # everything else

    def _cache(self, library: Mapping[str, Any]) -> list[Step]:
        given = library.get("cache_params")
        params: dict[str, Any] = given if isinstance(given, dict) else {}
        if library.get("cache") is not True:
            return []
        kind = str(params.get("type") or "local")
        body: dict[str, Any] = {"use": "asked" if params.get("mode") == "default_off" else "always"}
        if _number(params.get("ttl"), least=1):
            body["ttl_s"] = int(params["ttl"])
        if kind.endswith("semantic"):
            body["semantic"] = "any"
            self._say(
                ("litellm_settings", "cache_params", "type"), "changed", f"{kind}: similar questions get one answer",
                "the threshold is ours, not similarity_threshold: models of embeddings differ",
            )  # fmt: skip
        elif kind not in ("local", "in-memory"):
            self._say(
                ("litellm_settings", "cache_params", "type"), "changed", f"the cache in {kind}",
                "answers are kept in each gateway's memory, and on its disk with TETRAD_GATEWAY_CACHE_DISK_BYTES",
            )  # fmt: skip
        if params.get("supported_call_types"):
            self._say(
                ("litellm_settings", "cache_params", "supported_call_types"), "left", "supported_call_types",
                "what can be cached is decided by operation",
            )  # fmt: skip
        self._say(("litellm_settings", "cache"), "taken", "answers are cached")
        return [Step("cache", "-", "caches/-", body)]

    def _settings(self, library: Mapping[str, Any]) -> None:
        self._budget(("litellm_settings",), library, "max_budget", "budget_duration", "project", "*")
        for name in library:
            if name in (*_RELIABILITY, "cache", "cache_params", "max_budget", "budget_duration"):
                continue
            self._say(("litellm_settings", name), "left", name, _LIBRARY.get(name, "it has no counterpart"))
        providers = self._section("router_settings").get("provider_budget_config")
        for kind, budget in (providers if isinstance(providers, dict) else {}).items():
            path: Path = ("router_settings", "provider_budget_config", kind)
            names = [each.name for (known, _, _), each in self._providers.items() if known == kind]
            if not names or not isinstance(budget, dict):
                self._say(path, "left", f"the budget of {kind}", "no deployment of it was taken")
            for name in names if isinstance(budget, dict) else ():
                self._budget(path, budget, "budget_limit", "time_period", "model", f"{name}/*")

    def _general(self, general: Mapping[str, Any]) -> None:
        most = general.get("global_max_parallel_requests")
        if _number(most, least=1):
            body = {"subject": "project", "name": "*", "measure": "concurrency", "amount": int(most), "hard": True}
            self._rules.append(Step("limit", "project concurrency", "limits", body))
            self._say(("general_settings", "global_max_parallel_requests"), "taken", f"{most} calls at once")
        for name in general:
            if name != "global_max_parallel_requests":
                self._say(("general_settings", name), "left", name, _GENERAL.get(name, "it has no counterpart"))

    def _budget(
        self, path: Path, found: Mapping[str, Any], amount: str, duration: str, subject: str, name: str
    ) -> None:
        if not _number(found.get(amount), least=0):
            return
        given = str(found.get(duration) or "")
        period = _PERIODS.get(given, "total" if not given else "month")
        money = format(Decimal(str(found[amount])), "f")
        body = {
            "subject": subject, "name": name, "amount": money, "period": period, "hard": True, "unknown": "count",
        }  # fmt: skip
        self._rules.append(Step("budget", f"{subject} {name}", "budgets", body))
        exact = not given or given in _PERIODS
        self._say(
            (*path, amount), "taken" if exact else "changed", f"{money} USD for {subject} {name}, {period}",
            "" if exact else f"{given!r} is no period here",
        )  # fmt: skip

    def _provider_step(self, provider: _Provider) -> Step:
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
                self._say(
                    ("model_list",), "changed", f"{provider.name}: its deployments have several timeouts",
                    f"the longest holds, {longest:g} s; a route's own: tetrad route set … --timeout",
                )  # fmt: skip
        return Step("provider", provider.name, f"providers/{provider.name}", body)

    def _section(self, name: str) -> Mapping[str, Any]:
        found = self._config.get(name)
        return found if isinstance(found, dict) else {}

    def _say(self, path: Path, outcome: Outcome, what: str, to_do: str = "") -> None:
        self._findings.append(Finding(_shown(path), self._lines.line(*path), outcome, what, to_do))


def _base_url(reached: Reached, given: str) -> str:
    url = given.rstrip("/")
    if not url:
        return reached.base_url
    return url if not reached.suffix or url.endswith(reached.suffix) else url + reached.suffix


def _slug(text: str, *, dots: bool = False) -> str:
    made = re.sub(r"[^a-z0-9._-]+" if dots else r"[^a-z0-9-]+", "-", text.lower()).strip("-._")[:63]
    if dots and made in ("health", "app", "release"):
        made += "-model"
    return made or "model"


def _number(value: Any, least: float | None = None) -> TypeGuard[int | float]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return value > 0 if least is None else value >= least


def _whole(weight: float) -> int:
    """Weights are whole numbers here, and nothing but nought means never."""
    return round(weight) if weight >= 1 else 0 if weight == 0 else 1


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _shown(path: Path) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def all_kinds() -> Iterator[tuple[str, Reached]]:
    """Yield every provider of LiteLLM's that is known here, with how it is reached."""
    yield from sorted(KINDS.items())


_PLACES = ("aws_region_name", "vertex_project", "vertex_location")
_PLACE = re.compile(r"[a-z0-9-]{1,63}")
_RELIABILITY = (
    "num_retries", "request_timeout", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks",
    "default_fallbacks", "allowed_fails", "cooldown_time",
)  # fmt: skip
_KNOWN_ROUTER = frozenset(
    (*_RELIABILITY, "routing_strategy", "model_group_alias", "timeout", "stream_timeout", "disable_cooldowns",
     "provider_budget_config", "optional_pre_call_checks")
)  # fmt: skip
_KNOWN_PARAMS = frozenset(
    ("model", "api_key", "api_base", "base_url", "custom_llm_provider", "weight", "rpm", "tpm", "order",
     "max_parallel_requests", "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "vertex_credentials",
     *_PLACES, "timeout", "request_timeout", "max_budget", "budget_duration", "api_version",
     *_PRICES.values())
)  # fmt: skip
_PARAMS = {
    "ssl_verify": "certificates are always checked; give your own with `tetrad provider set … --ca FILE`",
    "temperature": "put it in a release's parameters: see docs/how-to/change-and-roll-back.md",
    "max_tokens": "put it in a release's parameters: see docs/how-to/change-and-roll-back.md",
    "stream_timeout": "set it for the route: tetrad route set … --first-token SECONDS",
    "max_retries": "set it for the route: tetrad route set … --retries N",
    "organization": "put it in the key: OpenAI's project keys belong to one organization",
    "tags": "give the target a condition: see docs/how-to/route-and-fall-back.md",
}
_ROUTER = {
    "redis_host": "limits are shared without Redis; with it: TETRAD_LIMITS_URL",
    "redis_port": "limits are shared without Redis; with it: TETRAD_LIMITS_URL",
    "redis_password": "limits are shared without Redis; with it: TETRAD_LIMITS_URL",
    "redis_url": "limits are shared without Redis; with it: TETRAD_LIMITS_URL",
    "enable_pre_call_checks": "what is too long for a model goes to the fallbacks for context windows",
    "retry_policy": "what is tried again depends on the kind of failure; see docs/how-to/route-and-fall-back.md",
    "allowed_fails_policy": "which failures count depends on their kind; see docs/how-to/route-and-fall-back.md",
    "enable_tag_filtering": "give targets conditions: see docs/how-to/route-and-fall-back.md",
}
_LOGS = "every call is a trace here, with its cost: tetrad trace list"
_LIBRARY = {
    "success_callback": _LOGS,
    "failure_callback": _LOGS,
    "callbacks": _LOGS,
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
_GENERAL = {
    "master_key": "the admin key is $TETRAD_HOME/keys/admin.key; make keys for clients: tetrad key create",
    "database_url": "TETRAD_DATABASE_URL; keys and spend of LiteLLM's database are not read",
    "store_model_in_db": "models that were added in LiteLLM's console are not in its file: add them to it first",
    "alerting": "tetrad budget alerts",
    "max_parallel_requests": "per provider: tetrad provider set … --max-concurrency N",
    "completion_model": "clients name a model, or an app: model=app:NAME",
    "enforce_user_param": "tetrad limit set user --rpm N",
    "pass_through_endpoints": "only calls of models are forwarded",
}
_SECTIONS = {
    "environment_variables": ("environment_variables", "set them where Tetrad runs; secrets with `tetrad secret set`"),
    "guardrails": ("guardrails", "they are not imported"),
    "mcp_servers": ("mcp_servers", "they are not imported"),
    "vector_store_registry": ("vector_store_registry", "they are not imported"),
    "prompts": ("prompts", "tetrad prompt import"),
    "include": ("included files", "import each of them"),
    "files_settings": ("files_settings", "they are not imported"),
    "credential_list": ("credential_list", "set each as a secret and name it: tetrad provider set … --secret NAME"),
}
"""What has no counterpart, and what to do."""
