"""The suites of an installation: what it signs and seals new bytes with, switched on live data.

    await open_suites(keystore, store, clock, (AeadSuite.AES_256_GCM, SignatureSuite.HYBRID), signer)
    sealed = seal(key, plaintext, aad, keystore.suites.aead)      # opens for ever: the suite is its first byte

INVARIANT: a policy only follows the one before it, to suites at least as strong (PL-219); each comes with a signed list whose version
grows, so that nobody is handed an older one for the newest.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import CryptoError
from creto.common.timestamps import Clock
from creto.platform.crypto.keys import SigningKey, VerifyKey
from creto.platform.crypto.policy import SignedSuiteList, SuiteList, SuitePolicy
from creto.platform.crypto.types import AeadSuite, HashSuite, KemSuite, SignatureSuite, Suite, any_suite
from creto.store.types import ReadTx, Store, Tx

if TYPE_CHECKING:
    from creto.platform.crypto.service import Keystore

SWITCHED = "crypto.suites_switched"
DEFAULTS: tuple[Suite, ...] = (
    AeadSuite.CHACHA20_POLY1305, SignatureSuite.HYBRID, KemSuite.HYBRID, HashSuite.SHA256,
)  # fmt: skip
S = TypeVar("S", HashSuite, AeadSuite, KemSuite, SignatureSuite)
Signer = Callable[[SignatureSuite], Awaitable[SigningKey]]


class Version(msgspec.Struct, frozen=True):
    """A policy with its number and its list, as signed."""

    number: int
    policy: SuitePolicy
    signed: SignedSuiteList


class Suites:
    """What is in force here; plain attributes, read for every seal."""

    def __init__(self, *suites: Suite) -> None:
        self.adopt(SuitePolicy.of(*chosen(suites)))
        self.version: Version | None = None
        self.key: VerifyKey | None = None  # that signed the list
        self.owner = ""

    def adopt(self, policy: SuitePolicy) -> None:
        self.policy = policy
        self.aead = newest(policy, AeadSuite)
        self.signature = newest(policy, SignatureSuite)

    def follow(self, version: Version, key: VerifyKey, owner: str) -> None:
        """Take up a version that was signed by `key`; one older than ours is refused with PL-219."""
        seen = self.version.number if self.version else 0
        offered = version.signed.verify(key, owner, seen)
        if offered.version != version.number or offered.suites != ids(version.policy):
            raise CryptoError.of("suite list", got="another list", expected="the list of this policy", code="PL-219")
        self.adopt(version.policy)
        self.version, self.key, self.owner = version, key, owner


async def open_suites(
    keystore: Keystore,
    store: Store,
    clock: Clock,
    wanted: Sequence[Suite],
    owner: str,
    *,
    signer: Signer,
    current: Callable[[], VerifyKey],
) -> None:
    """Switch to these suites if others are in force, and follow every later switch of any process. PL-219 for weaker ones.

    `signer` gives the key that signs the list, in the suite that is then in force; `current` the newest such key, at once.
    """
    suites = keystore.suites
    while True:
        before = await store.read(latest)
        number, policy = (before.number, before.policy) if before else (0, SuitePolicy.of(*chosen(wanted)))
        for suite in wanted:
            if suite.value not in ids(policy):
                policy = policy.switched(suite, clock.now())
        if before is None:
            suites.adopt(policy)  # the key that signs the first list is sealed in its suite
        key = await signer(newest(policy, SignatureSuite))
        if before is not None and policy == before.policy:
            suites.follow(before, key.public, owner)
            break
        offered = SuiteList(owner, number + 1, ids(policy)).signed(key)
        after = Version(number + 1, policy, offered)
        if await store.write(lambda tx, after=after: put(tx, after)):  # type: ignore[misc]
            suites.follow(after, key.public, owner)
            break

    def heard(_: str) -> None:
        version = store.read_now(latest)
        if version is not None and suites.version is not None and version.number > suites.version.number:
            suites.follow(version, current(), owner)

    store.on_signal(SWITCHED, heard)


def chosen(wanted: Sequence[Suite]) -> tuple[Suite, ...]:
    """One suite of each kind: the wanted one, or else the default."""
    return tuple(next((s for s in wanted if type(s) is type(default)), default) for default in DEFAULTS)


def newest(policy: SuitePolicy, kind: type[S]) -> S:
    return [found for era in policy.eras if isinstance(found := any_suite(era.suite), kind)][-1]


def ids(policy: SuitePolicy) -> tuple[int, ...]:
    """The suite of each kind that is in force."""
    kinds = (AeadSuite, SignatureSuite, KemSuite, HashSuite)
    return tuple([era.suite for era in policy.eras if era.suite in kind._value2member_map_][-1] for kind in kinds)


def latest(tx: ReadTx) -> Version | None:
    row = tx.one("SELECT version, policy, signed FROM crypto_suites ORDER BY version DESC LIMIT 1")
    if row is None:
        return None
    return Version(row[0], wire.decode(bytes(row[1]), SuitePolicy), SignedSuiteList.from_bytes(bytes(row[2])))


def put(tx: Tx, version: Version) -> bool:
    """Unless another process was first."""
    found = latest(tx)
    if (found.number if found else 0) != version.number - 1:
        return False
    tx.run(
        "INSERT INTO crypto_suites (version, policy, signed) VALUES (?, ?, ?)",
        version.number, wire.encode(version.policy), version.signed.to_bytes(),
    )  # fmt: skip
    tx.signal(SWITCHED, str(version.number))
    return True
