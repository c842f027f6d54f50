"""A tenant with people and an Authz, for tests.

office = await Office.open(make_store())
await office.hire("Ada", "operator")
"""

from __future__ import annotations

from typing import Any

from creto.common.ids import AgentId
from creto.security.authz import Authz, Decision
from creto.store import Store
from tests.unit.platform.nhi.town import PARTS as NHI_PARTS
from tests.unit.platform.nhi.town import TENANT, Person, Town, key

PARTS = (*NHI_PARTS, "creto.security.authz")
SIGNER = key(4_000_000)
READ, SANDBOX = "sandbox.read", "runtime:sandbox:sb-1"


class Ticks:
    """Monotonic time that stands still until it is moved."""

    def __init__(self) -> None:
        self.ns = 1

    def __call__(self) -> int:
        return self.ns

    def move_s(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


class Office:
    def __init__(self, store: Store, **options: Any) -> None:
        self.store = store
        self.town = Town(store)
        self.authz = Authz(store, self.town.clock, self.town.nhi, signer=SIGNER, **options)
        self.authz._hits.begin_sweeping()  # decisions are kept; tests sweep by hand

    async def hire(self, name: str, *roles: str) -> Person:
        person = await self.town.human(name)
        for role in roles:
            await self.authz.assign_role(TENANT, person.nhi, role, actor=person.nhi)
        return person

    def check(self, who: Person | AgentId, action: str = READ, resource: str = SANDBOX, **context: Any) -> Decision:
        agent = who.nhi if isinstance(who, Person) else who
        return self.authz.check(agent, action, resource, context or None, tenant=TENANT)
