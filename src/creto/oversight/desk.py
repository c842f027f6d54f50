"""What approvers do beside deciding: claim, extend, put to sleep, comment, ask the agent; and take an approval back.

None of it decides anything. A question keeps the clock running; a claim and an extension move the deadline within bounds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from creto.common.errors import AlreadyExists, Unauthorized
from creto.common.ids import AgentId, RequestId, TenantId
from creto.common.limits import OVERSIGHT_NOTES_MAX, OVERSIGHT_SNOOZE_S_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.oversight import eligibility, escalation
from creto.oversight import store as sql
from creto.oversight.ballots import Counted, Receipt, receipt
from creto.oversight.core import DECIDED, Mark, checked_text, no_such, signal_of
from creto.oversight.decisions import CastVote
from creto.oversight.eligibility import Approver, ineligible
from creto.oversight.passkeys import Passkeys
from creto.oversight.policies import between, refusal
from creto.oversight.requests import permitting
from creto.oversight.states import already, check_open
from creto.oversight.store import Record
from creto.oversight.types import Bound, Note, NoteKind, NotificationKind, Permit, Progress, RequestState
from creto.platform.consensus import PersonId
from creto.store.types import Tx

EDITED = "the arguments were edited since"
Move = Callable[[Record, ConsensusTimestamp], Progress]


class Case(msgspec.Struct, frozen=True):
    """A request with all that an approver looks at."""

    record: Record
    votes: tuple[CastVote, ...]
    notes: tuple[Note, ...]
    standing: Receipt
    waiting_for: tuple[PersonId, ...]  # who could decide it now and has not, in this round
    lost: dict[str, str] = {}  # by nonce, the votes that do not count, and why their human could not decide any more

    def why_not(self, vote: CastVote) -> str:
        """Why a vote does not count; nothing for one that does."""
        if vote.signed.ballot.round != self.record.ask.round:
            return EDITED
        return self.lost.get(vote.signed.ballot.nonce, "")


class Desk(Passkeys):
    async def case(self, tenant: TenantId, request_id: RequestId) -> Case:
        record, votes, notes = await self.store.read(
            lambda tx: (
                sql.find(tx, tenant, request_id),
                sql.votes(tx, tenant, request_id),
                sql.notes(tx, tenant, request_id),
            )
        )
        if record is None:
            raise no_such(request_id)
        ask, progress = record.ask, record.progress
        directory, now = self.directory(tenant, ask.policy), self.clock.now()
        counts = self.counting(record, votes, directory, now)
        kept = {vote.signed.ballot.nonce for vote in counts}
        said = {vote.signed.ballot.person for vote in counts if vote.signed.ballot.round == ask.round}
        asked = self._told(record, progress.tier + 1) if progress.state.open else set()
        return Case(
            record, tuple(votes), tuple(notes), receipt(record, counts, Counted.VOTE), tuple(sorted(asked - said)),
            {vote.signed.ballot.nonce: self.why_lost(record, vote, directory, now) for vote in votes if vote.signed.ballot.nonce not in kept},
        )  # fmt: skip

    async def proposals(self, tenant: TenantId, records: Sequence[Record]) -> dict[RequestId, tuple[Bound, ...]]:
        """What was last proposed in place of each; only of those where a denial with a proposal can stand."""
        wanted = [
            one.ask.request_id
            for one in records
            if one.progress.state is RequestState.DENIED or one.ask.policy.quorum.denials > 1
        ]
        cast = await self.store.read(lambda tx: {one: sql.votes(tx, tenant, one) for one in wanted}) if wanted else {}
        found = {
            one: [v.signed.ballot.counter for v in votes if v.signed.ballot.counter] for one, votes in cast.items()
        }
        return {one: bounds[-1] for one, bounds in found.items() if bounds}

    def has_seat(self, record: Record, nhi: AgentId) -> bool:
        """Whether this human can decide the request, now or at a tier to come."""
        try:
            person = self.approver(record.ask.tenant, nhi).person
        except Unauthorized:
            return False
        return person in self._told(record, len(record.ask.policy.tiers))

    def _told(self, record: Record, tiers: int) -> set[PersonId]:
        """Everybody who can decide at one of the first so many tiers."""
        ask, directory, now = record.ask, self.directory(record.ask.tenant, record.ask.policy), self.clock.now()
        return {person for tier in range(tiers) for person in eligibility.told(ask, tier, directory, now)}

    async def claim(self, tenant: TenantId, request_id: RequestId, *, by: AgentId, ttl_s: int) -> Record:
        """Say that one is looking into it: no escalation until the claim ends."""
        approver = self.approver(tenant, by)
        return await self._move(
            tenant,
            request_id,
            approver,
            "claim",
            lambda one, now: escalation.claimed(one.progress, approver.person, ttl_s, now),
        )

    async def extend(
        self, tenant: TenantId, request_id: RequestId, *, by: AgentId, by_s: int = 300, mark: Mark | None = None
    ) -> Record:
        """More time for this tier."""
        approver = self.approver(tenant, by)
        return await self._move(
            tenant, request_id, approver, "extend", lambda one, now: escalation.extended(one.progress, by_s), mark
        )

    async def snooze(self, tenant: TenantId, request_id: RequestId, *, by: AgentId, for_s: int) -> None:
        """Out of one's own inbox for a while; the request's time goes on."""
        between("for_s", for_s, 1, OVERSIGHT_SNOOZE_S_MAX)
        approver = self.approver(tenant, by)
        record = await self.get(tenant, request_id)
        self._check_seat(record, approver)
        until = self.clock.now() + for_s * SECOND
        await self.write(lambda tx: sql.snooze(tx, tenant, request_id, approver.person, until))

    async def comment(self, tenant: TenantId, request_id: RequestId, text: str, *, by: AgentId) -> Note:
        return await self._write_note(tenant, request_id, NoteKind.COMMENT, text, by)

    async def ask(self, tenant: TenantId, request_id: RequestId, text: str, *, by: AgentId) -> Note:
        """A question to the agent."""
        return await self._write_note(tenant, request_id, NoteKind.QUESTION, text, by)

    async def answer(self, tenant: TenantId, request_id: RequestId, text: str, *, by: AgentId) -> Note:
        """The agent's answer: its own words, shown as such."""
        record = await self.get(tenant, request_id)
        if not self.own(tenant, by, record.ask.agent):
            raise Unauthorized(
                "OV-403", "only the agent that asked answers", field="by", got=by, expected=record.ask.agent
            )
        return await self._write_note(tenant, request_id, NoteKind.ANSWER, text, by)

    async def unanswered(self, tenant: TenantId, request_id: RequestId) -> tuple[Note, ...]:
        """What the approvers have asked the agent since it last answered."""
        found = await self.store.read(lambda tx: sql.notes(tx, tenant, request_id))
        last = max((place for place, one in enumerate(found) if one.kind is NoteKind.ANSWER), default=-1)
        return tuple(one for one in found[last + 1 :] if one.kind is NoteKind.QUESTION)

    async def notes(self, tenant: TenantId, request_id: RequestId) -> list[Note]:
        await self.get(tenant, request_id)
        return await self.store.read(lambda tx: sql.notes(tx, tenant, request_id))

    async def revoke(self, tenant: TenantId, request_id: RequestId, *, by: AgentId, reason: str = "") -> Record:
        """Take an approval back before it is used; OV-410 if it was. The decision stands in the record, the permission does not."""
        approver = self.approver(tenant, by)
        checked_text(reason, "reason")

        def take_back(tx: Tx) -> Record:
            record, now = self.locked(tx, tenant, request_id), self.clock.now()
            progress = record.progress
            if not permitting(progress) or not record.ask.policy.revocable:
                raise already(progress)
            if progress.permit.revoked_at is not None:
                return record
            if progress.state is RequestState.TIMED_OUT:  # approved by silence: each of those who were silent
                self._check_seat(record, approver)
            else:
                self._check_voter(tx, record, approver)
            token_id = progress.permit.token_id
            if token_id is not None and not self.authz.withdraw_override(tx, token_id, tenant=tenant):
                raise spent()
            permit = Permit(revoked_at=now, revoked_by=approver.person)
            self.note(
                tx, tenant, "oversight:revoke", f"oversight:request:{request_id}", "ApprovalRevoked", by,
                {"request_id": request_id, "reason": reason},
            )  # fmt: skip
            tx.signal(DECIDED, signal_of(tenant, request_id))
            return self.save(tx, record, replace(progress, permit=permit, version=progress.version + 1), now=now)

        return await self.write(take_back)

    def _check_voter(self, tx: Tx, record: Record, approver: Approver) -> None:
        votes = sql.votes(tx, record.ask.tenant, record.ask.request_id)
        if approver.person not in {record.progress.decided_by, *(vote.signed.ballot.person for vote in votes)}:
            raise ineligible("NOT_ELIGIBLE", "only who approved takes the approval back")

    async def _move(
        self, tenant: TenantId, request_id: RequestId, approver: Approver, what: str, move: Move,
        mark: Mark | None = None,
    ) -> Record:  # fmt: skip
        """A change of the request's time by somebody who could decide it."""

        def change(tx: Tx) -> tuple[Record, Record, bool]:
            if mark is not None:
                mark(tx)
            before, now = self.locked(tx, tenant, request_id), self.clock.now()
            record = self.overdue(tx, before, self.directory(tenant, before.ask.policy), now)
            if not record.progress.state.open:
                return before, record, False
            self._check_seat(record, approver)
            after = self.save(tx, record, move(record, now), now=now)
            self.note(
                tx, tenant, f"oversight:{what}", f"oversight:request:{request_id}", "DeadlineMoved", approver.nhi,
                {"request_id": request_id, "ends_at": escalation.ends_at(after.progress)},
            )  # fmt: skip
            return before, after, True

        before, after, moved = await self.write(change)
        self.counted(before.progress, after)
        if not moved:
            raise already(after.progress)
        return after

    def _check_seat(self, record: Record, approver: Approver) -> None:
        """Only who could decide, now or at a tier to come, has a say in when."""
        if not self.has_seat(record, approver.nhi):
            raise ineligible("NOT_ELIGIBLE", "no tier of the policy names this human")

    async def _write_note(
        self, tenant: TenantId, request_id: RequestId, kind: NoteKind, text: str, by: AgentId
    ) -> Note:
        if not checked_text(text, "text").strip():
            raise refusal("text", "no text", "what is to be said")
        if kind is not NoteKind.ANSWER:
            self._check_seat(await self.get(tenant, request_id), self.approver(tenant, by))

        def write(tx: Tx) -> Note:
            record, now = self.locked(tx, tenant, request_id), self.clock.now()
            check_open(record.progress)
            known = sql.notes(tx, tenant, request_id)
            if len(known) >= OVERSIGHT_NOTES_MAX:
                raise refusal("notes", len(known), f"{OVERSIGHT_NOTES_MAX} at most")
            note = Note(kind=kind, author=by, text=text, at=now)
            sql.add_note(tx, tenant, request_id, len(known) + 1, note)
            self.moved(tx, record.ask)
            self.note(
                tx, tenant, f"oversight:{kind}", f"oversight:request:{request_id}", "NoteWritten", by,
                {"request_id": request_id, "kind": kind},
            )  # fmt: skip
            if kind is NoteKind.ANSWER:
                self.tell(tx, record, self._reachable(record, self.directory(tenant, record.ask.policy), now), NotificationKind.ANSWERED, now)  # fmt: skip
                sql.touch(tx, tenant, request_id)
            if kind is NoteKind.QUESTION:
                tx.publish(f"oversight.questions.{request_id}", text.encode(), tenant=tenant, agent=record.ask.agent)
            return note

        return await self.write(write)


def spent() -> AlreadyExists:
    return AlreadyExists(
        "OV-410", "UNKNOWN: the approval was used already; whether the act took effect is not known here", field="permit",
        got="used", expected="an unused approval", hint="Ask again: the humans are told about the first time and decide.",
    )  # fmt: skip
