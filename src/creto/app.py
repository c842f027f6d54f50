"""The composition root: the only place that knows every part.

    async with running(load(), tenant_name="default") as app:
        dispatcher = Dispatcher(app.parts)

A running layer is its parts on one store. What runs beside them (sequencer, relay, clocks) belongs to the `worker` role, so that many
processes can serve requests and one keeps the log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from creto.bus import Bus, EmbeddedBus
from creto.common.breaker import CircuitBreaker
from creto.common.codes import ExponentialBackoff
from creto.common.config import Config
from creto.common.errors import (
    ConnectionFailed,
    CryptoError,
    EnablementError,
    InternalError,
    InvalidInput,
)
from creto.common.ids import PLATFORM_TENANT, AgentId, KeyId, TenantId, customer_tenant
from creto.common.retry import retry
from creto.common.settings import (
    AuditConfig,
    BusConfig,
    CommonConfig,
    ConsensusConfig,
    CryptoConfig,
    RedisConfig,
    ServerConfig,
    StorageConfig,
    StoreConfig,
)
from creto.common.telemetry import Metrics
from creto.edge.api.idempotency import OnceStore
from creto.edge.api.parts import Parts
from creto.edge.api.rate import CallerRate
from creto.edge.api.readiness import STARTUP_TIMEOUT_S
from creto.edge.api.requests import Requests
from creto.gate import Gate
from creto.metered import open_metering, open_money_out
from creto.overseen import decision_key, open_oversight
from creto.platform.audit import NoteKey, WitnessClient, open_log
from creto.platform.consensus import ConsensusClient, EmbeddedClock, Leases, QuorumClock
from creto.platform.crypto import (
    AeadSuite,
    Keystore,
    SignatureSuite,
    SigningKey,
    VerifyKey,
    open_suites,
    random_bytes,
)
from creto.platform.crypto.jose import b64url_decode
from creto.platform.crypto.kek import KekSource
from creto.platform.crypto.service import of_kind
from creto.platform.nhi import Nhi
from creto.security.authz import Authz
from creto.security.memory import Memory
from creto.security.storage import GuardedBackend, Storage, TenantKeys, open_backend
from creto.store import Store, open_store
from creto.store.idempotency_cache import CachedGuard, RedisHints
from creto.tenants import Tenants
from creto.working import working

log = logging.getLogger("creto.app")

MIGRATED = (
    "creto.store",
    "creto.bus",
    "creto.platform.crypto",
    "creto.platform.consensus",
    "creto.platform.nhi",
    "creto.platform.audit",
    "creto.security.authz",
    "creto.security.memory",
    "creto.security.storage",
    "creto.oversight",
    "creto.metering",
    "creto.connectors",
    "creto.connectors.stripe",
    "creto.connectors.metering_webhooks",
)

LAYER_KEY = KeyId("layer")  # signs override tokens and what the layer itself attests
SUITES_OWNER = "layer"  # whose the signed list of suites is
START_RETRY = ExponentialBackoff(initial_delay_s=0.2, max_delay_s=2.0, max_attempts=1_000)  # the time-out ends it first

T = TypeVar("T")


@dataclass(frozen=True)
class App:
    parts: Parts
    tenant: TenantId
    operator: AgentId
    tenants: Tenants


@asynccontextmanager
async def running(config: Config, *, work: bool = True) -> AsyncIterator[App]:
    """All parts, started in the order of their floors and stopped in reverse. `work` also runs what only one process should."""
    tenant = customer_tenant(config[CommonConfig].tenant)
    check_offered(config)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        opened = await awaited("store", lambda: asyncio.to_thread(open_configured_store, config))
        stack.push_async_callback(asyncio.to_thread, opened.close)
        store: Store = OnceStore(opened)
        clock = await stack.enter_async_context(clock_for(config, store))
        keystore = await open_keystore(config, store, clock)
        await awaited("crypto", keystore.check)
        layer_key, former = await suites_of(config[CryptoConfig], keystore, store, clock)
        nhi = Nhi(store, clock, keystore)
        await awaited("nhi", nhi.start)
        witnesses = witnesses_of(config[AuditConfig])
        breakers = [witness.breaker for witness in witnesses]
        audit = await open_log(
            opened, clock, keystore, config[AuditConfig].origin, witnesses=witnesses,
            witnesses_required=config[AuditConfig].witnesses_min,
        )  # fmt: skip
        authz = Authz(store, clock, nhi, signer=layer_key, former=former)
        await awaited("authz", authz.start)
        stack.callback(authz.close)
        storage = await open_storage(config, keystore, store, clock, breakers)
        bus = await stack.enter_async_context(bus_for(config, opened, work=work))
        memory = Memory(TenantKeys(keystore, "memory"), store, clock)
        asking = await open_oversight(
            config, store, clock, nhi, authz, keystore, memory, metrics, breakers, tenant=tenant
        )
        stack.callback(asking.channels.close)
        gate, leases = Gate(nhi, authz, store, clock, metrics), Leases(store, clock)
        gate.use_asker(asking.asked)
        desk = await stack.enter_async_context(
            open_metering(
                config, store, clock, nhi, authz, storage, metrics, aside=opened, signer=await decision_key(keystore)
            )
        )
        authz.use_quota(desk.quotas.book)
        money = open_money_out(config, store, clock, bus, desk, metrics, breakers, asking, tenant=tenant)
        stack.push_async_callback(money.stripe.stop)
        parts = Parts(
            config=config, metrics=metrics, requests=Requests(metrics),
            rate=CallerRate(config[ServerConfig].requests_per_second_max, metrics), store=store,
            guard=guard_for(config, opened, stack, breakers), clock=clock, keystore=keystore, nhi=nhi, leases=leases, audit=audit,
            authz=authz, memory=memory, storage=storage, uploads=storage.uploads, bus=bus, gate=gate,
            oversight=asking.oversight, approvals=asking.approvals, channels=asking.channels, metering=desk.metering,
            triggers=desk.triggers, quotas=desk.quotas, messages=desk.messages, billing=desk.billing, archive=desk.archive,
            metering_terms=desk.terms, stripe=money.stripe, receipts=money.receipts, hooks=money.hooks,
            callbacks=money.callbacks, breakers=tuple(breakers),
        )  # fmt: skip
        stack.push_async_callback(counted_refusals, parts)
        tenants = Tenants(keystore, nhi, authz)
        operator = await tenants.ensure(tenant)
        if work:
            await stack.enter_async_context(working(parts, operator))
        yield App(parts, tenant, operator, tenants)


async def counted_refusals(parts: Parts) -> None:
    """What was only counted goes into the log before the process ends."""
    await parts.gate.refusals.flush(parts.clock.now(), everything=True)


async def awaited(name: str, start: Callable[[], Awaitable[T]]) -> T:
    """Start what the layer cannot do without: one that is not there yet is tried again until its start-up time-out has passed."""
    tries = 0

    async def attempt() -> T:
        nonlocal tries
        tries += 1
        try:
            return await start()
        except EnablementError as error:
            if tries == 1 and error.retryable:
                log.warning("Waiting up to %s s for %s: %s", STARTUP_TIMEOUT_S[name], name, error)
            raise

    return await retry(attempt, strategy=START_RETRY, deadline_s=time.monotonic() + STARTUP_TIMEOUT_S[name])


def check_offered(config: Config) -> None:
    """Nothing that was asked for is silently left out: whoever names another decider must not be decided for by us."""
    common = config[CommonConfig]
    for key, value in (("authz_endpoint", common.authz_endpoint), ("audit_endpoint", common.audit_endpoint)):
        if value is not None:
            raise InternalError(
                "PL-501",
                f"common.{key} names a service elsewhere, which this release does not ask",
                hint=f"Leave common.{key} out: authorization and audit run in the layer itself.",
            )


def open_configured_store(config: Config) -> Store:
    wanted = config[StoreConfig]
    return open_store(wanted.url, parts=MIGRATED, queue_max=wanted.queue_max, pool_size=wanted.pool_size)


async def open_keystore(config: Config, store: Store, clock: ConsensusClient, previous: Sequence[str] = ()) -> Keystore:
    """The keystore under the configured key-encryption key; what is still sealed with a previous one opens too."""
    wanted = config[CryptoConfig]
    sources = [KekSource.parse(uri) for uri in (wanted.kek, *wanted.kek_previous, *previous)]
    kek, *older = await asyncio.to_thread(lambda: [source.load() for source in sources])
    return Keystore(store, kek, clock, previous=older)


async def open_storage(
    config: Config, keystore: Keystore, store: Store, clock: ConsensusClient, breakers: list[CircuitBreaker]
) -> Storage:
    backend = await asyncio.to_thread(open_backend, config[StorageConfig].url)
    if isinstance(backend, GuardedBackend):
        breakers.append(backend.breaker)
    return Storage(backend, TenantKeys(keystore, "storage"), store, clock)


def guard_for(config: Config, store: Store, stack: AsyncExitStack, breakers: list[CircuitBreaker]) -> CachedGuard:
    """Exact by itself; with Redis a repetition costs a read instead of a transaction."""
    url = config[RedisConfig].url
    if url is None:
        return CachedGuard(store)
    hints = RedisHints(url.reveal())
    stack.push_async_callback(hints.close)
    breakers.append(hints.breaker)
    return CachedGuard(store, hints)


@asynccontextmanager
async def clock_for(config: Config, store: Store) -> AsyncIterator[ConsensusClient]:
    """The clock of this process, or the quorum's where time nodes are configured; local and degraded as long as they do not agree."""
    nodes = config[ConsensusConfig].nodes
    clock: EmbeddedClock | QuorumClock
    if nodes:
        clock = QuorumClock([time_node(text) for text in nodes], store=store)
    else:
        clock = await asyncio.to_thread(EmbeddedClock, store)
    try:
        if isinstance(clock, QuorumClock):
            try:
                await clock.start(STARTUP_TIMEOUT_S["consensus"])
            except ConnectionFailed as error:
                log.warning("The time nodes do not agree; time is local and marked degraded: %s", error)
        yield clock
    finally:
        await asyncio.to_thread(clock.close)


