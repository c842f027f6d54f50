"""An office for tests of the approval page: Alice, Bob and Carol who decide, bot-7 that asks, and policies between them, in a running layer.

office = Office(served)
record = office.ask({"amount": 50})
office.sign_in(page, "alice")
page.open(office.at(record))
"""

from __future__ import annotations

import itertools
from typing import Any

import msgspec

from creto.common import wire
from creto.common.ids import AgentId, PolicyId
from creto.contracts import Action, OversightRequest, Resource, RiskFactor, RiskLevel
from creto.oversight import (
    Assurance,
    BatchItem,
    Channel,
    EscalationTier,
    Evidence,
    GrantTerms,
    Oversight,
    OversightPolicy,
    Quorum,
    Record,
    RequestState,
    Verdict,
)
from creto.platform.crypto import SigningKey
from creto.platform.nhi import PrincipalKind, registration_proof
from creto.sdk import Creto
from tests.browser import Page
from tests.layers import Layer

PEOPLE = ("alice", "bob", "carol")
NUMBERS = itertools.count()


class Office:
    def __init__(self, served: Layer) -> None:
        self.served = served
        self.url = served.rest.replace("127.0.0.1", "localhost")  # browsers make passkeys for names alone
        self.tenant = served.app.tenant
        self.suffix = next(NUMBERS)
        self.ids = {name: self._register(PrincipalKind.HUMAN, name) for name in PEOPLE}
        self.bot = self._register(PrincipalKind.AGENT, "bot-7", owner=served.app.operator)
        with Creto.connect(served.rest, token=served.token) as creto:  # an edit is checked against the policies
            creto.policies.assign_role(agent=self.bot, role="operator")
        tier = EscalationTier(name="first", approvers=tuple(self.ids[name] for name in PEOPLE), timeout_s=3_600)
        self.one = self.policy(
            "one-yes", tiers=(tier,), title="Payments", grants=GrantTerms(ttl_s_max=3_600, uses_max=10)
        )
        self.two = self.policy("two-yes", tiers=(tier,), quorum=Quorum(approvals=2))
        self.own_key = self.policy("own-key", tiers=(tier,), assurance=Assurance.OWN_KEY)

    @property
    def oversight(self) -> Oversight:
        return self.served.app.parts.oversight

    def _register(self, kind: PrincipalKind, name: str, owner: AgentId | None = None) -> AgentId:
        key = SigningKey.generate()
        proof = registration_proof(key, tenant=self.tenant, kind=kind, name=name, owner=owner)
        nhi = self.served.app.parts.nhi
        return self.served.run(nhi.register(self.tenant, kind, key.public, name, proof=proof, owner=owner)).nhi

    def policy(self, name: str, **options: Any) -> OversightPolicy:
        policy = OversightPolicy(policy_id=PolicyId(f"{name}-{self.suffix}"), **options)
        return self.served.run(self.oversight.put_policy(self.tenant, policy, by=self.served.app.operator))

    def ask(
        self, arguments: object = None, policy: OversightPolicy | None = None, *, risk: RiskLevel | None = None,
        description: str = "The invoice is due tomorrow.", items: tuple[BatchItem, ...] = (), action: str = "funds.transfer",
    ) -> Record:  # fmt: skip
        raw = (
            arguments
            if isinstance(arguments, bytes)
            else wire.encode({"amount": 50} if arguments is None else arguments)
        )
        risks = (RiskFactor(name="amount", level=risk, description="More than this agent ever moved."),) if risk else ()
        request = OversightRequest(
            tenant=self.tenant, agent_nhi=self.bot, action=Action(name=action, parameters=msgspec.Raw(raw)),
            resource=Resource(resource_type="", resource_id="account:7"), policy_id=(policy or self.one).policy_id,
            action_description=description, risk_factors=risks, delegation_chain=(),
        )  # fmt: skip
        return self.served.run(self.oversight.create(request, idempotency_key=f"n{next(NUMBERS)}", items=items))

    def vote(self, record: Record, name: str, verdict: Verdict = Verdict.APPROVE, **options: Any) -> None:
        """Of a colleague elsewhere, with effect at once."""
        evidence = Evidence(channel=Channel.WEB, account=self.ids[name], method="session")
        self.served.run(
            self.oversight.relay_response(
                self.tenant,
                record.ask.request_id,
                approver=self.ids[name],
                verdict=verdict,
                evidence=evidence,
                **options,
            )
        )

    def now(self, record: Record) -> Record:
        return self.served.run(self.oversight.get(self.tenant, record.ask.request_id))

    def state(self, record: Record) -> RequestState:
        return self.now(record).progress.state

    def session(self, name: str) -> str:
        nhi = self.served.app.parts.nhi
        secret = self.served.run(nhi.login_token(self.tenant, self.ids[name], scopes=("*",)))
        return self.served.run(nhi.exchange_login(secret)).token

    def sign_in(self, page: Page, name: str) -> None:
        page.call("Network.setCookie", name="creto_session", value=self.session(name), url=self.url, httpOnly=True)

    def at(self, record: Record) -> str:
        return f"{self.url}/approvals/{record.ask.request_id}"

    def clear(self) -> None:
        """Nothing waits any more, and nothing is granted."""
        for record in self.served.run(self.oversight.list_pending_requests(self.tenant, limit=1_000)):
            self.served.run(self.oversight.cancel(self.tenant, record.ask.request_id, by=self.bot))
        for grant in self.served.run(self.oversight.grants(self.tenant)):
            if grant.ended_at is None:
                self.served.run(self.oversight.end_grant(self.tenant, grant.grant_id, by=self.ids["alice"]))
