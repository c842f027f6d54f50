"""Leases over the wire belong to who took them."""

from __future__ import annotations

from pathlib import Path

import pytest

from creto.app import running
from creto.common.errors import Unauthorized
from creto.common.ids import AgentId
from creto.common.timestamps import HOUR, ConsensusTimestamp
from creto.edge.api import time as times
from creto.edge.api.dispatch import HANDLERS, Call
from creto.platform.nhi import Caller, PrincipalKind
from tests.layers import settings


async def test_a_lease_is_neither_renewed_nor_released_by_another(tmp_path: Path) -> None:
    async with running(settings(tmp_path)) as app:
        until = ConsensusTimestamp(app.parts.clock.now() + HOUR)
        mine = Call(Caller(app.tenant, app.operator, PrincipalKind.HUMAN, ("*",), until), app.tenant)
        thief = Caller(app.tenant, AgentId("agent:nhi:ed25519:2"), PrincipalKind.AGENT, ("*",), until)
        other = Call(thief, app.tenant)
        acquire, renew, release = (HANDLERS[f"leases.{verb}"] for verb in ("acquire", "renew", "release"))

        lease = await acquire(app.parts, mine, times.AcquireLease(name="scheduler", ttl_s=60))
        assert lease.holder.startswith(f"{app.operator}/")
        for act, ask in ((renew, times.RenewLease), (release, times.ReleaseLease)):
            with pytest.raises(Unauthorized, match="PL-304"):
                await act(app.parts, other, ask(name="scheduler", holder=lease.holder, token=lease.token))

        await release(app.parts, mine, times.ReleaseLease(name="scheduler", holder=lease.holder, token=lease.token))
