"""Webhooks of metering to customers: thresholds, quotas, balances, invoices and payments, as Standard Webhooks.

    hooks = MeteringWebhooks(store, bus, clock, webhooks, metrics)
    endpoint, secret = await hooks.add("acme", "https://hooks.example/in", ("metering.invoice.*", "metering.payment.paid"), by=ada)
    async with hooks.running():                     # in the worker: what metering publishes goes out
        …
    await hooks.deliveries("acme", endpoint.endpoint_id)
    await hooks.again("acme", endpoint.endpoint_id, message_id, by=ada)

A webhook's type is the subject on the bus. The store must be opened with the part "creto.connectors.metering_webhooks".
"""

from creto.connectors.metering_webhooks.messages import FAMILIES, body_of
from creto.connectors.metering_webhooks.service import MeteringWebhooks
from creto.connectors.metering_webhooks.types import Delivery, DeliveryState

__all__ = ["FAMILIES", "Delivery", "DeliveryState", "MeteringWebhooks", "body_of"]
