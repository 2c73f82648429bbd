"""`Keeper` on Valkey or Redis 6 and later: each bucket is one hash, changed by one script.

The script is the arithmetic of `tetrad.limits._protocol.tell_flow` and `tell_account` for calls at once, in tokens and
milliseconds of the server's clock. Buckets that nobody uses for an hour are forgotten, which makes them full. Money is
not kept here: it has to outlive the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tetrad.kit.redis import Connection, RedisUnreachable, Value
from tetrad.limits import Grant, LeaseState, Sync, SyncReply
from tetrad.serving import LimitRule

SILENT_MS = 60_000
RECENT_MS = 30_000
FORGET_S = 3600
_TIMEOUT_S = 1.0

_SCRIPT = b"""
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local slot, id, seq, kind = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local amount, want, need, least = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local spent, reserved, final = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11] == '1'
local silent, recent, forget = tonumber(ARGV[12]), tonumber(ARGV[13]), tonumber(ARGV[14])
local bucket, all = KEYS[1], redis.call('HGETALL', KEYS[1])
local mine, held, workers, last = nil, 0, 0, -1
local level, at, size = amount, now, amount
for i = 1, #all, 2 do
  local name, value = all[i], all[i + 1]
  local mark = string.sub(name, 1, 2)
  if mark == 'l:' then
    local granted, used, seen = string.match(value, '(%S+) (%S+) (%S+)')
    if name == 'l:' .. slot .. ':' .. id then
      mine = {granted = tonumber(granted), spent = tonumber(used)}
      held = held + mine.granted - mine.spent
    elseif now - seen > silent then
      redis.call('HDEL', bucket, name)
    else
      held = held + granted - used
    end
  elseif mark == 't:' then
    local turn, seen = string.match(value, '(%S+) (%S+)')
    if name == 't:' .. slot then last = tonumber(turn) end
    if now - seen <= recent or name == 't:' .. slot then
      workers = workers + 1
    elseif now - seen > forget * 1000 then
      redis.call('HDEL', bucket, name)
    end
  elseif name == 'level' then level = tonumber(value)
  elseif name == 'at' then at = tonumber(value)
  elseif name == 'size' then size = tonumber(value)
  end
end
if seq < last then return {} end
if last < 0 then workers = workers + 1 end
redis.call('HSET', bucket, 't:' .. slot, string.format('%.0f %.0f', seq, now))
redis.call('EXPIRE', bucket, forget)
local lease = 'l:' .. slot .. ':' .. id
if final and not mine then return {0, 0, 0, 0, workers} end
mine = mine or {granted = 0, spent = 0}
level = level + amount - size
local function more(free, asked)
  if asked <= 0 or free <= 0 or free < least then return 0 end
  local ahead = math.floor(math.max(0, free - math.floor(amount / 5)) / (2 * workers))
  return math.min(asked, math.floor(free), math.max(need, ahead))
end
local free
if kind == 'flow' then
  if level < amount - held then level = math.min(level + math.max(0, now - at) * amount / 60000, amount - held) end
  local used = spent + reserved
  if used > mine.granted then
    level = level - (used - mine.granted)
    mine.granted = used
  end
  mine.spent = math.max(mine.spent, spent)
  if final then
    level = level + math.max(0, mine.granted - used)
    mine = nil
  else
    local kept = math.min(mine.granted, math.max(want, used))
    level = level + mine.granted - kept
    local given = more(level, want - kept)
    level = level - given
    mine.granted = kept + given
  end
  free = level
  redis.call('HSET', bucket, 'level', string.format('%.17g', level), 'at', string.format('%.0f', now),
    'size', string.format('%.0f', amount))
else
  local others = held - mine.granted
  if final then
    mine = nil
    free = amount - others
  else
    mine.granted = math.min(mine.granted, math.max(want, reserved))
    mine.spent = 0
    free = amount - others - mine.granted
    local given = more(free, want - mine.granted)
    mine.granted = mine.granted + given
    free = free - given
  end
end
if mine then
  redis.call('HSET', bucket, lease, string.format('%.0f %.0f %.0f', mine.granted, mine.spent, now))
else
  redis.call('HDEL', bucket, lease)
end
local reset, retry = 0, 1000
if kind == 'flow' then
  local function wait(count)
    if count <= level then return 0 end
    if count > amount or amount == 0 then return 3600000 end
    return math.ceil((count - level) * 60000 / amount)
  end
  reset, retry = wait(amount), wait(math.max(1, least))
end
return {string.format('%.0f', mine and mine.granted or 0), string.format('%.0f', math.max(0, math.floor(free))),
  reset, retry, workers}
"""


class RedisKeeper:
    """Keep what refills and calls at once in a Redis that the gateways share; `rule` finds a rule by its id."""

    def __init__(self, url: str, rule: Callable[[str], LimitRule | None], *, timeout_s: float = _TIMEOUT_S) -> None:
        self._connection = Connection(url, setting="TETRAD_LIMITS_URL", timeout_s=timeout_s)
        self._rule = rule
        self._turn = asyncio.Lock()

    async def sync(self, message: Sync) -> SyncReply:
        """Tell the state of leases, and return what is granted; see `tetrad.limits.ports.Keeper`."""
        known = [(told, self._rule(told.rule)) for told in message.leases]
        commands = [_command(message, told, rule) for told, rule in known if rule is not None]
        async with self._turn:
            answers = iter(await self._connection.ask(commands) if commands else [])
        grants: list[Grant] = []
        workers = 1
        for told, rule in known:
            if rule is None:
                grants.append(Grant(told.id, 0, gone=True))
                continue
            numbers = _numbers(next(answers))
            if numbers:
                granted, free, reset_ms, retry_ms, heard = numbers
                grants.append(Grant(told.id, granted, free, reset_s=reset_ms / 1000, retry_s=retry_ms / 1000))
                workers = max(workers, heard)
        return SyncReply(tuple(grants), workers)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _command(message: Sync, told: LeaseState, rule: LimitRule) -> list[bytes]:
    key = f"tetrad:limit:{{{rule.id}:{told.instance}}}"
    values = (
        message.slot, told.id, message.seq, "calls" if rule.measure == "concurrency" else "flow", rule.amount,
        told.want, told.need, told.least, told.spent, told.reserved, int(told.final), SILENT_MS, RECENT_MS, FORGET_S,
    )  # fmt: skip
    return [b"EVAL", _SCRIPT, b"1", key.encode(), *(str(value).encode() for value in values)]


def _numbers(answer: Value) -> list[int]:
    if not isinstance(answer, list):
        raise RedisUnreachable("Redis answered a lease with something else", hint="is it Redis 6 or later, or Valkey?")
    return [int(each) for each in answer if isinstance(each, (int, bytes))]
