"""The SDK's conformance suite: one story, told in every world; each endpoint is asked, each refusal has the same class and code."""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import (
    AlreadyExists,
    IdempotencyConflict,
    InvalidInput,
    NotFound,
    SignatureVerificationFailed,
    Unauthorized,
)
from creto.common.ids import AgentId
from creto.common.limits import STORAGE_PART_BYTES
from creto.common.timestamps import HOUR, SECOND
from creto.contracts import Approved, RiskLevel
from creto.edge.api import ENDPOINTS
from creto.edge.api.approvers import TierTerms
from creto.edge.api.entities import Group
from creto.edge.api.needs import ApprovalNeed
from creto.edge.api.policies import CheckAccess
from creto.edge.api.uploads import SentPart
from creto.oversight import (
    Assurance,
    BreakGlassTerms,
    Channel,
    DecisionFile,
    GrantTerms,
    Quorum,
    RequestState,
    Verdict,
)
from creto.platform.crypto import KemPrivateKey, KemSuite, SignatureSuite, VerifyKey, digest
from creto.platform.crypto.merkle import leaf_hash, verify_inclusion
from creto.platform.crypto.webauthn import registered
from creto.platform.crypto.x509 import new_request
from creto.platform.nhi import (
    DelegationChain,
    Prekey,
    PrekeyKind,
    PrincipalKind,
    decode_bundle,
    request_proof,
    rotation_proofs,
    seal_bundle,
)
from creto.platform.nhi.tokens import Token
from creto.sdk import AgentKey, AsyncCreto, Creto
from creto.security.authz import Allow, Deny
from creto.security.memory import NewTurn, Role
from creto.store.types import Outcome
from tests.contract import metering_story
from tests.contract.sdk_worlds import done, refused
from tests.layers import Layer
from tests.unit.platform.crypto.authenticator import Authenticator

WORLDS = ("local", "local-async", "token", "token-async", "key", "key-async")


def opened(world: str, served: Layer, folder: Path) -> Any:
    made: type[Any] = AsyncCreto if world.endswith("async") else Creto
    if world.startswith("local"):
        return made.local(folder / "creto.db")
    if world.startswith("token"):
        return made.connect(served.rest, token=served.token)
    return made.connect(served.rest, key=served.key)


@pytest.mark.parametrize("world", WORLDS)
async def test_the_whole_face(world: str, served: Layer, tmp_path: Path) -> None:
    """given a client of some world / when every part is used / then it answers alike, and no endpoint is left out."""
    asked: set[str] = set()
    with ExitStack() as stack:
        client = opened(world, served, tmp_path)
        creto = await client.__aenter__() if world.endswith("async") else stack.enter_context(client)
        line = creto.agents._world.line
        real = line.call

        async def call(endpoint: Any, request: Any) -> Any:
            asked.add(endpoint.name)
            return await real(endpoint, request)

        line.call = call
        try:
            for story in STORIES:
                await story(creto, world)
        finally:
            if world.endswith("async"):
                await client.__aexit__(None, None, None)
    assert asked == {e.name for e in ENDPOINTS}


async def identities(creto: Any, world: str) -> None:
    bot = await done(creto.register(f"bot-{world}"))
    found = await done(creto.agents.get(agent=bot.nhi))
    assert (found.nhi, found.name, found.kind) == (bot.nhi, f"bot-{world}", PrincipalKind.AGENT)
    assert bot.nhi in {a.nhi for a in (await done(creto.agents.list(kind=PrincipalKind.AGENT))).items}
    await refused(AlreadyExists, "PL-105", lambda: creto.register("again", key=bot))
    await refused(InvalidInput, "PL-101", lambda: creto.agents.get(agent="agent:nhi:ed25519:0"))
    await refused(NotFound, "PL-102", lambda: creto.agents.get(agent=AgentKey.generate().nhi))
    error = await refused(InvalidInput, "PL-400", lambda: creto.agents.list(limit=0))
    assert "limit" in str(error.field)
    keys = (await done(creto.agents.jwk(agent=bot.nhi))).keys
    assert {k["kty"] for k in keys} == {"OKP", "AKP"}

    signature = bot.sign(b"message", b"context")
    signer = await done(
        creto.agents.validate_signature(agent=bot.nhi, message=b"message", signature=signature, context=b"context")
    )
    assert signer.nhi == bot.nhi
    await refused(
        SignatureVerificationFailed,
        "PL-210",
        lambda: creto.agents.validate_signature(agent=bot.nhi, message=b"other", signature=signature),
    )
    assert (await done(creto.agents.suspend(agent=bot.nhi, reason="a look"))).everywhere
    assert (await done(creto.agents.resume(agent=bot.nhi))).state == "active"
    bound = await done(creto.agents.bind_identity(agent=bot.nhi, sandbox_id=f"sb-{world}"))
    assert (bound.sandbox_id, bound.agent) == (f"sb-{world}", bot.nhi)
    assert (await done(creto.agents.bound_identity(sandbox_id=f"sb-{world}"))).agent == bot.nhi
    me = await done(creto.auth.whoami())
    await refused(NotFound, "PL-404", lambda: creto.agents.unbind_identity(sandbox_id=f"sb-{world}", agent=me.agent))
    await done(creto.agents.unbind_identity(sandbox_id=f"sb-{world}", agent=bot.nhi))
    await refused(NotFound, "PL-404", lambda: creto.agents.bound_identity(sandbox_id=f"sb-{world}"))
    await refused(NotFound, "PL-130", lambda: creto.agents.get_key_bundle(agent=bot.nhi))

    successor = AgentKey.generate()
    old_proof, new_proof = rotation_proofs(bot.signing, successor.signing, tenant=creto.tenant)
    rotated = await done(
        creto.agents.rotate(
            agent=bot.nhi, verify_key=successor.public.to_bytes(), old_proof=old_proof, new_proof=new_proof
        )
    )
    assert rotated.nhi == successor.nhi
    await done(creto.agents.revoke(agent=successor.nhi, reason="over"))
    await refused(
        Unauthorized,
        "PL-103",
        lambda: creto.agents.validate_signature(
            agent=bot.nhi, message=b"message", signature=signature, context=b"context"
        ),
    )


