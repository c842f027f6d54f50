"""Endpoints: secrets that rotate, what 410 does, what is on record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from creto.common.errors import InvalidInput, NotFound, SignatureVerificationFailed
from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import HOUR, SECOND
from creto.connectors.destinations import Destinations
from creto.connectors.webhook import Outcome, Sender, verify
from creto.connectors.webhook_endpoints import Webhooks
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore
from creto.store import Store, open_store
from creto.store.types import Position
from tests.receivers import Receiver, Say

PARTS = ("creto.store", "creto.platform.crypto", "creto.connectors")
TENANT, ADA, LAYER = TenantId("acme"), AgentId("agent:nhi:ed25519:ada"), AgentId("agent:nhi:ed25519:layer")
BODY = b'{"type":"test"}'


class House:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = ManualClock()
        keystore = Keystore(store, Kek(bytes(range(32))))
        sender = Sender(Destinations(allowed_networks=("127.0.0.0/8",)), self.clock)
        self.webhooks = Webhooks(store, self.clock, keystore, sender, service=LAYER)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = open_store(f"sqlite:///{tmp_path}/webhooks.db", parts=PARTS)
    yield House(store)
    store.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver.open() as receiver:
        yield receiver


def verified(house: House, receiver: Receiver, *, secrets: tuple[str, ...] = (), keys: tuple[str, ...] = ()) -> bool:
    taken = receiver.taken[-1]
    try:
        verify(taken.headers, taken.body, now=house.clock.now(), secrets=secrets, public_keys=keys)
    except SignatureVerificationFailed:
        return False
    return True


async def test_a_message_carries_the_secret_and_the_tenants_key(house: House, receiver: Receiver) -> None:
    endpoint, secret = await house.webhooks.add(TENANT, receiver.url(), by=ADA)
    attempt = await house.webhooks.send(TENANT, endpoint.endpoint_id, "msg_1", BODY)
    assert attempt.outcome is Outcome.DELIVERED
    assert verified(house, receiver, secrets=(secret,))
    assert verified(house, receiver, keys=(await house.webhooks.public_key(TENANT),))
    assert not verified(house, receiver, keys=(await house.webhooks.public_key(TenantId("other")),))


async def test_both_secrets_sign_during_a_rotation(house: House, receiver: Receiver) -> None:
    endpoint, old = await house.webhooks.add(TENANT, receiver.url(), by=ADA)
    new = await house.webhooks.rotate(TENANT, endpoint.endpoint_id, by=ADA, overlap_s=3_600)
    for after, holds in ((60 * SECOND, (True, True)), (HOUR, (False, True))):
        house.clock.advance(after)
        await house.webhooks.send(TENANT, endpoint.endpoint_id, "msg_1", BODY)
        assert tuple(verified(house, receiver, secrets=(one,)) for one in (old, new)) == holds


async def test_a_rotation_that_was_cut_off_loses_no_secret(house: House, receiver: Receiver) -> None:
    """The keystore has a version that nobody was given: what the receiver has still signs."""
    endpoint, old = await house.webhooks.add(TENANT, receiver.url(), by=ADA)
    await house.webhooks._keystore.rotate(TENANT, f"webhook/{endpoint.endpoint_id}")
    await house.webhooks.send(TENANT, endpoint.endpoint_id, "msg_1", BODY)
    assert verified(house, receiver, secrets=(old,))
    new = await house.webhooks.rotate(TENANT, endpoint.endpoint_id, by=ADA)
    await house.webhooks.send(TENANT, endpoint.endpoint_id, "msg_2", BODY)
    assert verified(house, receiver, secrets=(old,))
    assert verified(house, receiver, secrets=(new,))


async def test_gone_disables_until_somebody_enables(house: House, receiver: Receiver) -> None:
    endpoint, _ = await house.webhooks.add(TENANT, receiver.url(), by=ADA)
    receiver.answers.append(Say(410))
    for _ in range(2):
        assert (await house.webhooks.send(TENANT, endpoint.endpoint_id, "msg_1", BODY)).outcome is Outcome.GONE
    assert len(receiver.taken) == 1
    assert (await house.webhooks.get(TENANT, endpoint.endpoint_id)).disabled == "it answered 410"
    await house.webhooks.enable(TENANT, endpoint.endpoint_id, by=ADA)
    assert (await house.webhooks.send(TENANT, endpoint.endpoint_id, "msg_1", BODY)).outcome is Outcome.DELIVERED


async def test_a_tenant_sees_its_own(house: House, receiver: Receiver) -> None:
    endpoint, _ = await house.webhooks.add(TENANT, receiver.url(), by=ADA)
    other = TenantId("other")
    assert await house.webhooks.list(other) == []
    with pytest.raises(NotFound):
        await house.webhooks.send(other, endpoint.endpoint_id, "msg_1", BODY)
    await house.webhooks.remove(TENANT, endpoint.endpoint_id, by=ADA)
    with pytest.raises(NotFound):
        await house.webhooks.get(TENANT, endpoint.endpoint_id)


async def test_changes_are_on_record_without_secrets(house: House, receiver: Receiver, tmp_path: Path) -> None:
    endpoint, secret = await house.webhooks.add(TENANT, receiver.url(), by=ADA)
    await house.webhooks.rotate(TENANT, endpoint.endpoint_id, by=ADA)
    receiver.answers.append(Say(410))
    await house.webhooks.send(TENANT, endpoint.endpoint_id, "msg_1", BODY)
    rows = await house.store.read(lambda tx: tx.ledger_tail(Position(), 100))
    bodies = [row.body for row in rows if b"WebhookChanged" in row.body]
    assert [word for body in bodies for word in (b'"added"', b'"rotated"', b'"disabled"') if word in body] == [
        b'"added"', b'"rotated"', b'"disabled"',
    ]  # fmt: skip
    assert secret.removeprefix("whsec_").encode() not in b"".join(bodies)
    assert secret.removeprefix("whsec_").encode() not in (tmp_path / "webhooks.db").read_bytes()


async def test_an_address_that_is_none_is_refused_at_once(house: House) -> None:
    with pytest.raises(InvalidInput):
        await house.webhooks.add(TENANT, "https://u:p@hooks.example/", by=ADA)
