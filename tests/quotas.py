"""A quota for tests: so many acts, and a book of what was reserved, settled and released."""

from __future__ import annotations

from typing import Any

from creto.security.authz import QuotaDecision, QuotaDenied, QuotaHook, QuotaOutcome, RequiresOversight, Reservation


class Quota(QuotaHook):
    def __init__(self, limit: int = 0, refusal: QuotaDenied | RequiresOversight | None = None) -> None:
        self.limit = limit
        self.refusal = refusal
        self.asked: list[tuple[Any, ...]] = []
        self.held: dict[str, int] = {}
        self.settled: list[int] = []
        self.released: list[int] = []

    @property
    def used(self) -> int:
        return sum(self.held.values()) + sum(self.settled)

    def reserve(
        self,
        tenant: Any,
        agent: Any,
        chain: Any,
        action: str,
        resource: str,
        amount: int,
        *,
        approved: frozenset[str] = frozenset(),
    ) -> Reservation | QuotaDenied | RequiresOversight:
        self.asked.append((agent, chain and chain.agents, action, resource, amount, approved))
        if self.used + amount > self.limit:
            return self.refusal or QuotaDenied("spent", 60.0, limit=self.limit, used=self.used)
        reservation = Reservation(reservation_id=str(len(self.asked)), amount=amount)
        self.held[reservation.reservation_id] = amount
        return reservation

    def asks(self, tenant: Any, agent: Any, chain: Any, action: str, amount: int) -> RequiresOversight | None:
        full = self.used + amount > self.limit
        return self.refusal if full and isinstance(self.refusal, RequiresOversight) else None

    def settle(self, reservation: Reservation, amount: int | None = None) -> None:
        held = self.held.pop(reservation.reservation_id)
        self.settled.append(held if amount is None else amount)

    def release(self, reservation: Reservation) -> None:
        self.released.append(self.held.pop(reservation.reservation_id))

    def check_quota(self, tenant: Any, agent: Any, event_type: str) -> QuotaDecision:
        left = self.limit - self.used
        outcome = QuotaOutcome.ALLOW if left > 0 else QuotaOutcome.DENY
        return QuotaDecision(outcome=outcome, remaining=left, limit=self.limit)
