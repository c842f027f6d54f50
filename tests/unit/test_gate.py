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
from creto.common.errors import (
    AuditError,
    ConnectionFailed,
    EnablementError,
    InvalidInput,
    OversightRequired,
    ProductId,
    QuotaExceeded,
    Unauthorized,
)
from creto.common.ids import AgentId, PolicyId, TenantId
from creto.common.limits import OUTCOME_TRIES_MAX, REFUSALS_PER_MINUTE_MAX
from creto.common.retry import without_waiting
from creto.common.timestamps import HOUR, SECOND, ConsensusTimestamp
from creto.gate import Effect, Operation
from creto.platform.crypto import SigningKey, digest
from creto.platform.nhi import DelegationChain, PrincipalKind, delegate, nhi_of, registration_proof
from creto.security.authz import RequiresOversight
from creto.store.types import Entry, Grade, Outcome, Position, Tx
from tests.layers import settings
from tests.quotas import Quota

POLICY = PolicyId("large-transfer")
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

    def terms(self) -> dict[str, Any]:
        now = self.parts.clock.now()
        return {"not_before": now, "not_after": ConsensusTimestamp(now + HOUR), "tenant": self.app.tenant}

    def chain(self, owner: SigningKey, agent: AgentId, **more: Any) -> DelegationChain:
        """Everything that the owner may do."""
        return DelegationChain((delegate(owner, None, agent, actions=["*"], resources=["*"], **self.terms(), **more),))

    async def ask_about_transfers(self) -> None:
        await self.parts.authz.upload_policies(self.app.tenant, ASKING, actor=self.app.operator, activate=True)

    async def approval(self, operation: Operation, policy_id: PolicyId = POLICY) -> str:
        return await self.parts.authz.issue_override(
            tenant=operation.tenant, agent=operation.agent, action=operation.action, resource=operation.resource,
            args_digest=digest(operation.arguments), policy_id=policy_id, actor=self.app.operator,
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


async def test_a_yes_under_another_oversight_policy_is_none(town: Town) -> None:
    """given an act that one policy asks about / when the approval was given under a weaker one / then the gate refuses it, and it is not used up."""
    await town.ask_about_transfers()
    weak, strong = [
        await town.approval(town.operation(action="funds.transfer"), PolicyId(name)) for name in ("weak", POLICY)
    ]
    with pytest.raises(Unauthorized, match="PL-706"):
        await town.gate.commit(town.operation(action="funds.transfer", override_token=weak), put("x"))
    assert await town.gate.commit(town.operation(action="funds.transfer", override_token=strong), put("x")) == "x"


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


async def test_a_refusal_of_quota_says_when_and_how_much(town: Town) -> None:
    town.parts.authz.use_quota(Quota(limit=1))
    town.gate.admit(town.operation())
    with pytest.raises(QuotaExceeded) as caught:
        town.gate.admit(town.operation())
    error = caught.value
    assert (error.code, error.retry_after_s, error.limit, error.used) == ("RT-429", 60.0, 1, 1)


async def test_quota_is_settled_by_what_succeeds_and_released_by_what_fails(town: Town) -> None:
    quota = Quota(limit=100)
    town.parts.authz.use_quota(quota)
    await town.gate.commit(town.operation(amount=3), put("x"))
    async with town.gate.audited_operation(town.operation(amount=10)) as act:
        act.amount = 7
    with pytest.raises(ValueError, match="a defect"):
        async with town.gate.audited_operation(town.operation(amount=5)):
            raise ValueError("a defect")

    def change(tx: Tx, _: Any) -> None:
        raise InvalidInput("RT-400")

    with pytest.raises(InvalidInput):
        await town.gate.commit(town.operation(amount=4), change)
    assert (quota.settled, quota.released, quota.held) == ([3, 7], [5, 4], {})


async def test_quota_is_asked_for_the_whole_chain(town: Town) -> None:
    owner, owner_key = await town.person()
    bot, _ = await town.person(PrincipalKind.AGENT)
    await town.parts.authz.assign_role(town.app.tenant, bot, "developer", actor=town.app.operator)
    quota = Quota(limit=100)
    town.parts.authz.use_quota(quota)
    await town.gate.commit(town.operation(agent=bot, chain=town.chain(owner_key, bot), amount=2), put("x"))
    assert quota.asked == [(bot, (owner, bot), "sandbox.spawn", "runtime:sandbox:sb-1", 2, frozenset())]


async def test_an_approval_does_not_lift_a_quota_and_is_not_lost_to_one(town: Town) -> None:
    await town.ask_about_transfers()
    quota = Quota(limit=0)
    town.parts.authz.use_quota(quota)
    operation = town.operation("funds.transfer", resource="bank:acme")
    approved = replace(operation, override_token=await town.approval(operation))
    with pytest.raises(QuotaExceeded, match="RT-429"):
        await town.gate.authorized_operation(approved)
    quota.limit = 1
    assert (await town.gate.authorized_operation(approved)).overridden == "large-transfer"
    assert quota.asked[-1][-1]  # it knows that a human agreed
    with pytest.raises(EnablementError):
        await town.gate.authorized_operation(approved)


async def test_a_token_that_does_not_count_takes_no_quota(town: Town) -> None:
    await town.ask_about_transfers()
    quota = Quota(limit=10)
    town.parts.authz.use_quota(quota)
    with pytest.raises(EnablementError):
        await town.gate.commit(
            town.operation("funds.transfer", resource="bank:acme", override_token="forged"), put("x")
        )
    assert (quota.held, quota.settled, quota.released) == ({}, [], [1])


async def test_a_quota_may_ask_a_human(town: Town) -> None:
    town.parts.authz.use_quota(Quota(limit=0, refusal=RequiresOversight("above-budget")))
    with pytest.raises(OversightRequired) as caught:
        town.gate.admit(town.operation())
    assert caught.value.policy_id == "above-budget"


DEEP = """@id("deep") forbid (principal, action, resource) when { context has chain_depth && context.chain_depth > 1 };
@id("root") forbid (principal, action, resource) when { context has root && context.root like "agent:nhi:ed25519:none*" };
@id("grade") forbid (principal, action == Action::"secret.read", resource) when { context has grade && context.grade == "cooperative" };
@id("late") forbid (principal, action == Action::"network.egress", resource)
  when { context has at && context.at > datetime("2020-01-01") };"""


async def test_policies_see_what_the_gate_itself_knows(town: Town) -> None:
    """given policies on depth, grade and time / when operations differ in just that / then each policy bites."""
    _, owner_key = await town.person()
    first, first_key = await town.person(PrincipalKind.AGENT)
    second, _ = await town.person(PrincipalKind.AGENT)
    for agent in (first, second):
        await town.parts.authz.assign_role(town.app.tenant, agent, "operator", actor=town.app.operator)
    await town.parts.authz.upload_policies(town.app.tenant, DEEP, actor=town.app.operator, activate=True)
    short = town.chain(owner_key, first, depth_left=1)
    until = town.terms() | {"not_after": short.links[0].not_after}
    long = short.extended(delegate(first_key, short, second, actions=["*"], resources=["*"], **until))
    town.gate.admit(town.operation(agent=first, chain=short))
    with pytest.raises(Unauthorized, match="RT-403"):
        town.gate.admit(town.operation(agent=second, chain=long))
    with pytest.raises(Unauthorized, match="RT-403"):
        town.gate.admit(town.operation("secret.read"))
    town.gate.admit(town.operation("secret.read", grade=Grade.SANDBOXED))
    with pytest.raises(Unauthorized, match="RT-403"):
        town.gate.admit(town.operation("network.egress"))


@pytest.mark.parametrize("name", ["chain_depth", "root", "grade", "at"])
async def test_nobody_else_says_what_the_gate_says(town: Town, name: str) -> None:
    with pytest.raises(InvalidInput, match=name):
        await town.gate.commit(town.operation(context={name: 0}), put("x"))
    assert await town.outcomes() == [Outcome.DENIED]


async def test_decisions_that_no_attribute_could_change_are_kept(town: Town) -> None:
    before = town.parts.authz.remembered()
    for _ in range(3):
        town.gate.admit(town.operation())
    assert town.parts.authz.remembered() == before + 1


async def test_a_scope_that_does_not_cover_is_refused_and_recorded(town: Town) -> None:
    with pytest.raises(Unauthorized, match="PL-109"):
        await town.gate.commit(town.operation(scopes=("memory:*",)), put("x"))
    (entry,) = await town.entries()
    assert (entry.outcome, entry.code) == (Outcome.DENIED, "PL-109")


async def test_refusals_do_not_flood_the_log(town: Town) -> None:
    """given one caller who is refused a thousand times / then the log has some of them, and the number of the rest."""
    stranger, _ = await town.person()
    for _ in range(1_000):
        with pytest.raises(Unauthorized):
            await town.gate.authorized_operation(town.operation(agent=stranger))
    assert len(await town.entries()) == REFUSALS_PER_MINUTE_MAX
    now = town.parts.clock.now()
    assert await town.gate.refusals.flush(now) == 0
    assert await town.gate.refusals.flush(now + 61 * SECOND) == 1
    last = (await town.entries())[-1]
    assert (last.event, last.code, last.outcome, last.agent_nhi) == (
        "RefusalsCounted",
        "RT-403",
        Outcome.DENIED,
        stranger,
    )
    assert msgspec.json.decode(last.metadata)["count"] == 1_000 - REFUSALS_PER_MINUTE_MAX


class Flaky:
    """A store whose next writes fail."""

    def __init__(self, store: Any) -> None:
        self._store, self.failing = store, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, fn: Any, **options: Any) -> Any:
        if self.failing:
            self.failing -= 1
            raise ConnectionFailed("PL-503", "the store's queue is full")
        return await self._store.write(fn, **options)


