"""Passkeys and second thoughts: what a human at a page has beside a click.

    enrolled = await oversight.enrol_passkey("acme", passkey, by=ann, name="my phone")
    ballot = await oversight.ballot("acme", request_id, approver=ann, verdict=Verdict.APPROVE)
    # the browser has ballot.signed_bytes() signed by the passkey
    receipt = await oversight.passkey_response("acme", approver=ann, credential_id=…, assertion=…, evidence=…, hold_s=5)
    issued = await oversight.sign_in(assertion, secret, user_handle=…, credential_id=…)   # of nhi.sign_in_challenge(): a session
    await oversight.undo("acme", request_id, by=ann)                  # within the five seconds

INVARIANT: nothing is kept between ballot and answer: the challenge is the ballot, so the answer says what was signed.
INVARIANT: a signed ballot signs nobody in, and what signs in is no ballot. A passkey opens no more than the session that enrolled it did.
INVARIANT: until a held vote settles, the agent learns nothing of it and no token is made; when it has settled it is as final as any other.
"""

from __future__ import annotations

from collections.abc import Iterable

from creto.common import wire
from creto.common.codes import row
from creto.common.errors import (
    EnablementError,
    IdempotencyConflict,
    NotFound,
    SignatureVerificationFailed,
    Unauthorized,
)
from creto.common.ids import AgentId, RequestId, TenantId, checked_name, checked_tenant
from creto.common.limits import OVERSIGHT_PASSKEYS_MAX
from creto.oversight import store as sql
from creto.oversight import store_people as people_rows
from creto.oversight.ballots import Receipt, not_enrolled, not_ours
from creto.oversight.decisions import Ballot, EnrolledPasskey, Evidence, witness
from creto.oversight.people import CHANGED
from creto.oversight.policies import refusal
from creto.oversight.states import already
from creto.oversight.store import Record
from creto.oversight.voting import Voting
from creto.platform.consensus import PersonId
from creto.platform.crypto import digest
from creto.platform.crypto.webauthn import (
    Assertion,
    Passkey,
    challenge_of,
    checked_assertion,
    cose_key,
    refused,
    site_of,
)
from creto.platform.nhi import IssuedToken
from creto.store.types import Tx

HANDLE_LABEL = b"creto/passkey/user/v1\n"


