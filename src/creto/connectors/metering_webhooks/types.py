"""A delivery: one message on its way to one endpoint."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from creto.common.ids import TenantId


class DeliveryState(StrEnum):
    QUEUED = "queued"
    DELIVERED = "delivered"
    FAILED = "failed"  # the schedule is over, or the endpoint wants nothing more


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """`detail` says how the last attempt went."""

    tenant: TenantId
    endpoint_id: str
    message_id: str
    event_type: str
    payload: bytes
    state: DeliveryState = DeliveryState.QUEUED
    attempts: int = 0
    next_at: int = 0
    changed_at: int = 0
    detail: str = ""
