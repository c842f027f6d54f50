"""Things as people name them: by id, by the end of it that a narrow table shows, an invoice by its number, an agent by its name.

    fields = await named(creto, {"invoice_id": "INV-000001", "agent": "planner"})

What is an id already is taken as it is and nobody is asked. INVARIANT: a name that two things bear is refused, never guessed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from creto.cli.choices import paged
from creto.common.errors import InvalidInput, NotFound
from creto.common.limits import NAMES_SEARCHED_MAX

if TYPE_CHECKING:
    from creto.sdk import AsyncCreto

ELLIPSIS = "…"
ENDING_CHARS_MIN = 4


@dataclass(frozen=True)
class Kind:
    """`begins`: as ids of it do. `pages`: how they are listed, `id_of` and `name_of` what one of them is called."""

    what: str
    begins: str
    listing: str
    pages: Callable[[AsyncCreto], Callable[..., Awaitable[Any]]]
    id_of: Callable[[Any], str]
    name_of: Callable[[Any], str | None]


KINDS = {
    "agent": Kind("agent", "agent:", "creto agents list", lambda c: c.agents.list, lambda a: a.nhi, lambda a: a.name),
    "subscription_id": Kind(
        "subscription", "sub-", "creto subscriptions list", lambda c: c.billing.subscriptions,
        lambda s: s.subscription_id, lambda _: None,
    ),
    "invoice_id": Kind(
        "invoice", "inv-", "creto invoices list", lambda c: c.billing.invoices, lambda i: i.invoice_id, lambda i: i.number
    ),
}  # fmt: skip


async def named(creto: AsyncCreto, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a question, with ids where people wrote names."""
    return {
        field: await id_of(creto, field, value) if field in KINDS and isinstance(value, str) else value
        for field, value in fields.items()
    }


async def id_of(creto: AsyncCreto, field: str, text: str) -> str:
    kind = KINDS[field]
    if text.startswith(kind.begins) and ELLIPSIS not in text:
        return text
    if field == "invoice_id" and (numbered := (await creto.billing.invoices(number=text)).items):
        return numbered[0].invoice_id
    found = [
        kind.id_of(one)
        async for one in paged(kind.pages(creto), NAMES_SEARCHED_MAX)
        if text == kind.name_of(one) or abbreviates(text, kind.id_of(one))
    ]
    if not found:
        hint = f"`{kind.listing}` has them."
        raise NotFound("MT-404", f"no {kind.what} is called {text}", field=field, got=text, hint=hint)
    if len(found) > 1:
        raise InvalidInput.of(field, got=text, expected=f"one {kind.what}, not any of {', '.join(found)}")
    return found[0]


def abbreviates(text: str, id: str) -> bool:
    """`3f9a1c`, the end of an id, or `sub-01…3f9a1c`, as a table cuts it."""
    head, cut, tail = text.rpartition(ELLIPSIS)
    if not cut:
        return len(tail) >= ENDING_CHARS_MIN and id.endswith(tail)
    return bool(tail) and len(head) + len(tail) < len(id) and id.startswith(head) and id.endswith(tail)
