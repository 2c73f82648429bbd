"""Cached answers in Valkey or Redis, for gateways of many machines."""

from tetrad.adapters.answers_redis._entry import EntryBroken, Sealer
from tetrad.adapters.answers_redis._server import REST_S, RedisAnswers

__all__ = ["REST_S", "EntryBroken", "RedisAnswers", "Sealer"]
