"""The approval pages: the inbox, one request, and what a human says about it.

GET  /approvals                          what I can decide; ?decided=1: what I decided, &before=REQUEST: before that one
GET  /approvals/live                     which request moved, as it happens
GET  /approvals/together                 several requests of one policy, shown whole before they are decided; POST decides
GET  /approvals/{request}                the card
GET  /approvals/{request}/decision       the file that proves the decision
POST /approvals/{request}/{act}          approve, approve-for, edit, propose, deny, items; undo, ask, comment, claim, extend, snooze, delegate, revoke
POST /approvals/{request}/{act}/ballot   what a passkey is to sign
POST /approvals/absences/{absence}/end   nobody decides in my place any more

INVARIANT: GET decides nothing. An act is a form of this session, about what was on its screen.
INVARIANT: what is serious is approved by a passkey, by a button held down, or by saying it twice.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from msgspec import structs
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from creto.common.codes import row as code_row
from creto.common.errors import EnablementError, InvalidInput, NotFound
from creto.common.ids import RequestId, checked_name
from creto.common.limits import CONSOLE_BULK_MAX, OVERSIGHT_ARGUMENTS_BYTES_MAX
from creto.edge.api.dispatch import Call
from creto.edge.console import cards
from creto.edge.console.acts import Acts
from creto.edge.console.cards import Care, Viewer
from creto.edge.console.editing import editable
from creto.edge.console.forms import Act, Vote, act_named, assertion_of, check_seen, chosen, vote_of
from creto.edge.console.live import Live
from creto.edge.console.site import HEADERS, Answer, Form, Page, Site
from creto.oversight import Case, Record, Verdict
from creto.oversight.ballots import changed
from creto.oversight.requests import LAST
from creto.platform.consensus import PersonId
from creto.platform.crypto import random_bytes
from creto.platform.crypto.jose import b64url_encode

FORM_BYTES_MAX = 4 * OVERSIGHT_ARGUMENTS_BYTES_MAX  # edited arguments, each byte as three in a form
ROWS_MAX = 50  # of the list: the most urgent, of which others come up as these are decided; of what is decided, a page


class ApprovalPages:
    def __init__(self, site: Site, live: Live) -> None:
        self._site = site
        self._live = live
        self._acts = Acts(site.ask)

    def routes(self) -> list[BaseRoute]:
        def signed_in(answer: Answer) -> Page:
            return self._site.signed_in(answer, card_of)

        return [
            Route("/approvals", signed_in(self.inbox)),
            Route("/approvals/live", self.live),
            Route("/approvals/together", signed_in(self.together)),
            Route("/approvals/together", signed_in(self.decide_together), methods=["POST"]),
            Route("/approvals/absences/{delegation_id}/end", signed_in(self.end_absence), methods=["POST"]),
            Route("/approvals/{request_id}", signed_in(self.show)),
            Route("/approvals/{request_id}/decision", signed_in(self.decision)),
            Route("/approvals/{request_id}/{act}", self.back),
            Route("/approvals/{request_id}/{act}", signed_in(self.act), methods=["POST"]),
            Route("/approvals/{request_id}/{act}/ballot", signed_in(self.ballot), methods=["POST"]),
        ]

    # Looking

    async def inbox(self, request: Request, call: Call) -> Response:
        return await self._desk(request, call, None)

    async def show(self, request: Request, call: Call) -> Response:
        case = await self._acts.case(call, named(request))
        await self._acts.looked(call, case)
        return await self._desk(request, call, case)

    async def _desk(
        self, request: Request, call: Call, case: Case | None, *, error: EnablementError | None = None,
        form: Form | None = None,
    ) -> Response:  # fmt: skip
        """The list, and the card of one; with what went wrong, and what had been written."""
        past, before = request.query_params.get("decided") == "1", page_begin(request)
        listed = await (
            self._acts.decided(call, before=before or LAST, count=ROWS_MAX + 1) if past else self._acts.inbox(call)
        )
        now, names = (
            self._acts.now(),
            self._acts.names(call.tenant, [*people_in(listed), *(people_of(case) if case else ())]),
        )
        ordered = listed if past else sorted(listed, key=cards.urgency)
        listed = ordered[:ROWS_MAX]
        counters = await self._acts.proposals(call, listed)
        rows = [cards.row(one, names, now=now, counter=counters.get(one.ask.request_id, ())) for one in listed]
        more = len(ordered) - len(rows)
        values: dict[str, Any] = {
            "rows": rows,
            "more": more,
            "past": past,
            "before": before,
            "older": listed[-1].ask.request_id if past and more else "",
            "now": now,
            "card": None,
            "error": error,
            "act": request.path_params.get("act", ""),
            "absences": self._acts.absences(call),
        }
        if case is not None:
            keys = await self._acts.passkeys_here(call, request.url.hostname or "")
            viewer = Viewer(
                person=self._acts.person(call), seated=self._acts.seated(call, case), passkeys=len(keys), names=names
            )
            shown = cards.card(case, viewer, now=now)
            if error is not None and form is not None and values["act"] == Act.EDIT:
                shown = self._as_edited(shown, case, form, len(keys))
            values |= {
                "card": shown,
                "arguments": form.text("arguments")
                if form and form.text("arguments")
                else editable(case.record.ask.arguments),
                "reason": form.text("reason") if form else "",
                "delivery": b64url_encode(random_bytes(16)),
                "colleagues": self._acts.colleagues(call) if shown.may_vote else (),
                "names": names,
                "notices": await self._acts.notices(case),
            }
        me = self._acts.name(call)
        return self._site.page(request, "approvals.html", code_row(error.code).http if error else 200, me=me, **values)

    def _as_edited(self, shown: cards.Card, case: Case, form: Form, passkeys: int) -> cards.Card:
        """How deliberate the edit has to be that was just refused: what it approves may be riskier than what was asked."""
        try:
            ask = self._acts.voted_on(case.record, vote_of(Act.EDIT, form, case.record.ask))
        except EnablementError:
            return shown
        return structs.replace(shown, edit_by=cards.care(ask, passkeys)[0])

    async def live(self, request: Request) -> Response:
        """204 tells a browser to stop asking: nobody is signed in, or who may not see the list, who hears of no change either."""
        try:
            call = self._site.call(request)
            if call is None:
                return Response(None, 204, HEADERS)
            await self._acts.inbox(call)
            headers = HEADERS | {"X-Accel-Buffering": "no"}
            return StreamingResponse(self._live.stream(call.tenant), 200, headers, "text/event-stream")
        except EnablementError as error:
            return Response(None, 503 if error.retryable else 204, HEADERS)

    async def decision(self, request: Request, call: Call) -> Response:
        request_id = named(request)
        data = await self._acts.decision_file(call, request_id)
        headers = HEADERS | {"Content-Disposition": f'attachment; filename="{request_id}.json"'}
        return Response(data, 200, headers, "application/json")

    # Acting

    async def back(self, request: Request) -> Response:
        """Whoever goes again to where a form was sent, by the address alone, comes to its card."""
        return RedirectResponse(card_of(request), 303, HEADERS)

    async def act(self, request: Request, call: Call) -> Response:
        """One act of one human; what went wrong is said on the card, with what they had written."""
        form = await self._site.form(request, FORM_BYTES_MAX)
        case, what = await self._acts.case(call, named(request)), request.path_params["act"]
        try:
            vote = act_named(what)
            if vote is not None:
                return await self._vote(request, call, case, vote, form)
            await self._acts.beside(call, case.record, what, form)
        except EnablementError as error:
            case = await self._acts.case(call, case.record.ask.request_id)
            return await self._desk(request, call, case, error=error, form=form)
        gone = what in ("delegate", "snooze")  # it is not on this human's desk any more
        return RedirectResponse("/approvals" if gone else f"/approvals/{case.record.ask.request_id}", 303, HEADERS)

    async def _vote(self, request: Request, call: Call, case: Case, act: Act, form: Form) -> Response:
        ask = case.record.ask
        check_seen(form, case.record)
        vote, assertion = vote_of(act, form, ask), assertion_of(form)
        approve_by, _ = cards.care(self._acts.voted_on(case.record, vote), 0)
        deliberate = assertion is not None or form.text("confirmed") == "yes" or approve_by is not Care.HOLD
        if vote.permits and not deliberate:
            return self._again(request, call, case, act, vote, form)
        if assertion is not None:
            await self._acts.vote_signed(call, case.record, vote, *assertion)
        else:
            await self._acts.vote(call, case.record, vote, delivery=form.text("delivery"))
        return RedirectResponse(f"/approvals/{ask.request_id}", 303, HEADERS)

    def _again(self, request: Request, call: Call, case: Case, act: Act, vote: Vote, form: Form) -> Response:
        """What is serious and came with a single click is asked once more."""
        names = self._acts.names(call.tenant, people_of(case))
        viewer = Viewer(person=self._acts.person(call), seated=True, passkeys=0, names=names)
        card = cards.card(case, viewer, now=self._acts.now())
        fields = [(name, value) for name in CARRIED for value in form.all(name)]
        return self._site.page(
            request, "again.html", me=self._acts.name(call), card=card, act=act, fields=fields,
            instead=cards.instead(case.record.ask, vote.arguments, vote.counter),
        )  # fmt: skip

    async def ballot(self, request: Request, call: Call) -> Response:
        """What the passkey is to sign, and which passkeys may."""
        try:
            form = await self._site.form(request, FORM_BYTES_MAX)
            act = act_named(request.path_params["act"])
            if act is None:
                raise no_such(request.path_params["act"])
            case = await self._acts.case(call, named(request))
            check_seen(form, case.record)
            challenge = await self._acts.ballot(call, case.record, vote_of(act, form, case.record.ask))
            keys = await self._acts.passkeys_here(call, request.url.hostname or "")
        except EnablementError as error:
            return JSONResponse({"error": error.message}, code_row(error.code).http, HEADERS)
        credentials = [b64url_encode(one.credential_id) for one in keys]
        return JSONResponse({"challenge": b64url_encode(challenge), "credentials": credentials}, 200, HEADERS)

    async def end_absence(self, request: Request, call: Call) -> Response:
        await self._site.form(request, FORM_BYTES_MAX)
        await self._acts.end_absence(call, request.path_params["delegation_id"])
        return RedirectResponse("/approvals", 303, HEADERS)

    # Several at once

    async def together(self, request: Request, call: Call) -> Response:
        """Everything that would be decided, whole. It decides nothing."""
        wanted = request.query_params.getlist("id")[: CONSOLE_BULK_MAX + 1]
        verdict = Verdict.DENY if request.query_params.get("verdict") == "deny" else Verdict.APPROVE
        try:
            cases = [await self._acts.case(call, RequestId(one)) for one in wanted]
            check_together([case.record for case in cases])
        except InvalidInput as error:
            return await self._desk(request, call, None, error=error)
        now, names = self._acts.now(), self._acts.names(call.tenant, [])
        viewer = Viewer(person=self._acts.person(call), seated=True, passkeys=0, names=names)
        shown = [cards.card(case, viewer, now=now) for case in cases]
        me, delivery = self._acts.name(call), b64url_encode(random_bytes(16))
        return self._site.page(
            request, "together.html", me=me, cards=shown, verdict=verdict, delivery=delivery, results=None
        )

    async def decide_together(self, request: Request, call: Call) -> Response:
        form = await self._site.form(request, FORM_BYTES_MAX)
        seen = chosen(form, CONSOLE_BULK_MAX)
        act = Act.DENY if form.text("verdict") == "deny" else Act.APPROVE
        records = [(await self._acts.case(call, RequestId(one))).record for one in seen]
        check_together(records, decided_too=True)  # meanwhile: that one is told so, the others count
        results: list[tuple[cards.Row, str]] = []
        for record in records:
            why_not = ""
            try:
                if seen[record.ask.request_id] != record.display_hash.hex():
                    raise changed(record.ask)
                await self._acts.vote(call, record, vote_of(act, form, record.ask), delivery=form.text("delivery"))
            except EnablementError as refused:
                why_not = await self._why_not(call, record, refused)
            results.append((cards.row(record, {}, now=self._acts.now()), why_not))
        me, counted = self._acts.name(call), sum(not why_not for _, why_not in results)
        return self._site.page(
            request, "together.html", me=me, cards=(), verdict=form.text("verdict"), delivery="", results=results,
            counted=counted,
        )  # fmt: skip

    async def _why_not(self, call: Call, record: Record, error: EnablementError) -> str:
        """Why a vote does not count; of what is decided already, who decided it."""
        if error.field != "state":
            return error.message
        case = await self._acts.case(call, record.ask.request_id)
        names = self._acts.names(call.tenant, people_of(case))
        viewer = Viewer(person=self._acts.person(call), seated=True, passkeys=0, names=names)
        return cards.card(case, viewer, now=self._acts.now()).outcome


CARRIED = ("seen", "delivery", "reason", "arguments", "minutes", "uses", "item")


def page_begin(request: Request) -> str:
    """Before which request the page of what is decided begins; nothing for the first."""
    before = request.query_params.get("before", "")
    return checked_name(before, "before") if before else ""


def card_of(request: Request) -> str:
    """Where the form stands that was sent here."""
    request_id = request.path_params.get("request_id")
    return f"/approvals/{quote(request_id, safe='')}" if request_id else "/approvals"


def named(request: Request) -> RequestId:
    return RequestId(request.path_params["request_id"])


def check_together(records: list[Record], *, decided_too: bool = False) -> None:
    """Only what one policy asks, and nothing that deserves a look of its own."""
    if not records:
        raise InvalidInput("OV-400", "nothing is ticked", field="requests", got=0, expected="one at least")
    if not 1 <= len(records) <= CONSOLE_BULK_MAX:
        raise InvalidInput.of("requests", got=len(records), expected=f"1 to {CONSOLE_BULK_MAX} ticked", code="OV-400")
    policies = {(one.ask.policy.policy_id, one.ask.policy.version) for one in records}
    if len(policies) > 1:
        raise InvalidInput.of("requests", got="several policies", expected="requests of one policy", code="OV-400")
    looked_at = [one for one in records if one.progress.state.open or not decided_too]
    alone = next((one for one in looked_at if not cards.in_bulk(one.ask, one.progress)), None)
    if alone is not None:
        raise InvalidInput.of(
            "requests", got=alone.ask.request_id, expected="open requests of low or medium risk", code="OV-400"
        )


def people_in(records: list[Record]) -> list[PersonId]:
    claims = [one.progress.claim.person for one in records if one.progress.claim is not None]
    ended = [by for one in records for by in (one.progress.decided_by, one.progress.cancelled_by) if by is not None]
    return claims + [PersonId(by) for by in ended]


def people_of(case: Case) -> list[PersonId]:
    """Everybody whom the card names."""
    votes = [person for vote in case.votes for person in (vote.signed.ballot.person, vote.seat)]
    revoked = case.record.progress.permit.revoked_by
    authors = [PersonId(note.author) for note in case.notes]
    behind = [PersonId(agent) for agent in case.record.ask.chain]
    return [*people_in([case.record]), *behind, *votes, *case.waiting_for, *authors, *([revoked] if revoked else [])]


def no_such(act: str) -> NotFound:
    return NotFound("PL-404", "there is no such act", field="act", got=act)
