"""Usage: events in, totals and costs out, in one object."""

from __future__ import annotations

from creto.metering.awaiting import Awaiting
from creto.metering.consuming import Consuming
from creto.metering.exporting import Exporting
from creto.metering.querying import Querying
from creto.metering.unpaid import Finding


class Metering(Awaiting, Consuming, Querying, Finding, Exporting):
    """What is asked of usage. `trust` says who vouches for an event, `judge` which ones wait for a human.

    INVARIANT: what `ingest_…` accepted is in every total, cost and bill that is asked for afterwards.
    """
