"""How callers prove who they are over REST: challenge, signature, bearer token; for people also a one-time login, and a passkey's answer.

challenge = await nhi.challenge(tenant, agent)
issued = await nhi.exchange(challenge, answer(key, challenge), scopes=("runtime:*",))
caller = nhi.verify_token(issued.token)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import EnablementError, InvalidInput, Unauthorized
from creto.common.ids import AgentId, TenantId, checked_tenant, new_id
from creto.common.limits import CHALLENGE_TTL_S, LOGIN_TTL_S, SIGN_IN_TTL_S, TOKEN_TTL_S_MAX
from creto.common.timestamps import SECOND, ConsensusTimestamp
from creto.platform.crypto import digest, equal, mac, random_bytes, tagged_digest
from creto.platform.crypto.jose import b64url_encode
from creto.platform.nhi import lifecycle, scope, statements, tokens
from creto.platform.nhi import store as sql
from creto.platform.nhi.core import Core
from creto.platform.nhi.registry import Change, announce
from creto.platform.nhi.types import Caller, Challenge, IssuedToken, PrincipalKind, TokenRevocation
from creto.store.types import Tx

CHALLENGE_LABEL = b"creto/challenge-mac/v1"
LOGIN_PREFIX = "creto-login."
SIGN_IN_LABEL = b"creto/sign-in/v1\n"  # no JSON begins so, and every ballot does: neither is ever taken for the other
NONCE_BYTES = 24
MOMENT_BYTES = 8


class Access(Core):
    async def challenge(self, tenant: TenantId, agent: AgentId) -> Challenge:
        """What `agent` has to sign within a minute. Nothing is stored, and nobody learns here whether the agent exists."""
        tenant = checked_tenant(tenant)
        expires_at = ConsensusTimestamp(self._clock.now() + CHALLENGE_TTL_S * SECOND)
        bare = Challenge(tenant, agent, random_bytes(NONCE_BYTES), expires_at)
        _, root = await self._secrets.token_root()
        return replace(bare, mac=challenge_mac(root, bare))

    async def exchange(
        self, challenge: Challenge, signature: bytes, *, scopes: Sequence[str] = ("*",), ttl_s: int = TOKEN_TTL_S_MAX
    ) -> IssuedToken:
        """A bearer token for the signer of a challenge. A challenge is good once, on all nodes together: PL-106."""
        with self._counted:
            return await self._exchange(challenge, signature, scopes, ttl_s)

    async def _exchange(self, challenge: Challenge, signature: bytes, scopes: Sequence[str], ttl_s: int) -> IssuedToken:
        now = self._clock.now()
        checked = checked_grant(scopes, ttl_s)  # before the challenge is used up
        root_id, root = await self._secrets.token_root()
        if not equal(challenge_mac(root, challenge), challenge.mac) or now >= challenge.expires_at:
            raise Unauthorized("PL-106", field="challenge", expected="a challenge of ours, in its minute")
        registered = self._in_force(challenge.tenant, challenge.agent, now)
        try:
            registered.verify_key.verify(statements.challenge_bytes(challenge), signature, statements.CHALLENGE_CONTEXT)
        except EnablementError as error:
            raise Unauthorized("PL-106", "the challenge was not answered by this agent", caused_by=error) from error

        def redeem(tx: Tx) -> tokens.TokenHead:
            if not sql.use_once(tx, challenge.tenant, challenge.nonce, challenge.expires_at, now):
                raise Unauthorized("PL-106", "the challenge was answered already", field="challenge")
            return self._granted(tx, challenge.tenant, challenge.agent, checked, ttl_s, root_id, now)

        return issued(root, await self._store.write(redeem))

    async def issue_token(
        self,
        tenant: TenantId,
        principal: AgentId,
        *,
        scopes: Sequence[str],
        ttl_s: int = TOKEN_TTL_S_MAX,
        actor: AgentId | None = None,
    ) -> IssuedToken:
        """A token without a challenge: the caller of this method has made sure of who asks."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        checked = checked_grant(scopes, ttl_s)
        self._in_force(tenant, principal, now)
        root_id, root = await self._secrets.token_root()
        head = await self._store.write(
            lambda tx: self._granted(tx, tenant, principal, checked, ttl_s, root_id, now, actor)
        )
        return issued(root, head)

    def _granted(
        self, tx: Tx, tenant: TenantId, principal: AgentId, scopes: tuple[str, ...], ttl_s: int, root_id: str,
        now: ConsensusTimestamp, actor: AgentId | None = None,
    ) -> tokens.TokenHead:  # fmt: skip
        """The head of a new token, and its entry in the ledger: in one transaction with whatever was given for it."""
        identity = sql.get(tx, tenant, principal)
        lifecycle.check_in_force(identity, now)
        head = tokens.TokenHead(
            id=new_id(tokens.ID_PREFIX),
            key=root_id,
            tenant=tenant,
            agent=principal,
            kind=identity.kind,
            scopes=scopes,
            issued_at=now,
            expires_at=ConsensusTimestamp(now + ttl_s * SECOND),
        )
        self._record(
            tx, tenant, "token_issued", "TokenIssued", actor=actor or principal, subject=principal, now=now,
            fields={"token_id": head.id, "scopes": scopes, "expires_at": head.expires_at},
        )  # fmt: skip
        return head

    async def revoke_token(
        self, tenant: TenantId, token_id: str, *, reason: str | None = None, actor: AgentId
    ) -> TokenRevocation:
        """End one bearer token, with all that was narrowed from it. Its holder may get another: to stop them, suspend them."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        if tokens.ID.fullmatch(token_id) is None:
            raise InvalidInput.of("token_id", got=token_id, expected=f"{tokens.ID_PREFIX}<id>, as `token_issued` in the log names it")  # fmt: skip
        ends = now + TOKEN_TTL_S_MAX * SECOND  # no token that exists now lives longer

        def revoke(tx: Tx) -> bool:
            first = sql.revoke_token(tx, tenant, token_id, ends, now)
            if first:
                self._record(
                    tx, tenant, "token_revoked", "TokenRevoked", actor=actor, subject=token_id, now=now,
                    fields={"token_id": token_id, "reason": reason},
                )  # fmt: skip
                announce(tx, Change(tenant=tenant, tokens=(token_id,)))
            return first

        first = await self._store.write(revoke)
        return TokenRevocation(token_id=token_id, first=first, everywhere=await self._store.settled())

    def verify_token(self, token: str, now: ConsensusTimestamp | None = None) -> Caller:
        """Who calls; PL-107 not ours or changed, PL-108 expired, PL-136 revoked, PL-102 to PL-104 and PL-133 for what became of the holder since."""
        with self._counted:
            return self._caller_with(token, self._clock.now() if now is None else now)

    async def prefetch_token(self, text: str) -> None:
        """As `prefetch`, of a bearer token of ours and its holder: `verify_token` then reads nothing."""
        with suppress(EnablementError):
            read = tokens.Token.from_text(text)
            root = self._secrets.token_root_of(read.head.key)
            if root is None or self._registry.remembers(read.head.tenant, (read.head.agent,), read.head.id):
                return
            tokens.check_mac(read, root)  # nobody else makes us ask the store
            await asyncio.to_thread(self._registry.token_revoked, read.head.tenant, read.head.id)
            await self.prefetch(read.head.tenant, read.head.agent)

    def _caller_with(self, token: str, now: ConsensusTimestamp) -> Caller:
        read = tokens.Token.from_text(token)
        root = self._secrets.token_root_of(read.head.key)
        if root is None:
            raise tokens.invalid("a token of another deployment, or of an older root")
        tokens.check_mac(read, root)
        tokens.check_time(read, now)
        if self._registry.token_revoked(read.head.tenant, read.head.id):
            raise Unauthorized("PL-136", field="token", got=read.head.id, expected="a token that was not revoked")
        self._in_force(read.head.tenant, read.head.agent, now)
        return caller_of(read.head, read.scopes(), read.expires_at())

    async def login_token(
        self,
        tenant: TenantId,
        human: AgentId,
        *,
        scopes: Sequence[str],
        ttl_s: int = TOKEN_TTL_S_MAX,
        actor: AgentId | None = None,
    ) -> str:
        """A secret for a login link: `exchange_login` turns it into a bearer token, once, within ten minutes."""
        tenant, now = checked_tenant(tenant), self._clock.now()
        checked = checked_grant(scopes, ttl_s)
        if self._in_force(tenant, human, now).identity.kind is not PrincipalKind.HUMAN:
            raise InvalidInput.of("human", got=human, expected="a human")
        secret = LOGIN_PREFIX + b64url_encode(random_bytes(32))
        packed = wire.encode(checked).decode()

        def add(tx: Tx) -> None:
            sql.add_login(tx, tenant, digest_of(secret), human, packed, ttl_s, now + LOGIN_TTL_S * SECOND)
            self._record(
                tx, tenant, "login_offered", "LoginOffered", actor=actor or human, subject=human, now=now,
                fields={"scopes": checked},
            )  # fmt: skip

        await self._store.write(add)
        return secret

    async def exchange_login(self, secret: str) -> IssuedToken:
        """The token behind a login secret; a second try gets PL-106, also when both come at once."""
        with self._counted:
            return await self._exchange_login(secret)

    async def _exchange_login(self, secret: str) -> IssuedToken:
        now = self._clock.now()
        root_id, root = await self._secrets.token_root()

        def redeem(tx: Tx) -> tokens.TokenHead:
            taken = sql.take_login(tx, digest_of(secret), now)
            if taken is None:
                raise Unauthorized("PL-106", "the login is unknown, used or expired", hint="Ask for a new login link.")
            tenant, human, packed, ttl_s = taken
            return self._granted(tx, tenant, human, wire.decode(packed, tuple[str, ...]), ttl_s, root_id, now)

        return issued(root, await self._store.write(redeem))

    async def sign_in_challenge(self) -> tuple[bytes, str]:
        """What a passkey has to sign within five minutes, whoever's it is; and the secret of the one browser that asked. Nothing is stored."""
        secret = b64url_encode(random_bytes(32))
        _, root = await self._secrets.token_root()
        return sign_in_bytes(root, secret, self._clock.now() + SIGN_IN_TTL_S * SECOND), secret

    async def exchange_sign_in(
        self, challenge: bytes, secret: str, *, tenant: TenantId, human: AgentId, scopes: Sequence[str],
        passkey: bytes, check: Callable[[Tx], object],
    ) -> IssuedToken:  # fmt: skip
        """The token for a challenge that the caller saw this human's passkey sign; once, and in the browser that asked: else PL-106.

        `check` runs in the transaction: of what it raises, nobody has signed in. The caller counts what did not hold, whoever found it out.
        """
        now, checked = self._clock.now(), checked_grant(scopes, TOKEN_TTL_S_MAX)
        root_id, root = await self._secrets.token_root()
        ends_at = int.from_bytes(challenge[len(SIGN_IN_LABEL) :][:MOMENT_BYTES], "big")
        if not equal(sign_in_bytes(root, secret, ends_at), challenge) or now >= ends_at:
            raise Unauthorized("PL-106", field="challenge", expected="a challenge of this browser, in its five minutes")

        def redeem(tx: Tx) -> tokens.TokenHead:
            if not sql.use_once(tx, tenant, digest(challenge), ends_at, now):
                raise Unauthorized("PL-106", "the challenge was answered already", field="challenge")
            check(tx)
            head = self._granted(tx, tenant, human, checked, TOKEN_TTL_S_MAX, root_id, now)
            self._record(
                tx, tenant, "signed_in", "SignedIn", actor=human, subject=human, now=now,
                fields={"token_id": head.id, "passkey": passkey.hex()},
            )  # fmt: skip
            return head

        return issued(root, await self._store.write(redeem))