async def bundles_and_certificates(creto: Any, world: str) -> None:
    bot = await done(creto.register(f"reachable-{world}"))
    dh, kem = (KemPrivateKey.generate(suite).public.to_bytes() for suite in (KemSuite.X25519, KemSuite.ML_KEM_768))
    keys = [
        Prekey(kind, 1, kem if kind is PrekeyKind.LAST_RESORT_KEM else dh)
        for kind in (PrekeyKind.IDENTITY_DH, PrekeyKind.SIGNED_DH, PrekeyKind.LAST_RESORT_KEM, PrekeyKind.ONE_TIME_DH)
    ]
    upload = wire.encode(seal_bundle(bot.signing, keys, tenant=creto.tenant, batch=1))
    counts = await done(creto.agents.publish_bundle(agent=bot.nhi, upload=upload))
    assert counts.one_time_dh == 1
    assert await done(creto.agents.prekey_counts(agent=bot.nhi)) == counts
    await refused(NotFound, "PL-102", lambda: creto.agents.prekey_counts(agent=AgentKey.generate().nhi))
    taken = decode_bundle((await done(creto.agents.get_key_bundle(agent=bot.nhi))).bundle)
    assert taken.agent.nhi == bot.nhi

    _, request = new_request()
    proof = request_proof(bot.signing, request, tenant=creto.tenant)
    issued = await done(creto.agents.issue_certificate(agent=bot.nhi, request_der=request, proof=proof))
    assert issued.certificate_pem.startswith(b"-----BEGIN CERTIFICATE")
    assert bot.nhi in issued.uris


async def delegations(creto: Any, world: str) -> None:
    owner = await done(creto.register(f"owner-{world}", kind=PrincipalKind.HUMAN))
    bot = await done(creto.register(f"helper-{world}"))
    now = (await done(creto.time.get_timestamp())).timestamps[0]
    chain = owner.delegate(
        bot.nhi, actions=("memory:*",), not_before=now, not_after=now + HOUR, tenant=creto.tenant
    ).to_bytes()
    valid = await done(creto.delegations.validate(chain=chain, agent=bot.nhi, action="memory:read"))
    assert valid.agents == (owner.nhi, bot.nhi)
    await refused(Unauthorized, "PL-134", lambda: creto.delegations.validate(chain=chain, action="funds.transfer"))
    await refused(InvalidInput, "PL-129", lambda: creto.delegations.validate(chain=b"no chain"))
    withdrawn = await done(creto.delegations.revoke(chain=chain, reason="done"))
    assert len(withdrawn.links) == 1
    await refused(Unauthorized, "PL-124", lambda: creto.delegations.validate(chain=chain))
    again = await done(creto.delegations.revoke(chain=chain))
    assert again.links == withdrawn.links
    await withdrawn_before_it_holds(creto, owner, bot, now)


async def withdrawn_before_it_holds(creto: Any, owner: AgentKey, bot: AgentKey, now: int) -> None:
    """A link that begins tomorrow, by a parent who is suspended; a link that its parent did not sign is none."""
    terms: dict[str, Any] = {"actions": ("memory:*",), "not_before": now + HOUR, "not_after": now + 2 * HOUR}
    chain = owner.delegate(bot.nhi, tenant=creto.tenant, **terms)
    forged = DelegationChain((replace(chain.links[0], signature=bytes(64)),)).to_bytes()
    await refused(SignatureVerificationFailed, "PL-116", lambda: creto.delegations.revoke(chain=forged))
    foreign = owner.delegate(bot.nhi, tenant="elsewhere", **terms).to_bytes()
    await refused(Unauthorized, "PL-115", lambda: creto.delegations.revoke(chain=foreign))
    await refused(Unauthorized, "PL-110", lambda: creto.delegations.revoke(chain=DelegationChain(()).to_bytes()))
    await done(creto.agents.suspend(agent=owner.nhi))
    for _ in range(2):
        assert (await done(creto.delegations.revoke(chain=chain.to_bytes()))).links == (chain.links[0].hash,)
    await done(creto.agents.resume(agent=owner.nhi))


