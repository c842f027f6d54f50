"""Keys of agents on the side of their owner: made here, kept here, never sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from creto.common.errors import CryptoError, InvalidInput
from creto.common.ids import AgentId, TenantId
from creto.common.timestamps import ConsensusTimestamp
from creto.platform.crypto import SigningKey, VerifyKey
from creto.platform.nhi import (
    DelegationChain,
    DelegationLink,
    PrincipalKind,
    answer,
    delegate,
    nhi_of,
    registration_proof,
)
from creto.platform.nhi.types import Challenge

KEY_FILE_BYTES_MAX = 16 * 1024


class AgentKey:
    """An identity's private key with the name that follows from it.

    key = AgentKey.generate()
    key.save("bot.key")                            # readable by its owner alone
    AgentKey.load("bot.key").nhi == key.nhi
    """

    def __init__(self, signing: SigningKey) -> None:
        self._signing = signing
        self.nhi: AgentId = nhi_of(signing.public)

    @staticmethod
    def generate() -> AgentKey:
        return AgentKey(SigningKey.generate())

    @staticmethod
    def load(path: str | Path) -> AgentKey:
        try:
            with Path(path).open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise CryptoError("PL-215", f"{path} can be read by others", hint=f"chmod 600 {path}")
                return AgentKey(SigningKey.from_private_bytes(file.read(KEY_FILE_BYTES_MAX)))
        except OSError as error:
            raise InvalidInput.of("key file", got=str(path), expected=f"a readable file ({error.strerror})") from error

    def save(self, path: str | Path) -> None:
        """Write it to a new file; an existing one is not touched."""
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError as error:
            raise InvalidInput.of("key file", got=str(path), expected=f"a new file ({error.strerror})") from error
        with os.fdopen(fd, "wb") as file:
            file.write(self._signing.private_bytes())
            file.flush()
            os.fsync(file.fileno())

    @property
    def public(self) -> VerifyKey:
        return self._signing.public

    @property
    def signing(self) -> SigningKey:
        return self._signing

    def sign(self, message: bytes, context: bytes) -> bytes:
        return self._signing.sign(message, context)

    def registration(self, tenant: TenantId, kind: PrincipalKind, name: str, owner: AgentId | None = None) -> bytes:
        """The proof of possession that a registration carries."""
        return registration_proof(self._signing, tenant=tenant, kind=kind, name=name, owner=owner)

    def answer(self, challenge: Challenge) -> bytes:
        return answer(self._signing, challenge)

    def delegate(
        self,
        to: AgentId,
        *,
        actions: Sequence[str],
        resources: Sequence[str] = ("*",),
        not_before: ConsensusTimestamp,
        not_after: ConsensusTimestamp,
        depth_left: int = 0,
        tenant: TenantId | None = None,
        chain: DelegationChain | None = None,
    ) -> DelegationChain:
        """The chain by which `to` acts for this identity; `chain` is how this one got its own rights."""
        link: DelegationLink = delegate(
            self._signing,
            chain,
            to,
            tenant=tenant,
            actions=actions,
            resources=resources,
            not_before=not_before,
            not_after=not_after,
            depth_left=depth_left,
        )
        return chain.extended(link) if chain else DelegationChain((link,))

    def __repr__(self) -> str:
        return f"AgentKey({self.nhi})"
