"""Writes until it is killed, and says which writes were acknowledged.

python -m tests.crash.store_writer URL SEED

One write is an idempotency key, a ledger entry, an outbox row and (for some) a signal: all of the same id. Some writes
fail on purpose after they have written; nothing of those may ever be seen.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from creto.common.errors import EnablementError, ProductId
from creto.common.ids import DEFAULT_TENANT, new_id
from creto.common.timestamps import DAY
from creto.store import Isolation, Store, Tx, open_store
from creto.store.idempotency import IdempotencyGuard, Item
from tests.contract.store_examples import entry

GUARD = IdempotencyGuard()
CALLERS = 12


class OnPurpose(Exception):
    pass


def change(tx: Tx, ids: list[str], agent: str, *, signal: bool, fail: bool) -> None:
    items = [Item(id_, b"p", id_.encode()) for id_ in ids]
    GUARD.once_many(tx, DEFAULT_TENANT, ProductId.PLATFORM, "crash", items, 7 * DAY, 1)
    for id_ in ids:
        tx.record(entry(agent, "fail" if fail else "act", id_))
        tx.publish("crash", id_.encode(), tenant=DEFAULT_TENANT, agent=agent)
    if signal:
        tx.signal("crash", agent)
    if fail:
        raise OnPurpose


async def caller(store: Store, number: int, chance: random.Random) -> None:
    while True:
        ids = [new_id() for _ in range(chance.choice([1, 1, 1, 2, 40]))]
        signal, fail = chance.random() < 0.1, chance.random() < 0.1
        isolation = chance.choice(list(Isolation))

        def fn(tx: Tx, ids: list[str] = ids, signal: bool = signal, fail: bool = fail) -> None:
            change(tx, ids, f"agent:{number}", signal=signal, fail=fail)

        try:
            await store.write(fn, isolation=isolation)
        except OnPurpose:
            continue
        except EnablementError as error:
            if not error.retryable:
                raise
            await asyncio.sleep(0.05)
            continue
        os.write(1, b"".join(b"%d %s\n" % (number, id_.encode()) for id_ in ids))


async def main() -> None:
    store = open_store(sys.argv[1])
    chance = random.Random(int(sys.argv[2]))
    os.write(1, b"ready\n")
    await asyncio.gather(*(caller(store, i, random.Random(chance.random())) for i in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main())
