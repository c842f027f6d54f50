"""Alice, Bob, Carol and the others, Dave who owns bot-7, and an Oversight over them, for tests.

world = await World.open(store)
record = await world.request(world.P1)
await world.approve(record, "alice")
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, PolicyId, RequestId, TenantId
from creto.common.limits import CLOCK_SKEW_MS_MAX
from creto.common.timestamps import DAY, SECOND, ConsensusTimestamp
from creto.contracts import Action, Approved, OversightRequest, Resource, RiskFactor
from creto.oversight import (
    ApproverGroup,
    Assurance,
    Channel,
    Contact,
    EscalationTier,
    Evidence,
    GroupNeed,
    Oversight,
    OversightPolicy,
    Quorum,
    Receipt,
    Record,
    Timer,
    Verdict,
    sign,
)
from creto.platform.audit import Keys, Principal
from creto.platform.consensus import Leases, PersonId
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import Kek, Keystore, SigningKey, digest
from creto.platform.nhi import Nhi, PrincipalKind, nhi_of, registration_proof
from creto.security.authz import Authz
from creto.store.types import Entry, Position, Store
from tests.unit.platform.nhi.town import key

PARTS = (
    "creto.store",
    "creto.platform.crypto",
    "creto.platform.consensus",
    "creto.platform.nhi",
    "creto.security.authz",
    "creto.oversight",
)
TENANT = TenantId("acme")
LAYER = key(4_100_000)
HUMANS = ("alice", "bob", "carol", "dave", "eve", "sam", "sue", "fay", "mallory", "trudy")
NUMBERS = {name: 4_200_000 + number for number, name in enumerate((*HUMANS, "bot-7", "reviewer-bot"))}
SKEW_NS = CLOCK_SKEW_MS_MAX * 1_000_000


def key_of(name: str) -> SigningKey:
    return key(NUMBERS[name])


def id_of(name: str) -> AgentId:
    return nhi_of(key_of(name).public)


def person(name: str) -> PersonId:
    return PersonId(id_of(name))


OWNERS = {"bot-7": "dave"}


def keys_of(*names: str) -> Keys:
    """What a verifier knows: the layer, and whose keys these are."""
    agents = {
        id_of(name): Principal(
            key=key_of(name).public.to_bytes(), person=person(name), owner=id_of(OWNERS[name]) if name in OWNERS else None,
            kind=PrincipalKind.HUMAN if name in HUMANS else PrincipalKind.AGENT,
        )
        for name in names
    }  # fmt: skip
    layer = nhi_of(LAYER.public)
    agents[layer] = Principal(
        key=LAYER.public.to_bytes(), kind=PrincipalKind.SERVICE, person=PersonId(layer), layer=True
    )
    return Keys(agents=agents)


def tier(*names: str, timeout_s: int = 3_600, name: str = "tier") -> EscalationTier:
    approvers = tuple(id_of(one) if one in NUMBERS else one for one in names)
    return EscalationTier(name=name, approvers=approvers, timeout_s=timeout_s)


P1 = OversightPolicy(
    policy_id=PolicyId("P1"),
    tiers=(
        tier("alice", timeout_s=300),
        tier("bob", "carol", timeout_s=600, name="second"),
        tier("eve", timeout_s=900, name="third"),
    ),
)
P2 = OversightPolicy(policy_id=PolicyId("P2"), tiers=(tier("alice", "bob", "carol"),), quorum=Quorum(approvals=2))
P3 = OversightPolicy(
    policy_id=PolicyId("P3"),
    tiers=(tier("group:security", "group:finance"),),
    quorum=Quorum(approvals=2, groups=(GroupNeed(group="security"), GroupNeed(group="finance"))),
)
GROUPS = (
    ApproverGroup(name="security", members=(id_of("sam"), id_of("sue"))),
    ApproverGroup(name="finance", members=(id_of("fay"),)),
)


class World:
    def __init__(self, store: Store, clock: ManualClock | None = None, **options: Any) -> None:
        self.store = store
        self.clock = clock or ManualClock()
        self.nhi = Nhi(store, self.clock, Keystore(store, Kek(bytes(32)), self.clock))
        self.authz = Authz(store, self.clock, self.nhi, signer=LAYER)
        self.oversight = Oversight(store, self.clock, self.nhi, self.authz, signer=LAYER, **options)
        self.timer = Timer(self.oversight, Leases(store, self.clock))

    @staticmethod
    async def open(store: Store, clock: ManualClock | None = None, **options: Any) -> World:
        world = World(store, clock, **options)
        for name in HUMANS:
            await world._settle(PrincipalKind.HUMAN, name)
        await world._settle(PrincipalKind.AGENT, "bot-7", owner=id_of(OWNERS["bot-7"]))
        await world._settle(PrincipalKind.AGENT, "reviewer-bot")
        for group in GROUPS:
            await world.oversight.put_group(TENANT, group, by=id_of("eve"))
        for policy in (P1, P2, P3):
            await world.oversight.put_policy(TENANT, policy, by=id_of("eve"))
        return world

    def twin(self, store: Store | None = None, **options: Any) -> World:
        """Another process over the same rows, with nothing in memory."""
        return World(store or self.store, self.clock, **options)

    async def _settle(self, kind: PrincipalKind, name: str, owner: AgentId | None = None) -> None:
        proof = registration_proof(key_of(name), tenant=TENANT, kind=kind, name=name, owner=owner)
        await self.nhi.register(TENANT, kind, key_of(name).public, name, proof=proof, owner=owner)

    async def policy(self, policy: OversightPolicy, **changes: Any) -> OversightPolicy:
        return await self.oversight.put_policy(TENANT, msgspec.structs.replace(policy, **changes), by=id_of("eve"))

    async def permit_all(self, *more: str) -> None:
        text = "\n".join(('@id("all") permit (principal, action, resource);', *more))
        await self.authz.upload_policies(TENANT, text, actor=id_of("eve"), activate=True)

    async def contact(self, name: str, address: str, channel: Channel = Channel.SLACK) -> None:
        await self.oversight.link(
            TENANT, Contact(channel=channel, address=address, person=id_of(name)), by=id_of("eve")
        )

    async def request(self, policy: OversightPolicy = P1, arguments: object = None, **options: Any) -> Record:
        ask = asked(policy, arguments, **{k: options.pop(k) for k in tuple(options) if k in ASK_FIELDS})
        return await self.oversight.create(ask, **options)

    async def vote(
        self, record: Record | RequestId, name: str, verdict: Verdict, *, arguments: bytes | None = None, **options: Any
    ) -> Receipt:
        """By the human's own key."""
        request_id = record.ask.request_id if isinstance(record, Record) else record
        ballot = await self.oversight.ballot(
            TENANT, request_id, approver=id_of(name), verdict=verdict, arguments=arguments, **options
        )
        return await self.oversight.submit_response(TENANT, sign(ballot, key_of(name)), arguments=arguments)

    async def approve(self, record: Record | RequestId, name: str, **options: Any) -> Receipt:
        return await self.vote(record, name, Verdict.APPROVE, **options)

    async def deny(self, record: Record | RequestId, name: str, **options: Any) -> Receipt:
        return await self.vote(record, name, Verdict.DENY, **options)

    async def click(
        self, record: Record, name: str, verdict: Verdict = Verdict.APPROVE, channel: Channel = Channel.SLACK,
        delivery: str = "", assurance: Assurance | None = None, **options: Any,
    ) -> Receipt:  # fmt: skip
        """Through a channel, which says who it was."""
        evidence = Evidence(channel=channel, account=f"U-{name}", delivery=delivery)
        return await self.oversight.relay_response(
            TENANT, record.ask.request_id, approver=id_of(name), verdict=verdict, evidence=evidence, assurance=assurance,
            **options,
        )  # fmt: skip

    async def absent(self, of: str, to: str, days: int = 1) -> None:
        """Out of office from now on."""
        now = self.clock.now()
        await self.oversight.delegate(
            TENANT,
            of=id_of(of),
            to=id_of(to),
            starts_at=now,
            ends_at=ConsensusTimestamp(now + days * DAY),
            by=id_of(of),
        )

    async def group(self, name: str, *members: str) -> None:
        group = ApproverGroup(name=name, members=tuple(id_of(one) for one in members))
        await self.oversight.put_group(TENANT, group, by=id_of("eve"))

    async def now_of(self, record: Record) -> Record:
        return await self.oversight.get(TENANT, record.ask.request_id)

    async def pass_s(self, seconds: float) -> None:
        """Let time pass, and the timer look."""
        self.clock.advance(int(seconds * SECOND))
        await self.timer.advance_once(self.clock.now())

    async def at_s(self, record: Record, seconds: float) -> None:
        """Let it be so many seconds after the request, and the timer look."""
        self.clock.set(ConsensusTimestamp(record.ask.created_at + int(seconds * SECOND)))
        await self.timer.advance_once(self.clock.now())

    async def entries(self, event: str | None = None) -> list[Entry]:
        rows = await self.store.read(lambda tx: tx.ledger_tail(Position(), 10_000))
        found = [wire.decode(row.body, Entry) for row in rows]
        return [entry for entry in found if event is None or entry.event == event]


