"""How a request to Stripe can end badly.

INVARIANT: an error that leaves open whether Stripe did it is StripeAway; StripeRefused says that it did not.
"""

from __future__ import annotations

from creto.common.breaker import is_outage
from creto.common.errors import ConnectionFailed, InvalidInput


class StripeAway(ConnectionFailed):
    """No answer, or none that says what happened. A `burnt` key would only bring the same answer again."""

    default_code = "MT-503"
    burnt = False
    limited = False  # it is there, and asks for patience


class StripeRefused(InvalidInput):
    """It answered, and did nothing."""

    default_code = "MT-424"

    @property
    def stripe_code(self) -> object:
        return self.details.get("stripe_code")


def is_away(error: BaseException) -> bool:
    """What the breaker counts: a limit on our speed is no outage."""
    return is_outage(error) and not (isinstance(error, StripeAway) and error.limited)
