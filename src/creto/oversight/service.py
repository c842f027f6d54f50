"""Oversight in one object: policies and people, requests, votes, the desk, outcomes, waiting, grants, delivery.

INVARIANT: every transition of a request is one transaction that holds the request's row: time, eligibility, vote, quorum, state, ledger entry,
outbox and dedupe are in it, or none of them happened.
"""

from __future__ import annotations

from creto.common.breaker import CircuitBreaker
from creto.common.limits import OVERSIGHT_WAITERS_MAX
from creto.common.telemetry import Metrics
from creto.common.timestamps import Clock
from creto.oversight.core import DECIDED
from creto.oversight.outcome import Permits
from creto.oversight.people import Books
from creto.oversight.recollection import Recollection
from creto.oversight.voting import CheckEdit
from creto.platform.crypto import SigningKey
from creto.platform.nhi import Nhi
from creto.security.authz import Authz
from creto.security.memory import Memory
from creto.store.types import Store
from creto.store.waiters import Waiters

INSTALLATION = "creto"
DEFAULT_TIMEOUT_S = 3_600


class Oversight(Recollection):
    """`signer` attests relayed votes and seals decision files; `installation` is in every ballot, so that none counts elsewhere."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        nhi: Nhi,
        authz: Authz,
        *,
        signer: SigningKey,
        memory: Memory | None = None,
        metrics: Metrics | None = None,
        installation: str = INSTALLATION,
        link_base: str = "",
        check_edit: CheckEdit | None = None,
        breaker: CircuitBreaker | None = None,
        default_timeout_s: int = DEFAULT_TIMEOUT_S,
    ) -> None:
        super().__init__(store, clock, nhi, authz, signer, metrics or Metrics(), installation, link_base)
        self.default_timeout_s = default_timeout_s  # of a tier for which nothing is said
        self._memory = memory
        self._breaker = breaker or CircuitBreaker("memory")
        self._check_edit = check_edit
        self._books = Books(self)
        self._permits = Permits()
        authz.use_overseer(self.begins)
        self._waiters = Waiters(store, DECIDED, most=OVERSIGHT_WAITERS_MAX)

    def waiting(self) -> int:
        """How many coroutines wait here."""
        return len(self._waiters)
