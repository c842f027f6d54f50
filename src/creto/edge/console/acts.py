"""What a signed-in human does about requests, each through its endpoint and so through the gate; the page's own part is the time to undo.

acts = Acts(dispatcher)
case = await acts.case(call, request_id)
await acts.vote(call, case.record, Vote(verdict=Verdict.APPROVE), delivery=form.text("delivery"))
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import msgspec

from creto.common.errors import EnablementError, InvalidInput, NotFound
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId, checked_name
from creto.common.limits import OVERSIGHT_HOLD_S, PAGE_ITEMS_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.edge.api import approvals, approvers, passkeys, votes
from creto.edge.api.approval_views import ApprovalView
from creto.edge.api.dispatch import Call, Dispatcher
from creto.edge.console.forms import Vote
from creto.edge.console.site import Form, plain
from creto.oversight import Ask, Bound, Case, Grant, Notice, Oversight, OversightPolicy, Record
from creto.oversight.requests import LAST
from creto.platform.consensus import PersonId
from creto.platform.crypto.webauthn import Assertion, Passkey

COLLEAGUES_MAX = 60  # whom a page offers to delegate to; the others are reached by the command line
GRANT_PAGES_MAX = 5  # what a page reads; the command line lists all
CLAIM_S, EXTENSION_S, SNOOZE_S = 900, 300, 1_800
Beside = Callable[[Call, Record, Form], Awaitable[object]]


class Absence(msgspec.Struct, frozen=True):
    """Somebody sits in one's seats."""

    delegation_id: str
    to_name: str
    ends_at: ConsensusTimestamp
    policies: tuple[PolicyId, ...]


