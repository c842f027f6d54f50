"""Ask, wait, use: the three steps by which an agent gets a human's yes for something that it does itself.

    result = creto.approvals.await_approval(policy_id="refunds", action="payment.approve", resource="invoice:17", arguments={"amount": 40})
    go = creto.approvals.granted(policy_id="deploys", action="code.deploy", resource="service:web", arguments={"sha": "9f2c"})

The same question again, from another process too, is the same request: who died while waiting finds the decision.
INVARIANT: `granted` returns once for each approval; before it returns the approval is used up, on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import InvalidInput, Timeout
from creto.contracts import ApprovalResult, Denied, RiskFactor
from creto.edge.api.approvals import CREATE, USE, CreateApproval, Item, UseApproval
from creto.oversight.edits import proposed
from creto.sdk.line import Line
from creto.sdk.waiting import Answer, allowed, checked_timeout, wait

Accept = Callable[[Any], bool]  # of the arguments that a human proposes instead
EXPECTED = "what JSON can say: then the same call has the same arguments in every process"


class Granted(msgspec.Struct, frozen=True):
    """A human's yes that is used up by now. `arguments` are what may be done, which a human may have changed."""

    request_id: str
    arguments: Any
    changed: bool
    approved_items: tuple[str, ...] = ()


async def await_approval(
    line: Line,
    policy_id: str,
    action: str,
    resource: str,
    arguments: object = None,
    description: str = "",
    risk_factors: Sequence[RiskFactor] = (),
    items: Sequence[Item] = (),
    key: str | None = None,
    timeout_s: float | None = None,
    answer: Answer | None = None,
) -> ApprovalResult:
    """Ask, or find what was asked before, and wait. OV-504 when `timeout_s` is over: the request stays open, ask again.

    `answer` is told what an approver asks the agent meanwhile, and gives the answer, or None.
    """
    checked_timeout(timeout_s)
    asked = question(policy_id, action, resource, arguments, description, risk_factors, items, key)
    made = await line.call(CREATE, asked)
    outcome = await wait(line, made.request_id, timeout_s, answer)
    if outcome.result is None:
        raise Timeout("OV-504", field="timeout_s", got=timeout_s, expected="a decision", details={"request_id": made.request_id})  # fmt: skip
    return outcome.result


async def granted(
    line: Line,
    policy_id: str,
    action: str,
    resource: str,
    arguments: object = None,
    description: str = "",
    risk_factors: Sequence[RiskFactor] = (),
    items: Sequence[Item] = (),
    key: str | None = None,
    timeout_s: float | None = None,
    accept: Accept | None = None,
    answer: Answer | None = None,
) -> Granted:
    """Ask, wait, and use the approval up: what it returns may be done now. OV-451 denied, OV-408 nobody decided, OV-504 not yet.

    With `items` instead of arguments each act is decided by itself, and `approved_items` of the answer names those that may be done.

    Where a human denies and proposes other arguments, `accept` is asked; if it says yes they are asked for, which is approved at once where one
    human's word is enough. Without it a counter-proposal is a denial that names what was proposed.
    """
    checked_timeout(timeout_s)
    asked = question(policy_id, action, resource, arguments, description, risk_factors, items, key)
    first = made = await line.call(CREATE, asked)
    outcome = await wait(line, made.request_id, timeout_s, answer)
    instead = countered(asked.arguments, outcome.result) if not asked.items else None
    if instead is not None and accept is not None and accept(wire.decode(instead, Any)):
        again = replace(asked, arguments=instead.decode(), key=None, takes_up=made.request_id)
        made = await line.call(CREATE, again)
        outcome = await wait(line, made.request_id, timeout_s, answer)
    token, other = allowed(outcome)
    used = await line.call(USE, UseApproval(request_id=made.request_id, override_token=token))
    changed = other is not None or made is not first
    return Granted(made.request_id, wire.decode(used.arguments, Any), changed, used.approved_items)


def countered(arguments: str, result: ApprovalResult | None) -> bytes | None:
    """The call that a human proposed in place of this one."""
    return proposed(arguments.encode(), result.counter) if isinstance(result, Denied) and result.counter else None


def question(
    policy_id: str, action: str, resource: str, arguments: object, description: str, risk_factors: Sequence[RiskFactor],
    items: Sequence[Item], key: str | None,
) -> CreateApproval:  # fmt: skip
    return CreateApproval(
        policy_id=policy_id, action=action, resource=resource, arguments=spelled(arguments), description=description,
        risk_factors=tuple(risk_factors), items=tuple(items), key=key,
    )  # fmt: skip


def spelled(arguments: object) -> str:
    """Arguments as the approver sees them; never a `repr`, which differs from process to process."""
    try:
        return wire.encode({} if arguments is None else arguments).decode()
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise InvalidInput.of("arguments", got=str(error), expected=EXPECTED, code="OV-400") from error
