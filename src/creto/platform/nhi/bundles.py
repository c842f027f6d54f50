"""Publishing and handing out key bundles. The rules of a bundle are in `prekeys`."""

from __future__ import annotations

from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import AgentId, TenantId, checked_tenant
from creto.common.limits import ONE_TIME_PREKEYS_MAX
from creto.platform.crypto import SealedRoot, merkle
from creto.platform.nhi import bundle_store as sql
from creto.platform.nhi import lifecycle, statements
from creto.platform.nhi import store as identities
from creto.platform.nhi.core import Core
from creto.platform.nhi.prekeys import (
    LASTING,
    BundleUpload,
    KeyBundle,
    PrekeyCounts,
    PrekeyKind,
    check_upload,
    leaf_bytes,
)
from creto.store.types import Isolation, ReadTx, Tx


class Bundles(Core):
    async def publish_bundle(
        self, tenant: TenantId, agent: AgentId, upload: BundleUpload, *, actor: AgentId | None = None
    ) -> PrekeyCounts:
        """Add one-time keys, replace lasting ones. The first upload must bring every lasting kind."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        check_upload(upload)
        hashes = [merkle.leaf_hash(leaf_bytes(tenant, agent, upload.batch, key)) for key in upload.keys]
        root = SealedRoot(len(hashes), merkle.root(hashes), upload.signature)
        root.verify(self._in_force(tenant, agent, now).verify_key, statements.BUNDLE_CONTEXT)
        paths = merkle.inclusion_proofs(hashes)

        def publish(tx: Tx) -> PrekeyCounts:
            tx.lock(lock_name(tenant, agent))
            lifecycle.check_in_force(identities.get(tx, tenant, agent), now)
            sql.next_batch(tx, tenant, agent, upload.batch)
            sql.add(tx, tenant, agent, upload.batch, root, upload.keys, paths)
            if missing := [kind.name for kind in LASTING if sql.lasting(tx, tenant, agent, kind) is None]:
                raise InvalidInput.of("keys", got=f"no {' and no '.join(missing)}", expected="every lasting kind")
            counts = count(tx, tenant, agent)
            if max(counts.one_time_dh, counts.one_time_kem) > ONE_TIME_PREKEYS_MAX:
                raise InvalidInput.of("keys", got=f"{counts}", expected=f"at most {ONE_TIME_PREKEYS_MAX} of a kind")
            self._record(
                tx, tenant, "bundle_published", "KeyBundlePublished", actor=actor or agent, subject=agent, now=now,
                fields={"batch": upload.batch, "keys": len(upload.keys)},
            )  # fmt: skip
            return counts

        return await self._store.write(publish, isolation=Isolation.READ_COMMITTED)

    async def get_key_bundle(self, tenant: TenantId, agent: AgentId, *, requester: AgentId | None = None) -> KeyBundle:
        """Keys to open one session with. The one-time keys in it are nobody else's; PL-130 if the agent published none."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        identity = self._in_force(tenant, agent, now).identity

        def take(tx: Tx) -> KeyBundle:
            tx.lock(lock_name(tenant, agent))
            identity_dh, signed_dh, last_resort = (sql.lasting(tx, tenant, agent, kind) for kind in LASTING)
            if identity_dh is None or signed_dh is None or last_resort is None:
                raise NotFound("PL-130", field="agent_nhi", got=agent, expected="an agent with a key bundle")
            one_time_dh = sql.take(tx, tenant, agent, PrekeyKind.ONE_TIME_DH)
            kem = sql.take(tx, tenant, agent, PrekeyKind.ONE_TIME_KEM) or last_resort
            self._record(
                tx, tenant, "bundle_taken", "KeyBundleTaken", actor=requester or agent, subject=agent, now=now,
                fields={"one_time_dh": one_time_dh and one_time_dh.key.id, "kem": kem.key.kind.name, "kem_id": kem.key.id},
            )  # fmt: skip
            return KeyBundle(tenant, identity.agent, identity_dh, signed_dh, one_time_dh, kem)

        return await self._store.write(take, isolation=Isolation.READ_COMMITTED)

    async def prekey_counts(self, tenant: TenantId, agent: AgentId) -> PrekeyCounts:
        """PL-102 if nobody knows the agent."""
        tenant = checked_tenant(tenant)

        def read(tx: ReadTx) -> PrekeyCounts:
            identities.get(tx, tenant, agent)
            return count(tx, tenant, agent)

        return await self._store.read(read)


def count(tx: ReadTx, tenant: TenantId, agent: AgentId) -> PrekeyCounts:
    by_kind = sql.counts(tx, tenant, agent)
    return PrekeyCounts(by_kind.get(PrekeyKind.ONE_TIME_DH, 0), by_kind.get(PrekeyKind.ONE_TIME_KEM, 0))


def lock_name(tenant: TenantId, agent: AgentId) -> str:
    return f"nhi.bundle/{tenant}/{agent}"
