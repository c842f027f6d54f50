"""Plans over the wire: what is charged, and how often."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from msgspec import Meta
from msgspec.structs import asdict

from creto.common.limits import PAGE_ITEMS_DEFAULT
from creto.edge.api.dispatch import Call, handles
from creto.edge.api.endpoint import Endpoint, View
from creto.edge.api.fields import Count, Cursor, Id, Limit
from creto.edge.api.metering_fields import Asked, Currency, cursor_of
from creto.edge.api.parts import Parts
from creto.metering import Charge, Commitment, CycleUnit, Fee, Payer, Plan
from creto.metering.types import PlanId


class PutPlan(Asked, frozen=True):
    """What is charged, and how often. Versions never change: a subscription is billed by the one it was made with."""

    plan_id: Id
    name: Annotated[str, Meta(max_length=200)]
    currency: Currency
    cycle: CycleUnit
    cycle_count: Annotated[int, Meta(ge=1, le=1_000)] = 1
    fees: Annotated[tuple[Fee, ...], Meta(max_length=100)] = ()
    charges: Annotated[tuple[Charge, ...], Meta(max_length=100)] = ()
    minimum: Decimal | None = None
    commitment: Commitment | None = None
    trial_days: Annotated[int, Meta(ge=0, le=3_650)] = 0
    payer: Payer = Payer()


class OfPlan(Asked, frozen=True):
    """A version of it; the newest, if none is named."""

    plan_id: Id
    version: Count | None = None


class ListPlans(Asked, frozen=True):
    limit: Limit = PAGE_ITEMS_DEFAULT
    cursor: Cursor | None = None


class PlanPage(View, frozen=True):
    items: tuple[Plan, ...]
    cursor: str | None = None


class VersionsOf(Asked, frozen=True):
    plan_id: Id


class PlanVersions(View, frozen=True):
    items: tuple[Plan, ...]


READ, MAKE, PLAN = "metering:read", "create_plan", "metering:plan:{plan_id}"
AT = "/v1/plans"
ONE_AT = f"{AT}/{{plan_id}}"
BAD, MISSING, STEP = ("MT-400",), ("MT-400", "MT-404"), ("MT-400", "MT-404", "MT-412")

CREATE = Endpoint("billing.create_plan", "POST", AT, PutPlan, Plan, MAKE, "The first version of a plan", status=201, errors=("MT-400", "MT-412"))  # fmt: skip
REVISE = Endpoint("billing.revise_plan", "PUT", ONE_AT, PutPlan, Plan, MAKE, "The next version of a plan; subscriptions stay on theirs", errors=STEP, about=PLAN)  # fmt: skip
GET = Endpoint("billing.plan", "GET", ONE_AT, OfPlan, Plan, READ, "A version of a plan", errors=MISSING, about=PLAN)  # fmt: skip
LIST = Endpoint("billing.plans", "GET", AT, ListPlans, PlanPage, READ, "The newest version of each plan", errors=BAD)  # fmt: skip
VERSIONS = Endpoint("billing.plan_versions", "GET", f"{ONE_AT}/versions", VersionsOf, PlanVersions, READ, "All versions of a plan, the oldest first", errors=MISSING, about=PLAN)  # fmt: skip

ENDPOINTS = (
    CREATE, REVISE, GET, LIST, VERSIONS,
)  # fmt: skip


@handles(CREATE)
async def create_plan(parts: Parts, call: Call, ask: PutPlan) -> Plan:
    return await parts.billing.create_plan(call.tenant, plan_of(ask), by=call.known.agent)


@handles(REVISE)
async def revise_plan(parts: Parts, call: Call, ask: PutPlan) -> Plan:
    return await parts.billing.revise_plan(call.tenant, plan_of(ask), by=call.known.agent)


def plan_of(ask: PutPlan) -> Plan:
    return Plan(**asdict(ask), version=1)


@handles(GET)
async def plan(parts: Parts, call: Call, ask: OfPlan) -> Plan:
    return await parts.billing.plan(call.tenant, PlanId(ask.plan_id), ask.version)


@handles(LIST)
async def plans(parts: Parts, call: Call, ask: ListPlans) -> PlanPage:
    found = await parts.billing.plans(call.tenant, after=ask.cursor or "", limit=ask.limit)
    return PlanPage(items=tuple(found), cursor=cursor_of(found, ask.limit, "plan_id"))


@handles(VERSIONS)
async def plan_versions(parts: Parts, call: Call, ask: VersionsOf) -> PlanVersions:
    return PlanVersions(items=tuple(await parts.billing.plan_versions(call.tenant, PlanId(ask.plan_id))))