@pytest.fixture
def flaky(town: Town) -> Flaky:
    town.gate._store = flaky = Flaky(town.parts.store)
    return flaky


async def test_an_outcome_is_written_again_until_it_is_there(town: Town, flaky: Flaky) -> None:
    with without_waiting():
        async with town.gate.audited_operation(town.operation()):
            flaky.failing = OUTCOME_TRIES_MAX - 1
    assert await town.outcomes() == [Outcome.INTENT, Outcome.SUCCESS]


async def test_what_is_done_is_never_answered_with_try_again(town: Town, flaky: Flaky) -> None:
    """given an effect that happened / when its outcome cannot be written / then the error says so, names the intent and forbids a repetition."""
    quota = Quota(limit=10)
    town.parts.authz.use_quota(quota)

    async def spawn() -> None:
        async with town.gate.audited_operation(town.operation()):
            flaky.failing = 1_000

    with without_waiting(), pytest.raises(AuditError) as caught:
        await spawn()
    flaky.failing = 0
    (intent,) = await town.entries()
    error = EnablementError.from_body(caught.value.body())
    assert (error.code, error.retryable, error.details) == ("PL-611", False, {"intent_id": intent.event_id})
    assert quota.settled == [1]


async def test_the_true_error_stays_when_its_failure_cannot_be_written(town: Town, flaky: Flaky) -> None:
    async def spawn() -> None:
        async with town.gate.audited_operation(town.operation()):
            flaky.failing = 1_000
            raise EnablementError("RT-500")

    with without_waiting(), pytest.raises(EnablementError, match="RT-500") as caught:
        await spawn()
    assert not caught.value.retryable
    assert any("PL-503" in line for line in (*caught.value.context, *caught.value.__notes__))


