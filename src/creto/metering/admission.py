"""Admission: whether an event may come in, before anybody looks whether it was there already.

An event is bounded, of the tenant that is asked, of a time that can be right, and has what the meters read of the subscription that pays.

INVARIANT: no meter of the subscription that pays for an event as it comes finds a property missing. What nobody pays for, nobody refuses.
INVARIANT: the bytes of an event, which its proof and its invoice line are made of, are those of its BillableEvent without the signature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import msgspec
from msgspec.structs import replace

from creto.common import wire
from creto.common.errors import InvalidInput, ProductId
from creto.common.fingerprint import fingerprint
from creto.common.ids import AgentId, TenantId, checked_name
from creto.common.limits import (
    CHAIN_LINKS_MAX,
    INTEGER_MAX,
    USAGE_AHEAD_S_MAX,
    USAGE_BEHIND_S_MAX,
    USAGE_CHAINS_CACHED_MAX,
    USAGE_PROPERTIES_BYTES_MAX,
    USAGE_PROPERTIES_MAX,
    USAGE_PROPERTY_CHARS_MAX,
)
from creto.common.timestamps import SECOND, iso
from creto.contracts import BillableEvent
from creto.metering.aggregation import check_metered
from creto.metering.attribution import Chain
from creto.metering.events import billable
from creto.metering.types import Meter, UsageEvent
from creto.metering.usage_types import EventForm
from creto.platform.crypto import merkle
from creto.store.idempotency import TEXT_KEY, UUID7, packed, scope

PRINT_BYTES = 16
AHEAD_NS, BEHIND_NS = USAGE_AHEAD_S_MAX * SECOND, USAGE_BEHIND_S_MAX * SECOND


Meters = Callable[[BillableEvent], Sequence[Meter] | None]  # what reads an event; None where nobody pays for it


class Arrival(msgspec.Struct, frozen=True, gc=False):
    """An event on its way in, as rows have it. `names` are what no other event may have; `print` tells its payload from any other's."""

    event: BillableEvent
    form: EventForm
    chain: bytes
    agent: int
    names: tuple[bytes, ...]
    event_id: bytes
    event_key: bytes
    properties: bytes
    leaf: bytes
    print: bytes
    signature: bytes | None
    meters: Sequence[Meter] | None = None


def admitted(event: UsageEvent, form: EventForm, tenant: TenantId, prefix: bytes, meters: Meters, now: int) -> Arrival:
    """The event as it goes into rows; raises InvalidInput MT-400 with the field that does not fit."""
    given = billable(event)
    bare = given if given.signature is None else replace(given, signature=None)
    if bare.tenant != tenant:
        raise InvalidInput.of("tenant", got=bare.tenant, expected=tenant, code="MT-400")
    checked_type(bare.event_type)
    if not now - BEHIND_NS <= bare.timestamp <= now + AHEAD_NS or bare.timestamp < 0:
        raise mistimed(bare.timestamp, now)
    properties = checked_properties(bare.properties)
    metered = meters(bare)
    for meter in metered or ():
        check_metered(meter, bare)
    chain, agent = prints(tenant, bare.agent_nhi, bare.delegation_chain)
    event_id, event_key = coded(bare.event_id, "event_id"), b""
    names: tuple[bytes, ...] = (prefix + event_id,)
    if bare.idempotency_key != bare.event_id:
        event_key = coded(bare.idempotency_key, "idempotency_key")
        names = (*names, prefix + event_key)
    leaf = leaf_of(bare)
    return Arrival(
        bare, form, chain, agent, names, event_id, event_key, properties, leaf, leaf[:PRINT_BYTES], given.signature,
        metered,
    )  # fmt: skip


def name_prefix(tenant: TenantId) -> bytes:
    """What the names of a tenant begin with."""
    return scope(tenant, ProductId.METERING, "ingest_event")


def coded(value: str, field: str) -> bytes:
    """An id as rows have it."""
    if UUID7.fullmatch(value):
        return bytes.fromhex(value.replace("-", ""))
    return packed(b"", checked_id(value, field))


def checked_id(value: str, field: str) -> str:
    try:
        return checked_name(value, field)
    except InvalidInput as error:
        raise InvalidInput.of(field, got=value, expected=error.expected, code="MT-400") from error


@lru_cache(maxsize=4_096)
def checked_type(event_type: str) -> str:
    return checked_id(event_type, "event_type")


