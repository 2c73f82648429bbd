"""Configurations of LiteLLM's proxy, read as what Tetrad calls the same things."""

from tetrad.adapters.litellm._config import read_config
from tetrad.adapters.litellm._plan import Finding, Plan, Step

__all__ = ["Finding", "Plan", "Step", "read_config"]