async def test_a_parts_own_entry_names_the_chain_the_grade_and_the_permission(town: Town) -> None:
    """given an agent that acts through its chain / when parts record / then all their entries are tied to the human."""
    owner, owner_key = await town.person()
    bot, _ = await town.person(PrincipalKind.AGENT)
    await town.parts.authz.assign_role(town.app.tenant, bot, "operator", actor=town.app.operator)
    asked = town.operation(
        "agents:write", agent=bot, chain=town.chain(owner_key, bot), resource=owner, grade=Grade.GATEWAY
    )
    parts, tenant = town.parts, town.app.tenant
    async with town.gate.performed(asked, Effect.RECORDED):
        await parts.nhi.suspend(tenant, owner, actor=bot)
        await parts.authz.assign_role(tenant, bot, "auditor", actor=bot)
        await parts.memory.store_context(tenant, bot, "note", "x", written_by=bot)
        await parts.storage.put(tenant, "a", b"x", agent=bot)
    for action in ("nhi.suspended", "authz.role_assigned", "memory.store", "storage.put"):
        entry = (await town.entries(action))[-1]
        assert (entry.delegation_chain, entry.grade, entry.under) == (
            (owner, bot),
            Grade.GATEWAY,
            ("agents:write", owner),
        )
        assert entry.trace_id
    async with town.gate.audited_operation(town.operation()) as act:
        await parts.storage.put(tenant, "b", b"x", agent=town.app.operator)
    assert (await town.entries("storage.put"))[-1].intent_id == act.intent_id


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


async def test_hits_are_counted_exactly_between_threads(town: Town) -> None:
    """given threads that ask for remembered decisions and threads that miss all the time / when they are done / then each hit counted once."""
    remembered, rounds = town.operation(), 300
    town.gate.admit(remembered)
    before = town.gate.hits

    def hit() -> None:
        for _ in range(rounds):
            town.gate.admit(remembered)

    def miss(thread: int) -> None:
        for number in range(rounds):
            town.gate.admit(town.operation(resource=f"runtime:sandbox:{thread}-{number}"))

    await asyncio.gather(
        *(asyncio.to_thread(hit) for _ in range(4)), *(asyncio.to_thread(miss, thread) for thread in range(4))
    )
    assert town.gate.hits - before == 4 * rounds
