"""Plans: versions, what one subscription has otherwise, trials, and what a change in mid-period comes to.

INVARIANT: a version of a plan is never changed; `revised` makes the next one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from decimal import Decimal

import msgspec
from msgspec.structs import replace

from creto.common.errors import InvalidInput, NotFound
from creto.common.ids import checked_name
from creto.common.limits import PLAN_CHARGES_MAX
from creto.common.timestamps import SECOND
from creto.metering.currencies import Currency, iso
from creto.metering.periods import instant, local, prorated
from creto.metering.rounding import HUNDRED, ZERO, precise
from creto.metering.types import Charge, Override, Phase, Plan, PlanId, Subscription

RESERVED = frozenset(":=@")  # they part the ids of lines
ONE_DAY = timedelta(days=1)


def checked(plan: Plan) -> Plan:
    """A plan that can be billed: a currency that exists, and a name of its own for every charge and fee."""
    iso(plan.currency)
    names = plan.charge_ids
    if len(names) > PLAN_CHARGES_MAX:
        raise InvalidInput.of("charges", got=len(names), expected=f"at most {PLAN_CHARGES_MAX}", code="MT-400")
    for name in names:
        checked_name(name, "charge_id")
        if RESERVED.intersection(name):
            raise InvalidInput.of("charge_id", got=name, expected="a name without : = @", code="MT-400")
    check_percents(plan)
    doubles = sorted({n for n in names if names.count(n) > 1})
    if doubles:
        raise InvalidInput.of("charge_id", got=doubles, expected="each once in a plan", code="MT-400")
    return plan


def check_percents(plan: Plan) -> None:
    for charge in plan.charges:
        if charge.discount_percent > HUNDRED:
            raise InvalidInput.of(
                "discount_percent", got=str(charge.discount_percent), expected="0 to 100", code="MT-400"
            )


def revised(plan: Plan, **changes: object) -> Plan:
    """The next version. Its id and currency stay: another currency is another plan."""
    fixed = {"plan_id", "version", "currency"} & changes.keys()
    if fixed:
        raise InvalidInput.of("plan", got=sorted(fixed), expected="changes of other fields", code="MT-400")
    return checked(replace(plan, version=plan.version + 1, **changes))


def version_of(plans: Iterable[Plan], plan_id: PlanId, version: int | None = None) -> Plan:
    """That version, or the newest."""
    known = [p for p in plans if p.plan_id == plan_id and version in (None, p.version)]
    if not known:
        raise NotFound("MT-404", f"plan {plan_id}{f' version {version}' if version else ''} does not exist")
    return max(known, key=lambda p: p.version)


def effective(plan: Plan, override: Override | None) -> Plan:
    """The plan as one subscription has it."""
    if override is None:
        return plan
    ids = set(plan.charge_ids)
    named = (
        override.fees.keys() | override.prices.keys() | override.free_units.keys() | override.discount_percent.keys()
    )
    if not named <= ids:
        raise InvalidInput.of("override", got=sorted(named - ids), expected=f"charges of {plan.plan_id}", code="MT-400")
    return checked(
        replace(
            plan,
            fees=tuple(replace(f, amount=override.fees.get(f.charge_id, f.amount)) for f in plan.fees),
            charges=tuple(overridden(c, override) for c in plan.charges),
            minimum=plan.minimum if override.minimum is None else override.minimum,
            commitment=plan.commitment if override.commitment is None else override.commitment,
            trial_days=plan.trial_days if override.trial_days is None else override.trial_days,
        )
    )


def override_at(phase: Phase, subscription: Subscription) -> Override | None:
    return subscription.override if phase.override is None else phase.override


def overridden(charge: Charge, override: Override) -> Charge:
    return replace(
        charge,
        price=override.prices.get(charge.charge_id, charge.price),
        free_units=override.free_units.get(charge.charge_id, charge.free_units),
        discount_percent=override.discount_percent.get(charge.charge_id, charge.discount_percent),
    )


def trial_ends_at(plan: Plan, subscription: Subscription) -> int:
    """Whole days on the subscriber's wall clock. A trial is had once: a change of plan begins no other."""
    if not plan.trial_days:
        return subscription.started_at
    wall = local(subscription.started_at, subscription.zone).replace(tzinfo=None)
    return instant(wall + plan.trial_days * ONE_DAY, subscription.zone) + subscription.started_at % SECOND


def phase_at(phases: Sequence[Phase], at: int) -> Phase | None:
    past = [p for p in phases if p.since <= at]
    return past[-1] if past else None


class ChangeAmounts(msgspec.Struct, frozen=True):
    """A change of plan in mid-period, of a price that was paid in advance."""

    credit: Decimal
    charge: Decimal

    @property
    def net(self) -> Decimal:
        return self.charge + self.credit


@precise
def change_amounts(old: Decimal, new: Decimal, left: int, whole: int, currency: Currency) -> ChangeAmounts:
    """What of the old price comes back and what of the new one is due, for the part of the period that is left."""
    return ChangeAmounts(
        -currency.rounded(prorated(old, left, whole)) + ZERO, currency.rounded(prorated(new, left, whole))
    )


@precise
def capped_credit(potential: Decimal, paid: Decimal, credited: Decimal) -> Decimal:
    """Never more back than was paid, over all credits together."""
    return max(min(potential, paid - credited), ZERO)