async def authentication(creto: Any, world: str) -> None:
    bot = await done(creto.register(f"caller-{world}"))
    challenge = await done(creto.auth.challenge(agent=bot.nhi))
    token = await done(creto.auth.token(challenge=challenge, signature=bot.answer(challenge), scopes=("memory:*",)))
    assert (token.agent, token.scopes) == (bot.nhi, ("memory:*",))
    await refused(
        Unauthorized, "PL-106", lambda: creto.auth.token(challenge=challenge, signature=bot.answer(challenge))
    )
    me = await done(creto.auth.whoami())
    assert me.kind is PrincipalKind.HUMAN
    ada = await done(creto.register(f"ada-{world}", kind=PrincipalKind.HUMAN))
    assert (await done(creto.auth.issue(agent=ada.nhi, scopes=("audit:read",)))).agent == ada.nhi
    issued = await done(creto.auth.issue(agent=ada.nhi, scopes=("*",)))
    held = Token.from_text(issued.token).head.id
    assert [(await done(creto.auth.revoke(token_id=held))).first for _ in range(2)] == [True, False]
    await refused(InvalidInput, "PL-400", lambda: creto.auth.issue(agent=bot.nhi, scopes=("*",)))


async def policies(creto: Any, world: str) -> None:
    clerk = await done(creto.register(f"clerk-{world}", kind=PrincipalKind.HUMAN))
    given = {"agent": clerk.nhi, "action": "audit:read", "resource": f"tenant:{creto.tenant}"}
    assert isinstance((await done(creto.policies.check(**given))).decision, Deny)
    await done(creto.policies.assign_role(agent=clerk.nhi, role="auditor"))
    assert (await done(creto.policies.roles(agent=clerk.nhi))).roles == ("auditor",)
    assert isinstance((await done(creto.policies.check(**given))).decision, Allow)
    why = await done(creto.policies.why(**given, context={"amount": 5, "environment": "test"}))
    assert why.permits == ("creto.auditor",)

    text = '@id("ask") @oversight("large") forbid (principal, action == Action::"funds.transfer", resource);'
    first = await done(creto.policies.upload(text=text, note="first", activate=True))
    other = await done(creto.policies.upload(text=text.replace("large", "larger")))
    assert (await done(creto.policies.activate(version=first.version))).version == first.version
    listed = (await done(creto.policies.list(limit=2))).items
    assert [v.version for v in listed] == [other.version, first.version]
    assert (await done(creto.policies.get())).text == text
    assert "larger" in (await done(creto.policies.diff(old=first.version, new=other.version))).diff
    asks = CheckAccess(agent=clerk.nhi, action="audit:read", resource=f"tenant:{creto.tenant}")
    tried = await done(creto.policies.dry_run(text="forbid (principal, action, resource);", requests=(asks,)))
    assert tried.items[0].changed
    assert isinstance(tried.items[0].then, Deny)
    again = await done(creto.policies.dry_run_recorded(text="forbid (principal, action, resource);", limit=5))
    assert all(isinstance(item.then, Deny) for item in again.items)
    error = await refused(InvalidInput, "PL-701", lambda: creto.policies.upload(text="permit (principal"))
    assert error.hint is None or isinstance(error.hint, str)
    following = await done(creto.policies.list(limit=1))
    assert (await done(creto.policies.list(limit=1, cursor=following.cursor))).items == listed[1:]
    await an_approval(creto, clerk)
    await entities(creto, clerk, world)
    assert clerk.nhi in {m.agent for m in (await done(creto.policies.members(role="auditor"))).items}
    held = await done(creto.policies.unassign_role(agent=clerk.nhi, role="auditor"))
    assert held.held is False


async def an_approval(creto: Any, clerk: AgentKey) -> None:
    issued = await done(
        creto.policies.issue_override(
            agent=clerk.nhi, action="funds.transfer", resource="bank:acme", args_digest=digest(b"50"), policy_id="large"
        )
    )
    found = await done(creto.policies.validate_override_token(token=issued.token))
    assert (found.token.token_id, found.token.agent, found.standing) == (issued.token_id, clerk.nhi, "open")
    for first in (True, False):
        assert (await done(creto.policies.revoke_override(token_id=issued.token_id))).first is first
    assert (await done(creto.policies.validate_override_token(token=issued.token))).standing == "revoked"
    await refused(Unauthorized, "PL-703", lambda: creto.policies.validate_override_token(token="no.token"))


