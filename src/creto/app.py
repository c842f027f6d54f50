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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from creto.bus import Bus, EmbeddedBus
from creto.common.breaker import CircuitBreaker
from creto.common.codes import ExponentialBackoff
from creto.common.config import Config
from creto.common.errors import (
    AlreadyExists,
    ConnectionFailed,
    CryptoError,
    EnablementError,
    InternalError,
    InvalidInput,
    NotFound,
)
from creto.common.ids import AgentId, KeyId, TenantId, checked_tenant
from creto.common.retry import retry
from creto.common.settings import (
    AuditConfig,
    BusConfig,
    CommonConfig,
    ConsensusConfig,
    CryptoConfig,
    RedisConfig,
    StorageConfig,
    StoreConfig,
)
from creto.common.telemetry import Metrics
from creto.edge.api.idempotency import OnceStore
from creto.edge.api.parts import Parts
from creto.edge.api.readiness import STARTUP_TIMEOUT_S
from creto.edge.api.requests import Requests
from creto.edge.upkeep import upkeep
from creto.gate import Gate
from creto.platform.audit import NoteKey, WitnessClient, open_log, rotate_log_key
from creto.platform.audit.service import log_key
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
from creto.platform.nhi import Nhi, PrincipalKind, nhi_of, registration_proof
from creto.security.authz import Authz
from creto.security.memory import Memory
from creto.security.storage import Storage, TenantKeys, open_backend
from creto.store import Store, open_store
from creto.store.idempotency_cache import CachedGuard, RedisHints

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
)

PLATFORM_TENANT = TenantId("platform")
LAYER_KEY = KeyId("layer")  # signs override tokens and what the layer itself attests
OPERATOR_KEY = KeyId("operator")
OPERATOR_NAME = "operator"
SUITES_OWNER = "layer"  # whose the signed list of suites is
START_RETRY = ExponentialBackoff(initial_delay_s=0.2, max_delay_s=2.0, max_attempts=1_000)  # the time-out ends it first

T = TypeVar("T")


@dataclass(frozen=True)
class App:
    parts: Parts
    tenant: TenantId
    operator: AgentId


@asynccontextmanager
async def running(config: Config, *, work: bool = True) -> AsyncIterator[App]:
    """All parts, started in the order of their floors and stopped in reverse. `work` also runs what only one process should."""
    tenant = checked_tenant(config[CommonConfig].tenant)
    check_offered(config)
    metrics = Metrics()
    async with AsyncExitStack() as stack:
        opened = await awaited("store", lambda: asyncio.to_thread(open_configured_store, config))
        stack.callback(opened.close)
        store: Store = OnceStore(opened)
        clock = await stack.enter_async_context(clock_for(config, store))
        kek = await asyncio.to_thread(KekSource.parse(config[CryptoConfig].kek).load)
        keystore = Keystore(store, kek, clock)
        await awaited("crypto", keystore.check)
        layer_key, former = await suites_of(config[CryptoConfig], keystore, store, clock)
        nhi = Nhi(store, clock, keystore)
        await awaited("nhi", nhi.start)
        witnesses = witnesses_of(config[AuditConfig])
        breakers = [witness.breaker for witness in witnesses]
        audit = await open_log(
            opened,
            clock,
            keystore,
            config[AuditConfig].origin,
            witnesses=witnesses,
            witnesses_required=config[AuditConfig].witnesses_min,
        )
        authz = Authz(store, clock, nhi, signer=layer_key, former=former)
        await awaited("authz", authz.start)
        stack.callback(authz.close)
        backend = open_backend(config[StorageConfig].url)
        storage = Storage(backend, TenantKeys(keystore, "storage"), store, clock)
        bus = await stack.enter_async_context(bus_for(config, opened, work=work))
        parts = Parts(
            config=config,
            metrics=metrics,
            requests=Requests(metrics),
            store=store,
            guard=guard_for(config, opened, stack, breakers),
            clock=clock,
            keystore=keystore,
            nhi=nhi,
            leases=Leases(store, clock),
            audit=audit,
            authz=authz,
            memory=Memory(TenantKeys(keystore, "memory"), store, clock),
            storage=storage,
            uploads=storage.uploads,
            bus=bus,
            gate=Gate(nhi, authz, store, clock, metrics),
            breakers=tuple(breakers),
        )
        if work:
            if (await log_key(keystore, audit.origin)).suite is not keystore.suites.signature:
                await rotate_log_key(audit, keystore)
            await asyncio.to_thread(audit.start)
            stack.callback(audit.stop)
        operator = await ensured_operator(parts, tenant)
        if work:
            await stack.enter_async_context(upkeep(parts, operator))
        yield App(parts, tenant, operator)


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
        key = await ensured_key(keystore, PLATFORM_TENANT, LAYER_KEY, suite)
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


async def ensured_key(
    keystore: Keystore, tenant: TenantId, key_id: KeyId, suite: SignatureSuite = SignatureSuite.HYBRID
) -> SigningKey:
    """The key of that name, made on first use. Two processes that start together agree on one."""
    try:
        return await keystore.signing_key(tenant, key_id)
    except NotFound:
        with suppress(AlreadyExists):  # the other process was first
            await keystore.put(tenant, key_id, SigningKey.generate(suite))
        return await keystore.signing_key(tenant, key_id)


async def ensured_operator(parts: Parts, tenant: TenantId) -> AgentId:
    """The first human of an installation, who may do everything; the one-time login link is theirs."""
    key = await ensured_key(parts.keystore, tenant, OPERATOR_KEY)
    agent = nhi_of(key.public)
    if not parts.nhi.is_registered(agent, tenant=tenant):
        proof = registration_proof(key, tenant=tenant, kind=PrincipalKind.HUMAN, name=OPERATOR_NAME)
        await parts.nhi.register(tenant, PrincipalKind.HUMAN, key.public, OPERATOR_NAME, proof=proof)
    if "operator" not in await parts.authz.roles(tenant, agent):
        await parts.authz.assign_role(tenant, agent, "operator", actor=agent)
    return agent


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
