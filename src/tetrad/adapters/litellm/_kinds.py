"""What LiteLLM calls a provider, and how Tetrad reaches the same one: a table, one line each.

Source: LiteLLM's provider pages (docs.litellm.ai/docs/providers) and the providers' own API references.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Reached(NamedTuple):
    """How one is reached: protocol, name in the public price list, base URL, and the variable with its key.

    `base_url` is used where the file has no `api_base`; `suffix` is put behind an `api_base` that lacks it. A `missing`
    says why there is no way, and what to do. Names in braces in a `base_url` are parameters of LiteLLM's, found in the
    deployment, else in `defaults`. Of a login with `auth`, `holds` says what the secret is to hold.
    """

    adapter: str = "openai"
    system: str = ""
    base_url: str = ""
    variable: str = ""
    suffix: str = ""
    missing: str = ""
    auth: str = ""
    holds: str = ""
    defaults: tuple[tuple[str, str], ...] = ()


_ASK = "reach it through an endpoint that speaks OpenAI's protocol: `tetrad provider set NAME --base-url …`"
_AWS = 'a JSON object {"access_key_id", "secret_access_key"}'
_GOOGLE = "the JSON file of a service account"
_VERTEX = (
    "https://{vertex_location}-aiplatform.googleapis.com/v1/projects/{vertex_project}"
    "/locations/{vertex_location}/publishers/"
)
_BEDROCK = Reached(
    "bedrock", "aws", "https://bedrock-runtime.{aws_region_name}.amazonaws.com", auth="sigv4", holds=_AWS
)
_WHERE = (("vertex_location", "us-central1"),)
KINDS: dict[str, Reached] = {
    "openai": Reached(system="openai", base_url="https://api.openai.com/v1", variable="OPENAI_API_KEY"),
    "text-completion-openai": Reached(system="openai", base_url="https://api.openai.com/v1", variable="OPENAI_API_KEY"),
    "anthropic": Reached("anthropic", "anthropic", "https://api.anthropic.com/v1", "ANTHROPIC_API_KEY", suffix="/v1"),
    "azure": Reached(system="azure", variable="AZURE_API_KEY", suffix="/openai/v1"),
    "azure_ai": Reached(system="azure", variable="AZURE_AI_API_KEY"),
    "gemini": Reached(
        system="google",
        base_url="https://generativelanguage.googleapis.com/v1beta/openai",
        variable="GEMINI_API_KEY",
    ),
    "groq": Reached(system="groq", base_url="https://api.groq.com/openai/v1", variable="GROQ_API_KEY"),
    "mistral": Reached(system="mistral", base_url="https://api.mistral.ai/v1", variable="MISTRAL_API_KEY"),
    "deepseek": Reached(system="deepseek", base_url="https://api.deepseek.com/v1", variable="DEEPSEEK_API_KEY"),
    "openrouter": Reached(system="openrouter", base_url="https://openrouter.ai/api/v1", variable="OPENROUTER_API_KEY"),
    "together_ai": Reached(system="together", base_url="https://api.together.xyz/v1", variable="TOGETHERAI_API_KEY"),
    "fireworks_ai": Reached(
        system="fireworks", base_url="https://api.fireworks.ai/inference/v1", variable="FIREWORKS_AI_API_KEY"
    ),
    "xai": Reached(system="x-ai", base_url="https://api.x.ai/v1", variable="XAI_API_KEY"),
    "perplexity": Reached(system="perplexity", base_url="https://api.perplexity.ai", variable="PERPLEXITYAI_API_KEY"),
    "cerebras": Reached(system="cerebras", base_url="https://api.cerebras.ai/v1", variable="CEREBRAS_API_KEY"),
    "deepinfra": Reached(
        system="deepinfra", base_url="https://api.deepinfra.com/v1/openai", variable="DEEPINFRA_API_KEY"
    ),
    "nvidia_nim": Reached(
        system="nvidia", base_url="https://integrate.api.nvidia.com/v1", variable="NVIDIA_NIM_API_KEY"
    ),
    "sambanova": Reached(system="sambanova", base_url="https://api.sambanova.ai/v1", variable="SAMBANOVA_API_KEY"),
    "moonshot": Reached(system="moonshotai", base_url="https://api.moonshot.ai/v1", variable="MOONSHOT_API_KEY"),
    "cohere": Reached(system="cohere", base_url="https://api.cohere.ai/compatibility/v1", variable="COHERE_API_KEY"),
    "cohere_chat": Reached(
        system="cohere", base_url="https://api.cohere.ai/compatibility/v1", variable="COHERE_API_KEY"
    ),
    "ollama": Reached(system="ollama", base_url="http://localhost:11434/v1", suffix="/v1"),
    "ollama_chat": Reached(system="ollama", base_url="http://localhost:11434/v1", suffix="/v1"),
    "lm_studio": Reached(system="lm_studio", base_url="http://localhost:1234/v1"),
    "hosted_vllm": Reached(system="vllm"),
    "vllm": Reached(missing="it runs inside LiteLLM's process; run `vllm serve` and name its address as hosted_vllm/…"),
    "custom_openai": Reached(system="openai"),
    "openai_like": Reached(system="openai"),
    "litellm_proxy": Reached(system="litellm", suffix="/v1"),
    "bedrock": _BEDROCK,
    "bedrock_converse": _BEDROCK,
    "sagemaker": Reached(missing="name its endpoint: `tetrad provider set NAME --preset sagemaker`"),
    "vertex_ai": Reached("gemini", "google", f"{_VERTEX}google", auth="google", holds=_GOOGLE, defaults=_WHERE),
    "vertex_ai_beta": Reached("gemini", "google", f"{_VERTEX}google", auth="google", holds=_GOOGLE, defaults=_WHERE),
    "vertex_ai-anthropic": Reached(
        "vertex-anthropic", "anthropic", f"{_VERTEX}anthropic", auth="google", holds=_GOOGLE, defaults=_WHERE
    ),
    "huggingface": Reached(missing=_ASK),
    "replicate": Reached(missing=_ASK),
    "watsonx": Reached(missing=_ASK),
    "databricks": Reached(system="databricks", variable="DATABRICKS_API_KEY"),
    "snowflake": Reached(missing=_ASK),
}
_BARE = (
    (re.compile(r"(gpt-|o\d|chatgpt-|text-embedding-|dall-e|whisper-|tts-|omni-moderation|ft:)"), "openai"),
    (re.compile(r"claude-"), "anthropic"),
    (re.compile(r"(command|embed-|rerank-)"), "cohere"),
    (re.compile(r"gemini-"), "vertex_ai"),
)
MODES: dict[str, str] = {
    "chat": "chat",
    "completion": "chat",
    "responses": "chat",
    "embedding": "embeddings",
    "image_generation": "images",
    "image_edit": "images",
    "audio_transcription": "transcriptions",
    "audio_speech": "speech",
    "moderation": "moderations",
    "rerank": "rerank",
}
"""`model_info.mode`, and what a model does in Tetrad's words."""
STRATEGIES: dict[str, tuple[str, str]] = {
    "simple-shuffle": ("weighted", ""),
    "least-busy": ("least-busy", ""),
    "latency-based-routing": ("latency", ""),
    "cost-based-routing": ("cost", ""),
    "usage-based-routing": ("least-busy", "usage is not compared; the target with the fewest calls under way is taken"),
    "usage-based-routing-v2": (
        "least-busy",
        "usage is not compared; the target with the fewest calls under way is taken",
    ),
}
"""`routing_strategy`, the strategy of a route, and what is different about it."""


def split_model(text: str, provider: str = "", *, base_url: bool = False) -> tuple[str, str]:
    """Return the provider and the model of `litellm_params.model`; the provider is empty where none can be told."""
    if provider:
        return _told_apart(provider, text.removeprefix(f"{provider}/"))
    first, slash, rest = text.partition("/")
    if slash and first in KINDS:
        return _told_apart(first, rest)
    for pattern, kind in _BARE:
        if not slash and pattern.match(text):
            return kind, text
    return ("openai", text) if base_url else ("", text)


def _told_apart(kind: str, model: str) -> tuple[str, str]:
    """One name of LiteLLM's can mean several protocols, told by the model."""
    if kind.startswith("vertex_ai") and model.startswith("claude-"):
        return "vertex_ai-anthropic", model
    if kind == "bedrock":
        return kind, model.removeprefix("converse/").removeprefix("invoke/")
    return kind, model
