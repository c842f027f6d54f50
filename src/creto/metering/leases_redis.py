"""Shared limits in Redis: one script for each act, so that it is atomic there.

What Redis forgets is forgotten: run it with an append-only file, or a limit begins anew when it restarts.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from creto.common import wire
from creto.common.errors import ConnectionFailed, InternalError
from creto.common.ids import TenantId
from creto.common.limits import INTEGER_MAX, QUOTA_DRAW_S_MAX
from creto.common.timestamps import MILLISECOND
from creto.metering.leases import Counted, Drawn, Due, GivenBack, Lease, Wish, bounded, granted
from creto.metering.leases_store import KEPT_NS

# Numbers beyond 2^53 are no whole numbers in Lua, so amounts are decided here and only applied there if nothing changed meanwhile.
APPLY = """
if ARGV[8] == '1' and redis.call('EXISTS', KEYS[5]) == 0 then return -1 end
if (redis.call('GET', KEYS[1]) or '0') ~= ARGV[1] then return 0 end
redis.call('INCRBY', KEYS[1], ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[3], ARGV[2])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
if ARGV[5] ~= '' then
  redis.call('PEXPIREAT', KEYS[1], ARGV[5])
end
redis.call('HSET', KEYS[4], ARGV[6], ARGV[7])
if ARGV[5] ~= '' then
  redis.call('PEXPIREAT', KEYS[4], ARGV[5])
end
return 1
"""
BACK = """
local drawn = redis.call('HGET', KEYS[2], ARGV[1])
if not drawn then return 0 end
if ARGV[2] ~= '0' then
  if redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[2]) < 0 then
    redis.call('HINCRBY', KEYS[2], ARGV[1], ARGV[3])
    return 0
  end
  if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('INCRBY', KEYS[1], ARGV[2]) end
  if redis.call('HEXISTS', KEYS[4], ARGV[5]) == 1 and redis.call('HINCRBY', KEYS[4], ARGV[5], ARGV[2]) < 0 then
    redis.call('HDEL', KEYS[4], ARGV[5])
  end
end
if ARGV[4] == '1' then
  redis.call('HDEL', KEYS[4], ARGV[5])
  redis.call('HDEL', KEYS[2], ARGV[1])
  redis.call('HDEL', KEYS[3], ARGV[1])
end
return 1
"""
ADJUST = """
if redis.call('EXISTS', KEYS[1]) == 1 then
  local done = redis.pcall('INCRBY', KEYS[1], ARGV[1])
  if type(done) == 'table' and done.err then redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL') end
