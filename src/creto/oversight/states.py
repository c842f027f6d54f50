"""The states of a request and what leads from one to the next.

    PENDING ──approve──▶ APPROVED     ESCALATED is pending at a higher tier: every event of PENDING holds there too
       │  ├───deny─────▶ DENIED
       │  ├───expire───▶ TIMED_OUT
       │  ├───cancel───▶ CANCELLED
       └──escalate──▶ ESCALATED

INVARIANT: the four at the end are final; who comes later is told what was decided, by whom and when.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from msgspec.structs import replace

from creto.common.errors import IdempotencyConflict
from creto.common.ids import AgentId
from creto.common.timestamps import ConsensusTimestamp, iso
from creto.oversight.types import Progress, RequestState
from creto.platform.consensus import PersonId


class Event(StrEnum):
    APPROVE = "approve"
    DENY = "deny"
    ESCALATE = "escalate"
    EXPIRE = "expire"
    CANCEL = "cancel"


BY_REQUESTER = "cancelled by the requester"  # where nobody said more
NEXT: dict[Event, RequestState] = {
    Event.APPROVE: RequestState.APPROVED,
    Event.DENY: RequestState.DENIED,
    Event.ESCALATE: RequestState.ESCALATED,
    Event.EXPIRE: RequestState.TIMED_OUT,
    Event.CANCEL: RequestState.CANCELLED,
}


def next_state(progress: Progress, event: Event) -> RequestState:
    """OV-409 if it is decided."""
    check_open(progress)
    return NEXT[event]


def check_open(progress: Progress) -> None:
    if not progress.state.open:
        raise already(progress)


def ended(
    progress: Progress, event: Event, *, now: ConsensusTimestamp, by: PersonId | None, reason: str = ""
) -> Progress:
    """The request decided, once."""
    state = next_state(progress, event)
    return replace(
        progress, state=state, version=progress.version + 1, decided_at=now, decided_by=by, reason=reason, claim=None,
        settles_at=None,
    )  # fmt: skip


def cancelled(progress: Progress, *, now: ConsensusTimestamp, by: AgentId | None, reason: str = "") -> Progress:
    """By the requester, or by whom else."""
    said = reason or (BY_REQUESTER if by is None else f"cancelled by {by}")
    return replace(ended(progress, Event.CANCEL, now=now, by=None, reason=said), cancelled_by=by)


def canceller(progress: Progress, name: Callable[[str], str] = str) -> str:
    """Who cancelled it, as far as it is known."""
    if progress.cancelled_by is not None:
        return name(progress.cancelled_by)
    return "the requester" if progress.reason == BY_REQUESTER else ""


def why(progress: Progress) -> str:
    """What was said of it; nothing where that only repeats who cancelled it."""
    return "" if progress.reason in (BY_REQUESTER, f"cancelled by {progress.cancelled_by}") else progress.reason


def already(progress: Progress) -> IdempotencyConflict:
    """What the loser of a race, a late click and a stale card are told."""
    what = str(progress.state).replace("_", " ")
    if progress.permit.revoked_at is not None:
        what += " and revoked"
    who = canceller(progress) or progress.decided_by
    by = f" by {who}" if who else ""
    at = f" at {iso(progress.decided_at)}" if progress.decided_at is not None else ""
    instead = f"; superseded by {progress.superseded_by}" if progress.superseded_by else ""
    return IdempotencyConflict(
        "OV-409", f"the request is already {what}{by}{at}{instead}", field="state", got=str(progress.state),
        expected="an open request",
    )  # fmt: skip
