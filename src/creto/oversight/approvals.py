"""The client's ApprovalGate: what the runtime asks before a sandbox may act.

    gate = Approvals(oversight)
    match gate.check_approval_required(tenant, sandbox_id, action):
        case Required():
            result = await gate.await_approval(tenant, sandbox_id, request)

INVARIANT: a caller that gives up, or dies, leaves the request pending; who asks again gets the same decision.
"""

from __future__ import annotations

from contextlib import suppress
from typing import assert_never

from msgspec.structs import asdict, replace

from creto.common.errors import Detail, EnablementError, OversightRequired, Unauthorized
from creto.common.ids import PolicyId, RequestId, SandboxId, TenantId, checked_tenant
from creto.contracts import (
    ApprovalCheckResult,
    ApprovalResult,
    NotRequired,
    OversightRequest,
    Prohibited,
    Required,
    RuntimeOversightRequest,
    SandboxAction,
)
from creto.gate import Operation
from creto.oversight.escalation import estimated_wait_s
from creto.oversight.service import Oversight
from creto.oversight.sources import of_operation, policy_names
from creto.oversight.types import Notice
from creto.security.authz import Allow, Deny, QuotaDenied, RequiresOversight


class Approvals:
    """Keeps `contracts.ApprovalGate`."""

    def __init__(self, oversight: Oversight) -> None:
        self._oversight = oversight

    async def await_approval(
        self,
        tenant: TenantId,
        sandbox_id: SandboxId | None,
        request: OversightRequest,
        timeout_s: float | None = None,
    ) -> ApprovalResult:
        """Ask, or find what was asked before, and wait. OV-504 when `timeout_s` is over.

        OV-451 if somebody in the request's own chain has approved: what was asked before may have been under another.
        """
        if request.tenant != checked_tenant(tenant):
            raise Unauthorized("OV-403", "the request is another tenant's", field="tenant", got=request.tenant)
        if sandbox_id is not None:
            request = replace(as_runtime(request), sandbox_id=sandbox_id)
        asked = await self._oversight.create(request)
        record = await self._oversight.decided(tenant, asked.ask.request_id, timeout_s)
        return await self._oversight.result(record, chain=request.delegation_chain)

    def check_approval_required(
        self, tenant: TenantId, sandbox_id: SandboxId | None, action: SandboxAction
    ) -> ApprovalCheckResult:
        """From memory: whether the policies ask for a human. What no policy permits is prohibited: no human's yes would open the gate for it."""
        name, resource = policy_names(action.action_type, sandbox_id)
        decision = self._oversight.policy_says(tenant, action.agent_nhi, name, resource)
        match decision:
            case Allow():
                return NotRequired()
            case RequiresOversight(demands=demands) as said:
                waits = [self._wait_s(tenant, PolicyId(one.policy_id)) for one in demands]
                return Required(policy_id=PolicyId(said.under), estimated_wait_s=max(waits))
            case Deny(reason=reason) | QuotaDenied(reason=reason):
                return Prohibited(reason=reason)
            case _:
                assert_never(decision)

    async def asked(self, operation: Operation, refused: OversightRequired) -> dict[str, Detail]:
        """What the gate refused because a human has to agree becomes a request, or is found as one; the refusal says which.

        What no human can be asked about (its arguments are too large, no policy says who decides) stays refused, and says why.
        """
        said = refused.decision
        needed = said if isinstance(said, RequiresOversight) else RequiresOversight(refused.policy_id)
        request = of_operation(operation, PolicyId(refused.policy_id))
        try:
            record = await self._oversight.create(request, needed=needed)
        except EnablementError as error:
            return {"not_asked": f"{error.code} {error.message}"}
        request_id = record.ask.request_id
        notices: tuple[Notice, ...] = ()
        with suppress(EnablementError):  # it is asked, whatever can be said of it
            notices = await self._oversight.notices(record)
        return {
            "request_id": request_id,
            "state": str(record.progress.state),
            "approval_link": self._oversight.link_to(request_id),
            **({"notice": "; ".join(f"{one.code} {one.message}" for one in notices)} if notices else {}),
        }

    async def cancel_approval(self, tenant: TenantId, request_id: RequestId) -> None:
        """The agent gave up before anybody decided."""
        record = await self._oversight.get(tenant, request_id)
        await self._oversight.cancel(tenant, request_id, by=record.ask.agent)

    def _wait_s(self, tenant: TenantId, policy_id: PolicyId) -> int:
        known = {policy.policy_id: policy for policy in self._oversight.policies(tenant)}
        return estimated_wait_s(known[policy_id]) if policy_id in known else self._oversight.default_timeout_s


def as_runtime(request: OversightRequest) -> RuntimeOversightRequest:
    return request if isinstance(request, RuntimeOversightRequest) else RuntimeOversightRequest(**asdict(request))
