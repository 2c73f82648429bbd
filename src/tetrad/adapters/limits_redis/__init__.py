"""Rates and calls at once in Valkey or Redis, for gateways of many machines."""

from tetrad.adapters.limits_redis._keeper import RedisKeeper
from tetrad.kit.redis import RedisRefused, RedisUnreachable

__all__ = ["RedisKeeper", "RedisRefused", "RedisUnreachable"]