class Acts:
    def __init__(self, dispatcher: Dispatcher) -> None:
        self._ask = dispatcher
        self._beside: dict[str, Beside] = {
            "undo": self._undo,
            "ask": self._question,
            "comment": self._comment,
            "claim": self._claim,
            "extend": self._extend,
            "snooze": self._snooze,
            "delegate": self._delegate,
            "revoke": self._revoke,
        }

    @property
    def _oversight(self) -> Oversight:
        return self._ask.parts.oversight

    def now(self) -> ConsensusTimestamp:
        return self._ask.parts.clock.now()

    # Who

    def person(self, call: Call) -> PersonId:
        return self._oversight.approver(call.tenant, call.known.agent).person

    def name(self, call: Call) -> str:
        return plain(self._ask.parts.nhi.get_now(call.tenant, call.known.agent).name)

    def names(self, tenant: TenantId, people: Iterable[PersonId]) -> dict[str, str]:
        """What people are called; who is gone keeps their id."""
        found: dict[str, str] = {}
        for person in people:
            try:
                found[person] = plain(self._ask.parts.nhi.get_now(tenant, AgentId(person)).name)
            except EnablementError:
                continue
        return found

    def seated(self, call: Call, case: Case) -> bool:
        return self._oversight.has_seat(case.record, call.known.agent)

    def colleagues(self, call: Call) -> list[tuple[PersonId, str]]:
        """The other humans whom the policies name, by name."""
        oversight, me = self._oversight, self.person(call)
        directories = [oversight.directory(call.tenant, policy) for policy in oversight.policies(call.tenant)]
        people = {person for one in directories for person in one.people.values() if person not in (me, *one.out)}
        named = self.names(call.tenant, sorted(people)[:COLLEAGUES_MAX])
        return sorted(((PersonId(person), name) for person, name in named.items()), key=lambda one: one[1])

    def absences(self, call: Call) -> list[Absence]:
        """Who decides in this human's place now, or soon."""
        person, now = self.person(call), self.now()
        mine = [one for one in self._oversight.delegations(call.tenant) if one.of == person and one.ends_at > now]
        names = self.names(call.tenant, [one.to for one in mine])
        return [Absence(one.delegation_id, names.get(one.to, one.to), one.ends_at, one.policies) for one in mine]

    async def end_absence(self, call: Call, delegation_id: str) -> None:
        ask = approvers.EndDelegation(delegation_id=checked_name(delegation_id, "delegation_id"))
        await self._ask(approvers.END_DELEGATION, call, ask)

    async def own_passkeys(self, call: Call) -> tuple[passkeys.PasskeyView, ...]:
        return (await self._ask(passkeys.LIST, call, passkeys.ListPasskeys())).items

    async def passkeys_here(self, call: Call, site: str) -> list[passkeys.PasskeyView]:
        """Those that this site can use."""
        return [one for one in await self.own_passkeys(call) if one.site == site]

    async def enrol(self, call: Call, passkey: Passkey, name: str) -> None:
        ask = passkeys.EnrolPasskey(
            name=name, credential_id=passkey.credential_id, public_key=passkey.public_key, site=passkey.site
        )
        await self._ask(passkeys.ENROL, call, ask)

    async def remove(self, call: Call, credential_id: bytes) -> None:
        await self._ask(passkeys.REMOVE, call, passkeys.RemovePasskey(credential_id=credential_id))

    # What is approved in advance

    async def grants(self, call: Call) -> list[Grant]:
        """Those that this human could end, the newest first."""
        found: list[Grant] = []
        cursor: str | None = None
        for _ in range(GRANT_PAGES_MAX):
            page = await self._ask(approvers.GRANTS, call, approvers.ListGrants(limit=PAGE_ITEMS_MAX, cursor=cursor, mine=True))  # fmt: skip
            found += page.items
            cursor = page.cursor
            if cursor is None:
                break
        return found[::-1]

    async def propose_grant(self, call: Call, ask: approvers.ProposeGrant) -> ApprovalView:
        return await self._ask(approvers.PROPOSE_GRANT, call, ask)

    async def end_grant(self, call: Call, grant_id: str) -> None:
        await self._ask(approvers.END_GRANT, call, approvers.EndGrant(grant_id=checked_name(grant_id, "grant_id")))

    def granting(self, call: Call) -> list[OversightPolicy]:
        """The policies under which this human decides and something may be approved in advance."""
        oversight, me = self._oversight, call.known.agent
        found = [one for one in oversight.policies(call.tenant) if one.grants is not None and not one.always_ask]
        return [one for one in found if oversight.sits(call.tenant, one.policy_id, me)]

    async def known_agents(self, call: Call) -> dict[str, str]:
        """Those that have asked this human, by their names."""
        records = [*await self.inbox(call), *await self.decided(call)]
        return {one.ask.agent: plain(one.ask.agent_name) for one in records}

    # What there is. The endpoint says who may look; the page lays out what the endpoint's view is made of.

    async def inbox(self, call: Call) -> list[Record]:
        await self._ask(approvals.INBOX, call, approvals.ListInbox(limit=1))
        return await self._oversight.inbox(call.tenant, call.known.agent, limit=PAGE_ITEMS_MAX)

    async def decided(self, call: Call, *, before: str = LAST, count: int = PAGE_ITEMS_MAX) -> list[Record]:
        """What this human voted on and is over, the newest first, from before that request; so many, or all there are."""
        await self._ask(approvals.INBOX, call, approvals.ListInbox(limit=1))
        found: list[Record] = []
        while len(found) < count:
            page = await self._oversight.history(call.tenant, approver=call.known.agent, before=before, limit=PAGE_ITEMS_MAX)  # fmt: skip
            found += [one for one in page if not one.progress.state.open]
            if len(page) < PAGE_ITEMS_MAX:
                break
            before = page[-1].ask.request_id
        return found[:count]

    def voted_on(self, record: Record, vote: Vote) -> Ask:
        """The request as this vote makes it: an edit may be riskier than what was asked."""
        return record.ask if vote.arguments is None else self._oversight.as_edited(record, vote.arguments).ask

    async def proposals(self, call: Call, records: list[Record]) -> dict[RequestId, tuple[Bound, ...]]:
        """Of requests that this human may see."""
        return await self._oversight.proposals(call.tenant, records)

    async def case(self, call: Call, request_id: RequestId) -> Case:
        await self._ask(approvals.GET, call, approvals.GetApproval(request_id=request_id))
        return await self._oversight.case(call.tenant, request_id)

    async def notices(self, case: Case) -> tuple[Notice, ...]:
        """Whom nobody could tell yet; that the agent's reasons are missing is said where they would stand."""
        return tuple(one for one in await self._oversight.notices(case.record) if one.code == "OV-202")

    async def looked(self, call: Call, case: Case) -> None:
        """The operator sees that somebody has: it is not lost in a mailbox."""
        told = await self._oversight.notifications(call.tenant, case.record.ask.request_id)
        for one in told:
            if one.person == self.person(call) and one.seen_at is None:
                await self._oversight.seen(one)

    async def decision_file(self, call: Call, request_id: RequestId) -> bytes:
        return (await self._ask(approvals.DECISION, call, approvals.GetApproval(request_id=request_id))).file

    # Votes

    async def vote(self, call: Call, record: Record, vote: Vote, *, delivery: str) -> None:
        """By the session: A2. The same form again is the same vote."""
        key = checked_name(f"{delivery}.{record.ask.request_id}", "delivery") if delivery else None
        ask = votes.Decide(
            request_id=record.ask.request_id, verdict=vote.verdict, reason=vote.reason, items=vote.items, wish=vote.wish,
            counter=vote.counter, arguments=text(vote), round=record.ask.round, hold_s=OVERSIGHT_HOLD_S,
        )  # fmt: skip
        await self._ask(votes.DECIDE, replace(call, idempotency_key=key), ask)

    async def ballot(self, call: Call, record: Record, vote: Vote) -> bytes:
        """What the passkey signs: everything that the vote is bound to."""
        ask = votes.GetBallot(
            request_id=record.ask.request_id, verdict=vote.verdict, reason=vote.reason, items=vote.items, wish=vote.wish,
            counter=vote.counter, arguments=text(vote),
        )  # fmt: skip
        return (await self._ask(votes.BALLOT, call, ask)).ballot

    async def vote_signed(
        self, call: Call, record: Record, vote: Vote, credential_id: bytes, assertion: Assertion
    ) -> None:
        """By the human's own passkey: A3. What counts is what it signed."""
        ask = passkeys.SubmitPasskey(
            request_id=record.ask.request_id, credential_id=credential_id, authenticator_data=assertion.authenticator_data,
            client_data=assertion.client_data, signature=assertion.signature, arguments=text(vote), hold_s=OVERSIGHT_HOLD_S,
        )  # fmt: skip
        await self._ask(passkeys.SUBMIT, call, ask)

    # Beside voting

    async def beside(self, call: Call, record: Record, what: str, form: Form) -> None:
        act = self._beside.get(what)
        if act is None:
            raise NotFound("PL-404", "there is no such act", field="act", got=what)
        await act(call, record, form)

    async def _undo(self, call: Call, record: Record, form: Form) -> object:
        return await self._ask(passkeys.UNDO, call, passkeys.UndoVote(request_id=record.ask.request_id))

    async def _question(self, call: Call, record: Record, form: Form) -> object:
        ask = votes.WriteNote(request_id=record.ask.request_id, text=form.text("text"))
        return await self._ask(votes.ASK, call, ask)

    async def _comment(self, call: Call, record: Record, form: Form) -> object:
        ask = votes.WriteNote(request_id=record.ask.request_id, text=form.text("text"))
        return await self._ask(votes.COMMENT, call, ask)

    async def _claim(self, call: Call, record: Record, form: Form) -> object:
        ask = votes.ClaimApproval(request_id=record.ask.request_id, ttl_s=CLAIM_S)
        return await self._ask(votes.CLAIM, call, ask)

    async def _extend(self, call: Call, record: Record, form: Form) -> object:
        ask = votes.ExtendApproval(request_id=record.ask.request_id, by_s=EXTENSION_S)
        return await self._ask(votes.EXTEND, call, ask)

    async def _snooze(self, call: Call, record: Record, form: Form) -> object:
        ask = votes.SnoozeApproval(request_id=record.ask.request_id, for_s=SNOOZE_S)
        return await self._ask(votes.SNOOZE, call, ask)

    async def _revoke(self, call: Call, record: Record, form: Form) -> object:
        return await self._ask(votes.REVOKE, call, votes.RevokeApproval(request_id=record.ask.request_id))

    async def _delegate(self, call: Call, record: Record, form: Form) -> object:
        ask = approvers.DelegateSeats(
            to=AgentId(form.text("to")), ends_at=away_until(form, self.now()),
            policies=tuple(one.policy_id for one in record.ask.policy.joint or (record.ask.policy,)),
        )  # fmt: skip
        return await self._ask(approvers.DELEGATE, call, ask)


def away_until(form: Form, now: ConsensusTimestamp) -> int:
    """The end of a day, or so many hours from now."""
    until = form.text("until")
    if not until:
        return now + form.whole("hours") * 3_600 * SECOND
    try:
        day = datetime.combine(date.fromisoformat(until), time(), UTC) + timedelta(days=1)
    except (ValueError, OverflowError) as error:
        raise InvalidInput.of("until", got=until, expected="a day, as 2026-12-24", code="OV-400") from error
    return int(day.timestamp()) * SECOND


def text(vote: Vote) -> str | None:
    return vote.arguments.decode() if vote.arguments is not None else None
