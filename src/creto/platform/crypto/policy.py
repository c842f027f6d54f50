"""Suites over time: what signs now, what was good then, and what a peer may not talk us down from.

    policy = SuitePolicy.of(SignatureSuite.ED25519, since=0)
    policy = policy.switched(SignatureSuite.HYBRID, now=moment, overlap_ns=HOUR)
    policy.accept(suite, made_at)              # old records stay verifiable; new ones in the old suite are refused

INVARIANT: `made_at` comes from the ledger or a consensus timestamp, never from the signer: whoever breaks an old suite would
backdate.
INVARIANT: a switch only goes to a suite at least as strong; eras are closed, never removed.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from creto.common import wire
from creto.common.errors import CryptoError, InvalidInput
from creto.common.limits import INTEGER_MAX, SUITE_LIST_BYTES_MAX
from creto.platform.crypto.keys import SigningKey, VerifyKey
from creto.platform.crypto.types import (
    AeadSuite,
    HashSuite,
    KemSuite,
    MacSuite,
    SignatureSuite,
    Suite,
    any_suite,
    strength,
)

S = TypeVar("S", HashSuite, MacSuite, AeadSuite, KemSuite, SignatureSuite)

SUITE_LIST_CONTEXT = b"creto/suite-list/v1"
OPEN_END = INTEGER_MAX


class Era(msgspec.Struct, frozen=True):
    """A suite and the time in which new signatures or seals in it are good: `since` inclusive, `until` exclusive."""

    suite: int
    since: int
    until: int = OPEN_END


class SuitePolicy(msgspec.Struct, frozen=True):
    """Every suite ever in use, of all kinds, in the order in which they came."""

    eras: tuple[Era, ...]

    @staticmethod
    def of(*suites: Suite, since: int = 0) -> SuitePolicy:
        """The policy of a new installation: one suite of each kind."""
        kinds = [type(suite) for suite in suites]
        if len(set(kinds)) != len(kinds):
            raise InvalidInput.of("suites", got=[suite.name for suite in suites], expected="one suite of each kind")
        return SuitePolicy(tuple(Era(suite.value, since) for suite in suites))

    def current(self, kind: type[S], now: int) -> S:
        """What to sign or seal with: the newest era that has begun."""
        begun = [era for era in self.eras if any_suite_is(kind, era.suite) and era.since <= now < era.until]
        if not begun:
            raise CryptoError.of("suite", got=f"no {kind.__name__} in force", expected="one", code="PL-212")
        return kind(begun[-1].suite)

    def accept(self, suite: Suite, made_at: int) -> None:
        """Raises CryptoError PL-212 unless the suite was good at the time the thing was made."""
        if not any(era.suite == suite.value and era.since <= made_at < era.until for era in self.eras):
            raise CryptoError("PL-212", f"{suite.name} was not accepted at that time", got=suite.name)

    def verify(self, key: VerifyKey, message: bytes, signature: bytes, context: bytes, made_at: int) -> None:
        """The key's signature, in a suite that was good when it was made. Raises PL-210 or PL-212."""
        key.verify(message, signature, context)
        self.accept(key.suite, made_at)

    def switched(self, suite: Suite, now: int, overlap_ns: int = 0) -> SuitePolicy:
        """Use `suite` from now on; the one before it is good for another `overlap_ns`. Raises PL-219 for a weaker one."""
        known = [era for era in self.eras if any_suite_is(type(suite), era.suite)]
        for era in known:
            if strength(suite) < strength(any_suite(era.suite)):
                raise CryptoError.of(
                    "suite", got=suite.name, expected=f"at least {any_suite(era.suite).name}", code="PL-219"
                )
            if now < era.since:
                raise InvalidInput.of("now", got=now, expected=f"after {era.since}, the start of the era before")
        if any(era.suite == suite.value and now < era.until == OPEN_END for era in known):
            return self
        closed = tuple(
            msgspec.structs.replace(era, until=min(era.until, now + overlap_ns)) if era in known else era
            for era in self.eras
        )
        return SuitePolicy((*closed, Era(suite.value, now)))


class SuiteList(msgspec.Struct, frozen=True):
    """What one party speaks, best first. It travels signed, so that nobody on the way can shorten it.

    `version` only grows: a list older than one already seen is a replay.
    """

    owner: str
    version: int
    suites: tuple[int, ...]

    def signed(self, key: SigningKey) -> SignedSuiteList:
        body = wire.encode(self)
        return SignedSuiteList(body, key.sign(body, SUITE_LIST_CONTEXT))

    def of(self, kind: type[S]) -> tuple[S, ...]:
        """Its suites of one kind; ids from a newer release are passed over."""
        return tuple(kind(id) for id in self.suites if any_suite_is(kind, id))


class SignedSuiteList(msgspec.Struct, frozen=True):
    body: bytes
    signature: bytes

    def to_bytes(self) -> bytes:
        return wire.encode(self)

    @staticmethod
    def from_bytes(data: bytes) -> SignedSuiteList:
        if len(data) > SUITE_LIST_BYTES_MAX:
            got = f"{len(data)} bytes"
            raise InvalidInput.of("suite list", got=got, expected=f"at most {SUITE_LIST_BYTES_MAX}", code="PL-413")
        return wire.decode(data, SignedSuiteList, what="suite list")

    def verify(self, key: VerifyKey, owner: str, seen: int = 0) -> SuiteList:
        """The list, if `key` signed it for `owner` and it is not older than version `seen` (PL-219)."""
        key.verify(self.body, self.signature, SUITE_LIST_CONTEXT)
        read = wire.decode(self.body, SuiteList, what="suite list")
        if read.owner != owner:
            raise InvalidInput.of("owner", got=read.owner, expected=owner)
        if read.version < seen:
            raise CryptoError.of("version", got=read.version, expected=f"at least {seen}", code="PL-219")
        return read


def agreed(kind: type[S], mine: SuiteList, theirs: SuiteList) -> S:
    """The strongest suite that both speak; among equals the one that comes first in my list. Raises PL-212 if there is none."""
    shared = [suite for suite in mine.of(kind) if suite in theirs.of(kind)]
    if not shared:
        got = ", ".join(suite.name for suite in theirs.of(kind)) or "none"
        raise CryptoError.of(kind.__name__, got=got, expected=[suite.name for suite in mine.of(kind)], code="PL-212")
    return max(shared, key=strength)


def check_offered(offered: S, mine: SuiteList, theirs: SuiteList) -> None:
    """Raises PL-219 if a peer uses a weaker suite than its own signed list and ours allow."""
    best = agreed(type(offered), mine, theirs)
    if offered not in mine.of(type(offered)) or strength(offered) < strength(best):
        raise CryptoError.of("suite", got=offered.name, expected=best.name, code="PL-219")


def any_suite_is(kind: type[Suite], id: int) -> bool:
    return id in kind._value2member_map_
