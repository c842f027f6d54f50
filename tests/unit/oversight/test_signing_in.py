"""Signing in with a passkey: for which challenge, in which browser, whose, and what a ballot and a sign-in never are to one another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from creto.common import limits, wire
from creto.common.errors import ConnectionFailed, EnablementError, Unauthorized
from creto.common.ids import TenantId
from creto.common.timestamps import SECOND
from creto.oversight import Channel, Evidence, RequestState, Verdict
from creto.oversight.passkeys import user_handle
from creto.platform.crypto import SigningKey
from creto.platform.crypto.webauthn import Passkey, registered
from creto.platform.nhi import IssuedToken, PrincipalKind, nhi_of, registration_proof, rotation_proofs
from tests.unit.oversight.world import P2, TENANT, World, id_of, key_of, person
from tests.unit.platform.crypto.authenticator import Authenticator

OTHER = TenantId("other")
ALICE = user_handle(TENANT, person("alice"))


async def enrolled(world: World, name: str = "alice", scopes: tuple[str, ...] = ("*",)) -> Authenticator:
    key = Authenticator()
    passkey = registered(*key.make(b"c"), challenge=b"c")
    await world.oversight.enrol_passkey(TENANT, passkey, by=id_of(name), name="phone", scopes=scopes)
    return key


async def sign_in(
    world: World, key: Authenticator, *, handle: bytes = ALICE, only: TenantId | None = TENANT
) -> IssuedToken:
    challenge, secret = await world.nhi.sign_in_challenge()
    return await world.oversight.sign_in(
        key.sign(challenge), secret, user_handle=handle, credential_id=key.credential_id, only=only
    )


async def refused(attempt: Awaitable[object]) -> str:
    """What whoever tried is told."""
    with pytest.raises(Unauthorized) as caught:
        await attempt
    assert caught.value.code == "PL-106"
    error = caught.value
    return f"{error.message} {error.hint} {error.field} {error.got} {error.expected} {error.caused_by}"


async def test_a_passkey_signs_its_human_in_as_a_login_link_does(world: World) -> None:
    """given an enrolled passkey / when it signs in, twice with the same counter / then each is a session as a link's, on record."""
    key = await enrolled(world)
    link = await world.nhi.exchange_login(await world.nhi.login_token(TENANT, id_of("alice"), scopes=("*",)))
    issued = await sign_in(world, key)
    for name in ("tenant", "agent", "kind", "scopes"):
        assert getattr(issued.caller, name) == getattr(link.caller, name)
    assert issued.caller.expires_at // SECOND == link.caller.expires_at // SECOND
    assert world.nhi.verify_token(issued.token) == issued.caller
    assert (await sign_in(world, key, only=None)).caller.agent == id_of("alice")
    first, _ = await world.entries("SignedIn")
    assert first.agent_nhi == id_of("alice")
    said = wire.decode(first.metadata, dict[str, str])
    assert (said["passkey"], said["token_id"]) == (key.credential_id.hex(), issued.caller.credential)
    assert len(await world.entries("TokenIssued")) == 3


async def test_it_opens_no_more_than_the_session_that_enrolled_it(world: World) -> None:
    narrow = await enrolled(world, scopes=("oversight:*",))
    assert (await sign_in(world, narrow)).caller.scopes == ("oversight:*",)
    votes_only = await enrolled(world, scopes=())
    await refused(sign_in(world, votes_only))


async def test_a_challenge_counts_once_in_its_browser_and_in_its_time(world: World) -> None:
    key = await enrolled(world)
    challenge, secret = await world.nhi.sign_in_challenge()
    other, other_secret = await world.nhi.sign_in_challenge()

    def answer(challenge: bytes, secret: str) -> Awaitable[IssuedToken]:
        return world.oversight.sign_in(
            key.sign(challenge), secret, user_handle=ALICE, credential_id=key.credential_id, only=TENANT
        )

    later = challenge[:-33] + bytes([challenge[-33] ^ 1]) + challenge[-32:]
    for made_up in (b"", b"x", challenge[:-1], challenge + b"x", challenge[:-32], later, other):
        await refused(answer(made_up, secret))
    for elsewhere in ("", other_secret, secret + "x"):
        await refused(answer(challenge, elsewhere))
    tries = await asyncio.gather(*[answer(challenge, secret) for _ in range(4)], return_exceptions=True)
    assert sum(isinstance(one, IssuedToken) for one in tries) == 1
    await refused(answer(challenge, secret))
    world.clock.advance(limits.SIGN_IN_TTL_S * SECOND)
    await refused(answer(other, other_secret))


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "https://localhost.evil.example"},
        {"origin": "http://deep.localhost:8080"},  # for a vote it would do
        {"origin": "http://127.0.0.1:8080"},
        {"crossOrigin": True},
        {"type": "webauthn.create"},
        {"flags": 0x01},  # present, but not verified
        {"flags": 0x04},
    ],
)
async def test_only_on_its_own_site_with_its_human_verified(world: World, change: dict[str, object]) -> None:
    key = await enrolled(world)
    challenge, secret = await world.nhi.sign_in_challenge()
    await refused(
        world.oversight.sign_in(
            key.sign(challenge, **change), secret, user_handle=ALICE, credential_id=key.credential_id
        )
    )


async def test_another_sites_passkey_signs_nobody_in(world: World) -> None:
    key = await enrolled(world)
    key.site = "elsewhere.example"  # the authenticator signs for another relying party
    await refused(sign_in(world, key))


