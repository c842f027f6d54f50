"""Reported usage on quotas in a running layer: it fills them, the gate refuses, and humans are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from creto.app import App, running
from creto.common.errors import QuotaExceeded
from creto.common.ids import new_id
from creto.common.timestamps import ConsensusTimestamp
from creto.contracts import BillableEvent
from creto.edge.api import quotas, usage
from creto.edge.api.dispatch import Call, Dispatcher
from creto.metering import AllowWithNotification, Limit, Measure, Window, WindowUnit
from creto.oversight import EscalationTier, OversightPolicy
from creto.oversight.sources import QUOTA_POLICY
from creto.platform.nhi import Caller, PrincipalKind
from creto.security.authz.types import Granted, QuotaDenied, QuotaOutcome
from tests.contract.buses import eventually
from tests.integration.metering.test_layer import human
from tests.layers import settings
from tests.unit.metering.examples import event

MONTH = (Limit(1_000, Window(WindowUnit.MONTH)),)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with running(settings(tmp_path)) as found:
        yield found


def used(app: App, tokens: int) -> BillableEvent:
    made = event(
        app.parts.clock.now(),
        id=new_id(),
        agent=app.operator,
        chain=(app.operator,),
        type="inference.call",
        tokens=tokens,
    )
    return replace(made, tenant=app.tenant)


async def ask(app: App, endpoint: Any, **fields: Any) -> Any:
    caller = Caller(app.tenant, app.operator, PrincipalKind.HUMAN, ("*",), ConsensusTimestamp(1 << 62))
    return await Dispatcher(app.parts)(endpoint, Call(caller, app.tenant), endpoint.request(**fields))


async def test_usage_fills_a_quota_and_the_gate_refuses(app: App) -> None:
    made = await ask(
        app, quotas.PUT, quota_id="tokens", limits=MONTH, counts=("inference.*",), measures=Measure.EVENTS, property="tokens"
    )  # fmt: skip
    assert (made.measures, made.property) == (Measure.EVENTS, "tokens")
    check = app.parts.authz.tenant(app.tenant).check
    granted = await asyncio.to_thread(check, app.operator, "inference.call", "r")
    assert isinstance(granted, Granted)
    assert granted.reservation is not None
    app.parts.quotas.book.settle(granted.reservation)

    await app.parts.metering.ingest_event(app.tenant, used(app, 1_200), by=app.operator)

    assert type(await asyncio.to_thread(check, app.operator, "inference.call", "r")) is QuotaDenied
    assert type(await asyncio.to_thread(check, app.operator, "sandbox.spawn", "r")) is not QuotaDenied
    (row,) = (await ask(app, quotas.USAGE, agent=app.operator)).items
    assert (row.used, row.over, row.limit) == (1_200, 200, 1_000)


async def test_humans_look_at_what_usage_has_filled(app: App) -> None:
    tier = EscalationTier(name="finance", approvers=(await human(app),))
    policy = OversightPolicy(policy_id=QUOTA_POLICY, tiers=(tier,))
    await app.parts.oversight.put_policy(app.tenant, policy, by=app.operator)
    await ask(
        app, quotas.PUT, quota_id="tokens", limits=MONTH, measures=Measure.EVENTS, property="tokens",
        overflow=AllowWithNotification(),
    )  # fmt: skip
    await app.parts.metering.ingest_event(app.tenant, used(app, 950), by=app.operator)

    async def breach() -> Any:
        return next(iter(await app.parts.oversight.list_pending_requests(app.tenant)), None)

    record = await eventually(breach)
    assert (record.ask.action, record.ask.blocking) == ("quota_breach", False)
    decided = await ask(app, quotas.CHECK, agent=app.operator, event_type="inference.call")
    assert decided.outcome is QuotaOutcome.ALLOW_WITH_NOTIFICATION


async def test_a_settled_reservation_says_what_it_took_beyond(app: App) -> None:
    await ask(app, quotas.PUT, quota_id="calls", limits=(Limit(10, Window(WindowUnit.DAY)),), counts=("x",))
    held = await ask(app, quotas.RESERVE, agent=app.operator, event_type="x", amount=5)
    said = await ask(app, quotas.SETTLE, reservation_id=held.reservation_id, amount=50)
    assert (said.reserved, said.amount, said.excess, said.over) == (5, 50, 45, 40)
    held = await ask(app, quotas.RESERVE, agent=app.operator, event_type="y", amount=5)
    assert (await ask(app, quotas.RELEASE, reservation_id=held.reservation_id)).amount == 0


async def test_the_tenants_zone_is_set_and_shown(app: App) -> None:
    assert (await ask(app, quotas.SETTINGS)).zone == "UTC"
    await ask(app, quotas.SET_SETTINGS, zone="Europe/Berlin")
    assert (await ask(app, quotas.SETTINGS)).zone == "Europe/Berlin"
    made = await ask(app, quotas.PUT, quota_id="day", limits=(Limit(10, Window(WindowUnit.DAY)),))
    assert made.limits[0].window.zone == "Europe/Berlin"
    assert app.parts.triggers.costs.zone(app.tenant) == "Europe/Berlin"


async def test_a_quota_of_all_acts_can_be_changed_and_settled_when_it_is_full(app: App) -> None:
    """given a full quota of every act, for ever / when it is asked, settled, changed, and usage is reported / then none of it is refused."""
    every = Window(WindowUnit.LIFETIME)
    await ask(app, quotas.PUT, quota_id="all", limits=(Limit(2, every),))
    held = await ask(app, quotas.RESERVE, agent=app.operator, event_type="x", amount=2)
    await ask(app, usage.SUBMIT, event=used(app, 5))
    assert (await ask(app, quotas.CHECK, agent=app.operator, event_type="x")).outcome is QuotaOutcome.DENY
    with pytest.raises(QuotaExceeded):
        await ask(app, quotas.LIST)
    await ask(app, quotas.SETTLE, reservation_id=held.reservation_id, amount=2)
    await ask(app, quotas.ANSWER, quota_id="all", window="lifetime", new_limit=3)
    assert (await ask(app, quotas.LIST)).items[0].limits == (Limit(3, every),)
    await ask(app, quotas.PUT, quota_id="named", limits=(Limit(0, every),), counts=("submit_event",))
    with pytest.raises(QuotaExceeded):
        await ask(app, usage.SUBMIT, event=used(app, 5))
