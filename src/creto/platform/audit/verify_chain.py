"""A delegation chain as a file: verified with the public keys of those on it, without asking anybody.

What a file cannot say is whether somebody on it was revoked since: that only the installation knows (`creto delegate verify`).
"""

from __future__ import annotations

from creto.common.errors import EnablementError, SignatureVerificationFailed
from creto.common.timestamps import iso
from creto.platform.audit.types import Verdict
from creto.platform.audit.verify_file import Keys, key_of, register
from creto.platform.crypto import VerifyKey
from creto.platform.nhi import DelegationChain, DelegationLink
from creto.platform.nhi.chain import LINK_CONTEXT
from creto.platform.nhi.narrowing import check_chain


def is_chain(data: bytes) -> bool:
    try:
        return bool(DelegationChain.from_bytes(data.strip()).links)
    except EnablementError:
        return False


def verify_chain(data: bytes, keys: Keys) -> Verdict:
    chain = DelegationChain.from_bytes(data.strip())
    first, last = chain.links[0], chain.links[-1]
    check_chain(chain, first.tenant, None)
    for link in chain.links:
        verify_link(link, key_of(link.parent, keys))
    return Verdict(
        "chain",
        (
            f"{last.child} acts for {first.parent} in the tenant {first.tenant}, over {len(chain.links)} links",
            f"may do {', '.join(last.actions)} on {', '.join(last.resources)}",
            f"from {iso(max(link.not_before for link in chain.links))} to {iso(last.not_after)}, if nobody on it was revoked since",
        ),
        {"agent": last.child, "root": first.parent, "tenant": first.tenant, "not_after": last.not_after},
    )


def verify_link(link: DelegationLink, key: VerifyKey) -> None:
    try:
        key.verify(link.canonical_bytes, link.signature, LINK_CONTEXT)
    except EnablementError as error:
        raise SignatureVerificationFailed(
            "PL-116", field="chain.signature", expected=f"the signature of {link.parent}", caused_by=error
        ) from error


register("chain", is_chain, verify_chain)
