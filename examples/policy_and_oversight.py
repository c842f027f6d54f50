"""Policy and oversight: small transfers pass, large ones wait for a human, whose yes is good for exactly one act.

    python examples/policy_and_oversight.py

It works with the gate itself, as a program does that has effects of its own to guard.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from creto.app import App, running
from creto.common.errors import OversightRequired, ProductId, Unauthorized
from creto.common.ids import AgentId, PolicyId
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.gate import Operation
from creto.platform.audit import AuditQuery
from creto.platform.crypto import SigningKey, digest
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
        _, chain = await ada_and_her_bot(app)
        await app.parts.authz.upload_policies(app.tenant, POLICIES, actor=app.operator, activate=True)

        await transfer(app, transfer_of(app, chain, 500))

        large = transfer_of(app, chain, 50_000)
        try:
            await transfer(app, large)
        except OversightRequired as asked:
            print(f"{asked.code} asks the policy {asked.policy_id}")

        token = await app.parts.authz.issue_override(
            tenant=app.tenant,
            agent=large.agent,
            action=large.action,
            resource=large.resource,
            args_digest=digest(large.arguments),
            policy_id=PolicyId("large-transfer"),
            actor=app.operator,
        )
        await transfer(app, transfer_of(app, chain, 50_000, token))
        try:
            await transfer(app, transfer_of(app, chain, 50_000, token))
        except Unauthorized as spent:
            print(spent.code, spent.message)

        await app.parts.audit.sequence_once()
        page = await app.parts.audit.query(AuditQuery(tenant=app.tenant, action="funds.transfer"))
        for item in page.items:
            print(f"log {item.index}: {item.entry.outcome} {item.entry.why or ''}".rstrip())


async def ada_and_her_bot(app: App) -> tuple[AgentId, DelegationChain]:
    """A human, an agent, and the chain by which it acts for her for an hour."""
    ada, bot = SigningKey.generate(), SigningKey.generate()
    for key, kind, name in ((ada, PrincipalKind.HUMAN, "Ada"), (bot, PrincipalKind.AGENT, "bot")):
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
    return nhi_of(bot.public), DelegationChain((link,))


def transfer_of(app: App, chain: DelegationChain, amount: int, token: str | None = None) -> Operation:
    return Operation(
        tenant=app.tenant,
        agent=chain.current().nhi,
        chain=chain,
        action="funds.transfer",
        resource="bank:acme",
        product=ProductId.PLATFORM,
        context={"amount": amount},
        arguments=f"to=acme amount={amount}".encode(),  # what the approval is bound to, byte for byte
        override_token=token,
    )


async def transfer(app: App, operation: Operation) -> None:
    """Decide, record the intent, act, record the outcome."""
    async with app.parts.gate.audited_operation(operation):
        print("transferred:", operation.arguments.decode())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(story(Path(folder)))
