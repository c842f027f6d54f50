"""A process that burns credits with others: `python -m tests.contract.credit_node URL NAME COUNT AMOUNT` prints how many burns passed."""

from __future__ import annotations

import asyncio
import sys
from decimal import Decimal

from creto.common.errors import QuotaExceeded
from creto.metering import BurnCredits
from creto.store import open_store
from tests.contract.billing_desk import Desk
from tests.unit.metering.examples import AGENT, TENANT


async def main(url: str, name: str, count: int, amount: Decimal) -> int:
    store = open_store(url, parts=("creto.store", "creto.metering"))
    try:
        billing = Desk(store).billing

        async def burn(number: int) -> bool:
            asked = BurnCredits(agent=AGENT, amount=amount, currency="USD", ref=f"{name}-{number}", whole=True)
            try:
                await billing.burn_credits(TENANT, asked, key=f"{name}-{number}", by=AGENT)
            except QuotaExceeded:
                return False
            return True

        return sum(await asyncio.gather(*(burn(number) for number in range(count))))
    finally:
        store.close()


if __name__ == "__main__":
    print(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Decimal(sys.argv[4]))), flush=True)
