"""What the tests of the log share: entries, a log over a store, a witness."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from creto.common import wire
from creto.common.errors import ProductId
from creto.common.ids import AgentId, TenantId, new_id
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.audit import Audit, CosignerEd25519, Trust, Witness, WitnessClient
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import SignatureSuite, SigningKey
from creto.store import Entry, EntryId, Outcome, Store

PARTS = ("creto.store", "creto.platform.audit")
ORIGIN = "example.com/log"
TENANT = TenantId("acme")
AGENT = AgentId("agent:nhi:ed25519:4zvwRjXUKGfvwnParsHAS3HuSVzV5cA4McphgmoCtajS")
START = 1_767_225_600_000_000_000
KEY = SigningKey.from_seed(SignatureSuite.HYBRID, bytes(range(64)))
THIEF = KEY  # who has stolen the key signs exactly as the log does


def entry(number: int = 0, **fields: Any) -> Entry:
    metadata = fields.pop("metadata", {"number": number})
    given: dict[str, Any] = {
        "event_id": EntryId(new_id()),
        "tenant": TENANT,
        "product": ProductId.RUNTIME,
        "agent_nhi": AGENT,
        "action": "runtime:spawn",
        "resource": f"runtime:sandbox:sb-{number}",
        "outcome": Outcome.SUCCESS,
        "timestamp": ConsensusTimestamp(START + number * SECOND),
        "event": "SandboxSpawned",
        "metadata": msgspec.Raw(wire.encode(metadata)),
    }
    return Entry(**(given | fields))


def log(store: Store, key: SigningKey = KEY, origin: str = ORIGIN, **options: Any) -> Audit:
    return Audit(store, ManualClock(START), key, origin, **options)


async def fill(store: Store, entries: Iterable[Entry]) -> list[Entry]:
    recorded = list(entries)
    await store.write(lambda tx: [tx.record(e) for e in recorded])
    return recorded


async def filled(store: Store, count: int, **options: Any) -> tuple[Audit, list[Entry]]:
    """A log of so many entries, sequenced and signed."""
    audit = log(store, **options)
    entries = await fill(store, (entry(number) for number in range(count)))
    await audit.sequence_once()
    if count:
        await audit.checkpoint()
    return audit, entries


def witness(
    store: Store, trust: Trust, name: str = "witness.example/w1", seed: int = 1
) -> tuple[Witness, WitnessClient]:
    """A witness with a store of its own, and the log's way to it."""
    signer = CosignerEd25519(name, SigningKey.from_seed(SignatureSuite.ED25519, bytes([seed]) * 32))
    seen = Witness(store, ManualClock(START), trust, (signer,))
    return seen, WitnessClient(signer.key, seen.handle_add_checkpoint)


Make = Callable[..., Store]
