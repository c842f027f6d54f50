"""The keystore: private keys at rest, sealed with a key-encryption key that the database never sees.

    keystore = Keystore(store, KekSource.parse("file:/etc/creto/kek").load(), clock)
    await keystore.put("default", "notary", SigningKey.generate())
    key = await keystore.signing_key("default", "notary")
    await keystore.rotate("default", "notary")                # a new version; the old one still opens and verifies

A new key-encryption key: give it with the old one as `previous` to every process, `rewrap()`, then drop the old one.

INVARIANT: a sealed row opens only as the tenant, key id, version and public key it was stored for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn, TypeVar, assert_never

from creto.common import wire
from creto.common.errors import AlreadyExists, CryptoError, InvalidInput, NotFound
from creto.common.ids import KeyId, TenantId, checked_name, checked_tenant
from creto.common.limits import KEYS_CACHED_MAX, PAGE_ITEMS_DEFAULT, REWRAP_ROWS_MAX
from creto.common.paging import checked_limit
from creto.common.timestamps import Clock
from creto.platform.crypto import store as rows
from creto.platform.crypto.aead import KEY_BYTES, checked_key
from creto.platform.crypto.hashes import random_bytes
from creto.platform.crypto.kek import Kek
from creto.platform.crypto.kem import KemPrivateKey
from creto.platform.crypto.keys import SigningKey
from creto.platform.crypto.suites import Suites
from creto.platform.crypto.types import (
    KemSuite,
    KeyKind,
    KeyRecord,
    SignatureSuite,
    any_suite,
    strength,
)
from creto.store.types import Store, Tx

CHANGED = "crypto.key_changed"

K = TypeVar("K")


class SecretKey:
    """32 random bytes for sealing or authentication; `reveal` is the only way to them."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        self._key = checked_key(key)

    @staticmethod
    def generate() -> SecretKey:
        return SecretKey(random_bytes(KEY_BYTES))

    def reveal(self) -> bytes:
        return self._key

    def __repr__(self) -> str:
        return "SecretKey(…)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret key is not pickled: it would leave unsealed")


StoredKey = SigningKey | KemPrivateKey | SecretKey
Made = TypeVar("Made", SigningKey, KemPrivateKey, SecretKey)
Name = tuple[str, str]