ASK_FIELDS = ("risk_factors", "description", "action", "resource", "agent", "chain", "requirement", "blocking")


def asked(
    policy: OversightPolicy = P1,
    arguments: object = None,
    *,
    risk_factors: tuple[RiskFactor, ...] = (),
    description: str = "Pay invoice 17",
    action: str = "funds.transfer",
    resource: str = "account:7",
    agent: str = "bot-7",
    chain: tuple[str, ...] = (),
    **options: Any,
) -> OversightRequest:
    raw = arguments if isinstance(arguments, bytes) else wire.encode({"amount": 50} if arguments is None else arguments)
    return OversightRequest(
        tenant=TENANT, agent_nhi=id_of(agent), delegation_chain=tuple(id_of(name) for name in chain),
        action=Action(name=action, parameters=msgspec.Raw(raw)),
        resource=Resource(resource_type="", resource_id=resource), policy_id=policy.policy_id,
        action_description=description, risk_factors=risk_factors, **options,
    )  # fmt: skip


async def token_of(world: World, record: Record) -> str:
    result = await world.oversight.await_decision(TENANT, record.ask.request_id)
    assert isinstance(result, Approved)
    assert result.override_token is not None
    return result.override_token


async def consume(world: World, record: Record, token: str) -> object:
    ask = record.ask
    return await world.authz.consume_durable(
        token,
        tenant=TENANT,
        agent=ask.agent,
        action=ask.action,
        resource=ask.resource,
        args_digest=digest(ask.arguments),
        policy_id=ask.policy.policy_id,
    )


async def pending(world: World) -> None:
    """Until somebody waits here."""
    for _ in range(1_000):
        if world.oversight.waiting():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("nobody waits")