async def entities(creto: Any, clerk: AgentKey, world: str) -> None:
    folder, group = f"object:{world}/ü 1", Group(type="Group", id=f"shift {world}")
    await refused(NotFound, "PL-404", lambda: creto.policies.get_entity(uri=folder))
    made = await done(creto.policies.put_entity(uri=folder, attrs={"level": 3, "of": ["a"]}, parents=(group,)))
    assert (made.uri, made.type, made.attrs) == (folder, "Object", {"level": 3, "of": ["a"]})
    await done(creto.policies.put_entity(uri=clerk.nhi, parents=(group,)))
    assert await done(creto.policies.get_entity(uri=folder)) == made
    found = await done(creto.policies.list_entities(group_type=group.type, group_id=group.id, limit=1))
    rest = await done(
        creto.policies.list_entities(group_type=group.type, group_id=group.id, limit=1, cursor=found.cursor)
    )
    of_both = {("Object", f"{world}/ü 1"), ("Human", clerk.nhi)}
    assert {(e.type, e.id) for e in (*found.items, *rest.items)} == of_both
    assert {(e.type, e.id) for e in (await done(creto.policies.list_entities())).items} >= of_both
    await refused(InvalidInput, "PL-400", lambda: creto.policies.list_entities(group_type="Group"))
    await refused(InvalidInput, "PL-702", lambda: creto.policies.put_entity(uri=folder, attrs={"half": 0.5}))
    for first in (True, False):
        assert (await done(creto.policies.drop_entity(uri=folder))).first is first


async def log(creto: Any, world: str) -> None:
    receipt = await done(
        creto.audit.append(
            action="code.deploy",
            resource=f"app:{world}",
            outcome=Outcome.SUCCESS,
            event="acme.Deployed",
            metadata='{"n":1}',
        )
    )
    await refused(
        InvalidInput, "PL-400",
        lambda: creto.audit.append(action="a", resource="b", outcome=Outcome.SUCCESS, metadata="no json"),
    )  # fmt: skip
    for posing in ({"action": "nhi.revoked"}, {"action": "runtime:spawn"}, {"action": "a", "event": "OverrideUsed"}):
        await refused(
            InvalidInput, "PL-400", lambda p=posing: creto.audit.append(resource="b", outcome=Outcome.SUCCESS, **p)
        )
    await done(creto.audit.checkpoint())
    proof = await done(creto.audit.prove(event_id=receipt.event_id, fresh=True))
    entry = await done(creto.audit.get(event_id=receipt.event_id))
    verify_inclusion(leaf_hash(entry.body), proof.index, proof.size, proof.path, proof.root)
    found = (await done(creto.audit.query(resource=f"app:{world}"))).items
    assert [e.event_id for e in found] == [receipt.event_id]
    page = await done(creto.audit.query(limit=2))
    following = await done(creto.audit.query(limit=2, cursor=page.cursor))
    assert {e.index for e in page.items}.isdisjoint(e.index for e in following.items)
    newest = await done(creto.audit.checkpoint())
    assert newest.size >= proof.size
    grown = await done(creto.audit.consistency(old=1, new=proof.size))
    assert grown.new_size == proof.size
    assert (await done(creto.audit.keys())).vkeys
    first = await done(creto.audit.checkpoints(limit=1))
    more = await done(creto.audit.checkpoints(limit=1, cursor=first.cursor))
    assert first.items[0].size < more.items[0].size
    file = await done(creto.audit.file(path=f"checkpoints/{first.items[0].size}"))
    assert file.data.decode() == first.items[0].note
    tile = await done(creto.audit.file(path=f"tile/0/000.p/{min(first.items[0].size, 255)}"))
    assert len(tile.data) % 32 == 0
    await refused(NotFound, "PL-404", lambda: creto.audit.file(path="tile/entries/000"))
    await refused(
        InvalidInput, "PL-400", lambda: creto.audit.prove_in_batch(event_id=receipt.event_id, leaves=(b"",), index=0)
    )
    await refused(NotFound, "PL-601", lambda: creto.audit.get(event_id="0190b3a8-0000-7000-8000-000000000000"))


