"""A process that spends: `python -m tests.contract.quota_node URL REDIS|- FOLDER CALLS AMOUNT`.

It says `ready`, waits for a line, makes so many calls on threads, and says how many passed. With `slow` for CALLS it goes on until it is
killed, and says each act before it does the next.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from creto.common.ids import AgentId, TenantId
from creto.metering import Quotas, RedisLimits
from creto.metering.quota import Taken
from creto.platform.consensus import EmbeddedClock
from creto.store import open_store

TENANT, AGENT = TenantId("acme"), AgentId("spender")
PARTS = ("creto.store", "creto.platform.consensus", "creto.metering")


def main(url: str, redis: str, folder: str, calls: str, amount: str) -> None:
    store = open_store(url, parts=PARTS)
    clock = EmbeddedClock(store)
    limits = None if redis == "-" else RedisLimits(redis)
    quotas = Quotas(store, clock, limits=limits, folder=Path(folder))
    quotas.start()

    def call(_: int) -> bool:
        held = quotas.book.reserve(TENANT, AGENT, None, "inference.call", "model", int(amount))
        if isinstance(held, Taken):
            quotas.book.settle(held)
        return isinstance(held, Taken)

    print("ready", flush=True)
    if calls == "slow":
        while True:
            print("act" if call(0) else "no", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(32) as pool:
        print(sum(pool.map(call, range(int(calls)))), flush=True)
    sys.stdin.readline()
    quotas.close()
    clock.close()
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
