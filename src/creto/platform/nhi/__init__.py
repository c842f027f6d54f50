"""Identities: humans, services and agents, their keys, and the chains by which one acts for another.

nhi = Nhi(store, clock, keystore)
human, agent = SigningKey.generate(), SigningKey.generate()
proof = registration_proof(human, tenant="default", kind=PrincipalKind.HUMAN, name="Ada")
ada = await nhi.register("default", PrincipalKind.HUMAN, human.public, "Ada", proof=proof)
link = delegate(human, None, nhi_of(agent.public), tenant="default", actions=["runtime:*"], resources=["*"], not_before=…, not_after=…)
valid = nhi.validate(DelegationChain((link,)), tenant="default", action="runtime:exec", resource="runtime:sandbox:1")
await nhi.revoke("default", ada.nhi)                      # when it returns, nobody acts for Ada any more
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
