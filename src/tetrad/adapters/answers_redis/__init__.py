"""Cached answers in Valkey or Redis, for gateways of many machines."""

from tetrad.adapters.answers_redis._entry import EntryBroken, Sealer
from tetrad.adapters.answers_redis._server import RedisAnswers

__all__ = ["EntryBroken", "RedisAnswers", "Sealer"]
