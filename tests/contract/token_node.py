"""A process that uses tokens up: `python -m tests.contract.token_node URL FILE`.

FILE holds a token on each line, each for the act below. It says `ready`, waits for a line, and tries all of them on four threads that begin
together, in the same order; then it says which it was that used them, by their numbers.
"""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from creto.common.errors import Unauthorized
from creto.common.ids import PolicyId
from creto.store import open_store
from tests.unit.oversight.world import PARTS, TENANT, World, id_of

THREADS = 4
ACT: dict[str, Any] = {
    "tenant": TENANT, "agent": id_of("bot-7"), "action": "funds.transfer", "resource": "account:7", "args_digest": b"d" * 32,
    "policy_id": PolicyId("P1"),
}  # fmt: skip


def main(url: str, file: str) -> None:
    tokens = Path(file).read_text().split()
    store = open_store(url, parts=PARTS)
    authz, together = World(store).authz, Barrier(THREADS)

    async def use() -> list[int]:
        won = []
        for number, token in enumerate(tokens):
            try:
                await authz.consume_durable(token, **ACT)
            except Unauthorized as error:
                assert error.code == "PL-704", error
            else:
                won.append(number)
        return won

    def thread(_: int) -> list[int]:
        together.wait()
        return asyncio.run(use())

    print("ready", flush=True)
    sys.stdin.readline()
    with ThreadPoolExecutor(THREADS) as pool:
        print(*(number for won in pool.map(thread, range(THREADS)) for number in won), flush=True)
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