class Keystore:
    """`clock` stamps the records; without one they carry no time."""

    def __init__(self, store: Store, kek: Kek, clock: Clock | None = None, *, previous: Sequence[Kek] = ()) -> None:
        self._store = store
        self._kek = kek
        self._keks = {known.id: known for known in (*previous, kek)}
        self._clock = clock
        self.suites = Suites()  # what new bytes are signed and sealed with
        self._lock = threading.Lock()
        self._cache: OrderedDict[Name, StoredKey] = OrderedDict()
        self._generation = 0
        store.on_signal(CHANGED, self._forget)
        store.on_signal_lost(self._forget_all)

    async def check(self) -> None:
        """Whether every stored key can be opened here: for start-up and `doctor`. Raises PL-215."""
        for kek_id in await self._store.read(rows.kek_ids):
            self._kek_of(kek_id)

    async def put(self, tenant: str, key_id: str, key: StoredKey) -> KeyRecord:
        """Store a new key. Raises AlreadyExists PL-409: an existing one is replaced with `rotate`."""
        name = checked(tenant, key_id)

        def insert(tx: Tx) -> KeyRecord:
            if rows.latest(tx, *name) is not None:
                raise AlreadyExists("PL-409", f"key {key_id} exists already", field="key_id", got=key_id)
            return self._insert(tx, *name, 1, key)

        return await self._store.write(insert)

    async def ensure(self, tenant: str, key_id: str, kind: type[Made], make: Callable[[], Made] | None = None) -> Made:
        """The key of that name, made on first use. Processes that start together agree on one."""
        try:
            found = await self.get(tenant, key_id)
        except NotFound:
            with suppress(AlreadyExists):  # another was first; its key is the one
                await self.put(tenant, key_id, make() if make else kind.generate())
            found = await self.get(tenant, key_id)
        return of_kind(found, kind, key_id)

    async def get(self, tenant: str, key_id: str, version: int | None = None) -> StoredKey:
        """The newest version, or the one asked for. Raises NotFound PL-214, or CryptoError PL-215 under another key-encryption key."""
        name = checked(tenant, key_id)
        if version is not None:
            return self._open(key_id, await self._store.read(lambda tx: rows.one(tx, *name, version)))
        cached = self._cached(name)
        if cached is not None:
            return cached
        generation = self._generation
        return self._keep(
            name, self._open(key_id, await self._store.read(lambda tx: rows.latest(tx, *name))), generation
        )

    def get_now(self, tenant: str, key_id: str, *, fresh: bool = False) -> StoredKey:
        """As `get`, on the calling thread; `fresh` reads the row also if we remember a key."""
        name = checked(tenant, key_id)
        cached = None if fresh else self._cached(name)
        if cached is not None:
            return cached
        generation = self._generation
        return self._keep(name, self._open(key_id, self._store.read_now(lambda tx: rows.latest(tx, *name))), generation)

    async def signing_key(self, tenant: str, key_id: str, version: int | None = None) -> SigningKey:
        return of_kind(await self.get(tenant, key_id, version), SigningKey, key_id)

    async def kem_key(self, tenant: str, key_id: str, version: int | None = None) -> KemPrivateKey:
        return of_kind(await self.get(tenant, key_id, version), KemPrivateKey, key_id)

    async def secret_key(self, tenant: str, key_id: str, version: int | None = None) -> SecretKey:
        return of_kind(await self.get(tenant, key_id, version), SecretKey, key_id)

    async def record(self, tenant: str, key_id: str) -> KeyRecord:
        """The newest version as it may be shown."""
        name = checked(tenant, key_id)
        found = await self._store.read(lambda tx: rows.latest(tx, *name))
        if found is None:
            raise missing(key_id)
        return found[0]

    async def rotate(self, tenant: str, key_id: str, key: StoredKey | None = None) -> KeyRecord:
        """A new version: the given key, or a fresh one of the same suite. Raises PL-219 for a weaker suite, PL-214 if there is none."""
        name = checked(tenant, key_id)

        def append(tx: Tx) -> KeyRecord:
            found = rows.latest(tx, *name)
            if found is None:
                raise missing(key_id)
            old = found[0]
            new = fresh(old) if key is None else key
            refuse_downgrade(old, new)
            record = self._insert(tx, *name, old.version + 1, new)
            tx.signal(CHANGED, signal_of(*name))
            return record

        record = await self._store.write(append)
        self._forget(signal_of(*name))
        return record

    async def list(
        self, tenant: str, *, after: KeyRecord | None = None, limit: int = PAGE_ITEMS_DEFAULT
    ) -> Sequence[KeyRecord]:
        """All versions of all keys, by id and version; the next page begins `after` the last record of this one."""
        checked_tenant(tenant)
        limit = checked_limit(limit)
        start = (after.key_id, after.version) if after else ("", 0)
        return await self._store.read(lambda tx: rows.page(tx, TenantId(tenant), start, limit))

    async def remove(self, tenant: str, key_id: str, version: int | None = None) -> int:
        """Forget a key, or one version of it, for good: what only it could open is lost. The number of versions removed."""
        name = checked(tenant, key_id)

        def delete(tx: Tx) -> int:
            removed = rows.delete(tx, *name, version)
            if not removed:
                raise missing(key_id)
            tx.signal(CHANGED, signal_of(*name))
            return removed

        removed = await self._store.write(delete)
        self._forget(signal_of(*name))
        return removed

    async def rewrap(self) -> int:
        """Seal every key with the current key-encryption key, in small transactions; may be stopped and resumed. How many it was."""
        total = 0
        while True:
            done = await self._store.write(self._rewrap_some)
            total += done
            if done < REWRAP_ROWS_MAX:
                return total

    def _rewrap_some(self, tx: Tx) -> int:
        found = rows.sealed_by_others(tx, self._kek.id, REWRAP_ROWS_MAX)
        for record, sealed in found:
            secret = self._secret(record, sealed)
            rows.rewrap(tx, record, self._kek.id, self._kek.seal(secret, bound(record), self.suites.aead))
        return len(found)

    def _insert(self, tx: Tx, tenant: TenantId, key_id: KeyId, version: int, key: StoredKey) -> KeyRecord:
        kind, suite, public, secret = parts(key)
        now = self._clock.now() if self._clock else None
        record = KeyRecord(tenant, key_id, version, kind, suite, public, self._kek.id, now)
        rows.insert(tx, record, self._kek.seal(secret, bound(record), self.suites.aead))
        return record

    def _open(self, key_id: str, found: rows.Sealed | None) -> StoredKey:
        if found is None:
            raise missing(key_id)
        record, sealed = found
        return loaded(record.kind, self._secret(record, sealed))

    def _secret(self, record: KeyRecord, sealed: bytes) -> bytes:
        try:
            return self._kek_of(record.kek_id).open(sealed, bound(record))
        except CryptoError as error:
            if error.code == "PL-215":
                raise
            message = f"key {record.key_id} version {record.version} is damaged or was altered"
            raise CryptoError("PL-215", message, caused_by=error) from error

    def _kek_of(self, kek_id: str) -> Kek:
        if kek_id not in self._keks:
            got, expected = f"keys sealed with {kek_id}", f"{' or '.join(sorted(self._keks))}"
            raise CryptoError("PL-215", "keys are sealed with another key-encryption key", got=got, expected=expected)
        return self._keks[kek_id]

    def _cached(self, name: Name) -> StoredKey | None:
        with self._lock:
            key = self._cache.get(name)
            if key is not None:
                self._cache.move_to_end(name)
            return key

    def _keep(self, name: Name, key: StoredKey, generation: int) -> StoredKey:
        """Unless something changed while the row was read: then what we hold may be old already."""
        with self._lock:
            if generation == self._generation:
                self._cache[name] = key
                if len(self._cache) > KEYS_CACHED_MAX:
                    self._cache.popitem(last=False)
        return key

    def _forget_all(self) -> None:
        with self._lock:
            self._generation += 1
            self._cache.clear()

    def _forget(self, payload: str) -> None:
        tenant, key_id = wire.decode(payload, tuple[str, str], what="signal")
        with self._lock:
            self._generation += 1
            self._cache.pop((tenant, key_id), None)


