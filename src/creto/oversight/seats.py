"""Seats, looked at again: whether what a human said still counts, by the directory as it is now.

    cast = self.counting(record, cast, directory, now)        # the votes of who could still sit where they sat
    error = self.forbidden(tx, record, directory, now)        # why an approval may not be acted on any more

Out of office is judged as it was when they spoke: a delegate's vote stays when the absence ends.

INVARIANT: a vote, a grant and an approval rest on humans who have their seat now: who leaves takes along what they said, until it is decided;
and after that too, unless the policy says that it need not be looked at again. What cannot be looked at is no loss of a seat: it is an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice, product

from msgspec.structs import replace

from creto.common.errors import AlreadyExists, ApprovalDenied, EnablementError, Unauthorized
from creto.common.ids import AgentId, TenantId
from creto.common.limits import OVERSIGHT_SEATINGS_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.oversight import eligibility
from creto.oversight import store as sql
from creto.oversight import store_grants as grant_rows
from creto.oversight.ballots import in_grace, outcome
from creto.oversight.decisions import CastVote, SignedBallot
from creto.oversight.eligibility import Approver, Directory, Seat, ineligible
from creto.oversight.people import WORKING, People
from creto.oversight.quorum import Vote, tally
from creto.oversight.store import Record
from creto.oversight.types import Ask, Backing, Grant, GrantKind, Progress, RequestState, Verdict
from creto.platform.consensus import PersonId
from creto.platform.nhi import IdentityState
from creto.store.types import ReadTx

LOST = {
    "NOT_ELIGIBLE": "they have lost their seat",
    "NOT_IN_FORCE": "their identity is not in force any more",
    "SELF_APPROVAL": "they stand behind the agent now",
}


def lost(cast: Sequence[CastVote], counts: Sequence[CastVote]) -> tuple[str, ...]:
    """The nonces of the votes that do not count any more."""
    kept = {vote.signed.ballot.nonce for vote in counts}
    return tuple(vote.signed.ballot.nonce for vote in cast if vote.signed.ballot.nonce not in kept)


def ended_with(progress: Progress, cast: Sequence[CastVote], counts: Sequence[CastVote]) -> Progress:
    """What of the votes counted when it was decided: kept, so that the same votes say the same ever after."""
    lessened = {vote.signed.ballot.nonce: vote.lessened for vote in counts if vote.lessened is not None}
    return replace(progress, lost=lost(cast, counts), lessened=lessened)


def counted_then(progress: Progress, cast: Sequence[CastVote]) -> list[CastVote]:
    """The votes that decided, each for what it stood for then."""
    then = progress.lessened
    return [
        replace(vote, lessened=then[vote.signed.ballot.nonce]) if vote.signed.ballot.nonce in then else vote
        for vote in cast
        if vote.signed.ballot.nonce not in progress.lost
    ]


def left(vote: CastVote, seat: Seat) -> CastVote:
    """A vote for what its human stands for now: they may have left a group since, and tiers that name them may not be reached yet."""
    groups = tuple(group for group in vote.groups if group in seat.groups)
    shares = {
        policy: tuple(group for group in named if group in seat.shares[policy])
        for policy, named in vote.shares.items()
        if policy in seat.shares
    }
    same = (groups, shares) == (vote.groups, vote.shares)
    return vote if same else replace(vote, lessened=Backing(groups=groups, shares=shares))


def not_enough() -> EnablementError:
    return ineligible("QUORUM", "what they stand for now is not enough: somebody left a group for which they counted")


class Seats(People):
    def counting(
        self, record: Record, cast: Sequence[CastVote], directory: Directory, now: ConsensusTimestamp
    ) -> list[CastVote]:
        """The votes that count: of who could still decide; once it is decided, those that counted then."""
        progress = record.progress
        if not progress.state.open:
            return counted_then(progress, cast)
        kept = []
        for vote in cast:
            if vote.signed.ballot.round == record.ask.round:
                try:
                    voter = self.with_grace(record.ask, vote.signed, self._voter(vote), now)
                    seat = self._seat_of(record.ask, progress.tier, vote, voter, directory)
                except Unauthorized:
                    continue
                vote = left(vote, seat)
            kept.append(vote)
        return kept

    def why_lost(self, record: Record, vote: CastVote, directory: Directory, now: ConsensusTimestamp) -> str:
        """In words, why a vote does not count: by the directory as it is, which may have changed again since it was decided."""
        try:
            voter = self.with_grace(record.ask, vote.signed, self._voter(vote), now)
            self._seat_of(record.ask, record.progress.tier, vote, voter, directory)
        except Unauthorized as error:
            return LOST.get(str(error.got), error.message)
        return "they could not decide it when it was decided"

    def forbidden(
        self,
        tx: ReadTx,
        record: Record,
        directory: Directory,
        now: ConsensusTimestamp,
        behind: Sequence[PersonId] = (),
    ) -> EnablementError | None:
        """Why what was approved may not begin any more. `behind` are who stands behind it now, beside those that asked: none of them approves."""
        record = replace(record, ask=replace(record.ask, excluded=tuple({*record.ask.excluded, *behind})))
        ask, progress = record.ask, record.progress
        if progress.permit.revoked_at is not None:
            return AlreadyExists(
                "OV-410", f"REVOKED: {progress.permit.revoked_by} took the approval back", field="permit"
            )
        if progress.decided_at is None or now >= progress.decided_at + ask.policy.execution_s * SECOND:
            return AlreadyExists("OV-410", f"EXPIRED: the approval held for {ask.policy.execution_s} s", field="permit")
        grant = grant_rows.grant(tx, ask.tenant, progress.grant_id) if progress.grant_id is not None else None
        if grant is not None and grant.ended_by is not None:
            return AlreadyExists("OV-410", f"REVOKED: {grant.ended_by} took the grant back", field="permit")
        if progress.state is RequestState.TIMED_OUT or not ask.policy.revalidate:
            return None
        try:
            if grant is not None:
                self.check_givers(grant, ask, directory)
            else:
                self._check_votes(tx, record, directory, now)
        except Unauthorized as error:
            why = f"who approved could not do so any more: {error.message}"
            return ApprovalDenied("OV-451", why, caused_by=error, field="approver")
        return None

    def _check_votes(self, tx: ReadTx, record: Record, directory: Directory, now: ConsensusTimestamp) -> None:
        """OV-403 unless everybody who approved still could, and what they stand for now is still enough."""
        ask, progress = record.ask, record.progress
        cast = []
        for vote in self.counting(record, sql.votes(tx, ask.tenant, ask.request_id), directory, now):
            ballot = vote.signed.ballot
            if ballot.round == ask.round and ballot.verdict is Verdict.APPROVE:
                vote = left(vote, self._seat_of(ask, progress.tier, vote, self._voter(vote), directory))
            cast.append(vote)
        if outcome(ask, cast) != (Verdict.APPROVE, progress.approved_items):
            raise not_enough()

    def check_givers(self, grant: Grant, ask: Ask, directory: Directory) -> None:
        """OV-403 unless everybody who gave the grant could give it now, for this call."""
        if grant.kind is GrantKind.BREAK_GLASS:
            self._check_armer(grant, ask, directory)
            return
        each = [self._as_given(grant, ask, directory, person) for person in grant.givers or (grant.granted_by,)]
        for votes in islice(product(*each), OVERSIGHT_SEATINGS_MAX):
            if tally(ask.policy.quorum, votes, round=ask.round).verdict is Verdict.APPROVE:
                return
        raise not_enough()

    def _as_given(self, grant: Grant, ask: Ask, directory: Directory, person: PersonId) -> list[Vote]:
        """What a giver would say of this call: once for each seat from which they could."""
        tier, giver = len(ask.policy.tiers) - 1, self._giver(ask.tenant, person)
        votes, holders = [], eligibility.holders(ask, tier, directory, person, grant.starts_at)
        for holder in holders or (None,):
            seat = eligibility.seat_of(
                ask, tier=tier, directory=directory, approver=giver, assurance=grant.assurance, now=grant.starts_at,
                on_behalf_of=holder,
            )  # fmt: skip
            votes.append(
                Vote(person=person, seat=seat.holder, groups=seat.groups, shares=seat.shares, verdict=Verdict.APPROVE, round=ask.round)
            )  # fmt: skip
        return votes

    def _check_armer(self, grant: Grant, ask: Ask, directory: Directory) -> None:
        armer, terms = self._giver(grant.tenant, grant.granted_by), ask.policy.break_glass
        if terms is None or not armer.in_force or armer.person not in directory.seats(terms.armers):
            raise ineligible("NOT_ELIGIBLE", "the policy does not let this human break the glass any more")
        if armer.person in ask.excluded and not terms.own_agents:
            raise ineligible("SELF_APPROVAL", "the policy lets nobody break the glass for their own agent")

    def _seat_of(self, ask: Ask, tier: int, vote: CastVote, voter: Approver, directory: Directory) -> Seat:
        return eligibility.seat_of(
            ask, tier=tier, directory=directory, approver=voter, assurance=vote.signed.assurance,
            now=vote.signed.ballot.signed_at, on_behalf_of=vote.seat,
        )  # fmt: skip

    def _voter(self, vote: CastVote) -> Approver:
        """By the key that signed, unless it was revoked or suspended since; and they have not left altogether."""
        ballot = vote.signed.ballot
        voter = self.approver(ballot.tenant, ballot.approver)
        works = self.nhi.standing(ballot.approver, tenant=ballot.tenant) in WORKING
        return replace(voter, in_force=works and self.in_office(ballot.tenant, voter.person))

    def _giver(self, tenant: TenantId, person: PersonId) -> Approver:
        return replace(self.approver(tenant, AgentId(person)), in_force=self.in_office(tenant, person))

    def with_grace(self, ask: Ask, signed: SignedBallot, approver: Approver, now: ConsensusTimestamp) -> Approver:
        """A vote that its human signed before the key was revoked has the policy's grace to arrive."""
        if approver.in_force or signed.by_service:
            return approver
        identity = self.nhi.get_now(ask.tenant, approver.nhi)
        revoked = identity.state is IdentityState.REVOKED
        return replace(approver, in_force=revoked and in_grace(ask, signed.ballot, identity.changed_at, now))
