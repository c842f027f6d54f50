from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from creto.common.errors import ConnectionFailed, EnablementError
from creto.common.ids import PLATFORM_TENANT, TenantId
from creto.common.limits import CHALLENGE_TTL_S, LOGIN_TTL_S, TOKEN_CAVEATS_MAX, TOKEN_TTL_S_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.crypto import Kek, Keystore
from creto.platform.nhi import Nhi, PrincipalKind, answer, attenuate
from creto.platform.nhi.secrets import TOKEN_ROOT
from creto.platform.nhi.tokens import Token
from creto.store import Position
from tests.unit.platform.nhi.town import START, TENANT, Town


async def test_a_signed_challenge_buys_a_token(town: Town) -> None:
    bot = await town.agent()
    challenge = await town.nhi.challenge(TENANT, bot.nhi)
    issued = await town.nhi.exchange(challenge, answer(bot.key, challenge), scopes=("runtime:*",), ttl_s=60)
    caller = town.nhi.verify_token(issued.token)
    assert caller == issued.caller
    assert (caller.tenant, caller.agent, caller.kind) == (TENANT, bot.nhi, PrincipalKind.AGENT)
    assert (caller.scopes, caller.expires_at) == (("runtime:*",), START + 60 * SECOND)


async def test_a_challenge_is_good_once_also_when_both_come_at_once(town: Town) -> None:
    bot = await town.agent()
    challenge = await town.nhi.challenge(TENANT, bot.nhi)
    tries = [town.nhi.exchange(challenge, answer(bot.key, challenge)) for _ in range(8)]
    results = await asyncio.gather(*tries, return_exceptions=True)
    errors = [r for r in results if isinstance(r, EnablementError)]
    assert len(errors) == 7
    assert {e.code for e in errors} == {"PL-106"}


async def test_a_challenge_that_is_late_changed_or_answered_by_another_is_refused(town: Town) -> None:
    bot, other = await town.agent(), await town.agent()
    challenge = await town.nhi.challenge(TENANT, bot.nhi)
    later = replace(challenge, expires_at=ConsensusTimestamp(challenge.expires_at + 1))
    elsewhere = replace(challenge, tenant=TenantId("other"))
    moved = replace(challenge, agent=other.nhi)
    for changed in (later, elsewhere):
        with pytest.raises(EnablementError, match="PL-106"):
            await town.nhi.exchange(changed, answer(bot.key, changed))
    with pytest.raises(EnablementError, match="PL-106"):
        await town.nhi.exchange(moved, answer(other.key, moved))
    with pytest.raises(EnablementError, match="PL-106"):
        await town.nhi.exchange(challenge, answer(other.key, challenge))
    town.clock.move(CHALLENGE_TTL_S * SECOND)
    with pytest.raises(EnablementError, match="PL-106"):
        await town.nhi.exchange(challenge, answer(bot.key, challenge))


