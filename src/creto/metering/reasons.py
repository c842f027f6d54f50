"""Reasons: why a line that no event is behind is what it is: fees by their days, minimums and commitments by what was spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

import msgspec

from creto.metering.billing import MINIMUM, Bill
from creto.metering.parts import Part, Terms, outline
from creto.metering.periods import days
from creto.metering.rounding import ZERO, precise
from creto.metering.types import Charge, ChargeId, Commitment, Line, LineKind, Plan


class FeeReason(msgspec.Struct, frozen=True, tag="fee"):
    """A fee for so many days of the period; what is not prorated is due for any of them."""

    amount: Decimal
    days: int
    of_days: int
    prorated: bool


class TrueUpReason(msgspec.Struct, frozen=True, tag="true_up"):
    """What was spent, and what the charge or the plan asks for, for so many days of the period: those after the trial.

    The commitment that overage is beyond is for all `days_held`.
    """

    spent: Decimal
    minimum: Decimal | None
    commitment: Commitment | None
    days: int
    of_days: int
    days_held: int


Reason = FeeReason | TrueUpReason


@precise
def reason_of(asked: Bill, line: Line, lines: Sequence[Line]) -> Reason | None:
    """Of a line of this bill; `lines` are all of them."""
    own = [other for other in lines if other.corrects is None]
    terms = outline(asked.plans, asked.subscription, asked.period)
    return next((reason for one in terms for reason in reasons(one, asked, line, own)), None)


def reasons(terms: Terms, asked: Bill, line: Line, lines: Sequence[Line]) -> Iterator[Reason]:
    whole = days(asked.period)
    if line.kind is LineKind.FEE:
        for fee in terms.fees:
            if line.line_id == f"{fee.item.charge_id}{fee.part.mark}":
                yield FeeReason(fee.item.amount, len(fee.part.paid), whole, fee.item.prorated)
    if line.kind is not LineKind.TRUE_UP:
        return
    for charge in terms.charges:
        if line.line_id == f"{charge.item.charge_id}:minimum{charge.part.mark}":
            used = (o for o in lines if o.kind is LineKind.USAGE and terms_of(o) == terms_of(line))
            yield asked_for(spent(used), charge.item, charge.part, whole)
    if line.line_id == f"{MINIMUM}{terms.part.mark}":
        rest = (other for other in lines if terms.covers(*terms_of(other)))
        yield asked_for(spent(rest), terms.part.plan, terms.part, whole)


def asked_for(spent: Decimal, by: Charge | Plan, part: Part, whole: int) -> TrueUpReason:
    return TrueUpReason(spent, by.minimum, by.commitment, len(part.paid), whole, len(part.days))


def terms_of(line: Line) -> tuple[ChargeId, str]:
    """The charge that a line is of, and the mark of its stretch; in the id of a line `@` stands before the mark alone."""
    _, at, mark = line.line_id.partition("@")
    return line.charge_id, at + mark


def spent(lines: Iterator[Line]) -> Decimal:
    return sum((line.amount for line in lines), ZERO)
