"""The page of what is approved in advance: see it, end it, propose more.

GET  /grants                 the grants that I could end, and a form to propose one
POST /grants                 propose: it becomes a request, and its card is where I approve it
POST /grants/{grant}/end     end one

INVARIANT: nothing is granted here: a proposal is decided on its card, by as many and as sure as the policy demands.
"""

from __future__ import annotations

import re

import msgspec
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from creto.common import wire
from creto.common.codes import row
from creto.common.errors import EnablementError, InvalidInput
from creto.common.ids import AgentId
from creto.common.timestamps import ConsensusTimestamp
from creto.edge.api.approvers import ProposeGrant
from creto.edge.api.dispatch import Call
from creto.edge.console.acts import Acts
from creto.edge.console.site import HEADERS, Form, Site
from creto.oversight import Bound, Grant
from creto.oversight.display import effect_in_advance, proposal
from creto.oversight.grants import live
from creto.oversight.types import GrantKind

FORM_BYTES_MAX = 64 * 1024
LIMIT = re.compile(r"\s*(?P<path>\S+?)\s*(?P<sign><=|=)\s*(?P<value>.+?)\s*")
KINDS = {GrantKind.STANDING: "in advance", GrantKind.COUNTER: "counter-proposal", GrantKind.BREAK_GLASS: "break-glass"}


class Line(msgspec.Struct, frozen=True):
    """A grant in the list."""

    grant_id: str
    effect: str
    kind: str
    within: str
    used: str
    until: ConsensusTimestamp
    by: str
    request_id: str
    live: bool


class GrantPages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._acts = Acts(site.ask)

    def routes(self) -> list[BaseRoute]:
        return [
            Route("/grants", self._site.signed_in(self.show)),
            Route("/grants", self._site.signed_in(self.propose), methods=["POST"]),
            Route("/grants/{grant_id}/end", self._site.signed_in(self.end), methods=["POST"]),
        ]

    async def show(self, request: Request, call: Call) -> Response:
        return await self._page(request, call, Form({}))

    async def _page(self, request: Request, call: Call, form: Form, error: EnablementError | None = None) -> Response:
        known, now = await self._acts.known_agents(call), self._acts.now()
        found = await self._acts.grants(call)
        names = self._acts.names(call.tenant, [one.granted_by for one in found]) | known
        lines = [line(one, names, now) for one in found]
        return self._site.page(
            request, "grants.html", row(error.code).http if error else 200, me=self._acts.name(call), error=error,
            lines=[one for one in lines if one.live], ended=[one for one in lines if not one.live][-ENDED_MAX:],
            policies=self._acts.granting(call), agents=sorted(known.items(), key=lambda one: one[1]), form=form,
        )  # fmt: skip

    async def propose(self, request: Request, call: Call) -> Response:
        form = Form({})
        try:
            form = await self._site.form(request, FORM_BYTES_MAX)
            made = await self._acts.propose_grant(call, wanted(form))
        except EnablementError as error:
            return await self._page(request, call, form, error)
        return RedirectResponse(f"/approvals/{made.request_id}", 303, HEADERS)

    async def end(self, request: Request, call: Call) -> Response:
        try:
            await self._site.form(request, FORM_BYTES_MAX)
            await self._acts.end_grant(call, request.path_params["grant_id"])
        except EnablementError as error:
            return await self._page(request, call, Form({}), error)
        return RedirectResponse("/grants", 303, HEADERS)


ENDED_MAX = 20  # of those that are over; the others are in the log


def wanted(form: Form) -> ProposeGrant:
    ask = {
        "policy_id": form.text("policy"), "agent": AgentId(form.text("agent").strip()), "action": form.text("action").strip(),
        "resource": form.text("resource").strip(), "ttl_s": form.whole("minutes") * 60, "uses": form.whole("uses"),
        "bounds": bounds_of(form.text("limits")), "reason": form.text("reason").strip(),
    }  # fmt: skip
    return wire.convert(msgspec.to_builtins(ask), ProposeGrant, code="OV-400", what="grant")


def bounds_of(text: str) -> tuple[Bound, ...]:
    """One limit a line: `amount <= 40`, `currency = "EUR"`."""
    bounds = []
    for one in text.splitlines():
        if not one.strip():
            continue
        found = LIMIT.fullmatch(one)
        if found is None:
            raise InvalidInput.of("limits", got=one[:200], expected='a limit a line, as amount <= 40 or currency = "EUR"', code="OV-400")  # fmt: skip
        path, value = found["path"], found["value"]
        bounds.append(Bound(path=path, at_most=value) if found["sign"] == "<=" else Bound(path=path, equal=value))
    return tuple(bounds)


def line(grant: Grant, names: dict[str, str], now: ConsensusTimestamp) -> Line:
    return Line(
        grant_id=grant.grant_id,
        effect=effect_in_advance(names.get(grant.agent, grant.agent), grant.action, grant.resource),
        kind=KINDS[grant.kind],
        within=within(grant),
        used=f"{grant.uses} of {grant.uses_max}",
        until=grant.ended_at or grant.expires_at,
        by=names.get(grant.granted_by, grant.granted_by),
        request_id=grant.request_id,
        live=live(grant, now),
    )


def within(grant: Grant) -> str:
    """What its calls have in common."""
    if grant.kind is GrantKind.COUNTER:
        return f"{proposal(grant.bounds)}, else as it was asked"
    if grant.args_hash is not None:
        return "the arguments of that request alone"
    return proposal(grant.bounds) if grant.bounds else "any arguments"
