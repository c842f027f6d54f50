"""Identities: humans, services and agents, their keys, and the chains by which one acts for another.

nhi, ada, bot = Nhi(store, clock), SigningKey.generate(), SigningKey.generate()
for kind, key, name in ((PrincipalKind.HUMAN, ada, "Ada"), (PrincipalKind.AGENT, bot, "bot")):
    proof = registration_proof(key, tenant="acme", kind=kind, name=name)
    await nhi.register("acme", kind, key.public, name, proof=proof)
terms = {"actions": ["runtime:*"], "resources": ["*"], "not_before": clock.now(), "not_after": clock.now() + HOUR}
chain = DelegationChain((delegate(ada, None, nhi_of(bot.public), tenant="acme", **terms),))
valid = nhi.validate(chain, tenant="acme", action="runtime:exec", resource="runtime:sandbox:1")
await nhi.revoke("acme", valid.root)  # when it returns, nobody acts for Ada any more
"""

from creto.common.ids import AgentIdentity
from creto.platform.nhi.chain import Budget, DelegationChain, DelegationLink
from creto.platform.nhi.grant import delegate
from creto.platform.nhi.prekeys import (
    BundleUpload,
    KeyBundle,
    Prekey,
    PrekeyCounts,
    PrekeyKind,
    SealedPrekey,
    decode_bundle,
    decode_upload,
    seal_bundle,
)
from creto.platform.nhi.service import Nhi, NhiClient, NhiRegistry
from creto.platform.nhi.statements import answer, nhi_of, registration_proof, request_proof, rotation_proofs
from creto.platform.nhi.tokens import attenuate
from creto.platform.nhi.types import (
    Binding,
    Caller,
    Challenge,
    Identity,
    IdentityPage,
    IdentityState,
    IssuedCertificate,
    IssuedToken,
    PrincipalKind,
    Revocation,
    Standing,
    TokenRevocation,
)
from creto.platform.nhi.validation import ValidatedChain

__all__ = [
    "AgentIdentity",
    "Binding",
    "Budget",
    "BundleUpload",
    "Caller",
    "Challenge",
    "DelegationChain",
    "DelegationLink",
    "Identity",
    "IdentityPage",
    "IdentityState",
    "IssuedCertificate",
    "IssuedToken",
    "KeyBundle",
    "Nhi",
    "NhiClient",
    "NhiRegistry",
    "Prekey",
    "PrekeyCounts",
    "PrekeyKind",
    "PrincipalKind",
    "Revocation",
    "SealedPrekey",
    "Standing",
    "TokenRevocation",
    "ValidatedChain",
    "answer",
    "attenuate",
    "decode_bundle",
    "decode_upload",
    "delegate",
    "nhi_of",
    "registration_proof",
    "request_proof",
    "rotation_proofs",
    "seal_bundle",
]
