"""A Stripe for tests, on this machine, that keeps its books and its public contract (docs.stripe.com/api).

    with LocalStripe(clock) as there:
        client = stripe.StripeClient(there.key, base_addresses={"api": there.url})

Idempotency keys, cursors, error objects, limits, cuts at the worst moment, signed webhooks. `books` are its objects and rules, `server`
the HTTP around them.
"""

from tests.local_stripe.books import Books, Refusal
from tests.local_stripe.server import Fault, LocalStripe, Request

__all__ = ["Books", "Fault", "LocalStripe", "Refusal", "Request"]