async def memories(creto: Any, world: str) -> None:
    bot = await done(creto.register(f"mind-{world}"))
    kept = await done(
        creto.memory.store_context(
            agent=bot.nhi, kind="reasoning", content="Invoice 17 is due", action="payment.approve", vector=(1.0, 0.0)
        )
    )
    assert [c.id for c in (await done(creto.memory.recent(agent=bot.nhi))).items] == [kept.id]
    why = await done(creto.memory.fetch_reasoning_context(agent=bot.nhi, action="payment.approve"))
    assert why.items[0].id == kept.id
    assert (await done(creto.memory.search(agent=bot.nhi, query="invoice"))).items[0].id == kept.id
    near = await done(creto.memory.nearest(agent=bot.nhi, vector=(0.9, 0.1)))
    assert near.items[0].context.id == kept.id
    await refused(InvalidInput, "PL-821", lambda: creto.memory.nearest(agent=bot.nhi, vector=(1.0, 2.0, 3.0)))
    turns = (NewTurn(Role.USER, "hello"), NewTurn(Role.ASSISTANT, "good day"))
    await done(creto.memory.append_turns(agent=bot.nhi, conversation="a/b c", turns=turns))
    read = await done(creto.memory.turns(agent=bot.nhi, conversation="a/b c"))
    assert len(read.items) == 2
    state = await done(creto.memory.put_state(agent=bot.nhi, key="cursor/1", value=b"\x00\xff", expected=0))
    assert (await done(creto.memory.get_state(agent=bot.nhi, key="cursor/1"))).value == b"\x00\xff"
    await refused(
        AlreadyExists, "PL-412",
        lambda: creto.memory.put_state(agent=bot.nhi, key="cursor/1", value=b"", expected=state.version + 1),
    )  # fmt: skip
    await refused(NotFound, "PL-404", lambda: creto.memory.get_state(agent=bot.nhi, key="nothing"))
    assert (await done(creto.memory.get(agent=bot.nhi, id=kept.id))).text == "Invoice 17 is due"
    used = await done(creto.memory.usage(agent=bot.nhi))
    assert (used.items, used.turns, used.states) == (1, 2, 1)
    assert (await done(creto.memory.conversations(agent=bot.nhi))).items == ("a/b c",)
    keys = (await done(creto.memory.state_keys(agent=bot.nhi, prefix="cursor/"))).items
    assert [(k.key, k.version) for k in keys] == [("cursor/1", state.version)]
    assert (await done(creto.memory.rotate_key())).wrapped >= 1
    assert (await done(creto.memory.rotate_key(resume=True))).wrapped == 0
    assert (await done(creto.memory.erase_conversation(agent=bot.nhi, conversation="a/b c"))).turns == 2
    assert (await done(creto.memory.erase_state(agent=bot.nhi, key="cursor/1", expected=state.version))).states == 1
    await refused(NotFound, "PL-404", lambda: creto.memory.erase_state(agent=bot.nhi, key="cursor/1"))
    await refused(NotFound, "PL-404", lambda: creto.memory.get(agent=bot.nhi, id="none"))
    await done(creto.memory.erase(agent=bot.nhi, id=kept.id))
    assert (await done(creto.memory.recent(agent=bot.nhi))).items == ()
    await done(creto.memory.erase_agent(agent=bot.nhi, reason="asked for"))


async def objects(creto: Any, world: str) -> None:
    key = f"reports/{world}/ü 1.pdf"
    data = bytes(range(256)) * 1_000
    about = {"case": "17", "title": "ü / &=1"}
    put = await done(creto.objects.put(key=key, content=data, content_type="application/pdf", metadata=about))
    assert put.size == len(data)
    assert (await done(creto.objects.get(key=key))).data == data
    assert (await done(creto.objects.get(key=key, start=100_000, length=5))).data == data[100_000:100_005]
    await refused(InvalidInput, "PL-805", lambda: creto.objects.get(key=key, start=10**9, length=5))
    await refused(AlreadyExists, "PL-409", lambda: creto.objects.put(key=key, content=b"", if_absent=True))
    await refused(AlreadyExists, "PL-412", lambda: creto.objects.put(key=key, content=b"", if_match="other"))
    stat = await done(creto.objects.stat(key=key))
    assert (stat.version, stat.content_type, stat.metadata) == (put.version, "application/pdf", about)
    assert (await done(creto.objects.rotate_key())).wrapped >= 1
    assert await done(creto.objects.stat(key=key)) == stat
    assert [o.key for o in (await done(creto.objects.list(prefix=f"reports/{world}/"))).items] == [key]
    assert (await done(creto.objects.hold(key=key, on=True, reason="a case"))).legal_hold
    await refused(Unauthorized, "PL-803", lambda: creto.objects.delete(key=key))
    await done(creto.objects.hold(key=key, on=False, reason="closed"))
    now = (await done(creto.time.get_timestamp())).timestamps[0]
    kept = await done(creto.objects.retain(key=key, until=now + HOUR))
    assert kept.retain_until is not None
    await refused(Unauthorized, "PL-802", lambda: creto.objects.delete(key=key))
    await in_parts(creto, key + ".parts")
    await done(creto.objects.put(key=key + ".draft", content=b"draft"))
    await done(creto.objects.delete(key=key + ".draft"))
    await refused(NotFound, "PL-404", lambda: creto.objects.get(key=key + ".draft"))