class Passkeys(Voting):
    async def enrol_passkey(
        self, tenant: TenantId, passkey: Passkey, *, by: AgentId, name: str, scopes: Iterable[str] = ()
    ) -> EnrolledPasskey:
        """This passkey is this human's from now on; on record. PL-216 for a key that is none.

        `scopes`: of the session that enrols it, and so of those that it opens; without any it votes only.
        """
        tenant = checked_tenant(tenant)
        person = self.human(tenant, by)
        cose_key(passkey.public_key)
        enrolled = EnrolledPasskey(
            person=person, passkey=passkey, name=checked_name(name, "name"), enrolled_at=self.clock.now()
        )

        def put(tx: Tx) -> None:
            tx.lock(f"oversight.passkeys/{tenant}/{person}")
            if len(people_rows.passkeys(tx, tenant, person)) >= OVERSIGHT_PASSKEYS_MAX:
                raise refusal("passkeys", OVERSIGHT_PASSKEYS_MAX + 1, f"{OVERSIGHT_PASSKEYS_MAX} at most")
            if not people_rows.put_passkey(tx, tenant, enrolled, user_handle(tenant, person), tuple(scopes)):
                raise IdempotencyConflict("OV-409", "the passkey is enrolled already", field="credential_id")
            self._passkey_changed(tx, tenant, by, passkey.credential_id, "PasskeyEnrolled")

        await self.write(put)
        return enrolled

    async def drop_passkey(self, tenant: TenantId, credential_id: bytes, *, by: AgentId) -> bool:
        """It counts no more, also not for a vote that is on its way; what it signed stays proved."""
        person = self.human(checked_tenant(tenant), by)

        def drop(tx: Tx) -> bool:
            found = people_rows.drop_passkey(tx, tenant, person, credential_id)
            if found:
                self._passkey_changed(tx, tenant, by, credential_id, "PasskeyRemoved")
                tx.signal(CHANGED, tenant)
            return found

        return await self._change(drop)

    async def passkeys(self, tenant: TenantId, human: AgentId) -> list[EnrolledPasskey]:
        person = self.approver(checked_tenant(tenant), human).person
        return await self.store.read(lambda tx: people_rows.passkeys(tx, tenant, person))

    async def sign_in(
        self, assertion: Assertion, secret: str, *, user_handle: bytes, credential_id: bytes, only: TenantId | None = None
    ) -> IssuedToken:  # fmt: skip
        """A session for the human whose passkey answered the challenge of `nhi.sign_in_challenge`. PL-106 for whatever is wrong with it.

        Nobody learns here which passkeys there are, whose, or what became of their humans. `only`: where one tenant owns the installation.
        """
        try:
            return await self._signed_in(assertion, secret, user_handle, credential_id, only)
        except EnablementError as error:
            if row(error.code).http >= 500:  # nothing was found out
                raise
            found = nobody()
            self.nhi.failures[found.code] += 1
            raise found from error

    async def _signed_in(
        self, assertion: Assertion, secret: str, user_handle: bytes, credential_id: bytes, only: TenantId | None
    ) -> IssuedToken:
        found = await self.store.read(lambda tx: people_rows.passkey_of(tx, user_handle, credential_id))
        if found is None or only not in (None, found[0]):
            raise nobody()
        tenant, enrolled, scopes = found
        challenge, site = challenge_of(assertion.client_data), enrolled.passkey.site
        origin = checked_assertion(enrolled.passkey, assertion, challenge=challenge)
        if site_of(origin) != site:  # a name below it may ask for a vote, which says what it is for
            raise refused("origin", origin, site)

        def still_enrolled(tx: Tx) -> None:
            if people_rows.passkey_of(tx, user_handle, credential_id) is None:
                raise nobody()

        return await self.nhi.exchange_sign_in(
            challenge, secret, tenant=tenant, human=self.newest(tenant, enrolled.person).nhi, scopes=scopes,
            passkey=credential_id, check=still_enrolled,
        )  # fmt: skip

    async def passkey_response(
        self,
        tenant: TenantId,
        *,
        approver: AgentId,
        credential_id: bytes,
        assertion: Assertion,
        evidence: Evidence,
        arguments: bytes | None = None,
        hold_s: int = 0,
    ) -> Receipt:
        """A vote signed by the human's passkey: A3. OV-401 for a passkey that is not theirs, or that signed something else."""
        ballot, known = signed_ballot(assertion), self.known()
        if ballot.approver != approver:
            raise not_ours("approver", ballot.approver)
        found = [one for one in await self.passkeys(tenant, approver) if one.passkey.credential_id == credential_id]
        if not found:
            raise not_enrolled()
        try:
            signed = witness(ballot, self._signer, found[0], assertion, evidence)
        except SignatureVerificationFailed as error:
            raise SignatureVerificationFailed("OV-401", caused_by=error, field=error.field) from error
        return await self._submit(tenant, signed, arguments, hold_s, known)

    async def undo(self, tenant: TenantId, request_id: RequestId, *, by: AgentId) -> Record:
        """Take back one's own last vote, as long as it has had no effect: the vote before it, if there is one, counts again.

        An edit stays: the request is then open with the edited arguments. OV-409 once it is decided.
        """
        approver = self.approver(checked_tenant(tenant), by)

        def take_back(tx: Tx) -> tuple[Record, Record]:
            before, now = self.locked(tx, tenant, request_id), self.clock.now()
            directory = self.directory(tenant, before.ask.policy)
            record = self.overdue(tx, before, directory, now)
            if not record.progress.state.open:
                return before, record
            cast, ask = sql.votes(tx, tenant, request_id), record.ask
            mine = [
                one
                for one in cast
                if (one.signed.ballot.person, one.signed.ballot.round) == (approver.person, ask.round)
            ]
            if not mine:
                raise NotFound("OV-404", "there is no vote of yours to take back", field="vote")
            if record.progress.settles_at is None and not ask.policy.vote_change:
                raise IdempotencyConflict("OV-409", "the policy lets nobody change their vote", field="vote")
            sql.withdraw_vote(tx, mine[-1].signed.ballot)
            self.note(
                tx, tenant, "oversight:undo", f"oversight:request:{request_id}", "VoteWithdrawn", by,
                {"request_id": request_id, "verdict": mine[-1].signed.ballot.verdict},
            )  # fmt: skip
            left = [one for one in cast if one is not mine[-1]]
            return before, self._decide(tx, record, left, directory, now, settles_at=record.progress.settles_at)

        before, after = await self.write(take_back)
        self.counted(before.progress, after)
        if not after.progress.state.open:
            raise already(after.progress)
        return after

    def _passkey_changed(self, tx: Tx, tenant: TenantId, by: AgentId, credential_id: bytes, event: str) -> None:
        name = credential_id.hex()
        self.note(tx, tenant, "oversight:passkey", f"oversight:passkey:{name}", event, by, {"credential_id": name})


def user_handle(tenant: TenantId, person: PersonId) -> bytes:
    """What an authenticator keeps of whose its passkey is, and tells anybody who asks: opaque, and always the same."""
    return digest(HANDLE_LABEL + f"{tenant}\n{person}".encode())


def nobody() -> Unauthorized:
    return Unauthorized(
        "PL-106", "this passkey signed nobody in", hint="Try again, or ask for a new login link.", field="passkey"
    )


def signed_ballot(assertion: Assertion) -> Ballot:
    """The ballot that the assertion's challenge is; in the one spelling that is signed."""
    challenge = challenge_of(assertion.client_data)
    ballot = wire.decode(challenge, Ballot, code="OV-400", what="ballot")
    if ballot.signed_bytes() != challenge:
        raise refusal("ballot", "another spelling", "the canonical bytes")
    return ballot
