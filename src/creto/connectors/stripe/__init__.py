"""Stripe: final invoices are collected there, usage is reported to its meters, and what it says of payments is kept.

    stripe = Stripe(store, bus, clock, billing, config[StripeConfig])       # stripe.api_key in the configuration
    await stripe.start()                                                    # from here on, what metering publishes is the work
    await stripe.set_payer(tenant, agent, Payer(name="Ada", email="ada@example.com"), by=human)
    (await stripe.payment(tenant, invoice_id)).status                       # as its webhooks said

    receipts = Receipts(store, clock, config[StripeConfig], by=service, tenant=tenant)
    await receipts.webhook(headers, body)                                   # POST /v1/connectors/stripe/webhook

The store must be opened with the part "creto.connectors.stripe". The SDK is loaded by `start`, where a key is configured.
"""

from creto.connectors.stripe.receipt import Receipts
from creto.connectors.stripe.service import READS, Stripe
from creto.connectors.stripe.types import (
    Kind,
    KnownPayer,
    Outcome,
    Payer,
    Payment,
    PaymentStatus,
    Received,
    Standing,
    State,
    StripeId,
    Thing,
)

__all__ = [
    "READS",
    "Kind",
    "KnownPayer",
    "Outcome",
    "Payer",
    "Payment",
    "PaymentStatus",
    "Receipts",
    "Received",
    "Standing",
    "State",
    "Stripe",
    "StripeId",
    "Thing",
]
