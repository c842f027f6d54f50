"""Idempotency: the same request twice has one effect and one answer, exactly, for as long as its window lasts.

    guard = IdempotencyGuard()
    once = guard.once(tx, tenant, ProductId.RUNTIME, "spawn", key, payload, SPAWN_WINDOW_NS, now, effect)
    once.result, once.first

The key is written in the transaction of the effect, so both are there or neither is; a failed effect burns no key.
Same key and same payload: the first result. Same key, other payload: PL-410. Still open elsewhere: PL-411.

INVARIANT: within its window, and while its operation is open, a key has had exactly one effect.
Keys of a scope lie in the order of their bytes and nothing else is indexed: UUIDv7 keys (16 bytes) are appended, and
pruning walks round the table like the hand of a clock instead of keeping an index over expiry.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Sequence
from enum import IntEnum
from functools import lru_cache
from itertools import chain
from typing import Any, Final, LiteralString

import msgspec

from creto.common import wire
from creto.common.errors import IdempotencyConflict, InvalidInput, ProductId
from creto.common.fingerprint import fingerprint
from creto.common.ids import TenantId, checked_name, checked_tenant
from creto.common.limits import ID_CHARS_MAX, IDEMPOTENCY_LOCK_S, IDEMPOTENCY_SWEEP, INTEGER_MAX
from creto.common.timestamps import DAY, HOUR, SECOND
from creto.store.types import ReadTx, Tx

SPAWN_WINDOW_NS: Final = 1 * HOUR
INGEST_WINDOW_NS: Final = 7 * DAY
APPROVAL_WINDOW_NS: Final = 24 * HOUR
MESSAGE_WINDOW_NS: Final = 30 * DAY

RETRY_NS: Final = SECOND // 10
PRINT_BYTES: Final = 17  # the algorithm's byte and 128 bits: enough to tell two payloads of one caller apart
SCOPE_BYTES: Final = 13
CHUNK: Final = 200  # rows of one multi-row INSERT: a thousand parameters
UUID7 = re.compile(r"[0-7][0-9a-f]{7}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TEXT_KEY = b"\xff"  # no UUIDv7 of this age begins with it

# A key whose window is over is as good as a new one; an open or locked one is not (a lock's own time is in expires_at).
TAKE: LiteralString = (
    "INSERT INTO store_idempotency (key, payload, state, expires_at, lock, result) VALUES (?, ?, ?, ?, ?, NULL)"
    " ON CONFLICT (key) DO UPDATE SET payload = excluded.payload, state = excluded.state,"
    " expires_at = excluded.expires_at, lock = excluded.lock, result = NULL"
    " WHERE store_idempotency.expires_at <= ? AND store_idempotency.state <> 2 RETURNING 1"
)
FIND: LiteralString = "SELECT payload, state, expires_at, result FROM store_idempotency WHERE key = ?"
SWEEP: LiteralString = "SELECT key, state, expires_at FROM store_idempotency WHERE key > ? ORDER BY key LIMIT ?"


class KeyState(IntEnum):
    DONE = 0  # the effect is there; the key lives until it expires
    LOCKED = 1  # somebody was told to proceed and has not stored a result
    OPEN = 2  # the effect is there and its operation goes on: the key does not expire


class Once(msgspec.Struct, frozen=True):
    """The result of the operation, and whether this call had the effect."""

    result: bytes
    first: bool


class AlreadyProcessed(msgspec.Struct, frozen=True, tag="already_processed"):
    result: bytes


class ProceedWithLock(msgspec.Struct, frozen=True, tag="proceed_with_lock"):
    """Do it, then `store_result` with this lock; after IDEMPOTENCY_LOCK_S somebody else may."""

    lock: bytes


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """Somebody else is at it; ask again after so long."""

    after_ns: int = RETRY_NS


IdempotencyCheck = AlreadyProcessed | ProceedWithLock | Retry


class Item(msgspec.Struct, frozen=True):
    """One of many: its key, its payload, and what a repetition shall get back."""

    key: str
    payload: bytes
    result: bytes = b""


class Seen(msgspec.Struct, frozen=True):
    """What became of an item: `first` has to be carried out; a repetition has the stored result or is a conflict."""

    first: bool
    conflict: bool = False
    result: bytes = b""


@lru_cache(maxsize=4096)
def scope(tenant: TenantId, product: ProductId, operation: str) -> bytes:
    """What a key belongs to, the beginning of its row's key: 96 bits, so that nobody finds a name to meet another's."""
    names = [checked_tenant(tenant), ProductId(product), checked_name(operation, "operation")]
    return fingerprint(wire.encode(names))[:SCOPE_BYTES]


def packed(prefix: bytes, key: str) -> bytes:
    """The key as it is stored: the 16 bytes of a UUIDv7, or the text itself behind a mark. One key has one spelling."""
    if UUID7.fullmatch(key):
        return prefix + bytes.fromhex(key.replace("-", ""))
    return prefix + TEXT_KEY + checked_name(key, "idempotency_key", chars_max=ID_CHARS_MAX).encode()


def payload_print(payload: bytes) -> bytes:
    return fingerprint(payload)[:PRINT_BYTES]


class IdempotencyGuard:
    """Decides, inside a transaction, whether an operation has happened already."""

    def once(
        self,
        tx: Tx,
        tenant: TenantId,
        product: ProductId,
        operation: str,
        key: str,
        payload: bytes,
        window_ns: int,
        now: int,
        effect: Callable[[Tx], bytes],
        *,
        open: bool = False,
    ) -> Once:
        """Have the effect, unless it was had. With `open` the key stays until `closed` says the operation ended."""
        code, mark = packed(scope(tenant, product, operation), key), payload_print(payload)
        state = KeyState.OPEN if open else KeyState.DONE
        if tx.all(TAKE, code, mark, state, expiry(now, window_ns), None, now):
            result = effect(tx)
            if result:
                tx.run("UPDATE store_idempotency SET result = ? WHERE key = ?", result, code)
            return Once(result, True)
        return Once(self._first_result(tx, code, mark, key), False)

    def recall(
        self, tx: ReadTx, tenant: TenantId, product: ProductId, operation: str, key: str, payload: bytes, now: int
    ) -> Once | None:
        """The first result, if there is one: a read that spares the transaction of a repetition."""
        row = tx.one(FIND, packed(scope(tenant, product, operation), key))
        if row is None or row[1] == KeyState.LOCKED or (row[1] == KeyState.DONE and row[2] <= now):
            return None
        if row[0] != payload_print(payload):
            raise conflict(key)
        return Once(row[3] or b"", False)

    def closed(
        self, tx: Tx, tenant: TenantId, product: ProductId, operation: str, key: str, window_ns: int, now: int
    ) -> None:
        """The operation has ended: from here the key lives for its window, so that late repetitions still find it."""
        tx.run(
            "UPDATE store_idempotency SET state = 0, expires_at = ? WHERE key = ? AND state = 2",
            expiry(now, window_ns),
            packed(scope(tenant, product, operation), key),
        )

    def check(
        self, tx: Tx, tenant: TenantId, product: ProductId, operation: str, key: str, payload: bytes, now: int
    ) -> IdempotencyCheck:
        """For effects outside the database: proceed under a lock, then `store_result`; or learn what came of it."""
        code, mark = packed(scope(tenant, product, operation), key), payload_print(payload)
        lock = uuid.uuid4().bytes
        if tx.all(TAKE, code, mark, KeyState.LOCKED, now + IDEMPOTENCY_LOCK_S * SECOND, lock, now):
            return ProceedWithLock(lock)
        before, state, expires_at, result = self._found(tx, code)
        if before != mark:
            raise conflict(key)
        if state == KeyState.LOCKED:
            return Retry(min(RETRY_NS, max(1, expires_at - now)))
        return AlreadyProcessed(result or b"")

    def store_result(
        self,
        tx: Tx,
        tenant: TenantId,
        product: ProductId,
        operation: str,
        key: str,
        lock: bytes,
        result: bytes,
        window_ns: int,
        now: int,
    ) -> None:
        """Say what came of it. Who lost the lock to another by taking too long is refused (PL-411)."""
        held = tx.run(
            "UPDATE store_idempotency SET state = 0, lock = NULL, result = ?, expires_at = ?"
            " WHERE key = ? AND state = 1 AND lock = ?",
            result,
            expiry(now, window_ns),
            packed(scope(tenant, product, operation), key),
            lock,
        )
        if not held:
            raise IdempotencyConflict("PL-411", f"the lock on {key!r} was lost to another")

    def release(self, tx: Tx, tenant: TenantId, product: ProductId, operation: str, key: str, lock: bytes) -> None:
        """It failed and had no effect: the key is free again."""
        tx.run(
            "DELETE FROM store_idempotency WHERE key = ? AND state = 1 AND lock = ?",
            packed(scope(tenant, product, operation), key),
            lock,
        )

    def once_many(
        self,
        tx: Tx,
        tenant: TenantId,
        product: ProductId,
        operation: str,
        items: Sequence[Item],
        window_ns: int,
        now: int,
    ) -> list[Seen]:
        """Which of these are new? The caller has the effects of the first ones in the same transaction.

        Of items with the same key within the batch, the first counts.
        """
        prefix, expires_at = scope(tenant, product, operation), expiry(now, window_ns)
        keys = [(packed(prefix, item.key), payload_print(item.payload)) for item in items]
        rows = {
            code: (code, mark, KeyState.DONE, expires_at, item.result or None)
            for (code, mark), item in zip(reversed(keys), reversed(items), strict=True)
        }
        fresh = self._take_many(tx, sorted(rows.values()), now)
        if len(fresh) == len(items):
            return [FIRST] * len(items)
        return self._sorted_out(tx, keys, rows, fresh)

    def _take_many(self, tx: Tx, rows: Sequence[tuple[Any, ...]], now: int) -> set[bytes]:
        """Take what is free; sorted, so that batches with the same keys never wait for one another in a circle."""
        fresh: set[bytes] = set()
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            fresh.update(bytes(key) for (key,) in tx.all(_insert(len(chunk)), *chain.from_iterable(chunk), now))
        return fresh

    def _sorted_out(
        self,
        tx: Tx,
        keys: Sequence[tuple[bytes, bytes]],
        rows: dict[bytes, tuple[Any, ...]],
        fresh: set[bytes],
    ) -> list[Seen]:
        """Some keys were there before, or twice in the batch: to each its first result, or the conflict."""
        known = {code: (row[1], row[2], row[4]) for code, row in rows.items() if code in fresh}
        old = [code for code in rows if code not in fresh]
        for start in range(0, len(old), CHUNK):
            chunk = old[start : start + CHUNK]
            for code, mark, state, result in tx.all(_select(len(chunk)), *chunk):
                known[bytes(code)] = (bytes(mark), state, result)
        seen = []
        for code, mark in keys:
            before, state, result = known[code]
            if code in fresh:
                fresh.discard(code)
                seen.append(FIRST)
            else:
                seen.append(Seen(False, before != mark or state == KeyState.LOCKED, result or b""))
        return seen

    def prune(self, tx: Tx, now: int, after: bytes = b"", limit: int = IDEMPOTENCY_SWEEP) -> bytes:
        """Look at the next `limit` keys and drop those whose time is over; where to go on: b"" when it is round."""
        rows = tx.all(SWEEP, after, limit)
        over = [(key,) for key, state, expires_at in rows if state != KeyState.OPEN and expires_at <= now]
        tx.many("DELETE FROM store_idempotency WHERE key = ?", over)
        return bytes(rows[-1][0]) if len(rows) == limit else b""

    def _found(self, tx: ReadTx, code: bytes) -> tuple[bytes, int, int, bytes | None]:
        row = tx.one(FIND, code)
        if row is None:
            raise IdempotencyConflict("PL-411", "the idempotency key was released in this moment")
        return bytes(row[0]), row[1], row[2], row[3]

    def _first_result(self, tx: ReadTx, code: bytes, mark: bytes, key: str) -> bytes:
        before, state, _, result = self._found(tx, code)
        if before != mark:
            raise conflict(key)
        if state == KeyState.LOCKED:
            raise IdempotencyConflict("PL-411", f"the operation with the idempotency key {key!r} is still open")
        return result or b""


FIRST: Final = Seen(True)


def conflict(key: str) -> IdempotencyConflict:
    return IdempotencyConflict(
        "PL-410",
        f"the idempotency key {key!r} was used with another payload",
        field="idempotency_key",
        got=key,
        existing_id=key,
    )


def expiry(now: int, window_ns: int) -> int:
    if window_ns <= 0:
        raise InvalidInput.of("window_ns", got=window_ns, expected="a positive number of nanoseconds")
    return min(INTEGER_MAX, now + window_ns)


@lru_cache(maxsize=CHUNK)
def _insert(count: int) -> LiteralString:
    """The statement that takes `count` keys at once."""
    values = ", ".join(["(?, ?, ?, ?, ?)"] * count)
    return (
        f"INSERT INTO store_idempotency (key, payload, state, expires_at, result) VALUES {values}"
        " ON CONFLICT (key) DO UPDATE SET payload = excluded.payload, state = excluded.state,"
        " expires_at = excluded.expires_at, lock = NULL, result = excluded.result"
        " WHERE store_idempotency.expires_at <= ? AND store_idempotency.state <> 2 RETURNING key"
    )


@lru_cache(maxsize=CHUNK)
def _select(count: int) -> LiteralString:
    marks = ", ".join(["?"] * count)
    return f"SELECT key, payload, state, result FROM store_idempotency WHERE key IN ({marks})"
