"""Read a LiteLLM `config.yaml` into the steps that make the same of Tetrad, and say of every entry what becomes of it.

Pure: the same text and the same environment give the same plan. Values of secrets are neither kept nor shown. The
shapes are those of docs.litellm.ai/docs/proxy/configs, /config_settings, /load_balancing, /reliability, /caching and
/custom_pricing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tetrad.adapters.litellm._draft import Draft
from tetrad.adapters.litellm._kinds import KINDS, Reached
from tetrad.adapters.litellm._models import Models
from tetrad.adapters.litellm._plan import BadLiteLLMConfig, Plan
from tetrad.adapters.litellm._routes import Routes
from tetrad.adapters.litellm._settings import Settings
from tetrad.adapters.litellm._words import SECTIONS
from tetrad.kit.plain_yaml import parse_yaml

MAX_DEPLOYMENTS = 2000


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
    return _plan(Draft(document, document.value, environ))


def _plan(draft: Draft) -> Plan:
    models, settings = Models(draft), Settings(draft)
    for number, entry in enumerate(draft.config.get("model_list") or []):
        models.deployment(("model_list", number), entry)
    router, library = draft.section("router_settings"), draft.section("litellm_settings")
    routes = Routes(draft).steps(router, library)
    cache = settings.cache(library)
    settings.library(library)
    settings.general(draft.section("general_settings"))
    for name in draft.config:
        if name not in ("model_list", "router_settings", "litellm_settings", "general_settings"):
            draft.say((name,), "left", *SECTIONS.get(name, (f"{name}", "it has no counterpart")))
    steps = [models.provider_step(each) for each in draft.providers.values()]
    return Plan((*steps, *routes, *draft.rules, *cache), draft.secrets, tuple(draft.findings))


def all_kinds() -> Iterator[tuple[str, Reached]]:
    """Yield every provider of LiteLLM's that is known here, with how it is reached."""
    yield from sorted(KINDS.items())