async def in_parts(creto: Any, key: str) -> None:
    upload = (await done(creto.objects.create_upload(key=key, if_absent=True, metadata={"in": "parts"}))).upload
    second = await done(creto.objects.put_part(upload=upload, number=2, content=b"two"))
    await done(creto.objects.put_part(upload=upload, number=1, content=b"none"))
    first = await done(creto.objects.put_part(upload=upload, number=1, content=b"one, "))
    assert (await done(creto.objects.list_parts(upload=upload))).items == (first, second)
    sent = tuple(SentPart(number=part.number, size=part.size, root=part.root) for part in (first, second))
    await refused(InvalidInput, "PL-400", lambda: creto.objects.complete_upload(upload=upload, parts=sent[:1]))
    await refused(NotFound, "PL-404", lambda: creto.objects.get(key=key))
    made = await done(creto.objects.complete_upload(upload=upload, parts=sent))
    assert (made.version, made.size, made.metadata) == (upload, 8, {"in": "parts"})
    assert await done(creto.objects.complete_upload(upload=upload)) == made
    assert (await done(creto.objects.get(key=key))).data == b"one, two"
    await refused(NotFound, "PL-804", lambda: creto.objects.put_part(upload=upload, number=1, content=b""))
    given_up = (await done(creto.objects.create_upload(key=key))).upload
    assert given_up in [found.upload for found in (await done(creto.objects.list_uploads())).items]
    await done(creto.objects.abort_upload(upload=given_up))
    await refused(NotFound, "PL-804", lambda: creto.objects.abort_upload(upload=given_up))
    large = bytes(range(256)) * (STORAGE_PART_BYTES * 2 // 256) + b"and the rest"
    arrived: list[int] = []
    put = await done(creto.objects.put(key=key, content=io.BytesIO(large), advance=arrived.append))
    assert (put.size, sum(arrived), len(arrived)) == (len(large), len(large), 3)
    assert (await done(creto.objects.get(key=key, start=len(large) - 8))).data == b"the rest"
    await done(creto.objects.delete(key=key))


async def time_and_leases(creto: Any, world: str) -> None:
    stamps = (await done(creto.time.get_timestamp(count=5))).timestamps
    assert sorted(set(stamps)) == list(stamps)
    name = f"billing/{world}"
    await refused(NotFound, "PL-404", lambda: creto.time.current_lease(name=name))
    lease = await done(creto.time.acquire_lease(name=name, ttl_s=5))
    assert (await done(creto.time.current_lease(name=name))).token == lease.token
    renewed = await done(creto.time.renew_lease(name=name, holder=lease.holder, token=lease.token, ttl_s=60))
    assert renewed.expires_at > lease.expires_at + 30 * SECOND
    await done(creto.time.release_lease(name=name, holder=lease.holder, token=lease.token))
    await refused(
        Unauthorized, "PL-304", lambda: creto.time.renew_lease(name=name, holder=lease.holder, token=lease.token)
    )
    system = await done(creto.time.system())
    assert system.readiness.ready
    suites = await done(creto.time.suites())
    assert (suites.aead, suites.signature) == ("CHACHA20_POLY1305", "HYBRID")


async def dead_letters(creto: Any, world: str) -> None:
    """None died here: `tests/integration/edge/test_bus.py` has some."""
    assert (await done(creto.bus.dead_letters(durable="none"))).items == ()
    await refused(NotFound, "PL-404", lambda: creto.bus.dead_letter(message_id="none", durable="none"))
    await refused(NotFound, "PL-404", lambda: creto.bus.replay_dead(durable="none", ids=("none",)))
    assert (await done(creto.bus.discard_dead(durable="none", ids=("none",)))).ids == ()


async def approvals(creto: Any, world: str) -> None:
    me = (await done(creto.auth.whoami())).agent
    bot = await done(creto.register(f"asker-{world}"))
    ann = await done(creto.register(f"ann-{world}", kind=PrincipalKind.HUMAN))
    await people(creto, world, me, ann)
    terms: dict[str, Any] = {"policy_id": f"transfers-{world}", "agent": bot.nhi, "action": "email.send"}
    asked = {**terms, "resource": "bank:acme", "arguments": '{"amount": 50}', "description": "rent"}
    await refused(InvalidInput, "OV-400", lambda: creto.approvals.create(**asked))  # on whose behalf does it act?
    asked["chain"] = ((await done(creto.register(f"root-{world}", kind=PrincipalKind.HUMAN))).nhi, bot.nhi)
    other = await done(creto.approvals.create(**asked))
    assert (other.state, other.agent, (await done(creto.approvals.create(**asked))).request_id) == (
        RequestState.PENDING, bot.nhi, other.request_id,
    )  # fmt: skip
    act = {k: asked[k] for k in ("agent", "action", "resource", "arguments")}
    need = await done(creto.approvals.check_approval_required(**act))
    assert (need.need, need.tiers, "nor asks about it" in need.reason) == (ApprovalNeed.PROHIBITED, (), True)
    need = await done(
        creto.approvals.check_approval_required(**act, policy_id=asked["policy_id"], chain=asked["chain"])
    )
    assert (need.need, need.policy_id) == (ApprovalNeed.REQUIRED, asked["policy_id"])
    mine = {"request_id": other.request_id, "verdict": Verdict.APPROVE}
    await refused(Unauthorized, "OV-403", lambda: creto.approvals.decide(**mine, round=1))  # who asked does not decide
    offer = {**terms, "resource": "bank:acme", "ttl_s": 60, "uses": 3}
    made = await done(creto.approvals.propose_grant(**offer, reason="x\u202ey"))
    this = {"request_id": made.request_id}
    for listed in (creto.approvals.list(limit=1_000), creto.approvals.inbox(), creto.approvals.history(agent=bot.nhi)):
        assert made.request_id in [one.request_id for one in (await done(listed)).items]
    case = await done(creto.approvals.get(**this))
    assert {one.name for one in case.waiting_for} >= {f"ann-{world}"}
    assert "⟦" in str(case.shown.arguments)
    await discussed(creto, this)
    assert (await done(creto.approvals.wait(**this, timeout_s=0))).result is None
    ballot = await done(creto.approvals.ballot(**this, verdict=Verdict.APPROVE))
    assert ballot.display_hash == case.display_hash
    forged = {
        "ballot": ballot.ballot,
        "key": ann.public.to_bytes(),
        "signature": ann.sign(ballot.ballot, ballot.context),
    }
    await refused(SignatureVerificationFailed, "OV-401", lambda: creto.approvals.submit(**this, **forged))
    await refused(
        IdempotencyConflict, "OV-409", lambda: creto.approvals.decide(**this, verdict=Verdict.APPROVE, round=2)
    )
    said = await done(creto.approvals.decide(**this, verdict=Verdict.APPROVE, round=1))
    assert (said.state, said.missing) == (RequestState.APPROVED, 0)
    outcome = await done(creto.approvals.wait(**this, timeout_s=30))
    assert isinstance(outcome.result, Approved)
    assert outcome.result.override_token is None  # that is for who asked
    await refused(Unauthorized, "OV-403", lambda: creto.approvals.use(**this, override_token="x"))
    await refused(Unauthorized, "OV-403", lambda: creto.approvals.report(**this, succeeded=True))
    signer = await done(creto.approvals.signer())
    assert VerifyKey.from_bytes(signer.verify_key).suite is SignatureSuite.HYBRID
    assert DecisionFile.decode((await done(creto.approvals.decision_file(**this))).file).state is RequestState.APPROVED
    assert (await done(creto.approvals.revoke(**this))).state is RequestState.APPROVED
    (grant,) = [one for one in (await done(creto.approvals.grants())).items if one.request_id == made.request_id]
    assert (await done(creto.approvals.end_grant(grant_id=grant.grant_id))).ended_at is not None
    proposal = await done(
        creto.approvals.propose_grant(
            policy_id=f"transfers-{world}", agent=bot.nhi, action="funds.transfer", resource="bank:acme", ttl_s=60, uses=1
        )
    )  # fmt: skip
    assert proposal.state is RequestState.PENDING
    await done(creto.approvals.cancel(request_id=proposal.request_id))
    again = await done(creto.approvals.propose_grant(**{**offer, "resource": "bank:other"}))
    await signed_by_passkey(creto, again.request_id)
    assert (await done(creto.approvals.cancel(request_id=other.request_id))).state is RequestState.CANCELLED
    armed = await done(
        creto.approvals.break_glass(
            policy_id=f"transfers-{world}",
            agent=bot.nhi,
            action="funds.transfer",
            resource="bank:acme",
            reason="outage",
        )
    )
    assert armed.uses_max == 10


async def signed_by_passkey(creto: Any, request_id: str) -> None:
    """given a passkey / when it signs an approval that is held / then it can be undone before it has any effect."""
    device = Authenticator()
    made = registered(*device.make(b"c"), challenge=b"c")
    mine = {"credential_id": made.credential_id}
    await done(creto.approvals.enrol_passkey(**mine, name="laptop", public_key=made.public_key, site=made.site))
    assert made.credential_id in [one.credential_id for one in (await done(creto.approvals.list_passkeys())).items]
    ballot = await done(creto.approvals.ballot(request_id=request_id, verdict=Verdict.APPROVE))
    said = device.sign(ballot.ballot)
    proof = {
        "authenticator_data": said.authenticator_data,
        "client_data": said.client_data,
        "signature": said.signature,
    }
    held = await done(creto.approvals.submit_passkey(request_id=request_id, **mine, **proof, hold_s=60))
    assert (held.state, held.missing) == (RequestState.PENDING, 0)
    assert held.settles_at is not None
    assert (await done(creto.approvals.undo(request_id=request_id))).state is RequestState.PENDING
    assert [(await done(creto.approvals.remove_passkey(**mine))).found for _ in range(2)] == [True, False]
    again = {**mine, **proof, "request_id": request_id}
    await refused(SignatureVerificationFailed, "OV-401", lambda: creto.approvals.submit_passkey(**again))


async def people(creto: Any, world: str, me: AgentId, ann: AgentKey) -> None:
    """Who decides, how they are reached, who is away."""
    name = f"transfers-{world}"
    tier = TierTerms(name="finance", approvers=(me, f"group:finance-{world}"))
    held = await done(creto.approvals.put_group(name=f"finance-{world}", members=("ben",)))
    assert (held.members, held.warnings) == (("ben",), ("ben is no registered human",))
    assert (await done(creto.approvals.put_group(name=f"finance-{world}", members=(ann.nhi,)))).warnings == ()
    assert f"finance-{world}" in [one.name for one in (await done(creto.approvals.groups())).items]
    stored = await done(
        creto.approvals.put_policy(
            policy_id=name, tiers=(tier,), title="Transfers", grants=GrantTerms(ttl_s_max=600, uses_max=5),
            assurance_by_risk={RiskLevel.CRITICAL: Assurance.OWN_KEY}, break_glass=BreakGlassTerms(armers=(me,)),
        )
    )  # fmt: skip
    assert (stored.version, stored.tiers[0].timeout_s) == (1, 3_600)
    assert (stored.assurance, stored.assurance_by_risk) == ("A1", {RiskLevel.CRITICAL: "A3"})
    assert stored.warnings == ()
    assert (await done(creto.approvals.policy(policy_id=name))) == stored
    assert stored in (await done(creto.approvals.policies())).items
    typo = TierTerms(name="finance", approvers=(me, f"group:finanse-{world}"))
    taken = await done(creto.approvals.put_policy(policy_id=f"{name}-typo", tiers=(typo,)))
    assert (taken.version, taken.warnings) == (1, (f"there is no group finanse-{world}",))
    error = await refused(
        InvalidInput, "OV-400", lambda: creto.approvals.put_policy(policy_id=name, tiers=(tier,), quorum=Quorum(approvals=0))
    )  # fmt: skip
    assert error.field == "quorum.approvals"
    assert (await done(creto.approvals.discard_notifications(channel=Channel.EMAIL))).channel is Channel.EMAIL
    assert name in [one.policy_id for one in (await done(creto.approvals.health())).unreachable]
    receiver = await done(creto.webhooks.add(url=f"https://hooks.acme.example/{world}"))
    assert receiver.secret.startswith("whsec_")
    this = {"endpoint_id": receiver.webhook.endpoint_id}
    assert (await done(creto.webhooks.rotate(**this))).secret != receiver.secret
    assert (await done(creto.webhooks.disable(**this, reason="moved"))).disabled == "moved"
    assert (await done(creto.webhooks.enable(**this))).disabled is None
    found = await done(creto.webhooks.list())
    assert receiver.webhook.endpoint_id in [one.endpoint_id for one in found.items]
    assert found.public_key.startswith("whpk_")
    await refused(InvalidInput, "PL-400", lambda: creto.webhooks.add(url="ftp://hooks.acme.example/"))
    address = {"channel": Channel.WEBHOOK, "address": receiver.webhook.endpoint_id}
    await done(creto.approvals.link(**address, person=ann.nhi))
    assert ann.nhi in [one.person for one in (await done(creto.approvals.contacts())).items]
    assert name not in [one.policy_id for one in (await done(creto.approvals.health())).unreachable]
    assert [(await done(creto.approvals.unlink(**address))).found for _ in range(2)] == [True, False]
    await told_of_metering(creto, this)
    await done(creto.webhooks.remove(**this))
    await refused(NotFound, "PL-404", lambda: creto.webhooks.enable(**this))
    now = (await done(creto.time.get_timestamp())).timestamps[0]
    away = await done(creto.approvals.delegate(to=ann.nhi, ends_at=now + HOUR))
    assert away in (await done(creto.approvals.delegations())).items
    assert (await done(creto.approvals.end_delegation(delegation_id=away.delegation_id))).found


async def told_of_metering(creto: Any, this: dict[str, Any]) -> None:
    """What an endpoint hears of metering; nothing leaves to an address of this machine."""
    wanted = ("metering.invoice.*", "metering.payment.paid")
    assert (await done(creto.webhooks.want(**this, events=wanted))).events == wanted
    standing = await done(creto.webhooks.get(**this))
    assert (standing.webhook.events, standing.queued, standing.delivered, standing.failed) == (wanted, 0, 0, 0)
    error = await refused(InvalidInput, "PL-400", lambda: creto.webhooks.want(**this, events=("oversight.>",)))
    assert (error.field, error.got) == ("events", "oversight.>")
    assert "metering.invoice.*" in str(error.expected)
    assert (await done(creto.webhooks.deliveries(**this))).items == ()
    await refused(NotFound, "PL-404", lambda: creto.webhooks.delivery(**this, message_id="never"))
    await refused(NotFound, "PL-404", lambda: creto.webhooks.again(**this, message_id="never"))
    await refused(Unauthorized, "PL-940", lambda: creto.webhooks.add(url="https://127.0.0.1/in"))
    inside = (await done(creto.webhooks.add(url="https://127.1/in", events=wanted))).webhook
    assert inside.events == wanted
    assert (await done(creto.webhooks.test(endpoint_id=inside.endpoint_id))).outcome == "refused"
    await done(creto.webhooks.remove(endpoint_id=inside.endpoint_id))


async def discussed(creto: Any, this: dict[str, Any]) -> None:
    before = (await done(creto.approvals.get(**this))).approval
    assert (await done(creto.approvals.claim(**this, ttl_s=60))).claimed_by is not None
    assert (await done(creto.approvals.extend(**this, by_s=60))).ends_at > before.ends_at
    await done(creto.approvals.comment(**this, text="looks right"))
    await done(creto.approvals.ask(**this, text="which month?"))
    await refused(
        Unauthorized, "OV-403", lambda: creto.approvals.answer(**this, text="May")
    )  # it is the agent's to say
    assert len((await done(creto.approvals.get(**this))).notes) == 2
    assert (await done(creto.approvals.notifications(**this))).items == ()
    await done(creto.approvals.snooze(**this, for_s=60))
    assert this["request_id"] not in [one.request_id for one in (await done(creto.approvals.inbox())).items]
    await refused(NotFound, "OV-404", lambda: creto.approvals.get(request_id="req-none"))


STORIES: list[Callable[[Any, str], Awaitable[None]]] = [
    identities, bundles_and_certificates, delegations, authentication, policies, log, memories, objects, time_and_leases,
    approvals, dead_letters, *metering_story.STORIES,
]  # fmt: skip
