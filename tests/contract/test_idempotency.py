"""Idempotency: one effect per key, on every engine, whatever races and whatever the cache says."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from creto.common.breaker import CircuitState
from creto.common.errors import EnablementError, IdempotencyConflict, InvalidInput, ProductId
from creto.common.ids import DEFAULT_TENANT, TenantId, new_id
from creto.common.limits import IDEMPOTENCY_LOCK_S
from creto.common.timestamps import DAY, HOUR, SECOND
from creto.store import Isolation, Position, Store, Tx, idempotency_cache
from creto.store.idempotency import (
    APPROVAL_WINDOW_NS,
    SPAWN_WINDOW_NS,
    AlreadyProcessed,
    IdempotencyGuard,
    Item,
    Once,
    ProceedWithLock,
    Retry,
    Seen,
)
from creto.store.idempotency_cache import CachedGuard, RedisHints
from tests.contract.store_examples import entry, eventually

GUARD = IdempotencyGuard()
RUNTIME = ProductId.RUNTIME
NOW = 1_000 * DAY


def once(key: str, payload: bytes = b"p", now: int = NOW, *, tenant: str = DEFAULT_TENANT, open: bool = False) -> Spawn:
    return Spawn(key, payload, now, TenantId(tenant), open)


class Spawn:
    """An operation with an effect that can be counted: a ledger entry whose id is the result."""

    def __init__(self, key: str, payload: bytes, now: int, tenant: TenantId, open: bool) -> None:
        self.arguments = (tenant, RUNTIME, "spawn", key, payload, SPAWN_WINDOW_NS, now)
        self.open = open

    def __call__(self, tx: Tx) -> Once:
        return GUARD.once(tx, *self.arguments, lambda t: t.record(entry()).encode(), open=self.open)


def effects(store: Store) -> int:
    return len(store.read_now(lambda tx: tx.ledger_tail(Position(), 10_000)))


async def test_the_second_time_gives_the_first_result(store: Store) -> None:
    first = await store.write(once("k"))
    again = await store.write(once("k"))
    assert (first.first, again.first) == (True, False)
    assert first.result == again.result != b""
    eventually(lambda: effects(store) == 1)


async def test_another_payload_is_a_conflict(store: Store) -> None:
    await store.write(once("k", b"one"))
    with pytest.raises(IdempotencyConflict) as raised:
        await store.write(once("k", b"two"))
    assert raised.value.code == "PL-410"


async def test_keys_of_other_tenants_products_and_operations_are_others(store: Store) -> None:
    assert (await store.write(once("k"))).first
    assert (await store.write(once("k", tenant="other"))).first
    effect = lambda tx: b""  # noqa: E731
    for product, operation in [(ProductId.MESSAGING, "spawn"), (RUNTIME, "stop")]:
        result = await store.write(
            lambda tx, p=product, o=operation: GUARD.once(tx, DEFAULT_TENANT, p, o, "k", b"p", HOUR, NOW, effect)
        )
        assert result.first


async def test_a_failed_effect_burns_no_key(store: Store) -> None:
    def fail(tx: Tx) -> bytes:
        tx.record(entry())
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await store.write(lambda tx: GUARD.once(tx, DEFAULT_TENANT, RUNTIME, "spawn", "k", b"p", HOUR, NOW, fail))
    assert (await store.write(once("k"))).first
    eventually(lambda: effects(store) == 1)


async def test_a_key_ends_with_its_window(store: Store) -> None:
    await store.write(once("k", b"one"))
    assert not (await store.write(once("k", b"one", NOW + SPAWN_WINDOW_NS - 1))).first
    assert (await store.write(once("k", b"two", NOW + SPAWN_WINDOW_NS))).first
    assert not (await store.write(once("k", b"two", NOW + SPAWN_WINDOW_NS + 1))).first


async def test_a_key_outlives_an_operation_that_is_still_open(store: Store) -> None:
    await store.write(once("k", open=True))
    much_later = NOW + 3 * APPROVAL_WINDOW_NS
    await store.write(lambda tx: GUARD.prune(tx, much_later))
    assert not (await store.write(once("k", now=much_later))).first
    await store.write(lambda tx: GUARD.closed(tx, DEFAULT_TENANT, RUNTIME, "spawn", "k", SPAWN_WINDOW_NS, much_later))
    assert not (await store.write(once("k", now=much_later + SPAWN_WINDOW_NS - 1))).first
    assert (await store.write(once("k", now=much_later + SPAWN_WINDOW_NS))).first


@pytest.mark.parametrize("isolation", list(Isolation))
async def test_five_hundred_at_once_have_one_effect(store: Store, isolation: Isolation) -> None:
    async def call() -> Once:
        while True:
            try:
                return await store.write(once("k"), isolation=isolation)
            except EnablementError as error:
                if not error.retryable:
                    raise

    results = await asyncio.gather(*(call() for _ in range(500)))
    assert sum(r.first for r in results) == 1
    assert len({r.result for r in results}) == 1
    eventually(lambda: effects(store) == 1)


async def test_check_lets_one_proceed_and_tells_the_others(store: Store) -> None:
    def check(tx: Tx, now: int = NOW) -> object:
        return GUARD.check(tx, DEFAULT_TENANT, RUNTIME, "exec", "k", b"p", now)

    answers = await asyncio.gather(*(store.write(check) for _ in range(20)))
    [mine] = [a for a in answers if isinstance(a, ProceedWithLock)]
    assert sum(isinstance(a, Retry) for a in answers) == 19
    with pytest.raises(IdempotencyConflict) as raised:
        await store.write(
            lambda tx: GUARD.once(tx, DEFAULT_TENANT, RUNTIME, "exec", "k", b"p", HOUR, NOW, lambda t: b"")
        )
    assert raised.value.code == "PL-411"

    def finish(tx: Tx, lock: bytes = mine.lock) -> None:
        GUARD.store_result(tx, DEFAULT_TENANT, RUNTIME, "exec", "k", lock, b"done", HOUR, NOW + SECOND)

    await store.write(finish)
    assert await store.write(check) == AlreadyProcessed(b"done")
    assert isinstance(await store.write(lambda tx: check(tx, NOW + 2 * HOUR)), ProceedWithLock)


async def test_a_lock_whose_owner_died_passes_on_and_the_dead_cannot_answer(store: Store) -> None:
    def check(tx: Tx, now: int) -> object:
        return GUARD.check(tx, DEFAULT_TENANT, RUNTIME, "exec", "k", b"p", now)

    dead = await store.write(lambda tx: check(tx, NOW))
    later = NOW + IDEMPOTENCY_LOCK_S * SECOND
    assert isinstance(await store.write(lambda tx: check(tx, later - 1)), Retry)
    heir = await store.write(lambda tx: check(tx, later))
    assert isinstance(dead, ProceedWithLock)
    assert isinstance(heir, ProceedWithLock)

    def finish(tx: Tx, lock: bytes) -> None:
        GUARD.store_result(tx, DEFAULT_TENANT, RUNTIME, "exec", "k", lock, b"x", HOUR, later)

    with pytest.raises(IdempotencyConflict):
        await store.write(lambda tx: finish(tx, dead.lock))
    await store.write(lambda tx: GUARD.release(tx, DEFAULT_TENANT, RUNTIME, "exec", "k", heir.lock))
    assert isinstance(await store.write(lambda tx: check(tx, later)), ProceedWithLock)


def many(store: Store, items: list[Item], now: int = NOW) -> list[Seen]:
    return store.submit(
        lambda tx: GUARD.once_many(tx, DEFAULT_TENANT, ProductId.METERING, "ingest", items, HOUR, now),
        isolation=Isolation.READ_COMMITTED,
    ).result(60)


def test_of_many_each_new_key_is_first_once(store: Store) -> None:
    old = [Item(new_id(), b"p%d" % i, b"r%d" % i) for i in range(450)]
    assert many(store, old) == [Seen(True)] * 450
    new = [Item(new_id(), b"n", b"") for _ in range(450)]
    mixed = [item for pair in zip(new, old, strict=True) for item in pair]
    wanted = [seen for i in range(450) for seen in (Seen(True), Seen(False, False, b"r%d" % i))]
    assert many(store, mixed) == wanted
    twice = Item(new_id(), b"p", b"r")
    other = Item(twice.key, b"other")
    assert many(store, [twice, twice, other]) == [Seen(True), Seen(False, False, b"r"), Seen(False, True, b"r")]
    assert many(store, [other]) == [Seen(False, True, b"r")]
    assert many(store, [other], NOW + HOUR) == [Seen(True)]


def test_batches_that_overlap_at_once_count_every_key_once(store: Store) -> None:
    keys = [new_id() for _ in range(300)]
    batches = [[Item(key, b"p") for key in keys[start : start + 200]] for start in (0, 50, 100)] * 3
    reverse = [list(reversed(batch)) for batch in batches]
    futures = [
        store.submit(
            lambda tx, b=batch: GUARD.once_many(tx, DEFAULT_TENANT, ProductId.METERING, "ingest", b, HOUR, NOW),
            isolation=Isolation.READ_COMMITTED,
        )
        for pair in zip(batches, reverse, strict=True)
        for batch in pair
    ]
    assert sum(seen.first for future in futures for seen in future.result(60)) == 300


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    calls=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([b"1", b"2"]), st.integers(0, SPAWN_WINDOW_NS)), max_size=12
    ),
    start=st.integers(1, 10**6),
)
def test_it_does_what_a_dictionary_with_expiry_would(
    store: Store, calls: list[tuple[str, bytes, int]], start: int
) -> None:
    prefix, now = new_id(), start
    known: dict[str, tuple[bytes, int, bytes]] = {}
    for key, payload, pause in calls:
        now += pause
        payload_before, expires, result = known.get(key, (b"", 0, b""))
        fresh = expires <= now
        future = store.submit(once(f"{prefix}-{key}", payload, now))
        if not fresh and payload != payload_before:
            with pytest.raises(IdempotencyConflict):
                future.result(10)
            continue
        got = future.result(10)
        assert got.first is fresh
        if fresh:
            known[key] = (payload, now + SPAWN_WINDOW_NS, got.result)
        else:
            assert got.result == result


async def test_pruning_goes_round_and_keeps_what_lives(store: Store) -> None:
    await store.write(lambda tx: [once(f"old-{i}")(tx) for i in range(25)])
    late = NOW + SPAWN_WINDOW_NS
    await store.write(lambda tx: [once(f"new-{i}", now=late)(tx) for i in range(25)])
    after, rounds = b"", 0
    while rounds == 0 or after:
        after = await store.write(lambda tx, a=after: GUARD.prune(tx, late, a, limit=10))
        rounds += 1
    assert rounds == 6
    assert store.read_now(lambda tx: tx.value("SELECT COUNT(*) FROM store_idempotency")) == 25
    assert not (await store.write(once("new-3", now=late))).first


@pytest.mark.parametrize("key", ["", " k", "k\n", "k" * 201])
async def test_a_key_that_is_no_name_is_refused(store: Store, key: str) -> None:
    with pytest.raises(InvalidInput):
        await store.write(once(key))


async def test_a_uuid_and_other_spellings_are_different_keys(store: Store) -> None:
    key = new_id()
    assert [(await store.write(once(k))).first for k in (key, key.upper(), key.replace("-", ""))] == [True] * 3
    assert not (await store.write(once(key))).first


class LyingHints:
    """A cache that is always wrong."""

    async def seen(self, name: str) -> bool:
        return True

    async def remember(self, name: str, window_ns: int) -> None:
        return None


async def test_a_lying_cache_harms_nobody(store: Store) -> None:
    guard = CachedGuard(store, LyingHints())
    call = (DEFAULT_TENANT, RUNTIME, "spawn", "k", b"p", SPAWN_WINDOW_NS)
    effect = lambda tx: tx.record(entry()).encode()  # noqa: E731
    first = await guard.once(*call, NOW, effect)
    again = await guard.once(*call, NOW, effect)
    over = await guard.once(*call, NOW + SPAWN_WINDOW_NS, effect)
    assert (first.first, again.first, over.first) == (True, False, True)
    assert again.result == first.result
    with pytest.raises(IdempotencyConflict):
        await guard.once(DEFAULT_TENANT, RUNTIME, "spawn", "k", b"other", SPAWN_WINDOW_NS, NOW, effect)


async def test_redis_spares_transactions_and_may_be_emptied(
    store: Store, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency_cache, "HINT_TIMEOUT_S", 30.0)  # a busy machine answers too, if later
    hints = RedisHints(redis_url)
    guard = CachedGuard(store, hints)
    key = new_id()
    call = (DEFAULT_TENANT, RUNTIME, "spawn", key, b"p", SPAWN_WINDOW_NS, NOW, lambda tx: tx.record(entry()).encode())
    try:
        first = await guard.once(*call)
        assert await hints.seen(f"idem:{DEFAULT_TENANT}:runtime:spawn:{key}")
        assert await guard.once(*call) == Once(first.result, False)
        await hints._redis.flushall()
        assert await guard.once(*call) == Once(first.result, False)
    finally:
        await hints.close()


async def test_without_redis_everything_works(store: Store) -> None:
    hints = RedisHints("redis://127.0.0.1:1/0")
    guard = CachedGuard(store, hints)
    call = (DEFAULT_TENANT, RUNTIME, "spawn", "k", b"p", SPAWN_WINDOW_NS, NOW, lambda tx: tx.record(entry()).encode())
    try:
        assert [(await guard.once(*call)).first for _ in range(2)] == [True, False]
    finally:
        await hints.close()


async def test_a_redis_that_is_away_is_spared(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """given a Redis that does not answer / when it has failed five times / then it is not asked, and every answer is exact."""
    hints = RedisHints("redis://127.0.0.1:1")
    guard = CachedGuard(store, hints)

    async def once() -> Once:
        return await guard.once(
            TenantId("acme"), ProductId.RUNTIME, "spawn", "k", b"p", SECOND, NOW, lambda tx: b"done"
        )

    try:
        assert [(await once()).first for _ in range(4)] == [True, False, False, False]
        assert (hints.breaker.state, hints.breaker.openings) == (CircuitState.OPEN, 1)
        assert hints.breaker.refusals == 3
        assert guard.hits == 3
        assert "The circuit of redis is open" in caplog.text
    finally:
        await hints.close()
