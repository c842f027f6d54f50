"""Reasons: why a line that no event is behind is what it is: fees by their days, minimums and commitments by what was spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from creto.metering.billing import MINIMUM, Bill, paid_days, paid_part
from creto.metering.parts import Part, parts_of
from creto.metering.periods import days
from creto.metering.rounding import ZERO, precise
from creto.metering.types import Commitment, Line, LineKind


class FeeReason(msgspec.Struct, frozen=True, tag="fee"):
    """A fee for so many days of the period; what is not prorated is due for any of them."""

    amount: Decimal
    days: int
    of_days: int
    prorated: bool


class TrueUpReason(msgspec.Struct, frozen=True, tag="true_up"):
    """What was spent, and what the charge or the plan asks for, for so many days of the period."""

    spent: Decimal
    minimum: Decimal | None
    commitment: Commitment | None
    days: int
    of_days: int


Reason = FeeReason | TrueUpReason


@precise
def reason_of(asked: Bill, line: Line, lines: Sequence[Line]) -> Reason | None:
    """Of a line of this bill; `lines` are all of them."""
    found = (
        r for part in parts_of(asked.plans, asked.subscription, asked.period) for r in reasons(part, asked, line, lines)
    )
    return next(found, None)


def reasons(part: Part, asked: Bill, line: Line, lines: Sequence[Line]) -> Iterator[Reason]:
    whole, held = days(asked.period), len(part.days)
    paid = paid_part(part, asked)
    if line.kind is LineKind.FEE and paid is not None:
        for fee in part.plan.fees:
            if line.line_id == f"{fee.charge_id}{part.mark}":
                yield FeeReason(fee.amount, paid_days(part, paid, asked), whole, fee.prorated)
    if line.kind is not LineKind.TRUE_UP:
        return
    own = [other for other in lines if other.corrects is None and other.line_id.endswith(part.mark)]
    for charge in part.plan.charges:
        if line.line_id == f"{charge.charge_id}:minimum{part.mark}":
            used = (other for other in own if other.kind is LineKind.USAGE and other.charge_id == charge.charge_id)
            yield TrueUpReason(spent(used), charge.minimum, charge.commitment, held, whole)
    if line.line_id == f"{MINIMUM}{part.mark}":
        rest = (other for other in own if other.line_id != line.line_id)
        yield TrueUpReason(spent(rest), part.plan.minimum, part.plan.commitment, held, whole)


def spent(lines: Iterator[Line]) -> Decimal:
    return sum((line.amount for line in lines), ZERO)
