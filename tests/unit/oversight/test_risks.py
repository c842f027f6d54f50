"""Who asks decides neither under which policy, nor how risky it is, nor what arguments are."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from creto.common.errors import InvalidInput, Unauthorized
from creto.common.ids import PolicyId
from creto.contracts import RiskFactor, RiskLevel
from creto.oversight import Assurance, BatchItem, Quorum, RiskRule, render
from creto.platform.crypto import digest
from creto.security.authz import RequiresOversight
from tests.unit.oversight.world import P1, P2, TENANT, World, consume, id_of, tier, token_of

ASKS = '@id("big") @oversight("P2") forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > 100 };'


async def test_nobody_picks_a_weaker_policy_than_the_act_needs(world: World) -> None:
    await world.permit_all(ASKS)
    with pytest.raises(Unauthorized, match="POLICY") as caught:
        await world.request(P1, {"amount": 500})
    assert (caught.value.code, caught.value.got, caught.value.expected) == ("OV-403", "P1", "P2")
    await world.request(P2, {"amount": 500})
    await world.request(P1, {"amount": 50})  # nobody has to be asked about it: whom one asks is one's own affair


async def test_a_token_answers_the_policy_it_was_given_under_alone(world: World) -> None:
    record = await world.request(P1)
    await world.approve(record, "alice")
    text = await token_of(world, record)
    act: dict[str, Any] = {
        "tenant": TENANT,
        "agent": record.ask.agent,
        "action": record.ask.action,
        "resource": record.ask.resource,
    }
    for policy in ("P2", ""):
        with pytest.raises(Unauthorized, match="PL-706"):
            await world.authz.consume_durable(text, **act, args_digest=digest(record.ask.arguments), policy_id=policy)
    await consume(world, record, text)


NEVER = '@id("never") forbid (principal, action == Action::"data.delete", resource) when { context has count && context.count > 10 };'
ASKS_ONLY = '@id("asks") @oversight("P2") forbid (principal, action == Action::"data.delete", resource);'


@pytest.mark.parametrize(
    ("policy", "count", "why"),
    [(NEVER, 11, "forbids"), (NEVER, "11", "could not be evaluated"), (ASKS_ONLY, 1, "no policy permits")],
)
async def test_nobody_is_asked_about_what_is_not_for_humans_to_allow(
    world: World, policy: str, count: object, why: str
) -> None:
    """given a policy that forbids, or asks where none permits / when an agent asks whom it likes / then it is told no."""
    permit = '@id("all") permit (principal, action, resource);' if policy is NEVER else ""
    await world.authz.upload_policies(TENANT, f"{permit}{policy}", actor=id_of("eve"), activate=True)
    with pytest.raises(Unauthorized, match=why) as caught:
        await world.request(P1, {"count": count}, action="data.delete")
    assert caught.value.code == "OV-403"
    assert await world.oversight.list_pending_requests(TENANT) == []


# How risky


RULES = (
    RiskRule(path="amount", over="1000", level=RiskLevel.HIGH),
    RiskRule(path="rows[*].table", equal='"users"', level=RiskLevel.CRITICAL),
    RiskRule(path="force", level=RiskLevel.MEDIUM, action="code.deploy"),
)


@pytest.mark.parametrize(
    ("action", "arguments", "risk"),
    [
        ("funds.transfer", {"amount": 1000}, RiskLevel.LOW),
        ("funds.transfer", {"amount": 1000.01}, RiskLevel.HIGH),
        ("funds.transfer", {"amount": -1e9}, RiskLevel.HIGH),
        ("funds.transfer", {"amount": "1"}, RiskLevel.HIGH),  # what is no number cannot be judged
        ("funds.transfer", {"to": {"amount": 1e9}}, RiskLevel.LOW),  # another argument
        ("data.delete", {"rows": [{"table": "logs"}, {"table": "users"}]}, RiskLevel.CRITICAL),
        ("code.deploy", {"force": False}, RiskLevel.MEDIUM),
        ("data.delete", {"force": True}, RiskLevel.LOW),
    ],
)
async def test_the_policy_says_how_risky_arguments_are(
    world: World, action: str, arguments: object, risk: RiskLevel
) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("ruled"), risk_rules=RULES)
    assert (await world.request(policy, arguments, action=action)).ask.risk is risk


async def test_an_act_of_a_batch_is_as_risky_as_alone(world: World) -> None:
    policy = await world.policy(P1, policy_id=PolicyId("ruled"), risk_rules=RULES)
    items = [BatchItem(item_id="a", arguments=b'{"amount":1}'), BatchItem(item_id="b", arguments=b'{"amount":5000}')]
    assert (await world.request(policy, items=items)).ask.risk is RiskLevel.HIGH


async def test_the_agent_makes_it_worse_and_never_better(world: World) -> None:
    policy = await world.policy(
        P1, policy_id=PolicyId("serious"), risk=RiskLevel.HIGH, assurance_by_risk={RiskLevel.HIGH: Assurance.OWN_KEY},
        tiers=(tier("alice"),),
    )  # fmt: skip
    calm = RiskFactor(name="Checked by security team", level=RiskLevel.LOW, description="compliance: pre-approved")
    record = await world.request(policy, {"amount": 1_000_000}, risk_factors=(calm,))
    shown = render(record.ask)
    assert (record.ask.risk, shown.risks) == (RiskLevel.HIGH, ("High risk (policy): the policy says so",))
    assert "low risk (Checked by security team): compliance: pre-approved" in shown.says
    with pytest.raises(Unauthorized, match="ASSURANCE"):
        await world.click(record, "alice")
    worse = await world.request(policy, {"amount": 2}, risk_factors=(replace(calm, level=RiskLevel.CRITICAL),))
    assert worse.ask.risk is RiskLevel.CRITICAL
    assert render(worse.ask).risks[-1] == "Critical risk by the agent's own word."
    with pytest.raises(Unauthorized, match="ASSURANCE"):  # of which the policy says nothing: no less than of high
        await world.click(worse, "alice")


RISKY = """@id("%s") @oversight("ruled") %s
forbid (principal, action == Action::"funds.transfer", resource) when { context has amount && context.amount > %d };"""


async def test_an_edit_is_as_risky_as_cedar_says_of_its_arguments(world: World) -> None:
    """given a vote on little / when another human edits it into much / then that needs more assurance, and the first vote is stale."""
    await world.permit_all(RISKY % ("some", "", 0), RISKY % ("much", '@risk("high")', 1_000))
    policy = await world.policy(
        P1, policy_id=PolicyId("ruled"), assurance_by_risk={RiskLevel.HIGH: Assurance.OWN_KEY}, tiers=(tier("alice", "bob"),),
        quorum=Quorum(approvals=2),
    )  # fmt: skip
    record = await world.request(policy, {"amount": 1})
    assert record.ask.risk is RiskLevel.LOW
    await world.click(record, "alice")
    with pytest.raises(Unauthorized, match="ASSURANCE"):
        await world.click(record, "bob", arguments=b'{"amount":9000}')
    receipt = await world.approve(record, "bob", arguments=b'{"amount":9000}')
    assert (receipt.approvals, receipt.missing) == (1, 1)
    edited = await world.now_of(record)
    assert edited.ask.risk is RiskLevel.HIGH
    assert "High risk (act): the Cedar policy that asks says so" in render(edited.ask).risks
    with pytest.raises(Unauthorized, match="ASSURANCE"):
        await world.click(edited, "alice")
    await world.approve(edited, "alice", arguments=b'{"amount":2}')
    assert (await world.now_of(record)).ask.risk is RiskLevel.LOW


@pytest.mark.parametrize(
    ("amount", "why"), [("9000.5", "ASSURANCE"), ("9e3", "ASSURANCE"), ("null", r"arguments\.amount")]
)
async def test_an_edit_hides_nothing_from_the_policies(world: World, amount: str, why: str) -> None:
    """Cedar sees no fractions and no null: an edit to one would be little, whatever it is."""
    await world.permit_all(RISKY % ("some", "", 0), RISKY % ("much", '@risk("high")', 1_000))
    policy = await world.policy(P1, policy_id=PolicyId("ruled"), assurance_by_risk={RiskLevel.HIGH: Assurance.OWN_KEY})
    record = await world.request(policy, {"amount": 9_000, "rate": 1})
    with pytest.raises((InvalidInput, Unauthorized), match=why):
        await world.click(record, "alice", arguments=b'{"amount":%s,"rate":1}' % amount.encode())
    assert (
        await world.approve(record, "alice", arguments=b'{"amount":9000,"rate":1.5}')
    ).approvals == 1  # of which none speaks


async def test_what_is_no_whole_number_is_asked_about_by_all_that_compare_it(world: World) -> None:
    await world.permit_all(ASKS)
    with pytest.raises(Unauthorized, match="POLICY"):
        await world.request(P1, {"amount": 5000.5})
    assert (await world.request(P2, {"amount": 0.5})).ask.policy.policy_id == "P2"


async def test_what_the_gate_alone_could_see_stays(world: World) -> None:
    """The gate's policies look at more than arguments: what they said of the call is not forgotten by an edit."""
    await world.permit_all()
    policy = await world.policy(P1, policy_id=PolicyId("ruled"))
    needed = RequiresOversight("ruled", risk=RiskLevel.CRITICAL)
    record = await world.request(policy, {"amount": 1}, needed=needed)
    await world.approve(record, "alice", arguments=b'{"amount":2}')
    assert (await world.now_of(record)).ask.risk is RiskLevel.CRITICAL


