"""Billing: plans, subscriptions and invoices in one object."""

from __future__ import annotations

from creto.metering.running import Running


class Billing(Running):
    """What is asked of billing. `source` is where the events of subscriptions are kept.

    INVARIANT: each call is one transaction: the change, its entry in the ledger and its message on the bus, or none of them.
    """