def time_node(text: str) -> tuple[str, VerifyKey]:
    address, _, key = text.partition("=")
    if not address or not key:
        raise InvalidInput.of("consensus.nodes", got=text, expected="HOST:PORT=<base64url public key>", code="PL-921")
    return address, VerifyKey.from_bytes(b64url_decode(key))


@asynccontextmanager
async def bus_for(config: Config, store: Store, *, work: bool) -> AsyncIterator[Bus]:
    """A worker's embedded bus forgets old messages; of the processes on a broker whichever has the lease relays and forgets."""
    wanted = config[BusConfig]
    bus: Bus
    if wanted.url == "embedded":
        bus = EmbeddedBus(store, retention_s=wanted.retention_seconds)
        if work:
            bus.start()
    else:
        from creto.bus.nats import NatsBus

        token = wanted.token.reveal() if wanted.token else None
        bus = await NatsBus.connect(
            store, wanted.url, token=token, buffer_max=wanted.buffer_max, retention_s=wanted.retention_seconds
        )
    try:
        yield bus
    finally:
        await bus.close()


def witnesses_of(config: AuditConfig) -> list[WitnessClient]:
    """`URL=<vkey>` each: where the witness listens and the key it signs with."""
    found = []
    for text in config.witnesses:
        from creto.connectors.witness import http_transport

        url, _, vkey = text.partition("=")
        found.append(WitnessClient(NoteKey.parse(vkey), http_transport(url)))
    return found


