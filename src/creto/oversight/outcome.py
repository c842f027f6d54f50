"""What a decision is worth: the token that lets the approved act happen once, and the file that proves the decision.

INVARIANT: of all tokens ever made for one approval at most one can be used: making another takes the one before back, in the transaction that
makes it, or fails because that one was used.
INVARIANT: no token is stored; who lost theirs asks again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from msgspec.structs import replace

from creto.common.errors import AlreadyExists, EnablementError, NotFound, Unauthorized
from creto.common.ids import AgentId, RequestId, TenantId
from creto.common.limits import OVERSIGHT_PERMITS_KEPT_MAX
from creto.common.timestamps import SECOND
from creto.contracts import ApprovalResult, Approved, Denied, HumanIdentity, TimedOut, TimeoutAction
from creto.oversight import edits
from creto.oversight import store as sql
from creto.oversight import store_grants as grant_rows
from creto.oversight.ballots import decisive
from creto.oversight.core import SERVICE, checked_text, no_such
from creto.oversight.decisions import CastVote, DecisionFile
from creto.oversight.desk import Desk, spent
from creto.oversight.eligibility import Directory
from creto.oversight.requests import permitting
from creto.oversight.seats import counted_then
from creto.oversight.states import already
from creto.oversight.store import Record
from creto.oversight.types import Grant, GrantKind, Permit, RequestState, Verdict
from creto.platform.consensus import PersonId
from creto.platform.crypto import digest
from creto.security.authz import OverrideDraft, OverrideToken
from creto.store.types import Outcome, ReadTx, Tx


class Permits:
    """Tokens that this process handed out, so that who asks twice gets the same one. Memory alone."""

    def __init__(self) -> None:
        self._held: OrderedDict[str, OverrideDraft] = OrderedDict()

    def find(self, token_id: str, new: OverrideToken) -> OverrideDraft | None:
        """Not once the policies have changed, when that token is void, nor for another key of the agent."""
        held = self._held.get(token_id)
        same = held is not None and (held.token.policy_version, held.token.agent) == (new.policy_version, new.agent)
        return held if same else None

    def keep(self, draft: OverrideDraft) -> None:
        self._held[draft.token.token_id] = draft
        while len(self._held) > OVERSIGHT_PERMITS_KEPT_MAX:
            self._held.popitem(last=False)


class Outcomes(Desk):
    _permits: Permits

    async def result(
        self, record: Record, *, permit: bool = True, chain: Sequence[AgentId] = (), to: AgentId | None = None
    ) -> ApprovalResult:
        """What who waited gets. OV-410 if the approval was used, taken back or is too old; OV-409 if the request was cancelled.

        `chain` is the one under which the agent acts now: nobody in it may have approved, also where somebody else asked for the agent.
        `to` is the key that it acts with: the one that asked, if not said.
        """
        agent, progress = to or record.ask.agent, record.progress
        if progress.state.open or progress.state is RequestState.CANCELLED or progress.decided_at is None:
            raise already(progress)
        permit = (
            permit and not record.ask.break_glass and record.ask.advance is None
        )  # these let nothing begin by themselves
        votes = await self.store.read(lambda tx: sql.votes(tx, record.ask.tenant, record.ask.request_id))
        changed = approved_arguments(record) if record.ask.round > 1 or record.ask.items else None
        if progress.state is RequestState.TIMED_OUT:
            action = progress.final_action or TimeoutAction.AUTO_DENY
            if action is not TimeoutAction.AUTO_APPROVE:
                return TimedOut(timeout_action=action)
            token = await self._permit(record, agent, chain) if permit else None
            return TimedOut(
                timeout_action=action, override_token=token, arguments=changed, approved_items=progress.approved_items
            )
        cast = counted_then(progress, votes)
        verdict = Verdict.DENY if progress.state is RequestState.DENIED else Verdict.APPROVE
        last = decisive(record.ask, cast, verdict).signed if cast else None
        human = self._who(record)
        signature = last.signature if last else b""
        if progress.state is RequestState.DENIED:
            counter = last.ballot.counter if last else ()
            return Denied(
                approver=human,
                signature=signature,
                timestamp=progress.decided_at,
                reason=progress.reason,
                counter=counter,
            )
        return Approved(
            approver=human, signature=signature, timestamp=progress.decided_at, notes=progress.reason or None,
            override_token=await self._permit(record, agent, chain) if permit else None,
            arguments=changed, approved_items=progress.approved_items,
        )  # fmt: skip

    def _who(self, record: Record) -> HumanIdentity:
        person = record.progress.decided_by
        if person is None:
            return HumanIdentity(nhi=self.service_id, display_name=SERVICE)
        return HumanIdentity(nhi=AgentId(person), display_name=self.approver(record.ask.tenant, AgentId(person)).name)

    async def _permit(self, record: Record, agent: AgentId, chain: Sequence[AgentId]) -> str:
        """A token for exactly what was approved, bound to the bytes that may be executed."""
        ask, decided_at = record.ask, record.progress.decided_at or 0
        left_s = (decided_at + ask.policy.execution_s * SECOND - self.clock.now()) // SECOND
        draft = await self.authz.draft_override(
            tenant=ask.tenant, agent=agent, action=ask.action, resource=ask.resource,
            args_digest=digest(approved_arguments(record)), policy_id=ask.policy.policy_id, ttl_s=max(1, left_s),
            request_id=ask.request_id,
        )  # fmt: skip
        directory, behind = self.directory(ask.tenant, ask.policy), self.lineage(ask.tenant, chain)
        issued = await self.write(lambda tx: self._issue(tx, record, draft, directory, behind))
        if isinstance(issued, EnablementError):
            raise issued
        self._permits.keep(issued)
        return issued.text

    def _issue(
        self, tx: Tx, record: Record, draft: OverrideDraft, directory: Directory, behind: Sequence[PersonId]
    ) -> OverrideDraft | EnablementError:
        ask = record.ask
        fresh, now = self.locked(tx, ask.tenant, ask.request_id), self.clock.now()
        error = self.forbidden(tx, fresh, directory, now, behind)
        if error is not None:
            self.note(
                tx, ask.tenant, "oversight:permit", f"oversight:request:{ask.request_id}", "PermitRefused", ask.agent,
                {"request_id": ask.request_id, "why": error.message}, Outcome.DENIED,
            )  # fmt: skip
            return error
        token_id = fresh.progress.permit.token_id
        if token_id is not None:
            if self.authz.override_used(tx, token_id, tenant=ask.tenant):
                return spent()
            held = self._permits.find(token_id, draft.token)
            if held is not None:
                return held
            if not self.authz.withdraw_override(tx, token_id, tenant=ask.tenant):
                return spent()
        self.authz.issue_draft(tx, draft, actor=fresh.progress.decided_by or self.service_id)
        permit = Permit(token_id=draft.token.token_id)
        self.save(tx, fresh, replace(fresh.progress, permit=permit, version=fresh.progress.version + 1), now=now)
        return draft

    def begins(self, tx: ReadTx, token: OverrideToken, chain: Sequence[AgentId]) -> None:
        """OV-410, OV-451 where the approval may not be acted on any more, at the moment at which it is.

        A token that was given by hand names no approval of ours; of one that was taken back authz knows.
        """
        record = sql.find(tx, token.tenant, RequestId(token.request_id)) if token.request_id else None
        if record is None or record.progress.permit.token_id != token.token_id:
            return
        ask = record.ask
        if not self.own(ask.tenant, token.agent, ask.agent):
            raise AlreadyExists("OV-410", "REVOKED: the key that asked was revoked or suspended", field="permit")
        directory, behind = self.directory(ask.tenant, ask.policy), self.lineage(ask.tenant, chain)
        error = self.forbidden(tx, record, directory, self.clock.now(), behind)
        if error is not None:
            raise error

    async def report(
        self, tenant: TenantId, request_id: RequestId, *, by: AgentId, succeeded: bool, detail: str = ""
    ) -> Record:
        """What became of an act whose approval was used: on record once, as the agent says it. OV-409 if it said otherwise, or has not begun."""
        checked_text(detail, "detail")

        def note(tx: Tx) -> Record:
            record, now = self.locked(tx, tenant, request_id), self.clock.now()
            ask, permit = record.ask, record.progress.permit
            if not self.own(tenant, by, ask.agent):
                raise Unauthorized("OV-403", "only who asked says what became of it", field="by", got=by)
            used = permit.token_id is not None and self.authz.override_used(tx, permit.token_id, tenant=tenant)
            if not used or permit.succeeded not in (None, succeeded):
                said = "the act has not begun" if not used else "something else was said"
                raise AlreadyExists("OV-409", f"nothing to report: {said}", field="succeeded", got=succeeded)
            if permit.succeeded is not None:
                return record
            ended = Outcome.SUCCESS if succeeded else Outcome.FAILURE
            self.note(
                tx, tenant, ask.action, ask.resource, "ApprovedActEnded", by,
                {"request_id": request_id, "token_id": permit.token_id, "detail": detail}, ended,
            )  # fmt: skip
            progress = replace(
                record.progress, permit=replace(permit, succeeded=succeeded), version=record.progress.version + 1
            )
            return self.save(tx, record, progress, now=now)

        return await self.write(note)

    async def decision_file(self, tenant: TenantId, request_id: RequestId) -> bytes:
        """The decision as a file that anybody can verify; everybody gets the same bytes."""
        known, record, votes = await self.store.read(
            lambda tx: (
                sql.decision(tx, tenant, request_id),
                sql.find(tx, tenant, request_id),
                sql.votes(tx, tenant, request_id),
            )
        )
        if known is not None:
            return known
        if record is None:
            raise no_such(request_id)
        if record.progress.state.open:
            raise NotFound("OV-404", "the request is not decided yet", field="state", got=str(record.progress.state))
        votes = counted_then(record.progress, votes)
        data = (await self._file(record, votes)).sealed(self._signer).encode()
        return await self.write(lambda tx: sql.put_decision(tx, tenant, request_id, data))

    async def _file(self, record: Record, votes: list[CastVote]) -> DecisionFile:
        ask, progress, items = record.ask, record.progress, edits.item_hashes(record.ask)
        grant, basis = await self._basis(record)
        assert progress.decided_at is not None
        approved = edits.approved_hash(ask.action, ask.resource, record.args_hash, items, progress.approved_items)
        return DecisionFile(
            installation=self.installation, tenant=ask.tenant, request_id=ask.request_id, round=ask.round,
            agent=ask.agent, chain=ask.chain, excluded=ask.excluded, action=ask.action, resource=ask.resource,
            args_hash=record.args_hash, display_hash=record.display_hash, risk=ask.risk, policy=ask.policy,
            items=items, break_glass=ask.break_glass, advance=ask.advance, state=progress.state, tier=progress.tier, created_at=ask.created_at,
            deadline_at=progress.deadline_at, decided_at=progress.decided_at, decided_by=progress.decided_by,
            final_action=progress.final_action, reason=progress.reason,
            approved_hash=approved if permitting(progress) else None, approved_items=progress.approved_items,
            votes=tuple(votes), grant=grant, basis=basis, service=self.service_id,
        )  # fmt: skip

    async def _basis(self, record: Record) -> tuple[Grant | None, DecisionFile | None]:
        """The grant that approved it, as it was given, and the decision in which it was; break-glass rests on none."""
        tenant, grant_id = record.ask.tenant, record.progress.grant_id
        if grant_id is None:
            return None, None
        grant = await self.store.read(lambda tx: grant_rows.grant(tx, tenant, grant_id))
        assert grant is not None
        whole = replace(grant, uses=0, ended_at=None, ended_by=None)
        if grant.kind is GrantKind.BREAK_GLASS:
            return whole, None
        return whole, DecisionFile.decode(await self.decision_file(tenant, grant.request_id))


def approved_arguments(record: Record) -> bytes:
    """The bytes that may be executed: what was asked, as edited, or the approved part of a batch."""
    return edits.composed(record.ask, record.progress.approved_items) if record.ask.items else record.ask.arguments