end
"""
# All of a due or nothing of it: its mark is set in the same step, and stays as long as somebody may ask for it.
BOOK = """
if redis.call('SET', KEYS[1], '1', 'NX') then
  for i = 2, #KEYS do
    local done = redis.pcall('INCRBY', KEYS[i], ARGV[i * 2 - 3])
    if type(done) == 'table' and done.err then redis.call('SET', KEYS[i], ARGV[#ARGV]) end
    if ARGV[i * 2 - 2] ~= '' then redis.call('PEXPIREAT', KEYS[i], ARGV[i * 2 - 2]) end
  end
end
local taken = {}
for i = 2, #KEYS do taken[i - 1] = redis.call('GET', KEYS[i]) or '0' end
return taken
"""
FORGET_S = 3_600  # longer than anybody can hold on to a row that he has read
TRIES_MAX = 1_000  # of one draw, while other nodes draw from the same counter


class RedisLimits:
    def __init__(self, url: str, prefix: str = "creto:quota") -> None:
        try:
            import redis
        except ModuleNotFoundError as error:
            raise InternalError(
                "PL-501", "the Redis client is not installed", hint="pip install 'creto[redis]'"
            ) from error
        self._redis: Any = redis.Redis.from_url(
            url, socket_timeout=QUOTA_DRAW_S_MAX, socket_connect_timeout=QUOTA_DRAW_S_MAX, decode_responses=True
        )
        self._fault = redis.RedisError
        self._apply = self._redis.register_script(APPLY)
        self._back = self._redis.register_script(BACK)
        self._adjust = self._redis.register_script(ADJUST)
        self._book = self._redis.register_script(BOOK)
        self._prefix = prefix
        self._joined: set[str] = set()

    def join(self, node: str) -> None:
        self._answered(partial(self._redis.set, self._node(node), "1"))
        self._joined.add(node)

    def leave(self, node: str) -> None:
        self._joined.discard(node)
        self._answered(partial(self._redis.delete, self._node(node)))

    def draw(self, node: str, wishes: Sequence[Wish]) -> list[Drawn]:
        return [self._answered(partial(self._draw, node, wish)) for wish in wishes]

    def _draw(self, node: str, wish: Wish) -> Drawn:
        key = self._counter(wish.tenant, wish.counter)
        for _ in range(TRIES_MAX):
            text = self._redis.get(key) or "0"
            before = int(text)
            amount = granted(wish, before)
            if not amount:
                return Drawn(0, before, before)
            keys = [
                key,
                self._drawn(node),
                self._slots(node),
                self._leases(wish.tenant, wish.counter),
                self._node(node),
            ]
            name, unspent, joined = field(wish.tenant, wish.counter), amount - wish.need, int(node in self._joined)
            done = self._apply(
                keys=keys, args=[text, amount, name, wish.slot, expiry(wish.ends_at), node, unspent, joined]
            )
            if done > 0:
                return Drawn(amount, before, before + amount)
            if done < 0:  # somebody took this node for dead, or Redis has forgotten it: it is not
                self.join(node)
        raise ConnectionFailed("MT-503", "too many nodes draw from one limit at once", retry_after_s=1)

    def give_back(self, node: str, parts: Sequence[GivenBack]) -> None:
        for part in parts:
            self._answered(partial(self._give_back, node, part))

    def _give_back(self, node: str, part: GivenBack) -> None:
        leases = self._leases(part.tenant, part.counter)
        keys = [self._counter(part.tenant, part.counter), self._drawn(node), self._slots(node), leases]
        self._back(keys=keys, args=[field(part.tenant, part.counter), -part.amount, part.amount, int(part.last), node])

    def reclaim(self, node: str, unspent: Callable[[int, int], int]) -> int:
        def reclaimed() -> int:
            self._redis.delete(self._node(node))
            slots = self._redis.hgetall(self._slots(node))
            twice = Tally(slots.values())
            back = 0
            for name, drawn in self._redis.hgetall(self._drawn(node)).items():
                tenant, counter = wire.decode(name.encode(), tuple[TenantId, str], what="counter")
                amount = min(unspent(int(slots[name]), int(drawn)), int(drawn)) if twice[slots[name]] == 1 else 0
                self._give_back(node, GivenBack(tenant, counter, amount, last=True))
                back += amount
            return back

        return int(self._answered(reclaimed))

    def adjust(self, tenant: TenantId, counter: str, by: int) -> None:
        self._answered(lambda: self._adjust(keys=[self._counter(tenant, counter)], args=[bounded(by), INTEGER_MAX]))

    def book(self, dues: Sequence[Due]) -> Counted:
        found: Counted = {}
        for due in dues:
            taken = self._answered(partial(self._book_one, due))
            found.update(zip([(due.tenant, part.counter) for part in due.parts], map(int, taken), strict=True))
        return found

    def _book_one(self, due: Due) -> Any:
        args: list[str | int] = []
        for part in due.parts:
            args += [part.amount, expiry(part.ends_at)]
        keys = [self._mark(due), *(self._counter(due.tenant, part.counter) for part in due.parts)]
        return self._book(keys=keys, args=[*args, INTEGER_MAX])

    def forget(self, dues: Sequence[Due]) -> None:
        """Not at once: somebody may have read the row before it went."""
        for due in dues:
            self._answered(partial(self._redis.expire, self._mark(due), FORGET_S))

    def leases(self, tenant: TenantId, counters: Sequence[str]) -> list[Lease]:
        def found() -> list[Lease]:
            return [
                Lease(
                    counter, node, int(self._redis.hget(self._slots(node), field(tenant, counter)) or 0), int(unspent)
                )
                for counter in counters
                for node, unspent in self._redis.hgetall(self._leases(tenant, counter)).items()
            ]

        return list(self._answered(found))

    def taken(self, tenant: TenantId, counters: Sequence[str]) -> list[int]:
        if not counters:
            return []
        keys = [self._counter(tenant, counter) for counter in counters]
        return [int(value or 0) for value in self._answered(lambda: self._redis.mget(keys))]

    def prune(self, now: int) -> int:
        """Redis expires counters by itself."""
        return 0

    def close(self) -> None:
        self._redis.close()

    def _answered(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self._fault as error:
            raise ConnectionFailed("MT-503", "the shared limit in Redis does not answer", retry_after_s=1) from error

    def _counter(self, tenant: TenantId, counter: str) -> str:
        return f"{self._prefix}:{tenant}:{counter}"

    def _leases(self, tenant: TenantId, counter: str) -> str:
        return f"{self._prefix}-leases:{tenant}:{counter}"

    def _mark(self, due: Due) -> str:
        return f"{self._prefix}-booked:{due.tenant}:{due.name}"

    def _node(self, node: str) -> str:
        return f"{self._prefix}-node:{node}"

    def _drawn(self, node: str) -> str:
        return f"{self._prefix}-drawn:{node}"

    def _slots(self, node: str) -> str:
        return f"{self._prefix}-slots:{node}"


def expiry(ends_at: int) -> str:
    return "" if ends_at >= INTEGER_MAX else str((ends_at + KEPT_NS) // MILLISECOND)


def field(tenant: TenantId, counter: str) -> str:
    return wire.encode((tenant, counter)).decode()
