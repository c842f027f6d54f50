"""Votes: what a human says, from the ballot to the decision.

    ballot = await oversight.ballot("acme", request_id, approver=ann, verdict=Verdict.APPROVE)
    receipt = await oversight.submit_response("acme", sign(ballot, ann_key))              # the human's own key
    receipt = await oversight.relay_response("acme", request_id, approver=ann, verdict=Verdict.APPROVE, evidence=…)   # a channel's word

Signatures are checked before the transaction, and what the vote does is worked out: time, seat, vote, quorum, state, ledger, outbox. The
transaction writes it if nothing has changed since; else it is worked out again there, with the request's row held.

INVARIANT: of votes, cancellations and deadlines at one moment exactly one ends the request; the others are told which one did.
INVARIANT: who may decide is looked up when the request's row is held, or has not changed since: not before a wait for its turn.
INVARIANT: a ballot counts once: of a request's nonces each is unique, and a relayed ballot's nonce is its delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import msgspec
from msgspec.structs import replace

from creto.common.errors import EnablementError, SignatureVerificationFailed, Unauthorized
from creto.common.ids import AgentId, RequestId, TenantId, checked_tenant
from creto.common.limits import (
    OVERSIGHT_DRAFT_MS_MAX,
    OVERSIGHT_HOLD_S_MAX,
    OVERSIGHT_NONCE_CHARS_MAX,
    OVERSIGHT_ROUNDS_MAX,
)
from creto.common.telemetry import Attribute, span
from creto.common.timestamps import MILLISECOND, ConsensusTimestamp
from creto.contracts import TimeoutAction
from creto.oversight import edits, eligibility, escalation, schemas, states
from creto.oversight import store as sql
from creto.oversight import store_people as people_rows
from creto.oversight.ballots import (
    Counted,
    Receipt,
    changed,
    check_bound,
    check_content,
    check_time,
    decisive,
    delivery_nonce,
    not_enrolled,
    not_ours,
    outcome,
    receipt,
    repeated,
    said_event,
    undenied,
    withdrawn,
)
from creto.oversight.core import DECIDED, checked_text, signal_of
from creto.oversight.decisions import Ballot, CastVote, Evidence, SignedBallot, Witnessed, attest
from creto.oversight.drafts import hashed
from creto.oversight.eligibility import Approver, Directory, channel_assurance
from creto.oversight.granting import Granting
from creto.oversight.people import Known
from creto.oversight.policies import between, policy_hash, refusal
from creto.oversight.risks import recast
from creto.oversight.seats import ended_with
from creto.oversight.states import Event
from creto.oversight.store import Held, Record
from creto.oversight.types import (
    Ask,
    Assurance,
    Bound,
    GrantWish,
    Notification,
    NotificationKind,
    Progress,
    Verdict,
)
from creto.platform.audit.events import Escalated
from creto.platform.consensus import PersonId
from creto.platform.crypto import random_bytes
from creto.security.authz import Decision, Deny, RequiresOversight
from creto.store.draft import drafted
from creto.store.types import Outcome, Tx

CheckEdit = Callable[
    [str, bytes, bytes], None
]  # form, edited, before: raises InvalidInput for what cannot be called so


DENIED_IN_PART = "nobody decided in time, and somebody had denied"


class Result(msgspec.Struct, frozen=True):
    """Of one transaction: the request before and after it, and the receipt or the refusal."""

    before: Record
    after: Record
    receipt: Receipt | None = None
    refused: EnablementError | None = None


class Voting(Granting):
    _check_edit: CheckEdit | None

    async def ballot(
        self,
        tenant: TenantId,
        request_id: RequestId,
        *,
        approver: AgentId,
        verdict: Verdict,
        reason: str = "",
        on_behalf_of: PersonId | None = None,
        items: Mapping[str, Verdict] | None = None,
        wish: GrantWish | None = None,
        counter: Sequence[Bound] = (),
        arguments: bytes | None = None,
        nonce: str | None = None,
    ) -> Ballot:
        """Everything a vote is bound to, for the approver to sign. With `arguments`: edit and approve, as the next round."""
        record = await self.get(tenant, request_id)
        if arguments is not None:
            record = self.as_edited(record, arguments)
        ask = record.ask
        edits.check_verdicts(ask, items or ())
        return Ballot(
            installation=self.installation, tenant=tenant, request_id=request_id, round=ask.round,
            tier=record.progress.tier, agent=ask.agent, action=ask.action, resource=ask.resource,
            args_hash=record.args_hash, display_hash=record.display_hash, risk=ask.risk, policy_id=ask.policy.policy_id,
            policy_version=ask.policy.version, policy_hash=policy_hash(ask.policy), verdict=verdict,
            person=self.approver(tenant, approver).person, approver=approver, on_behalf_of=on_behalf_of,
            reason=checked_text(reason, "reason"), items=dict(items or {}), wish=wish, counter=tuple(counter),
            nonce=nonce or random_bytes(16).hex(), signed_at=self.clock.now(),
        )  # fmt: skip

    async def relay_response(
        self,
        tenant: TenantId,
        request_id: RequestId,
        *,
        approver: AgentId,
        verdict: Verdict,
        evidence: Evidence,
        assurance: Assurance | None = None,
        reason: str = "",
        on_behalf_of: PersonId | None = None,
        items: Mapping[str, Verdict] | None = None,
        wish: GrantWish | None = None,
        counter: Sequence[Bound] = (),
        arguments: bytes | None = None,
        round: int | None = None,
        hold_s: int = 0,
    ) -> Receipt:
        """A vote that came through a channel: the service signs what the channel proved, and no more than it can prove.

        `round` is that of the card which the human saw: OV-409 if the request has been edited since.
        """
        sure = channel_assurance(evidence.channel) if assurance is None else assurance
        if sure > channel_assurance(evidence.channel):
            raise refusal(
                "assurance", f"A{sure} of {evidence.channel}", f"A{channel_assurance(evidence.channel)} at most"
            )
        nonce = delivery_nonce(request_id, evidence) if evidence.delivery else None
        ballot = await self.ballot(
            tenant, request_id, approver=approver, verdict=verdict, reason=reason, on_behalf_of=on_behalf_of, items=items,
            wish=wish, counter=counter, arguments=arguments, nonce=nonce,
        )  # fmt: skip
        if round is not None and ballot.round != round + (arguments is not None):
            raise changed((await self.get(tenant, request_id)).ask)
        signed = attest(ballot, self._signer, evidence, sure)
        return await self.submit_response(tenant, signed, arguments=arguments, hold_s=hold_s)

    async def submit_response(
        self, tenant: TenantId, signed: SignedBallot, *, arguments: bytes | None = None, hold_s: int = 0
    ) -> Receipt:
        """Count a signed vote. OV-401 a signature that does not hold, OV-403 nobody to decide this, OV-409 decided or changed already.

        With `hold_s`, a vote that decides has its effect so much later, and can be undone until then.
        """
        return await self._submit(tenant, signed, arguments, hold_s, self.known())

    async def _submit(
        self, tenant: TenantId, signed: SignedBallot, arguments: bytes | None, hold_s: int, known: Known
    ) -> Receipt:
        """`known`: what there was to know when the vote began to be looked at."""
        between("hold_s", hold_s, 0, OVERSIGHT_HOLD_S_MAX)
        tenant, ballot = checked_tenant(tenant), signed.ballot
        checked_text(ballot.reason, "reason")
        between("nonce", len(ballot.nonce), 1, OVERSIGHT_NONCE_CHARS_MAX)
        seen = await self.store.read(lambda tx: self.held(tx, ballot))
        record = seen.record
        still = self._still(record, known)
        approver = self.approver(tenant, ballot.approver)
        try:
            self._check_signed(tenant, signed, approver)
            edited = await self._edited(record, ballot, arguments) if arguments is not None else None
            directory = self.directory(tenant, record.ask.policy)
        except EnablementError as error:
            await self._refused(record, approver, signed, error)
            raise
        with span("oversight.vote") as here:
            here.set(Attribute.OVERSIGHT_REQUEST_ID, ballot.request_id)
            here.set(Attribute.OVERSIGHT_APPROVER, approver.person)
            count = partial(self._vote, signed=signed, edited=edited, hold_s=hold_s)

            def afresh(tx: Tx) -> Result:
                held = self.held(tx, ballot, tx.for_update)
                people = self.directory(tenant, held.record.ask.policy)
                approver, gone = self.approver(tenant, ballot.approver), self._passkey_gone(tx, tenant, signed)
                return count(tx, held=held, approver=approver, directory=people, gone=gone)

            now = partial(count, held=seen, approver=approver, directory=directory)
            work = drafted(now, sql.as_seen(seen), afresh, still) if edited is None else afresh
            result = await self.write(work)
            here.set(Attribute.OVERSIGHT_STATE, result.after.progress.state.upper())
        if result.before is not result.after:
            self.counted(result.before.progress, result.after)
        if result.receipt is None:
            refusal = result.refused or states.already(result.after.progress)
            await self._refused(result.after, approver, signed, refusal)
            raise refusal
        return result.receipt

    # Before the transaction

    def _check_signed(self, tenant: TenantId, signed: SignedBallot, approver: Approver) -> None:
        """The signature, by a key that may sign now: a revoked key's last votes have the policy's grace to arrive, none by default."""
        ballot = signed.ballot
        if (ballot.tenant, ballot.installation, ballot.person) != (tenant, self.installation, approver.person):
            raise not_ours("ballot", ballot.person)
        key = self._signer.public if signed.by_service else self.nhi.verify_key(ballot.approver, tenant=tenant)
        try:
            signed.verify(key)
        except SignatureVerificationFailed as error:
            raise SignatureVerificationFailed("OV-401", caused_by=error, field="signature") from error

    async def _edited(self, record: Record, ballot: Ballot, arguments: bytes) -> Record:
        """The request as the edit makes it, if schema and policy take the new arguments."""
        if record.ask.round + 1 > OVERSIGHT_ROUNDS_MAX:
            raise refusal("arguments", f"edit {record.ask.round}", f"{OVERSIGHT_ROUNDS_MAX} rounds at most")
        edited = self.as_edited(record, arguments)
        if ballot.verdict is not Verdict.APPROVE:
            raise refusal("verdict", str(ballot.verdict), "approve: an edit is an approval of something else")
        self._revalidate(record.ask, edited.ask)
        return edited

    async def _refused(self, record: Record, approver: Approver, signed: SignedBallot, error: EnablementError) -> None:
        """A vote that does not count is still on record."""
        ballot = signed.ballot
        event = said_event(record.ask, ballot)
        await self.write(
            lambda tx: self.record(
                tx, record, event, by=approver.nhi, now=self.clock.now(), outcome=Outcome.DENIED, why=error.message,
                code=error.code,
            )
        )  # fmt: skip

    def _still(self, record: Record, known: Known) -> Callable[[], bool]:
        """Whether what a vote is judged by beside the rows, time and people, is then as it is now."""
        now = self.clock.now()
        looks_at = escalation.looks_at(record.ask.policy, record.progress, now) or now
        until = min(looks_at, now + OVERSIGHT_DRAFT_MS_MAX * MILLISECOND)
        _, _, hears = known  # of changes elsewhere; else nothing says that there were none
        return lambda: hears and self.known() == known and now <= self.clock.now() < until

    # Inside it

    def _passkey_gone(self, tx: Tx, tenant: TenantId, signed: SignedBallot) -> bool:
        if not isinstance(signed.proof, Witnessed):
            return False
        left = people_rows.passkeys(tx, tenant, signed.ballot.person)
        return signed.proof.enrolled.passkey not in [one.passkey for one in left]

    def _vote(
        self, tx: Tx, held: Held, signed: SignedBallot, approver: Approver, directory: Directory, edited: Record | None,
        hold_s: int, gone: bool = False,
    ) -> Result:  # fmt: skip
        """`gone`: the passkey that signed it was removed since."""
        ballot, now = signed.ballot, self.clock.now()
        before = held.record
        if (same := repeated(held.cast, ballot)) is not None:
            cast = self.counting(before, held.cast, directory, now)
            if same.nonce in {ballot.nonce, *(vote.signed.ballot.nonce for vote in cast)}:
                return Result(before, before, receipt(before, cast, Counted.REPEATED))
        record = self.overdue(tx, before, directory, now)
        if not record.progress.state.open:
            return Result(before, record)
        target = msgspec.structs.replace(edited, progress=record.progress) if edited is not None else record
        try:
            if gone:
                raise not_enrolled()
            vote = self._accepted(held, record, target, signed, approver, directory, now)
        except EnablementError as error:
            if error.retryable:
                raise
            return Result(before, record, refused=error)  # time may have moved the request: that stands
        return self._cast(tx, held, target, vote, approver, directory, edited is not None, now, hold_s)

    def _accepted(
        self, held: Held, record: Record, target: Record, signed: SignedBallot, approver: Approver, directory: Directory,
        now: ConsensusTimestamp,
    ) -> CastVote:  # fmt: skip
        """Check everything; nothing is written before."""
        ballot = signed.ballot
        if target is not record and target.ask.round != record.ask.round + 1:
            raise changed(record.ask)
        check_bound(target, held.policy_hash, ballot)
        check_time(target.ask, signed, now)
        approver = self.with_grace(target.ask, signed, approver, now)
        seat = eligibility.seat_of(
            target.ask, tier=record.progress.tier, directory=directory, approver=approver, assurance=signed.assurance,
            now=now, on_behalf_of=ballot.on_behalf_of,
        )  # fmt: skip
        fixed = not target.ask.policy.vote_change  # but for what does not count any more
        check_content(target.ask, ballot, self.counting(record, held.cast, directory, now) if fixed else held.cast)
        edits.check_known(target.ask.arguments, ballot.counter)
        if held.taken_back:
            raise withdrawn()
        seating = directory.seating(target.ask, record.progress.tier, seat, approver.person, now)
        named = eligibility.shares(target.ask.policy, len(target.ask.policy.tiers), directory)
        return CastVote(
            seat=seat.holder, groups=seat.groups, shares=named.get(seat.holder, {}), signed=signed, at=now, seating=seating
        )  # fmt: skip

    def _cast(
        self, tx: Tx, held: Held, target: Record, vote: CastVote, approver: Approver, directory: Directory, edited: bool,
        now: ConsensusTimestamp, hold_s: int,
    ) -> Result:  # fmt: skip
        """Write it, and what follows from it: all of it, or nothing."""
        sql.add_vote(tx, vote, held.place, now)
        if edited:
            sql.save_round(tx, target)
            self.tell(tx, target, self._reachable(target, directory, now), NotificationKind.EDITED, now)
        self.record(tx, target, said_event(target.ask, vote.signed.ballot), by=approver.nhi, now=now)
        cast = [*held.cast, vote]
        told = held.told if target is held.record else None  # time or the edit told more people
        after = self._decide(tx, target, cast, directory, now, hold_s=hold_s, told=told)
        return Result(held.record, after, receipt(after, self.counting(after, cast, directory, now), Counted.VOTE))

    def _decide(
        self, tx: Tx, record: Record, cast: Sequence[CastVote], directory: Directory, now: ConsensusTimestamp, *,
        hold_s: int | None = None, settles_at: ConsensusTimestamp | None = None, told: Sequence[Notification] | None = None,
    ) -> Record:  # fmt: skip
        """Whether the votes are enough now, and what follows from it: at once, or when the time to undo is over."""
        ask, counts = record.ask, self.counting(record, cast, directory, now)
        verdict, approved = outcome(ask, counts, lambda votes: eligibility.able(ask, directory, now, votes))
        if hold_s is not None:
            settles_at = settling(record, counts, verdict, now, hold_s)
        if verdict is None or settles_at is not None:
            settles_at = settles_at if verdict is not None else None
            progress = replace(record.progress, version=record.progress.version + 1, settles_at=settles_at)
            if settles_at is not None:
                tx.signal(DECIDED, signal_of(ask.tenant, ask.request_id))  # who waits knows until when
            return self.save(tx, record, progress, now=now)
        last = decisive(ask, counts, verdict).signed
        approver = self.approver(ask.tenant, last.ballot.approver)
        event = Event.APPROVE if verdict is Verdict.APPROVE else Event.DENY
        progress = states.ended(record.progress, event, now=now, by=approver.person, reason=last.ballot.reason)
        progress = ended_with(replace(progress, approved_items=approved), cast, counts)
        if not ask.break_glass:
            self.grant_voted(tx, record, counts, verdict, approver, now)
        elif verdict is Verdict.DENY:
            self.review_denied(tx, record, approver, now)
        return self.save(
            tx, record, progress, now=now, by=approver.nhi, signature=last.signature, name=approver.name, told=told
        )

    # Time

    async def advance(self, tenant: TenantId, request_id: RequestId) -> bool:
        """Do what time demands of the request now; whether that was anything."""

        def step(tx: Tx) -> tuple[Record, Record]:
            before, now = self.locked(tx, tenant, request_id), self.clock.now()
            after = self.overdue(tx, before, self.directory(tenant, before.ask.policy), now)
            if after is before and escalation.held_back(after.progress, now):
                sql.save(tx, after.ask, after.progress, escalation.looks_at(after.ask.policy, after.progress, now))
            return before, after

        with span("oversight.advance", {Attribute.OVERSIGHT_REQUEST_ID: request_id}) as here:
            before, after = await self.write(step)
            here.set(Attribute.OVERSIGHT_STATE, after.progress.state.upper())
        self.counted(before.progress, after)
        return before is not after

    def overdue(self, tx: Tx, record: Record, directory: Directory, now: ConsensusTimestamp) -> Record:
        """What time has done to the request by now, whoever notices: the timer, a vote, who waits."""
        ask = record.ask
        able = partial(eligibility.told, ask, directory=directory, now=now)
        step = escalation.due(
            ask, record.progress, now, lambda tier: bool(able(tier)),
            lambda person: any(person in able(tier) for tier in range(record.progress.tier + 1)),
        )  # fmt: skip
        if step is None:
            return record
        if isinstance(step, escalation.Settle):
            after = self._decide(tx, record, sql.votes(tx, ask.tenant, ask.request_id), directory, now)
            return self.overdue(tx, after, directory, now)  # not enough any more: its own time may be over too
        progress = escalation.applied(ask, record.progress, step, now)
        if isinstance(step, escalation.Expire):
            progress = self._expired(tx, record, progress, directory, now)
        after = self.save(tx, record, progress, now=now)
        if isinstance(step, escalation.Escalate) and ask.policy.joint:  # who has voted may be named by the new tier too
            after = self._decide(tx, after, sql.votes(tx, ask.tenant, ask.request_id), directory, now)
        if isinstance(step, escalation.Expire) and ask.break_glass:
            self.review_missed(tx, after, directory, now)
        if isinstance(step, escalation.Escalate):
            reason = "the time of the tier is over"
            for tier in step.skipped:
                self.note_skip(
                    tx,
                    record,
                    f"tier {ask.policy.tiers[tier].name}: {eligibility.why_nobody(ask, tier, directory, now)}",
                )
            event = Escalated(request_id=ask.request_id, from_tier=record.progress.tier, to_tier=step.to, reason=reason)
            self.record(tx, after, event, by=self.service_id, now=now)
            if after.progress.state.open:
                self.tell(tx, after, self._reachable(after, directory, now), NotificationKind.ESCALATED, now)
        if isinstance(step, escalation.Warn):
            self.tell(tx, after, self._reachable(after, directory, now), NotificationKind.WARNED, now)
        return after

    def _expired(
        self, tx: Tx, record: Record, progress: Progress, directory: Directory, now: ConsensusTimestamp
    ) -> Progress:
        """Silence approves the round as it stands, but nothing that somebody has denied."""
        cast = sql.votes(tx, record.ask.tenant, record.ask.request_id)
        counts = self.counting(record, cast, directory, now)
        progress = ended_with(progress, cast, counts)
        if progress.final_action is not TimeoutAction.AUTO_APPROVE:
            return progress
        approved = undenied(record.ask, counts)
        if approved is None:
            return replace(progress, final_action=TimeoutAction.AUTO_DENY, reason=DENIED_IN_PART)
        return replace(progress, approved_items=approved)

    def as_edited(self, record: Record, arguments: bytes) -> Record:
        """The next round: other arguments, as risky as these are by the policy's rules and by Cedar."""
        ask, edited = record.ask, edits.edited(record.ask, arguments)
        before, after = (said.risk if isinstance(said := self._decision(one), RequiresOversight) else None for one in (ask, edited))  # fmt: skip
        return hashed(replace(edited, assessed=recast(edited.assessed, before, after)), record.progress)

    def _revalidate(self, asked: Ask, edited: Ask) -> None:
        """Edited arguments can still be called, and fit the policy's schema. No policy may forbid them, nor cease to permit the act because of
        them, nor ask about them under others than have been asked, nor say something else because they cannot see them any more."""
        schemas.check(edited)
        if self._check_edit is not None and edited.form:
            self._check_edit(edited.form, edited.arguments, asked.arguments)
        before, now = self._decision(asked), self._decision(edited)
        unseen = edits.hidden(asked.arguments, edited.arguments)
        if unseen and answer(before) != answer(now):
            raise refusal(f"arguments.{unseen[0]}", "a value that policies cannot see", "one that they can, as it was: a whole number, no fraction and no null")  # fmt: skip
        if isinstance(now, Deny) and (now.policies or not isinstance(before, Deny)):
            raise Unauthorized("OV-403", f"POLICY: the edited act is not permitted: {now.reason}", field="arguments")
        if isinstance(now, RequiresOversight) and now.under != under(before) and not agreed(now, asked):
            raise Unauthorized(
                "OV-403", f"POLICY: the policies ask about the edited act under {now.under}", field="arguments",
                got=now.under, expected=asked.policy.policy_id,
                hint="Deny it, and say what the agent should ask for instead.",
            )  # fmt: skip

    def _decision(self, ask: Ask) -> Decision:
        context = edits.as_context(ask.arguments) or None
        return self.policy_says(ask.tenant, ask.agent, ask.action, ask.resource, context)


def under(decision: Decision) -> str | None:
    return decision.under if isinstance(decision, RequiresOversight) else None


def agreed(now: RequiresOversight, asked: Ask) -> bool:
    """Whether nobody asks now whose approvers are not asked already."""
    return {one.policy_id for one in now.demands} <= {one.policy_id for one in asked.policy.joint or (asked.policy,)}


def answer(decision: Decision) -> tuple[object, ...]:
    """What policies make of an act, whichever of them it was."""
    return (type(decision), under(decision), decision.risk if isinstance(decision, RequiresOversight) else None)


def settling(
    record: Record, counts: Sequence[CastVote], verdict: Verdict | None, now: ConsensusTimestamp, hold_s: int
) -> ConsensusTimestamp | None:
    """When the last vote has its effect; None: at once. A vote that changes nothing leaves others the time they have to undo theirs."""
    before = record.progress.settles_at
    if before is not None and counts[-1].signed.ballot.verdict is not verdict:
        return before
    return escalation.settled_at(record.progress, now, hold_s) if hold_s else None