def check_chain(chain: Chain) -> None:
    if len(chain) > CHAIN_LINKS_MAX + 1:
        expected = f"at most {CHAIN_LINKS_MAX + 1} agents"
        raise InvalidInput.of("delegation_chain", got=f"{len(chain)} agents", expected=expected, code="MT-400")
    for agent in chain:
        checked_id(agent, "agent_nhi" if agent == chain[-1] else "delegation_chain")
    if len(set(chain)) != len(chain):
        raise InvalidInput.of("delegation_chain", got=chain, expected="each agent once", code="MT-400")


def mistimed(timestamp: int, now: int) -> InvalidInput:
    """INVARIANT: an event's time decides its period, so it can lie neither ahead nor before what invoices still correct."""
    if timestamp > now:
        expected = f"at most {USAGE_AHEAD_S_MAX} s after {iso(now)}"
    else:
        expected = f"at most {USAGE_BEHIND_S_MAX // 86_400} days before {iso(now)}"
    return InvalidInput.of("timestamp", got=timestamp, expected=expected, code="MT-400")


def checked_properties(properties: dict[str, str | int | bool]) -> bytes:
    """As rows have them. What is not a text, a whole number or a boolean could be written, and never read again."""
    if len(properties) > USAGE_PROPERTIES_MAX:
        expected = f"at most {USAGE_PROPERTIES_MAX}"
        raise InvalidInput.of("properties", got=len(properties), expected=expected, code="MT-400")
    check_names(tuple(properties))
    for name, value in properties.items():
        if type(value) is str:
            if len(value) > USAGE_PROPERTY_CHARS_MAX:
                expected = f"at most {USAGE_PROPERTY_CHARS_MAX} characters"
                raise InvalidInput.of(f"properties.{name}", got=value, expected=expected, code="MT-400")
        elif not isinstance(value, int):
            expected = "a text, a whole number or a boolean"
            raise InvalidInput.of(f"properties.{name}", got=repr(value), expected=expected, code="MT-400")
        elif not -INTEGER_MAX <= value <= INTEGER_MAX:
            raise InvalidInput.of(f"properties.{name}", got=value, expected="64 bits", code="MT-400")
    body = encoded(properties)
    if len(body) > USAGE_PROPERTIES_BYTES_MAX:
        expected = f"at most {USAGE_PROPERTIES_BYTES_MAX} bytes"
        raise InvalidInput.of("properties", got=f"{len(body)} bytes", expected=expected, code="MT-400")
    return body


@lru_cache(maxsize=4_096)
def check_names(names: tuple[str, ...]) -> None:
    """Of properties: the same few stand together in all events of a type."""
    for name in names:
        checked_id(name, "properties")


def encoded(value: BillableEvent | dict[str, str | int | bool]) -> bytes:
    try:
        return wire.encode(value)
    except UnicodeEncodeError as error:
        raise InvalidInput.of("event", got="half a character", expected="text", code="MT-400") from error


def leaf_of(event: BillableEvent) -> bytes:
    """The hash that stands for an event in the tree of its batch."""
    return merkle.leaf_hash(encoded(event))


@lru_cache(maxsize=USAGE_CHAINS_CACHED_MAX)
def prints(tenant: TenantId, agent: AgentId, delegation_chain: Chain) -> tuple[bytes, int]:
    """What rows name a chain and its agent by; the chain is one that can be."""
    ends_with_agent = delegation_chain and delegation_chain[-1] == agent
    check_chain(delegation_chain if ends_with_agent else (*delegation_chain, agent))
    return chain_print(tenant, agent, delegation_chain), agent_print(tenant, agent)


def chain_print(tenant: TenantId, agent: AgentId, delegation_chain: Chain) -> bytes:
    """What rows name an agent and its chain by, just as they were given."""
    return fingerprint(wire.encode((tenant, agent, delegation_chain)))[1 : PRINT_BYTES + 1]


def agent_print(tenant: TenantId, agent: AgentId) -> int:
    """By what rows are spread; two agents may have the same."""
    return int.from_bytes(fingerprint(wire.encode((tenant, agent)))[1:9]) & INTEGER_MAX


def unpacked(code: bytes) -> str:
    """The id that `packed` made of an id."""
    if code[:1] == TEXT_KEY:
        return code[1:].decode()
    text = code.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
