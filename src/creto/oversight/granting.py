"""Grants as decisions make and end them, and the alarm of break-glass.

INVARIANT: a review of break-glass approves nothing: it says whether acting first was right. A denial ends the grant and takes back what it let
through and was not used yet; silence is an alarm.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from creto.common.ids import AgentId, new_id
from creto.common.limits import PAGE_ITEMS_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.oversight import grants
from creto.oversight import store as sql
from creto.oversight import store_grants as grant_rows
from creto.oversight.ballots import given
from creto.oversight.decisions import CastVote
from creto.oversight.eligibility import Approver, Directory
from creto.oversight.handover import Handover
from creto.oversight.requests import LAST
from creto.oversight.store import Record
from creto.oversight.types import Grant, GrantKind, NotificationKind, Verdict
from creto.platform.consensus import PersonId
from creto.store.types import Outcome, Tx

REVIEWED = "oversight:grant:"  # and the grant's id: the resource of a review


class Granting(Handover):
    def grant_voted(
        self,
        tx: Tx,
        record: Record,
        cast: Sequence[CastVote],
        verdict: Verdict,
        approver: Approver,
        now: ConsensusTimestamp,
    ) -> None:
        """What was approved in advance by the way: "approve for …", or the bounds of a counter-proposal."""
        ask = record.ask
        if ask.advance is None and not any(vote.signed.ballot.wish or vote.signed.ballot.counter for vote in cast):
            return
        grant = given(
            ask, cast, verdict, lambda bounds: grants.bound(ask, bounds), by=approver.person, now=now,
            grant_id=new_id("grant-"),
        )  # fmt: skip
        if grant is not None:
            grant_rows.put_grant(tx, grant)
            self.note(
                tx, ask.tenant, "oversight:grant", f"oversight:grant:{grant.grant_id}", "GrantIssued", approver.nhi,
                {"grant_id": grant.grant_id, "kind": grant.kind, "request_id": ask.request_id, "agent": ask.agent,
                 "expires_at": grant.expires_at, "uses_max": grant.uses_max},
            )  # fmt: skip

    def review_denied(self, tx: Tx, review: Record, by: Approver, now: ConsensusTimestamp) -> None:
        """The grant ends, if it has not ended by itself."""
        grant = grant_rows.locked_grant(tx, review.ask.tenant, review.ask.resource.removeprefix(REVIEWED))
        if grant is not None:
            self.end_now(tx, grant, by.person, now, by=by.nhi)

    def review_missed(self, tx: Tx, review: Record, directory: Directory, now: ConsensusTimestamp) -> None:
        """Nobody has said whether it was right: everybody who could have is told, and it is on record as that."""
        ask = review.ask
        self.note(
            tx, ask.tenant, "oversight:review", ask.resource, "BreakGlassUnreviewed", self.service_id,
            {"request_id": ask.request_id, "agent": ask.agent}, Outcome.FAILURE,
        )  # fmt: skip
        self.alarm(tx, review, directory, now)

    def alarm(self, tx: Tx, review: Record, directory: Directory, now: ConsensusTimestamp) -> None:
        """To everybody who may approve, at whatever tier, on that tier's channels; to each once."""
        told: set[PersonId] = set()
        for tier in range(len(review.ask.policy.tiers)):
            at = replace(review, progress=replace(review.progress, tier=tier))
            people = {who: where for who, where in self._reachable(at, directory, now).items() if who not in told}
            self.tell(tx, at, people, NotificationKind.ALARM, now)
            told |= people.keys()

    def end_now(self, tx: Tx, grant: Grant, person: PersonId, now: ConsensusTimestamp, *, by: AgentId) -> Grant:
        """No more uses, and none of those that were let through and have not begun. Who holds the grant's row ends it."""
        ended = grant if grant.ended_at is not None else replace(grant, ended_at=now, ended_by=person)
        ended = replace(ended, ended_by=ended.ended_by or person)  # it ran out, and its last uses may still wait
        grant_rows.put_grant(tx, ended)
        for used in sql.of_agent(tx, grant.tenant, grant.agent, LAST, PAGE_ITEMS_MAX):
            token_id = used.progress.permit.token_id
            if used.progress.grant_id == grant.grant_id and token_id is not None:
                self.authz.withdraw_override(tx, token_id, tenant=grant.tenant)
        self.note_grant(tx, ended, "BreakGlassDisarmed" if grant.kind is GrantKind.BREAK_GLASS else "GrantEnded", by)
        return ended

    def note_grant(self, tx: Tx, grant: Grant, event: str, by: AgentId) -> None:
        self.note(
            tx, grant.tenant, "oversight:grant", f"oversight:grant:{grant.grant_id}", event, by,
            {"grant_id": grant.grant_id, "kind": grant.kind, "agent": grant.agent, "action": grant.action,
             "resource": grant.resource, "reason": grant.reason, "uses": grant.uses, "uses_max": grant.uses_max,
             "expires_at": grant.expires_at},
        )  # fmt: skip
