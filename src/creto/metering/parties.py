"""Parties: who stands on paper, the sender of an invoice and its customer."""

from __future__ import annotations

from typing import Annotated

import msgspec

from creto.common.errors import InvalidInput
from creto.common.limits import PARTY_LINES_MAX, PARTY_NAME_CHARS_MAX


class Party(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who sends an invoice, or gets it."""

    name: Annotated[str, msgspec.Meta(min_length=1, pattern=r"\S")]
    address: tuple[str, ...] = ()
    tax_id: str = ""
    email: str = ""

    def __post_init__(self) -> None:
        texts = (self.name, *self.address, self.tax_id, self.email)
        if not self.name.strip() or len(self.address) > PARTY_LINES_MAX or max(map(len, texts)) > PARTY_NAME_CHARS_MAX:
            raise InvalidInput.of(
                "party",
                got=self.name,
                expected=f"a name, at most {PARTY_LINES_MAX} lines of address, {PARTY_NAME_CHARS_MAX} characters each",
                code="MT-400",
            )


class Letterhead(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands on the paper beside the invoice itself: `notes` are how and until when to pay."""

    issuer: Party
    customer: Party
    notes: tuple[str, ...] = ()
