"""The audit log as its users see it: append, ask, prove, sign."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import msgspec

from creto.common.errors import AuditError, InvalidInput, NotFound
from creto.common.ids import PLATFORM_TENANT, TenantId, checked_tenant
from creto.common.timestamps import Clock
from creto.platform.audit import store as rows
from creto.platform.audit.batch import prove_in_batch
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.files import file_at
from creto.platform.audit.keys import NoteSigner, log_signers
from creto.platform.audit.proof import InclusionProof
from creto.platform.audit.query import page
from creto.platform.audit.sequencer import Cadence, Sequencer
from creto.platform.audit.store import CheckpointRow, KeyRow
from creto.platform.audit.tiles import TileCache, TileTree
from creto.platform.audit.trust import LogKeys, Trust
from creto.platform.audit.types import (
    AuditQuery,
    AuditReceipt,
    ConsistencyProof,
    LoggedEntry,
    LogStanding,
    LogStatus,
    Page,
)
from creto.platform.audit.witness_client import ConsistencyPath, WitnessClient
from creto.platform.audit.witnessing import Witnessing
from creto.platform.crypto import Keystore, SigningKey, merkle
from creto.platform.crypto.service import of_kind
from creto.store.types import Entry, EntryId, ReadTx, Store


class Audit:
    """One log over one store.

    `start` makes the sequencer run on its own thread; a test or a tool calls `sequence_once` instead. Several processes may run it: only one
    sequences at a time, and whoever is second finds nothing left to do.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        signer: SigningKey,
        origin: str,
        *,
        cadence: Cadence | None = None,
        witnesses: Sequence[WitnessClient] = (),
        witnesses_required: int = 0,
        renew: Callable[[], SigningKey] | None = None,
    ) -> None:
        self.origin = origin
        self._store = store
        self._clock = clock
        self._signers: tuple[NoteSigner, ...] = log_signers(origin, signer)
        self._witnesses = tuple(witnesses)
        self._required = witnesses_required
        self._full = TileCache()
        self._newest = renew
        self.sequencer = Sequencer(store, clock, origin, self._signers, cadence, self._renewed if renew else None)
        self.witnessing = Witnessing(self.witness_once)
        self.sequencer.on_checkpoint(self.witnessing.notice)
        if not 0 <= witnesses_required <= len(self._witnesses):
            raise InvalidInput.of(
                "witnesses_required", got=witnesses_required, expected=f"0 to {len(self._witnesses)} witnesses"
            )

    def _renewed(self) -> tuple[NoteSigner, ...]:
        """Another process has rotated the log's key: sign with its successor."""
        assert self._newest is not None
        self._signers = log_signers(self.origin, self._newest())
        return self._signers

    # Writing

    def start(self) -> None:
        """Sequence, sign and ask the witnesses, each on its own thread."""
        if self._witnesses:
            self.witnessing.start()
        self.sequencer.start()

    def stop(self) -> None:
        self.sequencer.stop()
        self.witnessing.stop()

    async def append(self, entry: Entry) -> AuditReceipt:
        """Make one entry durable. Within a transaction of your own, `tx.record(entry)` does the same."""
        await self._store.write(lambda tx: tx.record(entry))
        return AuditReceipt(entry.event_id, entry.tenant, merkle.leaf_hash(entry.body()), entry.timestamp)

    async def sequence_once(self) -> int:
        """Bring everything that is durable into the tree; how many entries that were."""
        return await asyncio.to_thread(self.sequencer.drain)

    async def checkpoint(self) -> Checkpoint:
        """The tree as it is now, signed. An unchanged tree is not signed twice."""
        signed = await asyncio.to_thread(self.sequencer.checkpoint)
        if signed is None:
            raise NotFound("PL-601", "the log is empty: there is nothing to sign")
        return signed

    async def witness_once(self) -> Checkpoint | None:
        """Show the newest checkpoint to the witnesses and keep what they sign; None if there is none to show."""
        newest = await self._store.read(rows.latest_checkpoint)
        if newest is None or newest.witnessed or not self._witnesses:
            return newest.checkpoint if newest else None
        checkpoint = newest.checkpoint
        answers = await asyncio.gather(
            *(witness.cosign(checkpoint, self._consistency_path(checkpoint.size)) for witness in self._witnesses),
            return_exceptions=True,
        )
        failures = [answer for answer in answers if isinstance(answer, BaseException)]
        cosigned = checkpoint.signed(*(s for answer in answers if isinstance(answer, tuple) for s in answer))
        enough = len(answers) - len(failures) >= self._required
        await self._store.write(lambda tx: rows.put_checkpoint(tx, cosigned, newest.time, witnessed=enough))
        for failure in failures:
            if not enough or not isinstance(failure, Exception):
                raise failure
        return cosigned

    def _consistency_path(self, size: int) -> ConsistencyPath:
        async def path(old_size: int) -> tuple[bytes, ...]:
            return await self._store.read(lambda tx: self._tree(tx, size).consistency(old_size))

        return path

    # Reading

    async def query(self, query: AuditQuery) -> Page:
        """A page of the tenant's entries; its cursor leads to the next."""
        return await self._store.read(lambda tx: page(tx, query, rows.log_state(tx, self.origin).size))

    async def scan(self, query: AuditQuery) -> AsyncIterator[LoggedEntry]:
        """Every entry of a query, page after page."""
        while True:
            found = await self.query(query)
            for item in found.items:
                yield item
            if found.cursor is None:
                return
            query = msgspec.structs.replace(query, cursor=found.cursor)

    async def get(self, event_id: EntryId, *, tenant: TenantId) -> LoggedEntry:
        checked_tenant(tenant)

        def read(tx: ReadTx) -> LoggedEntry:
            index = rows.index_of(tx, tenant, event_id)
            return rows.entry_at(tx, tenant, index)

        return await self._store.read(read)

    async def prove(
        self, event_id: EntryId, *, tenant: TenantId, size: int | None = None, fresh: bool = False
    ) -> InclusionProof:
        """That an entry is in the log, under the newest checkpoint or that of `size`.

        Where witnesses are required, under the newest they have seen. `fresh` sequences and signs first, if need be. Raises PL-609 while the entry
        is durable but under no checkpoint yet, PL-601 if there is no such entry.
        """
        checked_tenant(tenant)
        if fresh:
            await self.sequence_once()
            await self.checkpoint()
        return await self._store.read(lambda tx: self._prove(tx, rows.index_of(tx, tenant, event_id), tenant, size))

    async def prove_in_batch(
        self, event_id: EntryId, leaves: Sequence[bytes], index: int, *, tenant: TenantId, fresh: bool = False
    ) -> InclusionProof:
        """That one of these events is in the batch that an entry records, and the entry in the log. PL-608 if they are not its events."""
        batch = prove_in_batch(leaves, index)
        proof = await self.prove(event_id, tenant=tenant, fresh=fresh)
        batch.verify(proof.entry)
        return msgspec.structs.replace(proof, batch=batch)

    def _prove(self, tx: ReadTx, index: int, tenant: TenantId, size: int | None) -> InclusionProof:
        found = rows.entry_at(tx, tenant, index)
        checkpoint = self._checkpoint_for(tx, index, size)
        path = self._tree(tx, checkpoint.size).inclusion(index)
        return InclusionProof(found.body, index, path, checkpoint)

    def _checkpoint_for(self, tx: ReadTx, index: int, size: int | None) -> Checkpoint:
        row = rows.latest_checkpoint(tx, witnessed=self._required > 0) if size is None else rows.checkpoint_at(tx, size)
        if row is None and size is not None:
            raise NotFound("PL-601", f"the log has no checkpoint of size {size}")
        if row is None or row.checkpoint.size <= index:
            raise AuditError("PL-609", f"entry {index} is under no checkpoint yet")
        return row.checkpoint

    async def consistency(self, old_size: int, new_size: int | None = None) -> ConsistencyProof:
        """That the log of `old_size` is the beginning of the log of `new_size` (of the newest checkpoint, if not given)."""

        def read(tx: ReadTx) -> ConsistencyProof:
            newest = rows.latest_checkpoint(tx)
            size = new_size if new_size is not None else (newest.checkpoint.size if newest else 0)
            if size > rows.log_state(tx, self.origin).size:
                raise NotFound("PL-601", f"the log has fewer than {size} entries")
            tree = self._tree(tx, size)
            path = tree.consistency(old_size)
            return ConsistencyProof(old_size, size, self._tree(tx, old_size).root(), tree.root(), path)

        return await self._store.read(read)

    async def checkpoints(self, after: int = 0, limit: int = 100) -> list[CheckpointRow]:
        """The history: every checkpoint larger than `after`."""
        return await self._store.read(lambda tx: rows.checkpoints(tx, after, limit))

    async def file(self, path: str) -> bytes:
        """A file of the log as `files` names them, for witnesses and monitors; PL-404 if there is none."""
        return await self._store.read(lambda tx: file_at(tx, path))

    async def rotate(self, signer: SigningKey) -> None:
        """Sign with another key from here on. What the old one has signed stays verifiable; it may sign no more."""
        self._signers = log_signers(self.origin, signer)
        await asyncio.to_thread(self.sequencer.rotate, self._signers)

    async def size(self) -> int:
        """How many entries are in the tree, whoever sequences them."""
        return await self._store.read(lambda tx: rows.log_state(tx, self.origin).size)

    async def standing(self) -> LogStanding:
        """How the log stands on disk, whoever sequences and signs it."""

        def read(tx: ReadTx) -> LogStanding:
            state, newest = rows.log_state(tx, self.origin), rows.latest_checkpoint(tx)
            witnessed = rows.latest_checkpoint(tx, witnessed=True) if self._witnesses else None
            signed_size = newest.checkpoint.size if newest else 0
            return LogStanding(
                size=state.size,
                signed_size=signed_size,
                witnessed_size=witnessed.checkpoint.size if witnessed else 0,
                waiting=rows.waiting(tx, state.position),
                unsigned_since=rows.unsigned_since(tx, state, signed_size),
            )

        return await self._store.read(read)

    def status(self) -> LogStatus:
        """How the log stands in this process: plain numbers for health and metrics."""
        failure = self.sequencer.failure or self.witnessing.failure
        return LogStatus(
            size=self.sequencer.size,
            signed_size=self.sequencer.signed_size,
            failure=str(failure) if failure else None,
        )

    async def trust(self) -> Trust:
        """What a verifier needs: the log's keys of every generation, and its witnesses. Hand it on by a way that is not the log's own."""
        known = await self._store.read(rows.key_rows) or [KeyRow(0, tuple(s.key.vkey for s in self._signers), 0)]
        ends: list[int | None] = [later.since for later in known[1:]]
        logs = tuple(LogKeys(row.vkeys, end) for row, end in zip(known, [*ends, None], strict=True))
        if not self._witnesses:
            return Trust(logs).checked()
        names = Trust.of(self._signers[0].key, witnesses=tuple(w.key for w in self._witnesses), k=self._required or 1)
        return msgspec.structs.replace(names, logs=logs, quorum="all" if self._required else "none").checked()

    def _tree(self, tx: ReadTx, size: int) -> TileTree:
        return TileTree(rows.tile_reader(tx), size, self._full, read_all=rows.tiles_reader(tx))


async def open_log(store: Store, clock: Clock, keystore: Keystore, origin: str, **options: Any) -> Audit:
    """The log with its key from the keystore; the first time, with a new one. A rotation elsewhere is noticed at the next signature."""

    def newest() -> SigningKey:
        return of_kind(keystore.get_now(PLATFORM_TENANT, key_name(origin), fresh=True), SigningKey, key_name(origin))

    return Audit(store, clock, await log_key(keystore, origin), origin, renew=newest, **options)


def key_name(origin: str) -> str:
    return f"audit/{origin}"


async def log_key(keystore: Keystore, origin: str) -> SigningKey:
    return await keystore.ensure(
        PLATFORM_TENANT, key_name(origin), SigningKey, lambda: SigningKey.generate(keystore.suites.signature)
    )


async def rotate_log_key(audit: Audit, keystore: Keystore) -> None:
    """A new version of the log's key, used at once and from then on by every process.

    A crash on the way leaves the old key signing, or the new one in the keystore: then whoever opens the log next takes it up.
    """
    await keystore.rotate(PLATFORM_TENANT, key_name(audit.origin), SigningKey.generate(keystore.suites.signature))
    await audit.rotate(await log_key(keystore, audit.origin))