async def test_tokens_of_an_agent_die_with_it_and_rest_with_it(town: Town) -> None:
    bot = await town.agent()
    token = (await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",))).token
    await town.nhi.suspend(TENANT, bot.nhi)
    with pytest.raises(EnablementError, match="PL-104"):
        town.nhi.verify_token(token)
    await town.nhi.resume(TENANT, bot.nhi)
    assert town.nhi.verify_token(token).agent == bot.nhi
    await town.nhi.revoke(TENANT, bot.nhi)
    with pytest.raises(EnablementError, match="PL-103"):
        town.nhi.verify_token(token)
    with pytest.raises(EnablementError, match="PL-103"):
        await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",))


async def test_a_token_ends_on_time(town: Town) -> None:
    bot = await town.agent()
    issued = await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",), ttl_s=1)
    ends = issued.caller.expires_at
    assert town.nhi.verify_token(issued.token, ConsensusTimestamp(ends - 1)).agent == bot.nhi
    with pytest.raises(EnablementError, match="PL-108"):
        town.nhi.verify_token(issued.token, ends)
    for ttl_s in (0, TOKEN_TTL_S_MAX + 1):
        with pytest.raises(EnablementError, match="ttl_s"):
            await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",), ttl_s=ttl_s)


async def test_a_holder_narrows_offline_and_never_widens(town: Town) -> None:
    bot = await town.agent()
    token = (await town.nhi.issue_token(TENANT, bot.nhi, scopes=("runtime:*", "audit:read"))).token
    narrow = attenuate(token, scopes=("runtime:exec", "metering:*"), expires_at=ConsensusTimestamp(START + 5))
    caller = town.nhi.verify_token(narrow, START)
    assert (caller.scopes, caller.expires_at) == (("runtime:exec",), START + 5)
    again = attenuate(narrow, scopes=("*",), expires_at=ConsensusTimestamp(START + 10**18))
    assert town.nhi.verify_token(again, START).scopes == ("runtime:exec",)
    assert town.nhi.verify_token(again, START).expires_at == START + 5
    nothing = attenuate(narrow, scopes=("audit:read",))
    assert town.nhi.verify_token(nothing, START).scopes == ()


async def test_a_caveat_cannot_be_removed_changed_or_reordered(town: Town) -> None:
    bot = await town.agent()
    token = (await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",))).token
    held = Token.from_text(attenuate(attenuate(token, scopes=("a:*",)), scopes=("a:b",)))
    forgeries = [
        replace(held, caveats=held.caveats[:1]),
        replace(held, caveats=()),
        replace(held, caveats=held.caveats[::-1]),
        replace(held, caveats=(replace(held.caveats[0], scopes=("*",)), held.caveats[1])),
        replace(held, head=replace(held.head, scopes=("x",))),
        replace(held, head=replace(held.head, agent=Token.from_text(token).head.agent, tenant=TenantId("other"))),
        replace(held, head=replace(held.head, key="0" * 16)),
        replace(held, mac=b""),
        replace(held, mac=held.mac[:-1]),
    ]
    for forged in forgeries:
        with pytest.raises(EnablementError, match="PL-107"):
            town.nhi.verify_token(forged.to_text())


async def test_caveats_are_counted(town: Town) -> None:
    bot = await town.agent()
    token = (await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",))).token
    for _ in range(TOKEN_CAVEATS_MAX):
        token = attenuate(token, scopes=("a:*",))
    assert town.nhi.verify_token(token).scopes == ("a:*",)
    with pytest.raises(EnablementError, match="caveats"):
        attenuate(token, scopes=("a:b",))


async def test_a_login_is_exchanged_once(town: Town) -> None:
    ada, bot = await town.human(), await town.agent()
    secret = await town.nhi.login_token(TENANT, ada.nhi, scopes=("console:*",), ttl_s=600)
    results = await asyncio.gather(*[town.nhi.exchange_login(secret) for _ in range(5)], return_exceptions=True)
    issued = [r for r in results if not isinstance(r, BaseException)]
    assert len(issued) == 1
    caller = town.nhi.verify_token(issued[0].token)
    assert (caller.agent, caller.scopes, caller.expires_at) == (ada.nhi, ("console:*",), START + 600 * SECOND)
    with pytest.raises(EnablementError, match="a human"):
        await town.nhi.login_token(TENANT, bot.nhi, scopes=("*",))
    late = await town.nhi.login_token(TENANT, ada.nhi, scopes=("*",))
    town.clock.move(LOGIN_TTL_S * SECOND)
    for secret_text in (late, "creto-login.AAAA", ""):
        with pytest.raises(EnablementError, match="PL-106"):
            await town.nhi.exchange_login(secret_text)


async def test_a_revoked_token_and_what_was_narrowed_from_it_end_at_once(town: Town) -> None:
    bot = await town.agent()
    first, second = [await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",)) for _ in range(2)]
    narrow = attenuate(first.token, scopes=("runtime:exec",))
    for token in (first.token, narrow, second.token):
        assert town.nhi.verify_token(token).agent == bot.nhi
    done = await town.nhi.revoke_token(TENANT, first.caller.credential, reason="leaked", actor=bot.nhi)
    assert (done.first, done.everywhere) == (True, True)
    for token in (first.token, narrow):
        with pytest.raises(EnablementError, match="PL-136"):
            town.nhi.verify_token(token)
    assert town.nhi.verify_token(second.token).agent == bot.nhi

    assert not (await town.nhi.revoke_token(TENANT, first.caller.credential, actor=bot.nhi)).first
    restarted = Nhi(town.store, town.clock, Keystore(town.store, Kek(bytes(32)), town.clock))
    await restarted.start()
    with pytest.raises(EnablementError, match="PL-136"):
        restarted.verify_token(narrow)
    recorded = [
        row for row in town.store.read_now(lambda tx: tx.ledger_tail(Position(), 100)) if b"TokenRevoked" in row.body
    ]
    assert len(recorded) == 1


async def test_another_tenant_revokes_no_token_of_ours(town: Town) -> None:
    bot = await town.agent()
    issued = await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",))
    await town.nhi.revoke_token(TenantId("other"), issued.caller.credential, actor=bot.nhi)
    assert town.nhi.verify_token(issued.token).agent == bot.nhi
    for wrong in ("", "tok-", issued.token, f"{issued.caller.credential}x"):
        with pytest.raises(EnablementError, match="token_id"):
            await town.nhi.revoke_token(TENANT, wrong, actor=bot.nhi)


async def test_a_challenge_is_spent_and_its_token_recorded_in_one_transaction(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """given a redemption that fails at its last statement / when it is tried again / then the challenge is still good, once."""
    bot, ada = await town.agent(), await town.human()
    challenge = await town.nhi.challenge(TENANT, bot.nhi)
    secret = await town.nhi.login_token(TENANT, ada.nhi, scopes=("*",))

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionFailed("PL-503", "the disk is gone")

    with monkeypatch.context() as broken:
        broken.setattr(town.nhi, "_record", away)
        for attempt in (town.nhi.exchange(challenge, answer(bot.key, challenge)), town.nhi.exchange_login(secret)):
            with pytest.raises(ConnectionFailed):
                await attempt
    assert (await town.nhi.exchange(challenge, answer(bot.key, challenge))).caller.agent == bot.nhi
    assert (await town.nhi.exchange_login(secret)).caller.agent == ada.nhi
    with pytest.raises(EnablementError, match="PL-106"):
        await town.nhi.exchange(challenge, answer(bot.key, challenge))


async def test_tokens_outlive_a_restart_and_one_rotation_of_the_root(town: Town) -> None:
    bot = await town.agent()
    token = (await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",))).token
    await town.keystore.rotate(PLATFORM_TENANT, TOKEN_ROOT)
    newer = (await town.nhi.issue_token(TENANT, bot.nhi, scopes=("*",))).token
    restarted = Nhi(town.store, town.clock, Keystore(town.store, Kek(bytes(32)), town.clock))
    await restarted.start()
    for service in (town.nhi, restarted):
        assert service.verify_token(token).agent == service.verify_token(newer).agent == bot.nhi
    await town.keystore.rotate(PLATFORM_TENANT, TOKEN_ROOT)
    await restarted.start()
    with pytest.raises(EnablementError, match="PL-107"):
        restarted.verify_token(token)


async def test_without_a_keystore_there_are_no_tokens(town: Town) -> None:
    bare = Nhi(town.store, town.clock)
    await bare.start()
    token = (await town.nhi.issue_token(TENANT, (await town.agent()).nhi, scopes=("*",))).token
    with pytest.raises(EnablementError, match="PL-501"):
        bare.verify_token(token)


def test_a_token_says_nothing_of_its_secret_in_errors() -> None:
    text = "creto1." + "A" * 100
    with pytest.raises(EnablementError) as caught:
        attenuate(text)
    assert "AAAA" not in caught.value.rendered()
