"""Passkeys over the wire: which are whose, votes signed by them, and taking a vote back while it has no effect.

The ballot that `approvals.ballot` gives is the challenge; nothing is kept between the two calls.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from creto.common.errors import InvalidInput
from creto.common.ids import RequestId
from creto.common.limits import OVERSIGHT_ARGUMENTS_BYTES_MAX
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.approval_views import ApprovalView, Json, line
from creto.edge.api.approvals import REQUEST
from creto.edge.api.dispatch import Call, concerns, handles
from creto.edge.api.endpoint import Ask, Endpoint, View
from creto.edge.api.fields import Id, octets
from creto.edge.api.parts import Parts
from creto.edge.api.votes import DECIDES, REFUSED, Hold, encoded, evidence_of, mine_to_decide
from creto.oversight import Receipt
from creto.oversight.decisions import EnrolledPasskey
from creto.oversight.passkeys import signed_ballot
from creto.platform.crypto.webauthn import Assertion, Passkey

CREDENTIAL_BYTES_MAX = 1_023  # WebAuthn 4
KEY_BYTES_MAX = 2_048
SITE_CHARS_MAX = 253  # of a name in the DNS
DATA_BYTES_MAX = 2 * OVERSIGHT_ARGUMENTS_BYTES_MAX  # the client data hold the ballot

Credential = Annotated[bytes, octets(CREDENTIAL_BYTES_MAX)]


class PasskeyView(View, frozen=True):
    credential_id: bytes
    name: str
    site: str
    enrolled_at: ConsensusTimestamp


class PasskeyPage(View, frozen=True):
    items: tuple[PasskeyView, ...]


class ListPasskeys(Ask, frozen=True):
    """The caller's own."""


class EnrolPasskey(Ask, frozen=True):
    """A passkey of the caller. `public_key` is a COSE key; `site` the host name for which it was made. Made in the console, it signs in there,
    with the scopes of this call."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    credential_id: Credential
    public_key: Annotated[bytes, octets(KEY_BYTES_MAX)]
    site: Annotated[str, Meta(min_length=1, max_length=SITE_CHARS_MAX)]


class RemovePasskey(Ask, frozen=True):
    credential_id: Credential


class Removed(View, frozen=True):
    credential_id: bytes
    found: bool


class SubmitPasskey(Ask, frozen=True):
    """What the authenticator answered to the ballot as challenge. `arguments` again where the ballot is for edited ones."""

    request_id: Id
    credential_id: Credential
    authenticator_data: Annotated[bytes, octets(DATA_BYTES_MAX)]
    client_data: Annotated[bytes, octets(DATA_BYTES_MAX)]
    signature: Annotated[bytes, octets(KEY_BYTES_MAX)]
    arguments: Json | None = None
    hold_s: Hold = 0


class UndoVote(Ask, frozen=True):
    request_id: Id


LIST = Endpoint("approvals.list_passkeys", "GET", "/v1/oversight/passkeys", ListPasskeys, PasskeyPage, DECIDES, "The caller's passkeys")  # fmt: skip
ENROL = Endpoint("approvals.enrol_passkey", "POST", "/v1/oversight/passkeys", EnrolPasskey, PasskeyView, DECIDES, "Add a passkey of the caller", status=201, errors=("OV-400", "OV-409", "PL-216"))  # fmt: skip
REMOVE = Endpoint("approvals.remove_passkey", "POST", "/v1/oversight/passkeys/remove", RemovePasskey, Removed, DECIDES, "Remove a passkey of the caller; what it signed stays proved")  # fmt: skip
SUBMIT = Endpoint("approvals.submit_passkey", "POST", "/v1/approvals/{request_id}/passkey-ballots", SubmitPasskey, Receipt, DECIDES, "Count a vote that its human's passkey signed", errors=REFUSED, about=REQUEST)  # fmt: skip
UNDO = Endpoint("approvals.undo", "POST", "/v1/approvals/{request_id}/undo", UndoVote, ApprovalView, DECIDES, "Take one's own vote back while it has no effect", errors=REFUSED, about=REQUEST)  # fmt: skip

ENDPOINTS = (LIST, ENROL, REMOVE, SUBMIT, UNDO)


@concerns(LIST, ENROL, REMOVE)
async def oneself(parts: Parts, call: Call, ask: ListPasskeys | EnrolPasskey | RemovePasskey) -> str | None:
    return call.known.agent


concerns(SUBMIT, UNDO)(mine_to_decide)


@handles(LIST)
async def passkeys(parts: Parts, call: Call, ask: ListPasskeys) -> PasskeyPage:
    found = await parts.oversight.passkeys(call.tenant, call.known.agent)
    return PasskeyPage(items=tuple(map(view, found)))


@handles(ENROL)
async def enrol(parts: Parts, call: Call, ask: EnrolPasskey) -> PasskeyView:
    passkey = Passkey(credential_id=ask.credential_id, public_key=ask.public_key, site=ask.site)
    by = call.known
    return view(await parts.oversight.enrol_passkey(call.tenant, passkey, by=by.agent, name=ask.name, scopes=by.scopes))


@handles(REMOVE)
async def remove(parts: Parts, call: Call, ask: RemovePasskey) -> Removed:
    found = await parts.oversight.drop_passkey(call.tenant, ask.credential_id, by=call.known.agent)
    return Removed(credential_id=ask.credential_id, found=found)


@handles(SUBMIT)
async def submit(parts: Parts, call: Call, ask: SubmitPasskey) -> Receipt:
    assertion = Assertion(
        authenticator_data=ask.authenticator_data, client_data=ask.client_data, signature=ask.signature
    )
    signed_for = signed_ballot(assertion).request_id
    if signed_for != ask.request_id:
        raise InvalidInput.of("ballot.request_id", got=signed_for, expected=ask.request_id, code="OV-400")
    return await parts.oversight.passkey_response(
        call.tenant, approver=call.known.agent, credential_id=ask.credential_id, assertion=assertion,
        evidence=evidence_of(call), arguments=encoded(ask.arguments), hold_s=ask.hold_s,
    )  # fmt: skip


@handles(UNDO)
async def undo(parts: Parts, call: Call, ask: UndoVote) -> ApprovalView:
    return line(await parts.oversight.undo(call.tenant, RequestId(ask.request_id), by=call.known.agent))


def view(one: EnrolledPasskey) -> PasskeyView:
    return PasskeyView(
        credential_id=one.passkey.credential_id, name=one.name, site=one.passkey.site, enrolled_at=one.enrolled_at
    )
