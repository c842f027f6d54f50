"""The gate: what is decided, what is recorded, and what is left behind when something fails in the middle."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from creto.app import App, running
from creto.common.errors import EnablementError, InvalidInput, OversightRequired, ProductId, QuotaExceeded, Unauthorized
from creto.common.ids import AgentId, TenantId
from creto.common.telemetry import Metrics
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.gate import Gate, Operation
from creto.platform.crypto import SigningKey, digest
from creto.platform.nhi import DelegationChain, PrincipalKind, delegate, nhi_of, registration_proof
from creto.security.authz import Authz, QuotaVerdict
from creto.store.types import Entry, Outcome, Position, Tx
from tests.layers import settings

ASKING = '@id("big") @oversight("large-transfer") forbid (principal, action == Action::"funds.transfer", resource);'


class Spawned(msgspec.Struct, frozen=True):
    sandbox: str


class Town:
    """A layer with its operator, and the entries that an operation left."""

    def __init__(self, app: App) -> None:
        self.app, self.parts, self.gate = app, app.parts, app.parts.gate

    def operation(self, action: str = "sandbox.spawn", **more: Any) -> Operation:
        given: dict[str, Any] = {
            "tenant": self.app.tenant, "agent": self.app.operator, "action": action, "resource": "runtime:sandbox:sb-1",
            "product": ProductId.RUNTIME,
        }  # fmt: skip
        return Operation(**given | more)

    async def entries(self, action: str = "sandbox.spawn") -> list[Entry]:
        rows = await self.parts.store.read(lambda tx: tx.ledger_tail(Position(), 1_000))
        found = [msgspec.json.decode(row.body, type=Entry) for row in rows]
        return [entry for entry in found if entry.action == action]

    async def outcomes(self, action: str = "sandbox.spawn") -> list[Outcome]:
        return [entry.outcome for entry in await self.entries(action)]

    async def person(self, kind: PrincipalKind = PrincipalKind.HUMAN) -> tuple[AgentId, SigningKey]:
        key = SigningKey.generate()
        proof = registration_proof(key, tenant=self.app.tenant, kind=kind, name="someone")
        await self.parts.nhi.register(self.app.tenant, kind, key.public, "someone", proof=proof)
        return nhi_of(key.public), key

    async def ask_about_transfers(self) -> None:
        await self.parts.authz.upload_policies(self.app.tenant, ASKING, actor=self.app.operator, activate=True)

    async def approval(self, operation: Operation) -> str:
        return await self.parts.authz.issue_override(
            tenant=operation.tenant, agent=operation.agent, action=operation.action, resource=operation.resource,
            args_digest=digest(operation.arguments), actor=self.app.operator,
        )  # fmt: skip


@pytest.fixture
async def town(tmp_path: Path) -> AsyncIterator[Town]:
    async with running(settings(tmp_path)) as app:
        yield Town(app)


def put(value: str) -> Any:
    """A change that can be looked for."""

    def change(tx: Tx, _: Any) -> str:
        tx.signal("test.put", value)
        tx.publish("test.put", value.encode(), tenant=TenantId("default"), agent="a")
        return value

    return change


async def test_commit_makes_the_change_and_its_entry_together(town: Town) -> None:
    assert await town.gate.commit(town.operation(), put("x"), Spawned("sb-1")) == "x"
    (entry,) = await town.entries()
    assert (entry.outcome, entry.event, bytes(entry.metadata)) == (Outcome.SUCCESS, "Spawned", b'{"sandbox":"sb-1"}')
    assert entry.delegation_chain == (town.app.operator,)


@pytest.mark.parametrize("fault", [InvalidInput("RT-400"), ValueError("a defect")])
async def test_a_change_that_fails_leaves_nothing_but_the_failure(town: Town, fault: Exception) -> None:
    def change(tx: Tx, admission: Any) -> str:
        put("half")(tx, admission)
        raise fault

    with pytest.raises(type(fault)):
        await town.gate.commit(town.operation(), change)
    assert await town.outcomes() == [Outcome.FAILURE]
    sent = await town.parts.store.read(lambda tx: tx.outbox_tail(Position(), 1_000))
    assert "test.put" not in {row.subject for row in sent}


@pytest.mark.parametrize("product", list(ProductId))
async def test_a_refusal_has_the_products_code_and_is_recorded(town: Town, product: ProductId) -> None:
    stranger, _ = await town.person()
    ran = []
    with pytest.raises(Unauthorized) as caught:
        await town.gate.commit(town.operation(agent=stranger, product=product), lambda tx, _: ran.append(1))
    prefix = {"runtime": "RT", "metering": "MT", "oversight": "OV", "messaging": "MS", "platform": "PL"}[product]
    assert caught.value.code == f"{prefix}-403"
    (entry,) = await town.entries()
    assert (entry.outcome, entry.code, entry.agent_nhi) == (Outcome.DENIED, f"{prefix}-403", stranger)
    assert ran == []


async def test_an_approval_lets_one_operation_pass_once(town: Town) -> None:
    await town.ask_about_transfers()
    operation = town.operation("funds.transfer", resource="bank:acme", arguments=b'{"amount":5}')
    with pytest.raises(OversightRequired) as caught:
        await town.gate.commit(operation, put("money"))
    assert (caught.value.code, caught.value.policy_id) == ("RT-202", "large-transfer")
    token = await town.approval(operation)
    other = replace(operation, arguments=b'{"amount":500}', override_token=token)
    with pytest.raises(Unauthorized, match="PL-706"):
        await town.gate.commit(other, put("more money"))
    admission = await town.gate.authorized_operation(replace(operation, override_token=token))
    assert admission.overridden == "large-transfer"
    with pytest.raises(Unauthorized, match="PL-704"):
        await town.gate.commit(replace(operation, override_token=token), put("again"))
    assert await town.outcomes("funds.transfer") == [Outcome.PENDING, Outcome.DENIED, Outcome.DENIED]


async def test_one_approval_and_twenty_tries_at_once(town: Town) -> None:
    await town.ask_about_transfers()
    operation = town.operation("funds.transfer", resource="bank:acme")
    ready = replace(operation, override_token=await town.approval(operation))
    tries = await asyncio.gather(*(town.gate.commit(ready, put("x")) for _ in range(20)), return_exceptions=True)
    assert [t for t in tries if t == "x"] == ["x"]
    assert {t.code for t in tries if isinstance(t, EnablementError)} == {"PL-704"}


async def test_quota_is_asked_and_its_refusal_says_when(town: Town) -> None:
    class Quota:
        left = 1

        def take(self, *_: Any) -> QuotaVerdict:
            self.left -= 1
            return self.check_quota()

        def check_quota(self, *_: Any) -> QuotaVerdict:
            return QuotaVerdict(self.left >= 0, "100 of 100 used", 60.0)

    parts = town.parts
    authz = Authz(parts.store, parts.clock, parts.nhi, quota=Quota())
    gate = Gate(parts.nhi, authz, parts.store, parts.clock, Metrics())
    gate.admit(town.operation())
    with pytest.raises(QuotaExceeded) as caught:
        gate.admit(town.operation())
    assert (caught.value.code, caught.value.retry_after_s) == ("RT-429", 60.0)


async def test_an_approval_does_not_lift_a_quota_and_is_not_lost_to_one(town: Town) -> None:
    class Quota:
        allowed = False

        def take(self, *_: Any) -> QuotaVerdict:
            return QuotaVerdict(self.allowed, "used up")

        check_quota = take

    await town.ask_about_transfers()
    quota, parts = Quota(), town.parts
    authz = Authz(parts.store, parts.clock, parts.nhi, signer=parts.authz._signer, quota=quota)
    gate = Gate(parts.nhi, authz, parts.store, parts.clock, Metrics())
    operation = town.operation("funds.transfer", resource="bank:acme")
    approved = replace(operation, override_token=await town.approval(operation))
    with pytest.raises(QuotaExceeded, match="RT-429"):
        await gate.authorized_operation(approved)
    quota.allowed = True
    assert (await gate.authorized_operation(approved)).overridden == "large-transfer"


async def test_an_agent_needs_a_chain_that_covers_the_operation(town: Town) -> None:
    owner, owner_key = await town.person()
    bot, _ = await town.person(PrincipalKind.AGENT)
    await town.parts.authz.assign_role(town.app.tenant, bot, "developer", actor=town.app.operator)
    with pytest.raises(Unauthorized, match="PL-110"):
        town.gate.admit(town.operation(agent=bot))
    now = town.parts.clock.now()
    terms: dict[str, Any] = {"not_before": now, "not_after": ConsensusTimestamp(now + HOUR), "tenant": town.app.tenant}
    narrow = DelegationChain((delegate(owner_key, None, bot, actions=["memory:*"], resources=["*"], **terms),))
    with pytest.raises(Unauthorized, match="PL-134"):
        town.gate.admit(town.operation(agent=bot, chain=narrow))
    wide = DelegationChain((delegate(owner_key, None, bot, actions=["sandbox.*"], resources=["runtime:*"], **terms),))
    await town.gate.commit(town.operation(agent=bot, chain=wide), put("x"))
    assert (await town.entries())[-1].delegation_chain == (owner, bot)
    await town.parts.nhi.revoke(town.app.tenant, owner, actor=town.app.operator)
    with pytest.raises(Unauthorized, match="PL-124"):
        town.gate.admit(town.operation(agent=bot, chain=wide))


async def test_an_effect_outside_has_its_intent_before_and_its_outcome_after(town: Town) -> None:
    async with town.gate.audited_operation(town.operation()) as act:
        assert await town.outcomes() == [Outcome.INTENT]
        act.note(Spawned("sb-1"))
    intent, outcome = await town.entries()
    assert (outcome.outcome, outcome.intent_id, outcome.event) == (Outcome.SUCCESS, intent.event_id, "Spawned")


@pytest.mark.parametrize("fault", [EnablementError("RT-500"), RuntimeError("a defect"), KeyboardInterrupt()])
async def test_a_body_that_fails_closes_its_intent(town: Town, fault: BaseException) -> None:
    with pytest.raises(type(fault)):
        async with town.gate.audited_operation(town.operation()):
            raise fault
    intent, outcome = await town.entries()
    assert (outcome.outcome, outcome.intent_id) == (Outcome.FAILURE, intent.event_id)


async def test_a_cancelled_operation_closes_its_intent(town: Town) -> None:
    entered = asyncio.Event()

    async def body() -> None:
        async with town.gate.audited_operation(town.operation()):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(body())
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await town.outcomes() == [Outcome.INTENT, Outcome.FAILURE]


async def test_decisions_are_counted(town: Town) -> None:
    stranger, _ = await town.person()
    await town.gate.authorized_operation(town.operation())
    with pytest.raises(Unauthorized):
        await town.gate.authorized_operation(town.operation(agent=stranger))
    text = town.parts.metrics.render()
    assert 'platform_gate_decisions_total{outcome="allow",action="sandbox.spawn"} 1' in text
    assert 'platform_gate_decisions_total{outcome="denied",action="sandbox.spawn"} 1' in text
