"""A tenant's policies, groups, addresses and delegations: kept, held in memory, changed on record.

await oversight.put_policy("acme", policy, by=operator)
await oversight.put_group("acme", ApproverGroup(name="finance", members=(fay, "group:controllers")), by=operator)
await oversight.link("acme", Contact(channel=Channel.SLACK, address="U024BE7LH", person=fay), by=operator)
await oversight.delegate("acme", of=fay, to=sam, starts_at=monday, ends_at=friday, by=fay)
"""

from __future__ import annotations

import re
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

import msgspec

from creto.common.errors import InvalidInput, NotFound, Unauthorized
from creto.common.ids import AGENT_PREFIX, AgentId, PolicyId, TenantId, checked_name, checked_tenant, new_id
from creto.common.limits import (
    AUTHZ_TENANTS_MAX,
    INTEGER_MAX,
    OVERSIGHT_APPROVERS_MAX,
    OVERSIGHT_DELEGATION_S_MAX,
    OVERSIGHT_TIMEOUT_S_MAX,
)
from creto.common.timestamps import SECOND, ConsensusTimestamp, iso
from creto.oversight import policies
from creto.oversight import store_people as people_rows
from creto.oversight.core import Core, Mark
from creto.oversight.eligibility import Approver, Directory
from creto.oversight.groups import GROUP, bare
from creto.oversight.types import (
    ApproverGroup,
    Channel,
    Contact,
    Delegation,
    OversightPolicy,
)
from creto.platform.consensus import PersonId
from creto.platform.nhi import Identity, PrincipalKind, Standing
from creto.platform.nhi.lifecycle import standing
from creto.security.authz.directory import find_identity
from creto.store.types import ReadTx, Tx

T = TypeVar("T")
Trouble = Callable[[TenantId, str], Awaitable[str | None]]
ADDRESSES = {
    Channel.SLACK: (re.compile(r"[UW][A-Za-z0-9-]{1,63}"), "the immutable id of a member, as U024BE7LH"),
    Channel.EMAIL: (
        re.compile(r"[^@\s<>()\[\],;:\"]{1,64}@[^@\s<>()\[\],;:\"]{1,255}"),
        "an address, as ann@example.com",
    ),
}
Known = tuple[int, int, bool]  # changes of books and of keys so far, and whether one hears of more
CHANGED = "oversight.directory"
WORKING = (Standing.IN_FORCE, Standing.RETIRED)  # what a key did before it was rotated stays good


class Book(msgspec.Struct, frozen=True):
    """What a tenant's tables say, in memory."""

    groups: dict[str, tuple[str, ...]]
    contacts: tuple[Contact, ...]
    addresses: dict[str, tuple[AgentId, ...]]
    delegations: tuple[Delegation, ...]
    policies: dict[PolicyId, OversightPolicy]


def read_book(tx: ReadTx, tenant: TenantId, now: ConsensusTimestamp) -> Book:
    """With the absences that are over but in which somebody may have voted on what is still open."""
    contacts = tuple(people_rows.contacts(tx, tenant))
    return Book(
        {group.name: group.members for group in people_rows.groups(tx, tenant)},
        contacts,
        whose(contacts),
        people_rows.delegations(tx, tenant, over_since(now)),
        people_rows.policies(tx, tenant),
    )


def over_since(now: ConsensusTimestamp) -> int:
    """Absences that were over by then mattered to nothing that is still open."""
    return now - OVERSIGHT_TIMEOUT_S_MAX * SECOND


def whose(contacts: Iterable[Contact]) -> dict[str, tuple[AgentId, ...]]:
    """Whom an address names, on whatever channel. An identity names itself, whoever is reached through it."""
    found: dict[str, tuple[AgentId, ...]] = {}
    for one in contacts:
        known = found.get(one.address, ())
        if not one.address.startswith(AGENT_PREFIX) and one.person not in known:
            found[one.address] = (*known, one.person)
    return found


