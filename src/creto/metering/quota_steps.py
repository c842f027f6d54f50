"""Topping a quota up: each step by which a limit grows is paid from a wallet, before anything is taken of it.

    steps.buy_from(billing.burning, billing.burnable)    # who burns credits in the same transaction, and who says whether he could
    steps.buy(step)                          # True: it is paid, by this process or another one before; False: the wallet cannot
    steps.payable(step, 3)                   # whether it and those up to the third are paid, or could be; nothing is bought

INVARIANT: a step of a counter is paid once, whichever nodes come to it and whatever dies; where nobody can pay the limit does not grow.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import msgspec

from creto.common.errors import ConnectionFailed, QuotaExceeded
from creto.common.ids import AgentId, TenantId
from creto.common.limits import QUOTA_DRAW_S_MAX
from creto.common.timestamps import Clock
from creto.metering.quota_store import note
from creto.metering.wallets import BurnCredits, Burnt
from creto.store.types import Isolation, ReadTx, Store, Tx

Burn = Callable[[Tx, TenantId, BurnCredits, AgentId], Burnt]
Burnable = Callable[[ReadTx, TenantId, BurnCredits], bool]
NAME = "top_up"  # by which grants may be kept for this


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """The `number`th step of a counter beyond its limit, each of so many units, and what it costs whom."""

    tenant: TenantId
    counter: str
    number: int
    amount: int
    quota_id: str
    owner: AgentId | None
    wallet: AgentId
    price: Decimal
    currency: str
    starts_at: int
    ends_at: int
    by: AgentId

    @property
    def reference(self) -> str:
        """Under which it stands in the books of credits."""
        return f"quota/{self.quota_id}/{self.owner or '*'}/{self.starts_at}/{self.number}"


class Steps:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._burn: Burn | None = None
        self._burnable: Burnable | None = None

    def buy_from(self, burn: Burn, burnable: Burnable) -> None:
        self._burn, self._burnable = burn, burnable

    def buy(self, step: Step) -> bool:
        """Called on the thread of an act that needs it."""
        if self._burn is None:
            return False
        done = self._store.submit(lambda tx: self._bought(tx, step), isolation=Isolation.READ_COMMITTED)
        try:
            done.result(QUOTA_DRAW_S_MAX)
        except QuotaExceeded:
            return False
        except TimeoutError as error:
            raise ConnectionFailed("MT-503", "the wallet does not answer", retry_after_s=1) from error
        return True

    def payable(self, step: Step, last: int) -> bool:
        """Called on the thread of a question."""
        burnable = self._burnable
        if burnable is None:
            return False

        def answered(tx: ReadTx) -> bool:
            sql = "SELECT COUNT(*) FROM metering_quota_step WHERE tenant = ? AND counter = ? AND step BETWEEN ? AND ?"
            open_ = last - step.number + 1 - int(tx.value(sql, step.tenant, step.counter, step.number, last))
            return open_ <= 0 or burnable(tx, step.tenant, asked(step, open_))

        return self._store.read_now(answered)

    def _bought(self, tx: Tx, step: Step) -> None:
        fresh = tx.run(
            "INSERT INTO metering_quota_step (tenant, counter, step, ends_at) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (tenant, counter, step) DO NOTHING",
            step.tenant, step.counter, step.number, step.ends_at,
        )  # fmt: skip
        if not fresh or self._burn is None:
            return
        self._burn(tx, step.tenant, asked(step), step.by)
        note(tx, self._clock, step.tenant, "quota.topped_up", "QuotaToppedUp", step.by, step.quota_id, step)


def asked(step: Step, count: int = 1) -> BurnCredits:
    return BurnCredits(
        agent=step.wallet,
        amount=step.price * count,
        currency=step.currency,
        ref=step.reference,
        names=(NAME,),
        whole=True,
    )
