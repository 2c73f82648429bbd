"""What is known of providers beforehand: where they are, what they speak, how one logs in to them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from tetrad.serving.errors import BadProvider

_PLACE = re.compile(r"\{([a-z_]+)\}")
_VALUE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """A provider by its usual name. `{places}` in `base_url` are given as options; `holds` says what its secret is.

    `system` is the name in the public price list. `options` are those that always hold.
    """

    name: str
    title: str
    base_url: str
    adapter: str = "openai"
    system: str = ""
    auth: str = ""
    holds: str = "its API key"
    options: dict[str, str] = {}
    operations: tuple[str, ...] = ()
    wants: tuple[str, ...] = ()
    """Options that must be given besides."""
    local: bool = False
    """It runs on machines of one's own, and needs no secret."""
    note: str = ""

    @property
    def places(self) -> tuple[str, ...]:
        """What has to be given: of the address, and besides."""
        return tuple(dict.fromkeys((*_PLACE.findall(self.base_url), *self.wants)))

    def address(self, given: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Return the base URL and the options, or raise `BadProvider` naming what is missing."""
        missing = [name for name in self.places if not given.get(name)]
        if missing:
            raise BadProvider(
                f"the address of {self.title} needs {missing[0]!r}", hint=f"--option {missing[0]}=... (or --base-url)"
            )
        for name in self.places:
            if not _VALUE.fullmatch(given[name]):
                raise BadProvider(f"{given[name][:80]!r} cannot be the {name} of an address", hint="such as us-east-1")
        kept_places = ("region", *self.wants)
        kept = {name: value for name, value in given.items() if name not in self.places or name in kept_places}
        return _PLACE.sub(lambda found: given[found[1]], self.base_url), {**self.options, **kept}


_AWS = 'a JSON object {"access_key_id", "secret_access_key", "session_token"}'
_PRESETS = (
    Preset(name="openai", title="OpenAI", base_url="https://api.openai.com/v1", system="openai"),
    Preset(
        name="anthropic", title="Anthropic", base_url="https://api.anthropic.com/v1", adapter="anthropic",
        system="anthropic",
    ),
    Preset(
        name="azure", title="Azure OpenAI, by deployments", base_url="https://{resource}.openai.azure.com",
        adapter="azure", system="azure", options={"api_version": "2024-10-21"},
        note="name deployments with --deployment MODEL=NAME; --auth bearer sends an Entra token",
    ),
    Preset(
        name="azure-v1", title="Azure OpenAI and Foundry, /openai/v1",
        base_url="https://{resource}.openai.azure.com/openai/v1", system="azure", auth="header",
        options={"header": "api-key"}, note="models are named by their deployments",
    ),
    Preset(
        name="gemini", title="Google Gemini API", base_url="https://generativelanguage.googleapis.com/v1beta",
        adapter="gemini", system="google",
    ),
    Preset(
        name="vertex", title="Google Vertex AI", adapter="gemini", system="google", auth="google",
        base_url="https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/publishers/google",
        holds="the JSON file of a service account",
        note="for the location `global` give --base-url https://aiplatform.googleapis.com/v1/projects/P/locations/"
        "global/publishers/google",
    ),
    Preset(
        name="vertex-anthropic", title="Anthropic's models on Vertex AI", adapter="vertex-anthropic",
        system="anthropic", auth="google", holds="the JSON file of a service account",
        base_url="https://{region}-aiplatform.googleapis.com/v1/projects/{project}/locations/{region}/publishers/anthropic",
        note="models are named as Vertex does, such as claude-sonnet-4-5@20250929",
    ),
    Preset(
        name="bedrock", title="Amazon Bedrock", base_url="https://bedrock-runtime.{region}.amazonaws.com",
        adapter="bedrock", system="aws", auth="sigv4", holds=_AWS,
        note="--auth bearer for an API key of Bedrock's; Anthropic's models are called in their own protocol, all "
        "others (and with --option api=converse those too) through Converse",
    ),
    Preset(
        name="mistral", title="Mistral", base_url="https://api.mistral.ai/v1", adapter="mistral", system="mistral",
    ),
    Preset(name="groq", title="Groq", base_url="https://api.groq.com/openai/v1", system="groq"),
    Preset(
        name="openrouter", title="OpenRouter", base_url="https://openrouter.ai/api/v1", system="openrouter",
    ),
    Preset(name="together", title="Together AI", base_url="https://api.together.xyz/v1", system="together"),
    Preset(
        name="fireworks", title="Fireworks AI", base_url="https://api.fireworks.ai/inference/v1", system="fireworks",
    ),
    Preset(name="deepseek", title="DeepSeek", base_url="https://api.deepseek.com/v1", system="deepseek"),
    Preset(name="xai", title="xAI", base_url="https://api.x.ai/v1", system="x-ai"),
    Preset(name="cerebras", title="Cerebras", base_url="https://api.cerebras.ai/v1", system="cerebras"),
    Preset(
        name="cohere", title="Cohere, its compatible API", base_url="https://api.cohere.ai/compatibility/v1",
        system="cohere",
    ),
    Preset(name="perplexity", title="Perplexity", base_url="https://api.perplexity.ai", system="perplexity"),
    Preset(name="moonshot", title="Moonshot AI", base_url="https://api.moonshot.ai/v1", system="moonshotai"),
    Preset(
        name="nvidia", title="NVIDIA's API catalogue", base_url="https://integrate.api.nvidia.com/v1", system="nvidia",
    ),
    Preset(
        name="huggingface", title="Hugging Face's router", base_url="https://router.huggingface.co/v1",
        system="huggingface", holds="an access token",
    ),
    Preset(
        name="databricks", title="Databricks serving endpoints", base_url="https://{workspace}.cloud.databricks.com",
        adapter="invocations", system="databricks", holds="a personal access token",
        note="models are named by their endpoints; on Azure or Google give --base-url",
    ),
    Preset(
        name="sagemaker", title="Amazon SageMaker endpoints", adapter="invocations", system="aws", auth="sigv4",
        base_url="https://runtime.sagemaker.{region}.amazonaws.com", holds=_AWS,
        note="of containers that take chat completions; models are named by their endpoints",
    ),
    Preset(
        name="ollama", title="Ollama", base_url="http://127.0.0.1:11434/v1", system="ollama", local=True,
    ),
    Preset(
        name="vllm", title="vLLM", base_url="http://127.0.0.1:8000/v1", system="vllm", local=True,
        operations=("chat", "responses", "completions", "embeddings"),
    ),
    Preset(
        name="sglang", title="SGLang", base_url="http://127.0.0.1:30000/v1", system="sglang", local=True,
        operations=("chat", "completions", "embeddings"),
    ),
    Preset(
        name="llamacpp", title="llama.cpp's server", base_url="http://127.0.0.1:8080/v1", system="llamacpp", local=True,
        operations=("chat", "completions", "embeddings"),
    ),
    Preset(name="lmstudio", title="LM Studio", base_url="http://127.0.0.1:1234/v1", system="lmstudio", local=True),
    Preset(
        name="tgi", title="Text Generation Inference", base_url="http://127.0.0.1:3000/v1", system="tgi", local=True,
    ),
    Preset(
        name="dynamo", title="NVIDIA Dynamo and Triton's OpenAI front end", base_url="http://127.0.0.1:9000/v1",
        system="nvidia", local=True, operations=("chat", "completions"),
    ),
    Preset(
        name="any-llm", title="Any other provider that any-llm knows", base_url="https://{host}/v1", adapter="any-llm",
        system="any-llm", wants=("provider",),
        note="needs the extra `any-llm` in control and gateways, and an administrator of the whole installation; "
        "--option provider=NAME is its name in any-llm, --system its name in the price list",
    ),
)  # fmt: skip
PRESETS: dict[str, Preset] = {preset.name: preset for preset in _PRESETS}


def find_preset(name: str) -> Preset:
    """Return a preset; raises `BadProvider` with those that there are."""
    found = PRESETS.get(name)
    if found is None:
        raise BadProvider(f"there is no preset {name[:80]!r}", hint=f"one of {', '.join(PRESETS)}")
    return found