class Books:
    """The books of the tenants in use; dropped when they change anywhere, read through while signals are lost."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._held: dict[TenantId, Book] = {}
        self._changes = 0
        self._lock = threading.Lock()
        core.store.on_signal(CHANGED, self._forget)
        core.store.on_signal_lost(lambda: self._forget(""))

    def of(self, tenant: TenantId) -> Book:
        found = self._held.get(tenant)
        if found is not None and self._core.store.signals_alive:
            return found
        changes = self._changes
        now = self._core.clock.now()
        found = self._core.store.read_now(lambda tx: read_book(tx, tenant, now))
        with self._lock:
            if changes == self._changes:
                if len(self._held) >= AUTHZ_TENANTS_MAX:
                    self._held.clear()
                self._held[tenant] = found
        return found

    @property
    def changes(self) -> int:
        return self._changes

    def _forget(self, tenant: str) -> None:
        with self._lock:
            self._changes += 1
            if tenant:
                self._held.pop(TenantId(tenant), None)
            else:
                self._held.clear()


class People(Core):
    _books: Books
    troubles: Mapping[Channel, Trouble] = {}  # what is wrong with an address, by the channels that know

    def known(self) -> Known:
        """What memory holds of people, keys and policies: as long as this is the same, that is too, and no passkey was removed."""
        return self._books.changes, self.nhi.losses, self.store.signals_alive

    async def put_policy(self, tenant: TenantId, policy: OversightPolicy, *, by: AgentId) -> OversightPolicy:
        """The next version of a policy; requests that are open keep theirs."""
        tenant, now = checked_tenant(tenant), self.clock.now()
        policies.checked_single(policy)

        def put(tx: Tx) -> OversightPolicy:
            tx.lock(f"oversight.policy/{tenant}/{policy.policy_id}")
            known = people_rows.policy(tx, tenant, policy.policy_id)
            stored = policies.as_stored(policy, known.version + 1 if known else 1)
            people_rows.add_policy(tx, tenant, stored, by, now)
            self._changed(tx, tenant, by, "policy", policy.policy_id, {"version": stored.version})
            return stored

        return await self._change(put)

    def policy(self, tenant: TenantId, policy_id: PolicyId) -> OversightPolicy:
        found = self._books.of(checked_tenant(tenant)).policies.get(policy_id)
        if found is None:
            hint = "`creto approvals policies list` shows those that there are."
            raise NotFound(
                "OV-404", f"there is no oversight policy {policy_id}", field="policy_id", got=policy_id, hint=hint
            )
        return found

    def policies(self, tenant: TenantId) -> tuple[OversightPolicy, ...]:
        return tuple(self._books.of(checked_tenant(tenant)).policies.values())

    async def put_group(self, tenant: TenantId, group: ApproverGroup, *, by: AgentId) -> None:
        tenant = checked_tenant(tenant)
        checked_name(group.name, "group")
        if len(group.members) > OVERSIGHT_APPROVERS_MAX:
            raise InvalidInput.of(
                "members", got=len(group.members), expected=f"{OVERSIGHT_APPROVERS_MAX} at most", code="OV-400"
            )
        for member in group.members:
            checked_name(member, "members")

        def put(tx: Tx) -> None:
            people_rows.put_group(tx, tenant, group)
            self._changed(tx, tenant, by, "group", group.name, {"members": group.members})

        await self._change(put)

    def groups(self, tenant: TenantId) -> tuple[ApproverGroup, ...]:
        book = self._books.of(checked_tenant(tenant))
        return tuple(ApproverGroup(name=name, members=members) for name, members in book.groups.items())

    async def link(self, tenant: TenantId, contact: Contact, *, by: AgentId) -> None:
        """This address is this human's; an address is one human's at a time. OV-400 for one at which nobody could be told."""
        tenant = checked_tenant(tenant)
        await self.check_address(tenant, contact.channel, contact.address)
        person = self.human(tenant, contact.person)

        def put(tx: Tx) -> None:
            people_rows.put_contact(tx, tenant, contact)
            self._changed(tx, tenant, by, "contact", contact.address, {"channel": contact.channel, "person": person})

        await self._change(put)

    async def unlink(self, tenant: TenantId, channel: Channel, address: str, *, by: AgentId) -> bool:
        tenant = checked_tenant(tenant)

        def drop(tx: Tx) -> bool:
            found = people_rows.drop_contact(tx, tenant, channel, address)
            self._changed(tx, tenant, by, "contact", address, {"channel": channel, "person": None})
            return found

        return await self._change(drop)

    async def check_address(self, tenant: TenantId, channel: Channel, address: str) -> None:
        checked_name(address, "address")
        form = ADDRESSES.get(channel)
        if form is not None and not form[0].fullmatch(address):
            raise InvalidInput.of("address", got=address, expected=form[1], code="OV-400")
        look = self.troubles.get(channel)
        trouble = await look(tenant, address) if look is not None else None
        if trouble is not None:
            raise InvalidInput.of("address", got=f"{address}: {trouble}", expected="one that works", code="OV-400")

    def who(self, tenant: TenantId, channel: Channel, address: str) -> AgentId:
        """The identity behind an address of a channel; OV-403 if nobody is linked to it."""
        for contact in self._books.of(checked_tenant(tenant)).contacts:
            if (contact.channel, contact.address) == (channel, address):
                return contact.person
        raise Unauthorized(
            "OV-403", "NOT_ELIGIBLE: this account is linked to nobody", field="approver", got=f"{channel} {address}"
        )

    async def delegate(
        self,
        tenant: TenantId,
        *,
        of: AgentId,
        to: AgentId,
        starts_at: ConsensusTimestamp,
        ends_at: ConsensusTimestamp,
        policies: Iterable[PolicyId] = (),
        by: AgentId,
        mark: Mark | None = None,
    ) -> Delegation:
        """Out of office: `to` sits in the seats of `of` from `starts_at` until just before `ends_at`. Open requests go with them."""
        tenant = checked_tenant(tenant)
        check_absence(starts_at, ends_at, self.clock.now())
        delegation = Delegation(
            delegation_id=new_id("del-"), of=self.human(tenant, of), to=self.human(tenant, to), starts_at=starts_at,
            ends_at=ends_at, policies=tuple(policies),
        )  # fmt: skip
        if delegation.of == delegation.to:
            raise InvalidInput.of("to", got=to, expected="somebody else", code="OV-400")

        circle = circle_of(delegation, self._books.of(tenant).delegations)
        delegation = msgspec.structs.replace(delegation, circle=circle)

        def put(tx: Tx) -> None:
            if mark is not None:
                mark(tx)
            people_rows.add_delegation(tx, tenant, delegation, over_since(self.clock.now()))
            self._changed(
                tx, tenant, by, "delegation", delegation.delegation_id,
                {"of": delegation.of, "to": delegation.to, "starts_at": starts_at, "ends_at": ends_at, "circle": circle},
            )  # fmt: skip

        await self._change(put)
        return delegation

    async def end_delegation(
        self, tenant: TenantId, delegation_id: str, *, by: AgentId, mark: Mark | None = None
    ) -> bool:
        tenant = checked_tenant(tenant)

        def end(tx: Tx) -> bool:
            if mark is not None:
                mark(tx)
            known, now = people_rows.delegation(tx, tenant, delegation_id), self.clock.now()
            found = known is not None and now < known.ends_at
            if known is not None and found:
                people_rows.put_delegation(tx, tenant, msgspec.structs.replace(known, ends_at=now))
            self._changed(tx, tenant, by, "delegation", delegation_id, {"ended": found})
            return found

        return await self._change(end)

    def delegations(self, tenant: TenantId) -> tuple[Delegation, ...]:
        """Those in force, and to come."""
        now = self.clock.now()
        return tuple(one for one in self._books.of(checked_tenant(tenant)).delegations if now < one.ends_at)

    # What the other use cases ask

    def approver(self, tenant: TenantId, nhi: AgentId) -> Approver:
        """Who wants to decide; OV-403 for a stranger. Where nobody can say who that is, nobody is taken for one."""
        found = find_identity(self.nhi, tenant, nhi)
        if found is None:
            raise Unauthorized("OV-403", "NOT_ELIGIBLE: nobody of this name is registered", field="approver", got=nhi)
        in_force = standing(found, self.clock.now()) is Standing.IN_FORCE
        return Approver(found.nhi, PersonId(found.origin), found.name, found.kind is PrincipalKind.HUMAN, in_force)

    def in_office(self, tenant: TenantId, person: PersonId) -> bool:
        """Whether the newest key of this human is in force: who has another key since is still the same human."""
        return standing(self.newest(tenant, person), self.clock.now()) is Standing.IN_FORCE

    def newest(self, tenant: TenantId, person: PersonId) -> Identity:
        """This human by their key of today."""
        found = self.nhi.get_now(tenant, AgentId(person))
        while found.successor is not None:
            found = self.nhi.get_now(tenant, found.successor)
        return found

    def own(self, tenant: TenantId, agent: AgentId, asker: AgentId) -> bool:
        """Whether what `asker` has asked is this agent's: it is the same key, or a former one of its line.

        INVARIANT: a key has nothing of what a later one asks; none has anything of one that was revoked or suspended, nor from before that.
        """
        at = agent
        while at != asker:
            known = find_identity(self.nhi, tenant, at)
            if (
                known is None
                or known.predecessor is None
                or self.nhi.standing(known.predecessor, tenant=tenant) not in WORKING
            ):
                return False
            at = known.predecessor
        return True

    def human(self, tenant: TenantId, nhi: AgentId) -> PersonId:
        """The human behind an identity; OV-400 for anything else."""
        found = self.approver(tenant, nhi)
        if not found.human:
            raise InvalidInput.of("person", got=nhi, expected="a registered human", code="OV-400")
        return found.person

    def directory(self, tenant: TenantId, policy: OversightPolicy) -> Directory:
        """Everybody whom the policy can mean, as the registry knows them now."""
        book = self._books.of(tenant)
        people: dict[str, PersonId] = {}
        out: set[PersonId] = set()
        pending = [name for tier in policy.tiers for name in tier.approvers]
        pending += policy.break_glass.armers if policy.break_glass else ()
        seen: set[str] = set()
        while pending:
            name = pending.pop()
            if name in seen:
                continue
            seen.add(name)
            if name.startswith(GROUP):
                pending += book.groups.get(bare(name), ())
                continue
            try:
                found, *others = [self.approver(tenant, one) for one in book.addresses.get(name, (AgentId(name),))]
            except Unauthorized:
                continue  # a policy may name somebody who is not registered yet: they have no seat
            if any(one.person != found.person for one in others):
                continue  # one human's here and another's there: it names neither
            if found.human:
                people[name] = found.person
            pending += (
                one.to for one in book.delegations if one.of == found.person
            )  # who may sit there: in force too?
            if not self.in_office(tenant, found.person):
                out.add(found.person)
        return Directory(book.groups, people, book.delegations, frozenset(out))

    def contacts(self, tenant: TenantId) -> dict[PersonId, list[Contact]]:
        """How people are reached."""
        found: dict[PersonId, list[Contact]] = {}
        for contact in self._books.of(tenant).contacts:
            try:
                found.setdefault(self.approver(tenant, contact.person).person, []).append(contact)
            except Unauthorized:
                continue
        return found

    async def _change(self, fn: Callable[[Tx], T]) -> T:
        """When it returns, this process knows, and every live node that answers in time; the others follow with the signal."""
        result = await self.write(fn)
        await self.store.settled()
        return result

    def _changed(self, tx: Tx, tenant: TenantId, by: AgentId, what: str, name: str, fields: dict[str, object]) -> None:
        self.note(tx, tenant, f"oversight:{what}", f"oversight:{what}:{name}", "DirectoryChanged", by, fields)
        tx.signal(CHANGED, tenant)


def check_absence(starts_at: ConsensusTimestamp, ends_at: ConsensusTimestamp, now: ConsensusTimestamp) -> None:
    """OV-400 for one that ends before it begins, or is over, or lasts longer than an absence does, whenever it begins."""
    last = starts_at + OVERSIGHT_DELEGATION_S_MAX * SECOND
    if max(starts_at, now) < ends_at <= last:
        return
    days = OVERSIGHT_DELEGATION_S_MAX // 86_400
    expected = f"after {moment(max(starts_at, now))}, by {moment(last)} at the latest: {days} days from its start"
    raise InvalidInput.of("ends_at", got=moment(ends_at), expected=expected, code="OV-400")


def circle_of(new: Delegation, known: Iterable[Delegation]) -> tuple[PersonId, ...]:
    """Everybody who, with this delegation, would stand in for one another at some moment for some policy; empty if it closes no circle."""
    way: list[PersonId] = [new.of]
    at = new.to
    while at not in way:
        way.append(at)
        after = next((one for one in known if one.of == at and meet(one, new)), None)
        if after is None:
            return ()
        at = after.to
    return tuple(way) if at == new.of else ()


def meet(one: Delegation, other: Delegation) -> bool:
    shared = not one.policies or not other.policies or set(one.policies) & set(other.policies)
    return bool(shared) and one.starts_at < other.ends_at and other.starts_at < one.ends_at


def moment(timestamp: int) -> str:
    """For a person, who reads no nanoseconds."""
    return f"{iso(timestamp)[:19]}Z" if 0 <= timestamp <= INTEGER_MAX else "no time that there is"
