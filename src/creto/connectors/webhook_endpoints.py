"""Webhook endpoints: where a tenant's webhooks go, and the secrets they are signed with.

    webhooks = Webhooks(store, clock, keystore, Sender(Destinations(), clock), service=layer)
    endpoint, secret = await webhooks.add("acme", "https://hooks.example/in", by=operator)      # the secret is shown once
    attempt = await webhooks.send("acme", endpoint.endpoint_id, "msg_1", body)
    message_id, attempt = await webhooks.test("acme", endpoint.endpoint_id)
    secret = await webhooks.rotate("acme", endpoint.endpoint_id, by=operator)                   # both sign for a day

Every message is signed with the endpoint's secrets (`v1`) and with the tenant's key (`v1a`), whose public half anybody may have.

INVARIANT: a secret is sealed in the keystore and leaves it only when it is made.
INVARIANT: an endpoint that answered 410 gets nothing more until somebody enables it again.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AgentId, TenantId, checked_tenant, new_id
from creto.common.limits import WEBHOOK_ENDPOINTS_MAX, WEBHOOK_ROTATION_S, WEBHOOK_ROTATION_S_MAX
from creto.common.timestamps import SECOND, Clock, ConsensusTimestamp, iso
from creto.connectors.webhook import Attempt, Outcome, Sender, Target, public_text, secret_text
from creto.platform.crypto import Keystore, SecretKey, SignatureSuite, SigningKey
from creto.store.entries import entry
from creto.store.types import Isolation, ReadTx, Store, Tx

SIGNING_KEY = "webhooks"
ENDPOINT = "whe-"
TEST = "webhook.test"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`key_version` is the secret's; the one that it replaced signs too until `previous_until`."""

    endpoint_id: str
    tenant: TenantId
    url: str
    created_at: ConsensusTimestamp
    key_version: int = 1
    previous_version: int = 0
    previous_until: ConsensusTimestamp = ConsensusTimestamp(0)
    disabled: str | None = None  # why


