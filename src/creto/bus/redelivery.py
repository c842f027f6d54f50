"""What happens to a message whose consumer failed: again after a doubling wait, or to the dead letters.

INVARIANT: a message is delivered at most `deliveries_max` times before it is a dead letter; none is dropped.
"""

from __future__ import annotations

import msgspec

from creto.common.errors import EnablementError, ErrorBody, InternalError
from creto.common.limits import BUS_BACKOFF_S_INITIAL, BUS_BACKOFF_S_MAX, BUS_DELIVERIES_MAX
from creto.common.redact import redacted_text
from creto.common.timestamps import SECOND


class Redelivery(msgspec.Struct, frozen=True):
    """The rule, as one bus applies it."""

    deliveries_max: int = BUS_DELIVERIES_MAX
    initial_s: float = BUS_BACKOFF_S_INITIAL
    backoff_max_s: float = BUS_BACKOFF_S_MAX

    def is_dead(self, deliveries: int) -> bool:
        return deliveries >= self.deliveries_max

    def wait_ns(self, deliveries: int) -> int:
        """The back-off after the delivery with this number."""
        return int(min(self.initial_s * 2.0 ** min(deliveries - 1, 62), self.backoff_max_s) * SECOND)


def reason_of(failure: BaseException | str) -> ErrorBody:
    """Why it failed, fit to be stored: the consumer's own error, or the name of what it raised, without secrets."""
    if isinstance(failure, EnablementError):
        return failure.body()
    text = failure if isinstance(failure, str) else f"{type(failure).__name__}: {failure}"
    return InternalError("PL-902", redacted_text(text)[:1000] or "no reason given").body()
