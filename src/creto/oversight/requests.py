"""Requests: asked once, found again, cancelled, replaced.

    record = await oversight.create(OversightRequest(…))     # the same request again: the same record, for 24 hours
    await oversight.cancel("acme", request_id, by=bot)

INVARIANT: a key (agent, action, resource, arguments and policy, or the agent's own) names one request while that is open and for 24 hours from its
creation; with another payload it is a conflict. An approval that was used is not used twice: asking again asks the humans again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from msgspec.structs import replace

from creto.common.errors import IdempotencyConflict, QuotaExceeded, Unauthorized
from creto.common.ids import AgentId, RequestId, TenantId, checked_tenant, next_id
from creto.common.limits import (
    OVERSIGHT_OPEN_MAX,
    OVERSIGHT_RECOLLECT_S,
    PAGE_ITEMS_DEFAULT,
    PAGE_ITEMS_MAX,
)
from creto.common.telemetry import Attribute, span
from creto.common.timestamps import SECOND, ConsensusTimestamp, iso
from creto.contracts import OversightRequest, TimeoutAction
from creto.oversight import eligibility, escalation, states
from creto.oversight import store as sql
from creto.oversight import store_grants as grant_rows
from creto.oversight.core import checked_text
from creto.oversight.drafts import Draft, Drafting, hashed
from creto.oversight.eligibility import Directory
from creto.oversight.policies import between, refusal
from creto.oversight.seats import ended_with
from creto.oversight.states import Event
from creto.oversight.store import Record
from creto.oversight.types import (
    RISKS,
    Ask,
    BatchItem,
    Contact,
    Grant,
    NotificationKind,
    OversightPolicy,
    Progress,
    RequestState,
)
from creto.platform.audit.events import RequestCreated
from creto.platform.consensus import PersonId
from creto.security.authz import RequiresOversight
from creto.store.idempotency import APPROVAL_WINDOW_NS
from creto.store.types import Row, Tx

LAST = "\x7f"  # after every request id


class Requests(Drafting):
    async def create(
        self,
        request: OversightRequest,
        *,
        idempotency_key: str | None = None,
        supersedes: RequestId | None = None,
        takes_up: RequestId | None = None,
        items: Sequence[BatchItem] = (),
        by: AgentId | None = None,
        needed: RequiresOversight | None = None,
    ) -> Record:
        """Ask. The same request gives the same record; a live grant approves at once; OV-424 if nobody could ever approve.

        Where the policies say which oversight policies the act needs, it is all of those or none; `needed`: what they have said just now.
        `takes_up` is a denied request whose counter-proposal this is: the approvers see that it is. `by` is who asks for another's sake:
        they cannot approve it either.
        """
        facts = (await self._counter_of(request, takes_up),) if takes_up is not None else ()
        tenant = checked_tenant(request.tenant)
        reasoning = await self._reasoning(tenant, request.agent_nhi, request.action.name)
        draft = self._draft(request, idempotency_key, tuple(items), facts, by, needed, reasoning)

        def ask(tx: Tx) -> tuple[Record, bool]:
            known = sql.latest_of_key(tx, tenant, draft.ask_key)
            if known is not None and self._reusable(tx, known[0], draft):
                check_same(known[0].ask, known[1], draft, idempotency_key)
                if supersedes is not None:
                    self._supersede(tx, tenant, supersedes, known[0].ask)
                return known[0], False
            new = after(draft, known[0]) if known is not None else draft
            if supersedes is not None:
                self._supersede(tx, tenant, supersedes, new.record.ask)
            self._check_room(tx, new.record.ask)
            return self._add(tx, new, known[0] if known else None), True

        with span("oversight.create") as here:
            record, first = await self.write(ask)
            here.set(Attribute.OVERSIGHT_REQUEST_ID, record.ask.request_id)
            here.set(Attribute.OVERSIGHT_STATE, record.progress.state.upper())
        if first:
            self.counted(None, record)
        return record

    def _check_room(self, tx: Tx, ask: Ask) -> None:
        """A flooding agent buries nobody else's request."""
        if sql.open_of_agent(tx, ask.tenant, ask.agent, OVERSIGHT_OPEN_MAX) >= OVERSIGHT_OPEN_MAX:
            raise QuotaExceeded(
                "OV-429", f"{OVERSIGHT_OPEN_MAX} requests of this agent are open", limit=OVERSIGHT_OPEN_MAX,
                used=OVERSIGHT_OPEN_MAX, field="agent", got=ask.agent,
            )  # fmt: skip

    def _reusable(self, tx: Tx, record: Record, draft: Draft) -> bool:
        """Whether who asks the same again gets this one: not what is over, and no approval that may not be acted on any more, nor by who asks now."""
        now, permits = self.clock.now(), permitting(record.progress)
        if not self.own(record.ask.tenant, draft.record.ask.agent, record.ask.agent):
            return False
        if not reusable(record, now, named=draft.named) or (permits and self._used(tx, record)):
            return False
        directory, behind = self.directory(record.ask.tenant, record.ask.policy), draft.record.ask.excluded
        return not permits or self.forbidden(tx, record, directory, now, behind) is None

    def _used(self, tx: Tx, record: Record) -> bool:
        """Whether the approval's token was spent."""
        token_id = record.progress.permit.token_id
        return token_id is not None and self.authz.override_used(tx, token_id, tenant=record.ask.tenant)

    def _add(self, tx: Tx, draft: Draft, before: Record | None) -> Record:
        now = self.clock.now()
        ask = replace(draft.record.ask, created_at=now, before=sql.last_approved(tx, draft.record.ask.tenant, draft.record.ask.agent, draft.record.ask.action))  # fmt: skip
        if before is not None and before.progress.state is RequestState.APPROVED and self._used(tx, before):
            ask = replace(ask, facts=(*ask.facts, repeated(before)))
        progress = escalation.begun(ask, draft.record.progress.tier, now)
        record = hashed(ask, progress)
        due_at = escalation.looks_at(ask.policy, progress, now)
        sql.add(tx, record, ask_key=draft.ask_key, payload=draft.payload, due_at=due_at)
        if ask.reasoning_code is not None:
            sql.put_missing(tx, ask.tenant, ask.request_id, now + int(OVERSIGHT_RECOLLECT_S * SECOND))
        self.moved(tx, ask)
        self.record(
            tx, record, now=now,
            event=RequestCreated(
                request_id=ask.request_id, agent_nhi=ask.agent, action_requested=ask.action, policy_id=ask.policy.policy_id
            ),
        )  # fmt: skip
        for reason in draft.skipped:
            self.note_skip(tx, record, reason)
        grant = next(
            (one for one in grant_rows.grants_for(tx, ask) if self.covers(one, ask, draft.directory, now)), None
        )
        if grant is not None:
            return self._approved_by(tx, record, grant, now)
        self.tell(tx, record, self._reachable(record, draft.directory, now), NotificationKind.ASKED, now)
        return record

    def _approved_by(self, tx: Tx, record: Record, grant: Grant, now: ConsensusTimestamp) -> Record:
        """A human said yes in advance: this use is counted, and it is recorded that it was theirs."""
        grant_rows.put_grant(tx, replace(grant, uses=grant.uses + 1))
        reason = f"approved in advance by the {grant.kind} grant {grant.grant_id}"
        progress = states.ended(record.progress, Event.APPROVE, now=now, by=grant.granted_by, reason=reason)
        return self.save(tx, record, replace(progress, grant_id=grant.grant_id), now=now, by=AgentId(grant.granted_by))

    def note_skip(self, tx: Tx, record: Record, reason: str) -> None:
        ask = record.ask
        self.note(
            tx, ask.tenant, "oversight:skip_tier", f"oversight:request:{ask.request_id}", "TierSkipped", self.service_id,
            {"request_id": ask.request_id, "reason": reason},
        )  # fmt: skip

    def _reachable(
        self, record: Record, directory: Directory, now: ConsensusTimestamp
    ) -> dict[PersonId, list[Contact]]:
        contacts = self.contacts(record.ask.tenant)
        told = eligibility.told(record.ask, record.progress.tier, directory, now)
        return {person: contacts.get(person, []) for person in told}

    def _supersede(self, tx: Tx, tenant: TenantId, old_id: RequestId, new: Ask) -> None:
        """The agent wants something else instead: the old card decides nothing any more. Once is enough.

        OV-403 for a request that is not this agent's, whether it is another's or nobody's.
        """
        old, now = sql.locked(tx, tenant, old_id), self.clock.now()
        if old is None or not self.own(tenant, new.agent, old.ask.agent):
            raise Unauthorized(
                "OV-403", "only the agent that asked can replace its request", field="supersedes", got=old_id
            )
        if old.ask.request_id == new.request_id:
            raise refusal("supersedes", old_id, "another request: this is the one that is asked for")
        if old.progress.superseded_by == new.request_id:
            return
        self._check_own(old.ask, new.agent)
        directory = self.directory(tenant, old.ask.policy)
        old = self.overdue(tx, old, directory, now)
        progress = states.ended(old.progress, Event.CANCEL, now=now, by=None, reason="superseded by the agent")
        cast = sql.votes(tx, tenant, old_id)
        progress = ended_with(progress, cast, self.counting(old, cast, directory, now))
        self.save(tx, old, replace(progress, superseded_by=new.request_id), now=now, by=new.agent)

    def _check_own(self, ask: Ask, by: AgentId) -> None:
        """INVARIANT: what was done without asking is reviewed: nobody takes the review back, least of all the agent that it is about."""
        if ask.break_glass or (
            ask.advance is not None
            and self.approver(ask.tenant, by).person == self.approver(ask.tenant, ask.agent).person
        ):
            raise Unauthorized(
                "OV-403", "only its approvers, or time, end this one", field="request_id", got=ask.request_id
            )

    @abstractmethod
    def overdue(self, tx: Tx, record: Record, directory: Directory, now: ConsensusTimestamp) -> Record:
        """What time has done to the request by now: see `voting`."""

    async def cancel(self, tenant: TenantId, request_id: RequestId, *, by: AgentId, reason: str = "") -> Record:
        """Nobody needs to decide any more. Cancelling twice is once; OV-409 if it was decided, or time has.

        OV-403 for what is about the agent and no question of its own: a review of break-glass, or to it what would be granted in advance.
        """
        ask = (await self.get(tenant, request_id)).ask
        other = None if self.own(tenant, by, ask.agent) else by
        said = checked_text(reason, "reason")

        def end(tx: Tx) -> tuple[Record, Record]:
            before, now = self.locked(tx, tenant, request_id), self.clock.now()
            directory = self.directory(tenant, before.ask.policy)
            self._check_own(before.ask, by)
            record = self.overdue(tx, before, directory, now)
            if not record.progress.state.open:
                return before, record  # time was first: that stands
            progress = states.cancelled(record.progress, now=now, by=other, reason=said)
            cast = sql.votes(tx, tenant, request_id)
            progress = ended_with(progress, cast, self.counting(record, cast, directory, now))
            return before, self.save(tx, record, progress, now=now, by=by)

        before, after = await self.write(end)
        if before is not after:
            self.counted(before.progress, after)
        if after.progress.state is not RequestState.CANCELLED:
            raise states.already(after.progress)
        return after

    # Reading

    async def list_pending_requests(
        self, tenant: TenantId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[Record]:
        return await self.store.read(lambda tx: sql.open_requests(tx, tenant, after, paged(limit)))

    async def inbox(
        self, tenant: TenantId, approver: AgentId, *, after: str = "", limit: int = PAGE_ITEMS_DEFAULT
    ) -> list[Record]:
        """What this human can decide now and has not put to sleep, the oldest first: however much waits for others."""
        person, count = self.approver(tenant, approver).person, paged(limit)
        hidden = await self.store.read(lambda tx: sql.snoozed(tx, tenant, person, self.clock.now()))
        directories: dict[bytes, Directory] = {}  # by the spelling of the policy: most requests share a few
        mine: list[Record] = []
        while len(mine) < count:
            rows = await self._open_after(tenant, after)
            for policy, row in rows:
                if policy not in directories:
                    directories[policy] = self.directory(tenant, sql.decoded(policy, OversightPolicy))
                if person in directories[policy].everybody:
                    one = sql.record(row)
                    if one.ask.request_id not in hidden and self._waits_for(person, one, directories[policy]):
                        mine.append(one)
            if len(rows) < PAGE_ITEMS_MAX:
                break
            after = sql.record(rows[-1][1]).ask.request_id
        return mine[:count]

    async def _open_after(self, tenant: TenantId, after: str) -> list[tuple[bytes, Row]]:
        return await self.store.read(lambda tx: sql.open_unread(tx, tenant, after, PAGE_ITEMS_MAX))

    def _waits_for(self, person: PersonId, record: Record, directory: Directory) -> bool:
        """Whether this human sits at a tier that was reached."""
        ask, now = record.ask, self.clock.now()
        return any(person in eligibility.told(ask, tier, directory, now) for tier in range(record.progress.tier + 1))

    async def history(
        self,
        tenant: TenantId,
        *,
        agent: AgentId | None = None,
        approver: AgentId | None = None,
        start: int = 0,
        end: int = 2**63 - 1,
        before: str = LAST,
        limit: int = PAGE_ITEMS_DEFAULT,
    ) -> list[Record]:
        """By who asked, by who decided, or by time; newest first; decided ones stay for ever."""
        count = paged(limit)
        if agent is not None:
            return await self.store.read(lambda tx: sql.of_agent(tx, tenant, agent, before, count))
        if approver is not None:
            person = self.approver(tenant, approver).person
            return await self.store.read(lambda tx: sql.of_approver(tx, tenant, person, before, count))
        return await self.store.read(lambda tx: sql.created_between(tx, tenant, start, end, before, count))


def after(draft: Draft, known: Record) -> Draft:
    """INVARIANT: of a key's requests the last that was asked has the last id, whatever the clocks of those who asked say."""
    ask, last = draft.record.ask, known.ask.request_id
    if ask.request_id > last:
        return draft
    return replace(draft, record=replace(draft.record, ask=replace(ask, request_id=RequestId(next_id(last)))))


def reusable(record: Record, now: ConsensusTimestamp, *, named: bool) -> bool:
    """Whether the request is not over for who asks: open, or decided within the time that its key holds.

    Silence is no answer, so the same call asks again; a key of the agent's own names that one question all the same.
    """
    progress = record.progress
    if progress.state.open:
        return True
    silence = progress.state is RequestState.TIMED_OUT and not permitting(progress)
    over = progress.state is RequestState.CANCELLED or (silence and not named)
    return not over and now < record.ask.created_at + APPROVAL_WINDOW_NS


def check_same(known: Ask, payload: bytes, draft: Draft, key: str | None) -> None:
    """PL-410 for what the approvers were not shown when the key was first used: another payload, more risk, whether the agent waits.

    Words are noise where the call itself is the key: a model says the same thing differently each time. Under a key of its own they are not.
    """
    new = draft.record.ask
    riskier = RISKS.index(new.risk) > RISKS.index(known.risk)
    other = payload != draft.payload or riskier or new.blocking is not known.blocking
    if draft.named:
        other = other or new.risk_factors != known.risk_factors or new.description.split() != known.description.split()
    if other:
        raise IdempotencyConflict("PL-410", field="idempotency_key", got=key or "the same call")


def permitting(progress: Progress) -> bool:
    """Whether it ended so that the act may begin."""
    return progress.state is RequestState.APPROVED or progress.final_action is TimeoutAction.AUTO_APPROVE


def repeated(before: Record) -> str:
    at = iso(before.progress.decided_at or before.ask.created_at)
    succeeded = before.progress.permit.succeeded
    said = "whether it took effect is not known here"
    if succeeded is not None:
        said = f"the agent says that it {'succeeded' if succeeded else 'failed'}"
    return f"The same call was approved at {at} and its approval was used; {said}."


def paged(limit: int) -> int:
    between("limit", limit, 1, PAGE_ITEMS_MAX)
    return limit