class Webhooks:
    """`service` is who disables an endpoint that wants nothing more: the layer itself."""

    def __init__(self, store: Store, clock: Clock, keystore: Keystore, sender: Sender, *, service: AgentId) -> None:
        self._store = store
        self._clock = clock
        self._keystore = keystore
        self._sender = sender
        self._service = service

    async def add(self, tenant: TenantId, url: str, *, by: AgentId) -> tuple[Endpoint, str]:
        """A new endpoint and its secret, in the form that receivers configure."""
        tenant = checked_tenant(tenant)
        self._sender.check(url)
        known = await self.list(tenant)
        if len(known) >= WEBHOOK_ENDPOINTS_MAX:
            raise InvalidInput.of("endpoints", got=len(known), expected=f"{WEBHOOK_ENDPOINTS_MAX} at most")
        endpoint = Endpoint(endpoint_id=new_id(ENDPOINT), tenant=tenant, url=url, created_at=self._clock.now())
        key = SecretKey.generate()
        await self._keystore.put(tenant, key_of(endpoint.endpoint_id), key)
        await self._store.write(lambda tx: self._save(tx, endpoint, by, "added"))
        return endpoint, secret_text(key.reveal())

    async def rotate(
        self, tenant: TenantId, endpoint_id: str, *, by: AgentId, overlap_s: int = WEBHOOK_ROTATION_S
    ) -> str:
        """A new secret; the old one signs beside it until the overlap is over."""
        if not 0 <= overlap_s <= WEBHOOK_ROTATION_S_MAX:
            raise InvalidInput.of("overlap_s", got=overlap_s, expected=f"0 to {WEBHOOK_ROTATION_S_MAX}")
        await self.get(tenant, endpoint_id)
        record = await self._keystore.rotate(tenant, key_of(endpoint_id))
        key = await self._keystore.secret_key(tenant, key_of(endpoint_id), record.version)
        until = ConsensusTimestamp(self._clock.now() + overlap_s * SECOND)
        await self._change(
            tenant, endpoint_id, by, "rotated",
            lambda one: replace(one, key_version=record.version, previous_version=one.key_version, previous_until=until),
        )  # fmt: skip
        return secret_text(key.reveal())

    async def disable(self, tenant: TenantId, endpoint_id: str, why: str, *, by: AgentId) -> Endpoint:
        return await self._change(tenant, endpoint_id, by, "disabled", lambda one: replace(one, disabled=why))

    async def enable(self, tenant: TenantId, endpoint_id: str, *, by: AgentId) -> Endpoint:
        return await self._change(tenant, endpoint_id, by, "enabled", lambda one: replace(one, disabled=None))

    async def remove(self, tenant: TenantId, endpoint_id: str, *, by: AgentId) -> None:
        endpoint = await self.get(tenant, endpoint_id)

        def drop(tx: Tx) -> None:
            tx.run("DELETE FROM connectors_webhook WHERE tenant = ? AND endpoint_id = ?", tenant, endpoint_id)
            self._record(tx, endpoint, by, "removed")

        await self._store.write(drop)
        await self._keystore.remove(tenant, key_of(endpoint_id))

    async def get(self, tenant: TenantId, endpoint_id: str) -> Endpoint:
        found = await self._store.read(lambda tx: find(tx, checked_tenant(tenant), endpoint_id))
        if found is None:
            raise no_such(endpoint_id)
        return found

    async def trouble(self, tenant: TenantId, endpoint_id: str) -> str | None:
        """Why nothing can be sent there."""
        found = await self._store.read(lambda tx: find(tx, checked_tenant(tenant), endpoint_id))
        if found is None:
            return "there is no such endpoint"
        return f"the endpoint is disabled: {found.disabled}" if found.disabled is not None else None

    async def list(self, tenant: TenantId) -> list[Endpoint]:
        rows = await self._store.read(
            lambda tx: tx.all(
                "SELECT body FROM connectors_webhook WHERE tenant = ? ORDER BY endpoint_id LIMIT ?",
                checked_tenant(tenant), WEBHOOK_ENDPOINTS_MAX,
            )
        )  # fmt: skip
        return [wire.decode(bytes(row[0]), Endpoint) for row in rows]

    async def public_key(self, tenant: TenantId) -> str:
        """The `whpk_…` that verifies every `v1a` signature of the tenant."""
        return public_text((await self._signing_key(tenant)).public)

    async def send(self, tenant: TenantId, endpoint_id: str, message_id: str, body: bytes) -> Attempt:
        """One attempt, signed with what is in force now. 410 disables the endpoint; a disabled one gets nothing."""
        endpoint = await self.get(tenant, endpoint_id)
        if endpoint.disabled is not None:
            return Attempt(Outcome.GONE, f"the endpoint is disabled: {endpoint.disabled}")
        attempt = await self._sender.send(await self._target(endpoint), message_id, body)
        if attempt.outcome is Outcome.GONE:
            await self.disable(tenant, endpoint_id, attempt.detail, by=self._service)
        return attempt

    async def test(self, tenant: TenantId, endpoint_id: str) -> tuple[str, Attempt]:
        """One message that says nothing, now: whether it arrives and is believed. Its id, and how it went."""
        now, message_id = self._clock.now(), new_id("msg_")
        body = wire.encode({"type": TEST, "timestamp": iso(now), "data": {"endpoint_id": endpoint_id}})
        return message_id, await self.send(tenant, endpoint_id, message_id, body)

    async def _target(self, endpoint: Endpoint) -> Target:
        versions = [endpoint.key_version]
        if endpoint.previous_version and self._clock.now() < endpoint.previous_until:
            versions.append(endpoint.previous_version)
        key_id = key_of(endpoint.endpoint_id)
        secrets = [(await self._keystore.secret_key(endpoint.tenant, key_id, v)).reveal() for v in versions]
        return Target(endpoint.url, tuple(secrets), (await self._signing_key(endpoint.tenant),))

    async def _signing_key(self, tenant: TenantId) -> SigningKey:
        """Ed25519 alone: the format knows no other."""
        return await self._keystore.ensure(
            tenant, SIGNING_KEY, SigningKey, lambda: SigningKey.generate(SignatureSuite.ED25519)
        )

    async def _change(
        self, tenant: TenantId, endpoint_id: str, by: AgentId, what: str, change: Callable[[Endpoint], Endpoint]
    ) -> Endpoint:
        def write(tx: Tx) -> Endpoint:
            tx.lock(f"connectors.webhook/{tenant}/{endpoint_id}")
            known = find(tx, checked_tenant(tenant), endpoint_id)
            if known is None:
                raise no_such(endpoint_id)
            return self._save(tx, change(known), by, what)

        return await self._store.write(write, isolation=Isolation.READ_COMMITTED)

    def _save(self, tx: Tx, endpoint: Endpoint, by: AgentId, what: str) -> Endpoint:
        tx.run(
            "INSERT INTO connectors_webhook (tenant, endpoint_id, body) VALUES (?, ?, ?)"
            " ON CONFLICT (tenant, endpoint_id) DO UPDATE SET body = excluded.body",
            endpoint.tenant, endpoint.endpoint_id, wire.encode(endpoint),
        )  # fmt: skip
        self._record(tx, endpoint, by, what)
        return endpoint

    def _record(self, tx: Tx, endpoint: Endpoint, by: AgentId, what: str) -> None:
        fields = {"change": what, "url": endpoint.url, "key_version": endpoint.key_version, "why": endpoint.disabled}
        tx.record(
            entry(
                tenant=endpoint.tenant, agent=by, action="webhook:change", event="WebhookChanged",
                resource=f"webhook:endpoint:{endpoint.endpoint_id}", timestamp=self._clock.now(),
                facts=fields, degraded_clock=self._clock.degraded,
            )
        )  # fmt: skip


def find(tx: ReadTx, tenant: TenantId, endpoint_id: str) -> Endpoint | None:
    row = tx.one("SELECT body FROM connectors_webhook WHERE tenant = ? AND endpoint_id = ?", tenant, endpoint_id)
    return wire.decode(bytes(row[0]), Endpoint) if row else None


def key_of(endpoint_id: str) -> str:
    return f"webhook/{endpoint_id}"


def no_such(endpoint_id: str) -> NotFound:
    return NotFound("PL-404", "there is no such webhook endpoint", field="endpoint_id", got=endpoint_id)
