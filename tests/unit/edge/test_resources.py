"""What the gate is told of each endpoint: the resource that it is about, and what of it stands in the log afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from creto.app import App, running
from creto.common.errors import EnablementError, NotFound, Unauthorized
from creto.common.ids import AgentId
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.edge.api import ENDPOINTS, agents, objects, overrides, uploads
from creto.edge.api import time as times
from creto.edge.api.dispatch import Call, Dispatcher
from creto.edge.api.endpoint import Endpoint
from creto.gate import Effect
from creto.platform.crypto import SigningKey
from creto.platform.nhi import (
    Caller,
    DelegationChain,
    PrincipalKind,
    delegate,
    nhi_of,
    registration_proof,
    rotation_proofs,
)
from creto.security.authz import names
from creto.store.types import Entry, Grade, Outcome, Position
from tests.layers import settings
from tests.unit.metering.examples import event

GUARDED = [endpoint for endpoint in ENDPOINTS if endpoint.action is not None]
VALUES: dict[str, Any] = {
    "key": "secret.txt",
    "content": b"x",
    "prefix": "secret",
    "name": "nightly",
    "version": 7,
    "event_id": "e-1",
    "request_id": "req-1",
    "policy_id": "payments",
    "channel": "slack",
    "address": "U1",
    "delegation_id": "del-1",
    "grant_id": "grant-1",
    "endpoint_id": "whe-1",
    "message_id": "msg-1",
    "our_id": "inv-1",
    "durable": "d",
    "sandbox_id": "sb-1",
    "role": "auditor",
    "uri": "object:secret.txt",
}


class Desk:
    def __init__(self, app: App) -> None:
        self.app, self.parts = app, app.parts
        self.ask = Dispatcher(app.parts)

    def call(
        self, agent: AgentId | None = None, kind: PrincipalKind = PrincipalKind.HUMAN, *scopes: str, **more: Any
    ) -> Call:
        until = ConsensusTimestamp(self.parts.clock.now() + HOUR)
        caller = Caller(self.app.tenant, agent or self.app.operator, kind, scopes or ("*",), until)
        return Call(caller, self.app.tenant, **more)

    async def register(self, kind: PrincipalKind, name: str) -> tuple[AgentId, SigningKey]:
        key = SigningKey.generate()
        proof = registration_proof(key, tenant=self.app.tenant, kind=kind, name=name)
        await self.parts.nhi.register(self.app.tenant, kind, key.public, name, proof=proof)
        return nhi_of(key.public), key

    def chain(
        self, owner: SigningKey, agent: AgentId, actions: tuple[str, ...], resources: tuple[str, ...]
    ) -> DelegationChain:
        now = self.parts.clock.now()
        link = delegate(
            owner, None, agent, tenant=self.app.tenant, actions=actions, resources=resources, not_before=now,
            not_after=ConsensusTimestamp(now + HOUR),
        )  # fmt: skip
        return DelegationChain((link,))

    async def entries(self) -> list[Entry]:
        rows = await self.parts.store.read(lambda tx: tx.ledger_tail(Position(), 10_000))
        return [msgspec.json.decode(row.body, type=Entry) for row in rows]

    async def forbid(self, *resources: str) -> None:
        uids = {self.parts.authz._resource_uid(self.app.tenant, resource) for resource in resources}
        text = "\n".join(f"forbid (principal, action, resource == {uid});" for uid in sorted(map(str, uids)))
        await self.parts.authz.upload_policies(self.app.tenant, text, actor=self.app.operator, activate=True)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with running(settings(tmp_path)) as app:
        yield Desk(app)


def request_of(endpoint: Endpoint[..., Any], values: dict[str, Any]) -> Any:
    """A request that names its resource; the rest would not get past the handler, which is not reached."""
    fields = msgspec.structs.fields(endpoint.request_type)
    return endpoint.request_type(
        **{f.name: values.get(f.name) for f in fields if f.required or f.name in endpoint.about_fields}
    )


async def test_a_forbid_on_the_resource_of_an_endpoint_bites(desk: Desk) -> None:
    """given every endpoint and a request about one thing / when that thing is forbidden / then none answers, and before it all were admitted."""
    _, owner_key = await desk.register(PrincipalKind.HUMAN, "owner")
    bot, _ = await desk.register(PrincipalKind.AGENT, "bot")
    upload = (await desk.ask(uploads.CREATE, desk.call(), uploads.CreateUpload(key="secret.txt"))).upload
    chain = desk.chain(owner_key, bot, ("*",), ("*",)).to_bytes()
    approval = overrides.IssueOverride(agent=bot, action="a", resource="r", args_digest=bytes(32))
    issued = await desk.ask(overrides.ISSUE, desk.call(), approval)
    approved = {"token": issued.token, "token_id": issued.token_id}
    values = (
        VALUES
        | {"event": event(desk.app.parts.clock.now(), agent=bot), "events": (), "agent": bot, "upload": upload}
        | {"chain": chain}
        | approved
    )
    requests = {e.name: request_of(e, values) for e in GUARDED}
    resources = {}
    for endpoint in GUARDED:
        operation = await desk.ask.operation(endpoint, desk.call(), requests[endpoint.name])
        resources[endpoint.name] = operation.resource
        desk.parts.gate.admit(operation)
    await desk.forbid(*resources.values())
    for endpoint in GUARDED:
        with pytest.raises(Unauthorized, match="PL-403"):
            await desk.ask(endpoint, desk.call(), requests[endpoint.name])
    of_the_tenant = {name for name, resource in resources.items() if resource == f"tenant:{desk.app.tenant}"}
    named = {
        e.name
        for e in GUARDED
        if {"agent", "key", "name", "upload", "event_id", "sandbox_id", "role", "uri", "token_id"} & set(e.path_fields)
    }
    assert not of_the_tenant & named, "it names one thing in its path and is decided on the tenant"
    assert resources["objects.put_part"] == "object:secret.txt"
    assert resources["delegations.revoke"] == bot
    assert resources["policies.revoke_override"] == resources["policies.validate_override_token"] == bot


async def test_a_forbid_on_one_object_leaves_the_others(desk: Desk) -> None:
    for key in ("secret.txt", "open.txt"):
        await desk.ask(objects.PUT, desk.call(), objects.PutObject(key=key, content=b"x"))
    await desk.forbid("object:secret.txt")
    with pytest.raises(Unauthorized, match="PL-403"):
        await desk.ask(objects.GET, desk.call(), objects.GetObject(key="secret.txt"))
    assert (await desk.ask(objects.GET, desk.call(), objects.GetObject(key="open.txt"))).data == b"x"


async def test_a_chain_reaches_as_far_as_its_resources(desk: Desk) -> None:
    _, owner_key = await desk.register(PrincipalKind.HUMAN, "owner")
    bot, _ = await desk.register(PrincipalKind.AGENT, "bot")
    await desk.parts.authz.assign_role(desk.app.tenant, bot, "operator", actor=desk.app.operator)
    chain = desk.chain(owner_key, bot, ("objects:*",), ("object:reports/*",))
    call = desk.call(bot, PrincipalKind.AGENT, chain=chain)
    await desk.ask(objects.PUT, call, objects.PutObject(key="reports/1", content=b"x"))
    assert len((await desk.ask(objects.LIST, call, objects.ListObjects(prefix="reports/"))).items) == 1
    for prefix in ("", "report"):
        with pytest.raises(Unauthorized, match="PL-135"):
            await desk.ask(objects.LIST, call, objects.ListObjects(prefix=prefix))
    with pytest.raises(Unauthorized, match="PL-135"):
        await desk.ask(objects.GET, call, objects.GetObject(key="secret.txt"))


async def test_an_agent_changes_its_own_key_and_nobody_elses(desk: Desk) -> None:
    owner, owner_key = await desk.register(PrincipalKind.HUMAN, "owner")
    bot, key = await desk.register(PrincipalKind.AGENT, "bot")
    other, other_key = await desk.register(PrincipalKind.AGENT, "other")
    call = desk.call(bot, PrincipalKind.AGENT, chain=desk.chain(owner_key, bot, ("agents:*",), ("*",)))

    def rotation(agent: AgentId, old: SigningKey) -> agents.RotateAgent:
        new = SigningKey.generate()
        old_proof, new_proof = rotation_proofs(old, new, tenant=desk.app.tenant)
        return agents.RotateAgent(
            agent=agent, verify_key=new.public.to_bytes(), old_proof=old_proof, new_proof=new_proof
        )

    with pytest.raises(Unauthorized, match="PL-403"):
        await desk.ask(agents.ROTATE, call, rotation(other, other_key))
    for endpoint in (agents.SUSPEND, agents.REVOKE):
        with pytest.raises(Unauthorized, match="PL-403"):
            await desk.ask(endpoint, call, agents.ChangeAgent(agent=bot))
    await desk.ask(agents.ROTATE, call, rotation(bot, key))
    rotated = [e for e in await desk.entries() if e.action == "nhi.rotated"][-1]
    assert (rotated.delegation_chain, rotated.grade, rotated.under) == (
        (owner, bot),
        Grade.GATEWAY,
        ("agents:keys", bot),
    )


async def test_what_fails_after_admission_is_recorded(desk: Desk) -> None:
    nobody = nhi_of(SigningKey.generate().public)
    with pytest.raises(NotFound, match="PL-102"):
        await desk.ask(agents.REVOKE, desk.call(), agents.ChangeAgent(agent=nobody))
    last = (await desk.entries())[-1]
    assert (last.outcome, last.code, last.action, last.resource) == (Outcome.FAILURE, "PL-102", "agents:write", nobody)


async def test_what_a_scope_does_not_cover_is_recorded(desk: Desk) -> None:
    with pytest.raises(Unauthorized, match="PL-109"):
        await desk.ask(agents.LIST, desk.call(None, PrincipalKind.HUMAN, "objects:*"), agents.ListAgents())
    last = (await desk.entries())[-1]
    assert (last.outcome, last.code, last.action) == (Outcome.DENIED, "PL-109", "agents:read")


async def test_an_answer_under_a_key_is_not_for_a_narrower_token(desk: Desk) -> None:
    put = objects.PutObject(key="a", content=b"x")
    await desk.ask(objects.PUT, desk.call(idempotency_key="k"), put)
    with pytest.raises(Unauthorized, match="PL-109"):
        await desk.ask(objects.PUT, desk.call(None, PrincipalKind.HUMAN, "agents:*", idempotency_key="k"), put)


async def test_an_effect_outside_the_database_stands_between_intent_and_outcome(desk: Desk) -> None:
    before = len(await desk.entries())
    await desk.ask(objects.PUT, desk.call(), objects.PutObject(key="a", content=b"x"))
    intent, stored, outcome = (await desk.entries())[before:]
    assert [e.outcome for e in (intent, stored, outcome)] == [Outcome.INTENT, Outcome.SUCCESS, Outcome.SUCCESS]
    assert stored.action == "storage.put"
    assert stored.intent_id == outcome.intent_id == intent.event_id
    assert outcome.resource == "object:a"


def test_every_mutation_is_recorded_by_somebody() -> None:
    for endpoint in GUARDED:
        assert (endpoint.leaves is not Effect.NONE) or endpoint.method == "GET" or not endpoint.keyed, endpoint.name
    assert {agents.ISSUE.leaves, agents.REVOKE.leaves} == {Effect.RECORDED}
    assert {times.ACQUIRE.leaves, uploads.PUT_PART.leaves, uploads.COMPLETE.leaves, objects.DELETE.leaves} == {
        Effect.OUTSIDE
    }


async def test_a_refusal_names_what_it_was_about(desk: Desk) -> None:
    bot, _ = await desk.register(PrincipalKind.AGENT, "bot")
    with pytest.raises(EnablementError, match="PL-110"):
        await desk.ask(objects.GET, desk.call(bot, PrincipalKind.AGENT), objects.GetObject(key="secret.txt"))
    assert (await desk.entries())[-1].resource == "object:secret.txt"
    assert names.resource_uid("object:secret.txt").type == "Object"
