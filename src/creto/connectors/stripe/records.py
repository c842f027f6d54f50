"""What the connector did or was told, in the ledger and on the bus."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from creto.common import wire
from creto.common.errors import ProductId
from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import Clock, ConsensusTimestamp
from creto.store.entries import entry
from creto.store.types import Tx


def tell(
    tx: Tx, clock: Clock, tenant: TenantId, act: str, event: str, *, by: AgentId, subject: str,
    fields: Mapping[str, object], now: ConsensusTimestamp,
) -> None:  # fmt: skip
    """One entry, and the same facts as `metering.<act>`, as metering's own acts."""
    tx.record(
        entry(
            tenant=tenant,
            product=ProductId.METERING,
            agent=by,
            action=f"metering.{act}",
            resource=subject,
            timestamp=now,
            event=event,
            metadata=msgspec.Raw(wire.encode(fields)),
            degraded_clock=clock.degraded,
        )
    )
    body = wire.encode({"subject": subject, "actor": by, "at": now, **fields})
    tx.publish(f"metering.{act}", body, tenant=tenant, agent=subject)
