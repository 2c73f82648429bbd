"""Configurations of LiteLLM's proxy, read as what Tetrad calls the same things."""

from tetrad.adapters.litellm._config import Finding, Plan, Step, read_config

__all__ = ["Finding", "Plan", "Step", "read_config"]
