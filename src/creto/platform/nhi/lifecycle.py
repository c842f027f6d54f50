"""The life of an identity: active, suspended and back, rotated, revoked.

    ACTIVE ⇄ SUSPENDED          resume
    ACTIVE → (rotated) → RETIRED when the overlap ends; the successor carries name, owner and origin on
    any    → REVOKED            final

Pure: an identity and an event in, the next identity out, or PL-132.
"""

from __future__ import annotations

from msgspec.structs import replace

from creto.common.errors import EnablementError, InvalidInput, Unauthorized
from creto.common.ids import AgentId
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.nhi.types import Identity, IdentityState, Standing

CODES = {Standing.SUSPENDED: "PL-104", Standing.REVOKED: "PL-103", Standing.RETIRED: "PL-133"}
CHAIN_CODES = {Standing.SUSPENDED: "PL-126", Standing.REVOKED: "PL-124", Standing.RETIRED: "PL-133"}


def standing(identity: Identity, now: int) -> Standing:
    if identity.state is IdentityState.REVOKED:
        return Standing.REVOKED
    if identity.state is IdentityState.SUSPENDED:
        return Standing.SUSPENDED
    if identity.retires_at is not None and now >= identity.retires_at:
        return Standing.RETIRED
    return Standing.IN_FORCE


def check_in_force(identity: Identity, now: int, codes: dict[Standing, str] = CODES) -> None:
    found = standing(identity, now)
    if found is not Standing.IN_FORCE:
        raise Unauthorized(codes[found], field="agent_nhi", got=f"{identity.nhi} {found}", expected="in force")


def suspended(identity: Identity, now: ConsensusTimestamp, reason: str | None) -> Identity:
    expect(identity, identity.state is IdentityState.ACTIVE, "suspended", "an active identity")
    return changed(identity, IdentityState.SUSPENDED, now, reason)


def resumed(identity: Identity, now: ConsensusTimestamp, reason: str | None) -> Identity:
    expect(identity, identity.state is IdentityState.SUSPENDED, "resumed", "a suspended identity")
    return changed(identity, IdentityState.ACTIVE, now, reason)


def revoked(identity: Identity, now: ConsensusTimestamp, reason: str | None) -> Identity:
    expect(identity, identity.state is not IdentityState.REVOKED, "revoked", "an identity that is not revoked")
    return changed(identity, IdentityState.REVOKED, now, reason)


def rotated(
    old: Identity, nhi: AgentId, ml_dsa: bytes | None, now: ConsensusTimestamp, overlap_ns: int
) -> tuple[Identity, Identity]:
    """The old identity with its end set, and its successor."""
    expect(old, standing(old, now) is Standing.IN_FORCE, "rotated", "an identity in force")
    expect(old, old.successor is None, "rotated", "the newest key of its line")
    retires_at = ConsensusTimestamp(now + overlap_ns)
    successor = replace(
        old,
        nhi=nhi,
        public_key_ml_dsa=ml_dsa,
        registered_at=now,
        changed_at=now,
        retires_at=None,
        predecessor=old.nhi,
        reason=None,
        version=1,
    )
    ended = replace(old, successor=nhi, retires_at=retires_at, changed_at=now, version=old.version + 1)
    return ended, successor


def changed(identity: Identity, state: IdentityState, now: ConsensusTimestamp, reason: str | None) -> Identity:
    return replace(identity, state=state, changed_at=now, reason=reason, version=identity.version + 1)


def expect(identity: Identity, holds: bool, act: str, expected: str) -> None:
    if not holds:
        raise not_possible(identity, act, expected)


def not_possible(identity: Identity, act: str, expected: str) -> EnablementError:
    message = f"{identity.nhi} cannot be {act}: it is {identity.state}"
    return InvalidInput("PL-132", message, field="state", got=identity.state.value, expected=expected)
