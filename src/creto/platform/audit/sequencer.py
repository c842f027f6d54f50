"""The sequencer: ledger rows become leaves of the tree, in the ledger's order, each once.

A step reads the tail of the ledger, hashes and folds it outside of any transaction, and then commits leaves, tiles, index and the new
state at once, provided that nobody else has moved the state in between. Checkpoints are signed beside it, never by a quiet log.

INVARIANT: `audit_log` says exactly which ledger rows are in the tree; a crash at any moment leaves it and the tree in agreement.
INVARIANT: a key signs nothing once another has taken over, in whichever process: each checkpoint is written only under the newest keys.
INVARIANT: a root is signed only if it extends the last one signed: a database that was put back makes the sequencer stop (PL-604).
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import msgspec

from creto.common.errors import AuditError, CryptoError, EnablementError
from creto.common.ids import PLATFORM_TENANT, agent_id
from creto.common.limits import SEQUENCE_AHEAD_MAX, SEQUENCE_BATCH_MAX, SEQUENCE_STEP, STORE_RECHECK_S
from creto.common.timestamps import MILLISECOND, SECOND, Clock, ConsensusTimestamp
from creto.platform.audit import store as rows
from creto.platform.audit.checkpoint import Checkpoint
from creto.platform.audit.events import LogKeyRotated
from creto.platform.audit.index import indexed
from creto.platform.audit.keys import NoteSigner
from creto.platform.audit.store import KeyRow, LogState
from creto.platform.audit.tiles import WIDTH, TileGrowth, TileTree
from creto.platform.crypto import merkle
from creto.store.types import EngineName, Isolation, LedgerRow, ReadTx, Store, Tail, Tx

log = logging.getLogger("creto.audit")

FINAL_ROUNDS_MAX = 100  # on stopping: others may go on writing for ever


Renew = Callable[[], Sequence[NoteSigner]]  # the log's newest key, read anew


class Cadence(msgspec.Struct, frozen=True):
    """How often. A log that did not grow signs nothing."""

    rest_ns: int = (
        50 * MILLISECOND
    )  # after a step, so that the next one gathers entries: each step costs the writer a commit
    poll_ns: int = 50 * MILLISECOND  # between two looks at a quiet ledger, where other processes wake nobody here
    checkpoint_ns: int = SECOND  # between two checkpoints of a growing log


class Batch(msgspec.Struct, frozen=True):
    """What one step adds, ready to be written."""

    before: LogState
    after: LogState
    growth: TileGrowth
    tiles: dict[tuple[int, int], bytes]
    leaves: list[tuple[Any, ...]]
    texts: list[tuple[int, str]]
    spans: dict[int, tuple[int, int]]


def prepared(state: LogState, growth: TileGrowth, tail: Sequence[LedgerRow], *, terms: bool) -> Batch:
    """Grow the tree by these rows. Pure but for `growth`, which it moves on."""
    leaves, texts = [], []
    spans: dict[int, tuple[int, int]] = {}
    for index, row in enumerate(tail, state.size):
        position, entry = row.position, indexed(row.body)
        leaves.append((index, position.epoch, position.seq, row.event_id, *entry.columns()))
        texts.append((index, entry.text(terms=terms)))
        time, tile = entry.timestamp, index // WIDTH
        low, high = spans.get(tile, (time, time))
        if not low < time < high:
            spans[tile] = min(low, time), max(high, time)
    leaf_hash = merkle.leaf_hash
    tiles = growth.append([leaf_hash(row.body) for row in tail])
    return Batch(state, LogState(state.size + len(tail), tail[-1].position), growth, tiles, leaves, texts, spans)


class Sequencer:
    """Steps by hand with `step`, or on its own thread between `start` and `stop`."""

    def __init__(
        self, store: Store, clock: Clock, origin: str, signers: Sequence[NoteSigner], cadence: Cadence | None = None,
        renew: Renew | None = None,
    ) -> None:  # fmt: skip
        self.origin = origin
        self.cadence = cadence or Cadence()
        self._store = store
        self._clock = clock
        self._signers = tuple(signers)
        self._renew = renew
        self._state: LogState | None = None
        self._growth = TileGrowth()
        self._signed: Checkpoint | None = None
        self._signed_at = 0
        self._introduced = False
        self._step = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.failure: Exception | None = None
        self._listeners: list[Callable[[Checkpoint], None]] = []
        store.on_appended(Tail.LEDGER, self._wake.set)
        self._told = store.on_change(self._wake.set)

    def step(self, limit: int = SEQUENCE_BATCH_MAX) -> int:
        """Sequence one batch; how many leaves it had. 0 also when another process was faster."""
        with self._step:
            batch = self._next(*self._loaded(), limit)
            if batch is None:
                return 0
            return self._settled(batch, self._submitted(batch))

    def drain(self, limit: int = SEQUENCE_BATCH_MAX) -> int:
        """Sequence all that waits: while some batches are written, the next is prepared. How many leaves there were."""
        with self._step:
            total = 0
            while True:
                added, lost = self._stream(limit)
                total += added
                if not lost:
                    return total

    def _stream(self, limit: int) -> tuple[int, bool]:
        """How many leaves were added, and whether another process came in between."""
        total = 0
        writing: deque[tuple[Batch, Future[bool]]] = deque()
        state, growth = self._loaded()
        while True:
            batch = self._next(state, growth, limit)
            while writing and (batch is None or len(writing) >= SEQUENCE_AHEAD_MAX):
                added = self._settled(*writing.popleft())
                total += added
                if not added:  # what was prepared on top of it finds another state, too, and changes nothing
                    return total, True
            if batch is None:
                return total, False
            writing.append((batch, self._submitted(batch)))
            state, growth = batch.after, batch.growth

    def _loaded(self) -> tuple[LogState, TileGrowth]:
        if not self._introduced:
            self._introduce()
        if self._state is None:
            self._store.read_now(self._load)
        assert self._state is not None
        return self._state, self._growth

    def _introduce(self) -> None:
        """Note our keys as the log's; if another process has put newer ones in their place, take up those."""
        if not introduce(self._store, self.origin, self._signers, self._clock.now()):
            self._signers = tuple(self._renew()) if self._renew is not None else self._signers
            if not introduce(self._store, self.origin, self._signers, self._clock.now()):
                raise rotated_away(self._signers)
        self._introduced = True

    def _next(self, state: LogState, growth: TileGrowth, limit: int) -> Batch | None:
        tail = self._store.read_now(lambda tx: tx.ledger_tail(state.position, limit))
        terms = self._store.engine is EngineName.SQLITE
        return prepared(state, growth.copy(), tail, terms=terms) if tail else None

    def _submitted(self, batch: Batch) -> Future[bool]:
        return self._store.submit(lambda tx: write(tx, self.origin, batch), isolation=Isolation.READ_COMMITTED)

    def _settled(self, batch: Batch, written: Future[bool]) -> int:
        """Move on once the batch is on disk; if its place was taken, start anew from what is there."""
        try:
            done = written.result()
        except EnablementError:
            self._state = None
            raise
        if not done:
            self._state = None
            return 0
        self._state, self._growth = batch.after, batch.growth
        return len(batch.leaves)

    def _load(self, tx: ReadTx) -> None:
        """Take up the work of whoever sequenced before, and trust it only as far as it agrees with what was signed."""
        state = rows.log_state(tx, self.origin)
        read = rows.tile_reader(tx)
        signed = rows.latest_checkpoint(tx)
        known = (
            self._signed if signed is None else max((signed.checkpoint, self._signed or signed.checkpoint), key=size_of)
        )
        if known is not None:
            if known.size > state.size:
                raise put_back(f"{state.size} entries", f"the {known.size} that were signed")
            if TileTree(read, known.size).root() != known.root:
                raise put_back("another root", f"the root that was signed at size {known.size}")
        self._growth = TileGrowth.load(read, state.size)
        self._state = state
        self._signed = known
        self._signed_at = signed.time if signed else 0

    def checkpoint(self) -> Checkpoint | None:
        """Sign the tree as it is; None if it is empty. The last checkpoint if it has not grown."""
        with self._step:
            _, growth = self._loaded()
            size, root = growth.size, growth.root()
            if not size or (self._signed is not None and self._signed.size >= size):
                return self._signed
            self._check_extends(size, root)
            now = self._clock.now()
            head = Checkpoint(self.origin, size, root)
            signed = self._signed_by_ours(head, now)
            if signed is None:  # another process has rotated the key meanwhile
                self._introduce()
                signed = self._signed_by_ours(head, now)
            if signed is None:
                raise rotated_away(self._signers)
            self._signed, self._signed_at = signed, now
        for listener in self._listeners:
            listener(signed)
        return signed

    def _signed_by_ours(self, head: Checkpoint, now: ConsensusTimestamp) -> Checkpoint | None:
        """The checkpoint, signed and on disk; None if our keys are not the log's any more."""
        signers = self._signers
        signed = head.signed(*(signer.sign(head, now) for signer in signers))

        def put(tx: Tx) -> bool:
            tx.lock(rows.LOCK)
            if rows.key_rows(tx)[-1].vkeys != vkeys_of(signers):
                return False
            rows.put_checkpoint(tx, signed, now)
            return True

        return signed if self._store.submit(put).result() else None

    def on_checkpoint(self, listener: Callable[[Checkpoint], None]) -> None:
        """Call `listener` with each checkpoint that is signed here, on the thread that signed it."""
        self._listeners.append(listener)

    def rotate(self, signers: Sequence[NoteSigner]) -> None:
        """Sign what there is with the old keys, and from here on with the new ones."""
        self.drain()
        self.checkpoint()
        with self._step:
            self._signers, self._introduced = tuple(signers), False
            self._loaded()

    @property
    def size(self) -> int:
        return self._growth.size

    @property
    def signed_size(self) -> int:
        return self._signed.size if self._signed else 0

    def _check_extends(self, size: int, root: bytes) -> None:
        """What C2SP demands of a log: never sign what is not consistent with the last one signed."""
        last = self._signed
        if last is None:
            return
        proof = self._store.read_now(lambda tx: TileTree(rows.tile_reader(tx), size).consistency(last.size))
        try:
            merkle.verify_consistency(last.size, size, last.root, root, proof)
        except CryptoError as error:
            raise put_back("a tree that does not extend it", f"the root that was signed at size {last.size}") from error

    def due(self) -> bool:
        """Whether the tree has grown and the last checkpoint is old enough."""
        return self.size > self.signed_size and self._clock.now() - self._signed_at >= self.cadence.checkpoint_ns

    # The thread

    def start(self) -> None:
        if self._thread is None:
            self._stopping.clear()
            self._thread = threading.Thread(target=self._run, name="creto-audit-sequence", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Finish the step at hand, sequence what waits, sign it."""
        if self._thread is None:
            return
        self._stopping.set()
        self._wake.set()
        self._thread.join()
        self._thread = None

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.clear()  # before looking: what is committed from here on wakes us again
            if self._attempt():
                self._stopping.wait(self.cadence.rest_ns / SECOND)
            else:
                quiet = self._told and self.size == self.signed_size  # else a checkpoint is to be signed soon
                self._wake.wait(STORE_RECHECK_S if quiet else self.cadence.poll_ns / SECOND)
        for _ in range(FINAL_ROUNDS_MAX):
            if not self._attempt():
                break
        self._attempt(final=True)

    def _attempt(self, *, final: bool = False) -> int:
        """What waits, and a checkpoint if one is due. A failure is told by `status`, and tried again after the usual wait."""
        try:
            count = self.step(SEQUENCE_STEP)
            if count == SEQUENCE_STEP:  # a backlog: larger batches, the next prepared while one is written
                count += self.drain()
            if final or self.due():
                self.checkpoint()
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must live on and tell
            if str(error) != str(self.failure):
                log.error("the audit log cannot go on: %s", error)  # noqa: TRY400 - the cause is in the error
            self.failure = error
            self._state = None
            return 0
        self.failure = None
        return count


def write(tx: Tx, origin: str, batch: Batch) -> bool:
    """All of a batch or nothing; False if the state is no longer the one it was made for."""
    tx.lock(rows.LOCK)
    if rows.log_state(tx, origin) != batch.before:
        return False
    rows.put_leaves(tx, batch.leaves, batch.texts)
    rows.put_tiles(tx, batch.tiles)
    rows.put_spans(tx, batch.spans)
    rows.put_log_state(tx, origin, batch.after)
    return True


def introduce(store: Store, origin: str, signers: Sequence[NoteSigner], now: ConsensusTimestamp) -> bool:
    """Note the keys that sign from here on. New keys begin a new generation, and the log itself says so; False for rotated ones."""
    vkeys = vkeys_of(signers)

    def note(tx: Tx) -> bool:
        tx.lock(rows.LOCK)
        known = rows.key_rows(tx)
        if any(row.vkeys == vkeys for row in known):
            return known[-1].vkeys == vkeys
        size = rows.log_state(tx, origin).size
        rows.put_key(tx, KeyRow(len(known), vkeys, size))
        if known:
            event = LogKeyRotated(origin=origin, old_vkeys=known[-1].vkeys, new_vkeys=vkeys, size=size)
            tx.record(event.entry(tenant=PLATFORM_TENANT, agent=agent_id(signers[0].key.public), timestamp=now))
        return True

    known = store.read_now(rows.key_rows)
    return True if known and known[-1].vkeys == vkeys else store.submit(note).result()


def vkeys_of(signers: Sequence[NoteSigner]) -> tuple[str, ...]:
    return tuple(signer.key.vkey for signer in signers)


def rotated_away(signers: Sequence[NoteSigner]) -> AuditError:
    return AuditError(
        "PL-600",
        "the log's key was rotated; this process still has an old one and signs nothing with it",
        got=signers[0].key.vkey[:80],
        expected="the newest key",
    )


def size_of(checkpoint: Checkpoint) -> int:
    return checkpoint.size


def put_back(got: str, expected: str) -> AuditError:
    return AuditError(
        "PL-604",
        f"the log is not the one that was signed: it has {got}, expected {expected}",
        got=got,
        expected=expected,
        hint="The database was put back or altered. Keep it, run `creto audit verify`, and restore the newest backup.",
    )