async def test_whoever_may_not_is_told_the_same(world: World) -> None:
    """given what is wrong with a sign-in in all its ways / then the answer is one and the same, and nobody is signed in."""
    key, stranger, dropped, forged = await enrolled(world), Authenticator(), await enrolled(world), Authenticator()
    await world.oversight.drop_passkey(TENANT, dropped.credential_id, by=id_of("alice"))
    forged.credential_id = key.credential_id
    told = {
        await refused(attempt)
        for attempt in (
            sign_in(world, stranger),
            sign_in(world, dropped),
            sign_in(world, forged),
            sign_in(world, key, only=OTHER),
            sign_in(world, key, handle=b""),
            sign_in(world, key, handle=user_handle(TENANT, person("bob"))),
            sign_in(world, key, handle=user_handle(OTHER, person("alice"))),
        )
    }
    await world.nhi.suspend(TENANT, id_of("alice"))
    told.add(await refused(sign_in(world, key)))
    await world.nhi.resume(TENANT, id_of("alice"))
    assert (await sign_in(world, key)).caller.agent == id_of("alice")
    await world.nhi.revoke(TENANT, id_of("alice"))
    told.add(await refused(sign_in(world, key)))
    assert len(told) == 1
    assert world.nhi.failures["PL-106"] == 9
    assert len(await world.entries("SignedIn")) == 1


async def test_a_store_that_does_not_answer_is_no_wrong_passkey(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await enrolled(world)
    challenge, secret = await world.nhi.sign_in_challenge()

    async def down(*_: object) -> object:
        raise ConnectionFailed("PL-503")

    monkeypatch.setattr(world.oversight.store, "read", down)
    with pytest.raises(ConnectionFailed):
        await world.oversight.sign_in(key.sign(challenge), secret, user_handle=ALICE, credential_id=key.credential_id)


async def test_a_passkey_that_is_dropped_meanwhile_signs_nobody_in(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """given a passkey that was found and checked / when it is removed before the session is made / then none is."""
    key = await enrolled(world)
    exchange: Callable[..., Awaitable[IssuedToken]] = world.nhi.exchange_sign_in

    async def late(*args: object, **options: object) -> IssuedToken:
        await world.oversight.drop_passkey(TENANT, key.credential_id, by=id_of("alice"))
        return await exchange(*args, **options)

    monkeypatch.setattr(world.nhi, "exchange_sign_in", late)
    await refused(sign_in(world, key))
    assert await world.entries("SignedIn") == []


async def test_the_tenant_is_the_passkeys(world: World) -> None:
    """given the same key enrolled in another tenant too, by somebody there / then it is the handle that says who signs in where."""
    key = await enrolled(world)
    proof = registration_proof(key_of("alice"), tenant=OTHER, kind=PrincipalKind.HUMAN, name="alice")
    await world.nhi.register(OTHER, PrincipalKind.HUMAN, key_of("alice").public, "alice", proof=proof)
    passkey = Passkey(credential_id=key.credential_id, public_key=key.cose(), site=key.site)
    await world.oversight.enrol_passkey(OTHER, passkey, by=id_of("alice"), name="mine", scopes=("*",))
    assert (await sign_in(world, key, only=None)).caller.tenant == TENANT
    there = await sign_in(world, key, handle=user_handle(OTHER, person("alice")), only=None)
    assert there.caller.tenant == OTHER


async def test_whoever_has_a_new_key_signs_in_as_that(world: World) -> None:
    key, new = await enrolled(world), SigningKey.generate()
    old_proof, new_proof = rotation_proofs(key_of("alice"), new, tenant=TENANT)
    await world.nhi.rotate(TENANT, id_of("alice"), new.public, old_proof=old_proof, new_proof=new_proof, overlap_s=60)
    assert (await sign_in(world, key)).caller.agent == nhi_of(new.public)


# Of a vote and a sign-in, neither is the other


async def test_a_signed_ballot_signs_nobody_in(world: World) -> None:
    record, key = await world.request(P2), await enrolled(world)
    ballot = await world.oversight.ballot(
        TENANT, record.ask.request_id, approver=id_of("alice"), verdict=Verdict.APPROVE
    )
    _, secret = await world.nhi.sign_in_challenge()
    await refused(
        world.oversight.sign_in(
            key.sign(ballot.signed_bytes()), secret, user_handle=ALICE, credential_id=key.credential_id
        )
    )


async def test_a_signed_sign_in_is_no_vote(world: World) -> None:
    record, key = await world.request(), await enrolled(world)
    challenge, _ = await world.nhi.sign_in_challenge()
    with pytest.raises(EnablementError) as caught:
        await world.oversight.passkey_response(
            TENANT, approver=id_of("alice"), credential_id=key.credential_id, assertion=key.sign(challenge),
            evidence=Evidence(channel=Channel.WEB, account=id_of("alice")),
        )  # fmt: skip
    assert caught.value.code == "OV-400"
    assert (await world.now_of(record)).progress.state is RequestState.PENDING


def test_a_handle_says_nothing_of_whose_it_is() -> None:
    assert len(ALICE) == 32  # WebAuthn 5.4.3: 64 at most
    assert person("alice").encode() not in ALICE
    assert len({ALICE, user_handle(TENANT, person("bob")), user_handle(OTHER, person("alice"))}) == 3
