"""What the audit log hands out: entries with their place, proofs, records and receipts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from creto.common import wire
from creto.common.errors import AuditError, CryptoError, InvalidInput, ProductId
from creto.common.ids import AgentId, TenantId
from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.crypto import merkle
from creto.store.types import Entry, EntryId, Outcome


class MerkleProof(msgspec.Struct, frozen=True):
    """That a leaf stands at this index of the tree of this size and root."""

    index: int
    size: int
    leaf: bytes
    path: tuple[bytes, ...]
    root: bytes

    def verify(self) -> None:
        """Raises PL-608."""
        try:
            merkle.verify_inclusion(self.leaf, self.index, self.size, self.path, self.root)
        except CryptoError as error:
            raise not_proved(error) from error


class ConsistencyProof(msgspec.Struct, frozen=True):
    """That the tree of `old_size` is the beginning of the tree of `new_size`."""

    old_size: int
    new_size: int
    old_root: bytes
    new_root: bytes
    path: tuple[bytes, ...]

    def verify(self) -> None:
        """Raises PL-608."""
        try:
            verify_extends(self.old_size, self.new_size, self.old_root, self.new_root, self.path)
        except CryptoError as error:
            raise not_proved(error) from error


def verify_extends(old_size: int, new_size: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> None:
    """RFC 9162 2.1.4.2, and that the empty tree is the beginning of every tree, which needs no path. Raises CryptoError PL-217."""
    if old_size == 0 and old_root == merkle.EMPTY_ROOT and not path and new_size > 0:
        return
    merkle.verify_consistency(old_size, new_size, old_root, new_root, path)


class UnifiedAuditEvent(msgspec.Struct, frozen=True):
    """The spec's one shape for every product's events, with its proof."""

    event_id: EntryId
    product: ProductId
    agent_nhi: AgentId
    action: str
    resource: str
    outcome: Outcome
    timestamp: ConsensusTimestamp
    metadata: msgspec.Raw
    merkle_proof: MerkleProof


class AuditRecord(msgspec.Struct, frozen=True):
    """An audited operation as its caller tells it. The signature is the log's: a proof that the record is in it."""

    who: AgentId
    delegation_chain: tuple[AgentId, ...]
    what: str
    resource: str
    outcome: Outcome
    timestamp: ConsensusTimestamp
    why: str | None = None
    signature: bytes | None = None

    def entry(self, *, tenant: TenantId, product: ProductId, event_id: EntryId, metadata: Any = None) -> Entry:
        return Entry(
            event_id=event_id,
            tenant=tenant,
            product=product,
            agent_nhi=self.who,
            action=self.what,
            resource=self.resource,
            outcome=self.outcome,
            timestamp=self.timestamp,
            metadata=msgspec.Raw(wire.encode(metadata or {})),
            delegation_chain=self.delegation_chain,
            why=self.why,
        )

    @staticmethod
    def of(entry: Entry, signature: bytes | None = None) -> AuditRecord:
        return AuditRecord(
            who=entry.agent_nhi,
            delegation_chain=entry.delegation_chain,
            what=entry.action,
            resource=entry.resource,
            outcome=entry.outcome,
            timestamp=entry.timestamp,
            why=entry.why,
            signature=signature,
        )


class AuditReceipt(msgspec.Struct, frozen=True):
    """The entry is durable and will be in the log; `leaf` is the hash by which to find it there."""

    event_id: EntryId
    tenant: TenantId
    leaf: bytes
    timestamp: ConsensusTimestamp


class LoggedEntry(msgspec.Struct, frozen=True):
    """An entry and its place in the log; `body` is what was hashed."""

    index: int
    entry: Entry
    body: bytes


class AuditQuery(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """Every condition that is given must hold. Times are nanoseconds, `since` inclusive, `until` exclusive."""

    tenant: TenantId
    agent: AgentId | None = None
    action: str | None = None
    resource: str | None = None
    resource_prefix: str | None = None
    product: ProductId | None = None
    outcome: Outcome | None = None
    event: str | None = None
    since: int | None = None
    until: int | None = None
    text: str | None = None  # words that all stand in the metadata; a word that ends in * is a beginning
    after: int | None = None  # only entries behind this place in the log: for whoever follows it
    newest_first: bool = False
    limit: int = PAGE_ITEMS_DEFAULT
    cursor: str | None = None


class Page(msgspec.Struct, frozen=True):
    """Some of the answer. With a cursor there may be more, even if this page is empty: a page looks at a bounded part of the log."""

    items: tuple[LoggedEntry, ...]
    cursor: str | None = None


class LogStanding(msgspec.Struct, frozen=True, kw_only=True):
    """The log on disk: entries in the tree, under the newest checkpoints, and in the ledger but not in the tree.

    `unsigned_since` is the time of the oldest entry that no checkpoint covers; None if there is none.
    """

    size: int
    signed_size: int
    witnessed_size: int
    waiting: int
    unsigned_since: int | None = None


class LogStatus(msgspec.Struct, frozen=True):
    """How far this process knows the log to be, and what went wrong last, until it goes right again."""

    size: int
    signed_size: int
    failure: str | None = None


class Verdict(msgspec.Struct, frozen=True):
    """What a verified file shows. A file that does not verify raises instead."""

    kind: str
    shows: tuple[str, ...]
    details: dict[str, Any] = {}


def not_proved(error: CryptoError) -> AuditError:
    return AuditError("PL-608", caused_by=error, got=error.got, expected=error.expected)


def decoded_entry(body: bytes) -> Entry:
    """The entry in a logged body; PL-602 if the bytes are none."""
    try:
        return ENTRY.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise AuditError(
            "PL-602", "a logged entry cannot be read", caused_by=InvalidInput(message=str(error))
        ) from error


ENTRY = wire.decoder(Entry)