async def suites_of(
    wanted: CryptoConfig, keystore: Keystore, store: Store, clock: ConsensusClient
) -> tuple[SigningKey, tuple[VerifyKey, ...]]:
    """Put the configured suites in force; the layer's key in the suite that signs now, and the one before it."""

    async def signer(suite: SignatureSuite) -> SigningKey:
        key = await keystore.ensure(PLATFORM_TENANT, LAYER_KEY, SigningKey, lambda: SigningKey.generate(suite))
        if key.suite is not suite:
            await keystore.rotate(PLATFORM_TENANT, LAYER_KEY, SigningKey.generate(suite))
        return await keystore.signing_key(PLATFORM_TENANT, LAYER_KEY)

    def current() -> VerifyKey:
        return of_kind(keystore.get_now(PLATFORM_TENANT, LAYER_KEY, fresh=True), SigningKey, LAYER_KEY).public

    suites = (AeadSuite[wanted.aead_suite.name], SignatureSuite[wanted.signature_suite.name])
    await open_suites(keystore, store, clock, suites, SUITES_OWNER, signer=signer, current=current)
    version = (await keystore.record(PLATFORM_TENANT, LAYER_KEY)).version
    earlier = [await keystore.signing_key(PLATFORM_TENANT, LAYER_KEY, version - 1)] if version > 1 else []
    return await keystore.signing_key(PLATFORM_TENANT, LAYER_KEY), tuple(key.public for key in earlier)


def kek_beside(database: Path) -> Path:
    """The key-encryption key of a database file: `<name>.kek` or `creto.kek` beside it, made with a new database only."""
    own, common = database.with_suffix(".kek"), database.with_name("creto.kek")
    found = next((path for path in (own, common) if path.exists()), None)
    if found is None:
        refuse_second_key(database, own)
        create_kek(own)
    return found or own


def refuse_second_key(database: Path, kek: Path) -> None:
    """INVARIANT: no key is made for a database that exists: it was sealed with another one, which must be found."""
    if database.exists():
        raise CryptoError(
            "PL-215",
            f"{database} exists, its key-encryption key {kek} does not",
            hint=f"Put the key back, or name it in crypto.kek. If the database is empty, `openssl rand -hex 32 > {kek}` makes one.",
        )


def create_kek(path: Path) -> bool:
    """A fresh key-encryption key, readable by its owner alone; False if there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(fd, "wb") as file:
        file.write(random_bytes(32).hex().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return True