def checked(tenant: str, key_id: str) -> tuple[TenantId, KeyId]:
    return checked_tenant(tenant), KeyId(checked_name(key_id, "key_id"))


def signal_of(tenant: str, key_id: str) -> str:
    return wire.encode((tenant, key_id)).decode()


def bound(record: KeyRecord) -> bytes:
    """What the seal authenticates besides the secret: a row moved to another place does not open."""
    fields = (record.tenant, record.key_id, record.version, record.kind, record.suite, record.public)
    return b"creto/keystore/v1" + wire.encode(fields)


def parts(key: StoredKey) -> tuple[KeyKind, int, bytes, bytes]:
    """Kind, suite, public bytes, secret bytes."""
    match key:
        case SigningKey():
            return KeyKind.SIGNING, key.suite, key.public.to_bytes(), key.private_bytes()
        case KemPrivateKey():
            return KeyKind.KEM, key.suite, key.public.to_bytes(), key.private_bytes()
        case SecretKey():
            return KeyKind.SECRET, 0, b"", key.reveal()
        case _:
            assert_never(key)


def loaded(kind: KeyKind, secret: bytes) -> StoredKey:
    match kind:
        case KeyKind.SIGNING:
            return SigningKey.from_private_bytes(secret)
        case KeyKind.KEM:
            return KemPrivateKey.from_private_bytes(secret)
        case KeyKind.SECRET:
            return SecretKey(secret)
        case _:
            assert_never(kind)


def fresh(old: KeyRecord) -> StoredKey:
    match old.kind:
        case KeyKind.SIGNING:
            return SigningKey.generate(SignatureSuite(old.suite))
        case KeyKind.KEM:
            return KemPrivateKey.generate(KemSuite(old.suite))
        case KeyKind.SECRET:
            return SecretKey.generate()
        case _:
            assert_never(old.kind)


def refuse_downgrade(old: KeyRecord, new: StoredKey) -> None:
    kind, suite, _, _ = parts(new)
    if kind != old.kind:
        raise InvalidInput.of("key", got=kind.value, expected=f"a {old.kind.value} key, as before", code="PL-216")
    if suite and strength(any_suite(suite)) < strength(any_suite(old.suite)):
        raise CryptoError.of(
            "suite", got=any_suite(suite).name, expected=f"at least {any_suite(old.suite).name}", code="PL-219"
        )


def of_kind(key: StoredKey, kind: type[K], key_id: str) -> K:
    if not isinstance(key, kind):
        raise InvalidInput.of(key_id, got=type(key).__name__, expected=kind.__name__, code="PL-216")
    return key


def missing(key_id: str) -> NotFound:
    return NotFound("PL-214", f"key {key_id} is not in the keystore", field="key_id", got=key_id)