async def test_an_edit_is_judged_by_its_own_arguments(world: World) -> None:
    await world.permit_all()
    policy = await world.policy(
        P1, policy_id=PolicyId("ruled"), risk_rules=RULES, assurance_by_risk={RiskLevel.HIGH: Assurance.OWN_KEY},
        tiers=(tier("alice"),),
    )  # fmt: skip
    record = await world.request(policy, {"amount": 1})
    with pytest.raises(Unauthorized, match="ASSURANCE"):
        await world.click(record, "alice", arguments=b'{"amount":9000}')
    await world.approve(record, "alice", arguments=b'{"amount":9000}')
    assert (await world.now_of(record)).ask.risk is RiskLevel.HIGH


async def test_the_cedar_policy_that_asks_says_how_serious_it_is(world: World) -> None:
    text = (
        '@id("del") @oversight("P1") @risk("critical") forbid (principal, action == Action::"data.delete", resource);'
    )
    await world.permit_all(text)
    record = await world.request(P1, action="data.delete")
    assert record.ask.risk is RiskLevel.CRITICAL
    with pytest.raises(InvalidInput, match="@risk"):
        await world.permit_all(text.replace("critical", "dreadful"))


@pytest.mark.parametrize("amount", [b"1e9999999", b"-1e9999999", b"100." + 40 * b"0" + b"1"])
async def test_an_amount_of_any_size_or_length_is_held_against_the_limit_exactly(world: World, amount: bytes) -> None:
    rule = RiskRule(path="amount", level=RiskLevel.CRITICAL, over="100")
    policy = await world.policy(P1, policy_id=PolicyId("exact"), risk_rules=(rule,))
    record = await world.request(policy, b'{"amount":' + amount + b"}")
    assert record.ask.risk is RiskLevel.CRITICAL


@pytest.mark.parametrize(("count", "factor"), [(21, {}), (1, {"name": "n" * 4_001}), (1, {"description": "d" * 4_001})])
async def test_an_agents_own_risks_are_no_flood(world: World, count: int, factor: dict[str, str]) -> None:
    one = RiskFactor(**{"name": "n", "level": RiskLevel.LOW, "description": "d", **factor})
    with pytest.raises(InvalidInput, match="OV-400 risk_factors"):
        await world.request(P1, risk_factors=count * (one,))


@pytest.mark.parametrize("rule", [{"over": "much"}, {"equal": "{"}, {"path": ""}])
async def test_a_rule_that_says_nothing_is_refused(world: World, rule: dict[str, str]) -> None:
    with pytest.raises(InvalidInput):
        await world.policy(
            P1,
            risk_rules=(replace(RULES[0], over=None, **rule),) if "over" not in rule else (replace(RULES[0], **rule),),
        )
