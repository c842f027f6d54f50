"""What the query index says of an entry: the columns of its row and the words it is found by.

The log takes every byte string that the ledger holds. An entry that cannot be read, or whose names no index takes, must not stop
the sequencer: it is logged and provable all the same, and indexed as far as possible.

INVARIANT: the columns are a pure function of the logged bytes, so that whoever verifies can tell an index that lies.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from creto.common import wire
from creto.common.limits import INDEX_CHARS_MAX, INTEGER_MAX
from creto.platform.audit.words import agent_terms, resource_terms, tenant_word, words_of

Nanoseconds = Annotated[int, msgspec.Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)]
ESCAPED_NUL = b"\\u0000"  # PostgreSQL keeps no text with it


class Indexed(msgspec.Struct, frozen=True, gc=False):
    """The fields of an entry that the index holds; the rest is skipped while reading."""

    tenant: str
    product: str
    agent_nhi: str
    action: str
    resource: str
    outcome: str
    timestamp: Nanoseconds
    event: str = ""
    metadata: Any = None
    why: str | None = None

    def columns(self) -> tuple[str, str, str, str, str, str, str, int]:
        """Tenant, product, agent, action, resource, outcome, event and time."""
        return (
            self.tenant, self.product, self.agent_nhi, self.action, self.resource, self.outcome, self.event, self.timestamp,
        )  # fmt: skip

    def fits(self) -> bool:
        return max(map(len, self.columns()[:-1])) <= INDEX_CHARS_MAX

    def text(self, *, terms: bool) -> str:
        """The words; with the terms of the exact fields where the engine looks for them here."""
        words = words_of(self.metadata, self.why)
        words.append(tenant_word(self.tenant))
        if terms:
            words.append(agent_terms(self.agent_nhi, self.action, self.event, self.product, self.outcome))
            words.append(resource_terms(self.resource))
        return " ".join(words)


UNREADABLE = Indexed("", "", "", "", "", "", 0)
_decode = wire.decoder(Indexed).decode


def indexed(body: bytes) -> Indexed:
    try:
        found = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return UNREADABLE
    if (len(body) > INDEX_CHARS_MAX and not found.fits()) or ESCAPED_NUL in body:
        return fitting(found)
    return found


def fitting(found: Indexed) -> Indexed:
    """With names as the engines' indexes take them: bounded, without NUL."""

    def fit(value: str) -> str:
        return value[:INDEX_CHARS_MAX].replace("\0", "\ufffd")

    return Indexed(
        tenant=fit(found.tenant),
        product=fit(found.product),
        agent_nhi=fit(found.agent_nhi),
        action=fit(found.action),
        resource=fit(found.resource),
        outcome=fit(found.outcome),
        timestamp=found.timestamp,
        event=fit(found.event),
        metadata=found.metadata,
        why=found.why,
    )