def checked_grant(scopes: Sequence[str], ttl_s: int) -> tuple[str, ...]:
    if not 1 <= ttl_s <= TOKEN_TTL_S_MAX:
        raise InvalidInput.of("ttl_s", got=ttl_s, expected=f"1 to {TOKEN_TTL_S_MAX}")
    return scope.checked_patterns(scopes, "scopes")


def challenge_mac(root: bytes, challenge: Challenge) -> bytes:
    return mac(root, CHALLENGE_LABEL + wire.encode(replace(challenge, mac=b"")))


def sign_in_bytes(root: bytes, secret: str, ends_at: int) -> bytes:
    said = SIGN_IN_LABEL + ends_at.to_bytes(MOMENT_BYTES, "big")
    return said + mac(root, said + secret.encode())


def digest_of(secret: str) -> bytes:
    """What is stored of a login secret: it has 256 random bits, so a plain digest hides it."""
    return tagged_digest(secret.encode())


def issued(root: bytes, head: tokens.TokenHead) -> IssuedToken:
    return IssuedToken(tokens.mint(root, head), caller_of(head, head.scopes, head.expires_at))


def caller_of(head: tokens.TokenHead, scopes: tuple[str, ...], expires_at: ConsensusTimestamp) -> Caller:
    return Caller(head.tenant, head.agent, head.kind, scopes, expires_at, head.id)
