"""Policy and oversight: small transfers pass, large ones wait for a human, whose yes is good for exactly one act.

    python examples/policy_and_oversight.py

It works with the gate itself, as a program does that has effects of its own to guard: the gate asks the humans, Ann signs with her own key,
and who asked gets a token for exactly what she saw.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from pathlib import Path

from creto.app import App, running
from creto.common.errors import OversightRequired, ProductId, Unauthorized
from creto.common.ids import PolicyId, RequestId
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.contracts import Approved
from creto.gate import Operation
from creto.oversight import EscalationTier, OversightPolicy, Verdict, render, sign
from creto.platform.audit import AuditQuery
from creto.platform.crypto import SigningKey
from creto.platform.nhi import DelegationChain, PrincipalKind, delegate, nhi_of, registration_proof
from creto.sdk.local import beside

POLICIES = """
@id("transfers")
permit (principal is Agent, action == Action::"funds.transfer", resource);

@id("large-transfers") @oversight("two-eyes")
forbid (principal, action == Action::"funds.transfer", resource)
when { context has amount && context.amount > 10000 };
"""


async def story(folder: Path) -> None:
    async with running(beside(folder / "creto.db")) as app:
        ann, chain = await ann_and_a_bot(app)
        await app.parts.authz.upload_policies(app.tenant, POLICIES, actor=app.operator, activate=True)
        finance = EscalationTier(name="finance", approvers=(nhi_of(ann.public),))
        two_eyes = OversightPolicy(policy_id=PolicyId("two-eyes"), title="Large transfers", tiers=(finance,))
        await app.parts.oversight.put_policy(app.tenant, two_eyes, by=app.operator)

        await transfer(app, transfer_of(app, chain, 500))

        token = await asked_and_approved(app, ann, transfer_of(app, chain, 50_000))
        for amount in (60_000, 50_000, 50_000):
            try:
                await transfer(app, transfer_of(app, chain, amount, token))
            except Unauthorized as refused:
                print(f"{amount}:", refused.code, refused.message)

        await app.parts.audit.sequence_once()
        page = await app.parts.audit.query(AuditQuery(tenant=app.tenant, action="funds.transfer"))
        for item in page.items:
            print(f"log {item.index}: {item.entry.outcome} {item.entry.why or ''}".rstrip())


async def asked_and_approved(app: App, ann: SigningKey, operation: Operation) -> str:
    """The gate refuses, and has asked; Ann looks and signs; who asked gets what that is worth."""
    oversight = app.parts.oversight
    try:
        await transfer(app, operation)
    except OversightRequired as asked:
        request_id = RequestId(str(asked.details["request_id"]))
        print(asked.code, "asks under the policy", asked.policy_id)
    else:
        raise SystemExit("nobody was asked")

    record = await oversight.get(app.tenant, request_id)
    print(render(record.ask).text())
    ballot = await oversight.ballot(
        app.tenant, request_id, approver=nhi_of(ann.public), verdict=Verdict.APPROVE, reason="Invoice 17"
    )
    await oversight.submit_response(app.tenant, sign(ballot, ann))

    result = await oversight.await_decision(app.tenant, request_id)
    if not isinstance(result, Approved) or result.override_token is None:
        raise SystemExit(f"not approved: {result}")
    print("approved by", result.approver.display_name)
    return result.override_token


async def ann_and_a_bot(app: App) -> tuple[SigningKey, DelegationChain]:
    """Ann, who decides; Ada, for whom a bot acts for an hour: she stands behind it, so she could not."""
    ann, ada, bot = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
    people = ((ann, PrincipalKind.HUMAN, "Ann"), (ada, PrincipalKind.HUMAN, "Ada"), (bot, PrincipalKind.AGENT, "bot"))
    for key, kind, name in people:
        proof = registration_proof(key, tenant=app.tenant, kind=kind, name=name)
        await app.parts.nhi.register(app.tenant, kind, key.public, name, proof=proof)
    now = app.parts.clock.now()
    link = delegate(
        ada,
        None,
        nhi_of(bot.public),
        tenant=app.tenant,
        actions=["funds.*"],
        resources=["bank:*"],
        not_before=now,
        not_after=ConsensusTimestamp(now + HOUR),
    )
    return ann, DelegationChain((link,))


def transfer_of(app: App, chain: DelegationChain, amount: int, token: str | None = None) -> Operation:
    return Operation(
        tenant=app.tenant,
        agent=chain.current().nhi,
        chain=chain,
        action="funds.transfer",
        resource="bank:acme",
        product=ProductId.PLATFORM,
        context={"amount": amount},
        arguments=json.dumps({"amount": amount, "to": "acme"}).encode(),  # what is approved, byte for byte
        override_token=token,
    )


async def transfer(app: App, operation: Operation) -> None:
    """Decide, record the intent, act, record the outcome."""
    async with app.parts.gate.audited_operation(operation):
        print("transferred:", operation.arguments.decode())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))
