"""How the cases about aggregation and prices run: from a case's input to the numbers it expects."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from creto.common.errors import InvalidInput
from creto.common.timestamps import DAY
from creto.metering import (
    Aggregation,
    Carried,
    Charge,
    Commitment,
    Conversion,
    Dynamic,
    Graduated,
    GraduatedPercentage,
    Package,
    Percentage,
    PercentTier,
    Period,
    PerUnit,
    Preset,
    Rated,
    Rounding,
    UnitRounding,
    Usage,
    Volume,
    booking,
    iso,
    measure,
    prorated,
    rate,
    round_to,
    split_free,
    step_changes,
    tokens,
    with_overage,
)
from creto.metering.periods import day_range, days
from creto.metering.presets import decimal
from creto.metering.prices import unit_amount
from creto.metering.rounding import HUNDRED
from tests.unit.metering.examples import JANUARY, D, at, charge, event, meter

Numbers = dict[str, Any]
ROUND = {"up": Rounding.CEIL, "ceil": Rounding.CEIL, "down": Rounding.FLOOR, "floor": Rounding.FLOOR}


def cents(amount: Decimal) -> int:
    return int(iso("USD").rounded(amount) * 100)


def optional(given: Numbers, name: str) -> Decimal | None:
    return None if given.get(name) is None else D(given[name])


# Prices


def priced(price: Any, units: str | Decimal) -> Numbers:
    usage = Usage(Decimal(units))
    amount = price.amount(usage)
    return {
        "amount": amount,
        "amount_cents": cents(amount),
        "unit_amount": unit_amount(amount, usage.quantity),
        "tier_amounts": [step.amount for step in price.steps(usage)],
    }


def graduated(preset: Preset, given: Numbers) -> Numbers:
    price = graduated_price(preset, given)
    if "groups_in_bucket" in given:
        groups = [D(g) for g in given["groups_in_bucket"]]
        pooled = price.amount(Usage(sum(groups, D(0))))
        return {"per_group": sum(price.amount(Usage(g)) for g in groups), "pooled_wrong": pooled}
    if "divide_by" in given:
        return converted(charge(price, conversion=conversion(given)), given)
    if "pre_units" in given:
        return split(price, given)
    return priced(price, given["units"])


def split(price: Graduated, given: Numbers) -> Numbers:
    before, now = Usage(D(given["pre_units"])), Usage(D(given["pre_units"]) + D(given["units"]))
    lines = step_changes(price.steps(before), price.steps(now))
    return {"lines": lines, "amount": sum(lines)}


def volume(preset: Preset, given: Numbers) -> Numbers:
    price = Volume(tiers=preset.tiers(given["tiers"]), flat_at_zero=preset.flat_at_zero)
    try:
        return priced(price, preset.quantity(D(given["units"])))
    except InvalidInput:
        return {"error": "negative quantity"}


def conversion(given: Numbers) -> Conversion:
    return Conversion(divide_by=D(given["divide_by"]), rounding=UnitRounding(ROUND[given["rounding"]]))


def converted(asked: Charge, given: Numbers) -> Numbers:
    rated = rate(asked, Usage(D(given["units"])))
    return {"billed_units": rated.units, "amount": rated.amount, "lines": [s.amount for s in rated.steps]}


def per_unit(preset: Preset, given: Numbers) -> Numbers:
    price = PerUnit(unit=D(given["unit_price"]))
    if "bucket_max" in given:
        return {"amount": sum(price.amount(Usage(D(b))) for b in given["bucket_max"])}
    if "divide_by" in given:
        return converted(charge(price, conversion=conversion(given)), given)
    amount = price.amount(Usage(D(given["units"])))
    return {"amount": amount, "unit_amount": unit_amount(amount, D(given["full_units"]))}


def package(preset: Preset, given: Numbers) -> Numbers:
    price = Package(
        size=D(given["package_size"]),
        package=D(given.get("package_amount", 0)),
        free_units=D(given.get("free_units", 0)),
        rounding=ROUND[given["round"]] if "round" in given else preset.package_rounding,
    )
    units = D(given["units"])
    return {
        **priced(price, units),
        "packages": price.packages(units),
        "paid_units": max(units - price.free_units, D(0)),
    }


def percentage(preset: Preset, given: Numbers) -> Numbers:
    amounts = tuple(D(a) for a in given.get("event_amounts", [1] * given.get("event_count", 0)))
    price = Percentage(
        percent=D(given["rate_pct"]),
        fixed=D(given.get("fixed_amount") or 0),
        free_events=given.get("free_events"),
        free_amount=optional(given, "free_total"),
        minimum=optional(given, "per_tx_min"),
        maximum=optional(given, "per_tx_max"),
    )
    usage = Usage(sum(amounts, D(0)), amounts)
    steps = price.steps(usage)
    return {
        "amount": price.amount(usage),
        "unit_amount": unit_amount(price.amount(usage), usage.quantity),
        "free_events": len(amounts) - len(steps),
        "free_units": usage.quantity - sum(s.units for s in steps),
        "paid_events": len(steps),
        "rate_part": sum(s.units * s.rate for s in steps),
        "fixed_part": sum(s.flat for s in steps),
        "per_event": [s.amount for s in steps],
    }


def graduated_percentage(preset: Preset, given: Numbers) -> Numbers:
    tiers = tuple(
        PercentTier(up_to=None if t["to"] is None else D(t["to"]), percent=D(t["rate_pct"]), flat=decimal(t, "flat"))
        for t in given["tiers"]
    )
    return priced(GraduatedPercentage(tiers=tiers), given["units"])


def dynamic(preset: Preset, given: Numbers) -> Numbers:
    usage = Usage(D(given["units"]), sent=D(given["precise_total_amount_cents"]) / HUNDRED)
    amount = Dynamic().amount(usage)
    return {"amount": amount, "unit_amount": unit_amount(amount, usage.quantity)}


def graduated_prorated(preset: Preset, given: Numbers) -> Numbers:
    tiers = tuple({**t, "to": t["upto"]} for t in given["tiers"])
    price = Graduated(tiers=preset.tiers(tiers))
    if given.get("recurring"):
        return seats(price, given)
    units = [D(u) for u in given["event_units"]]
    amount = prorated.graduated(price, zip(units, map(D, given["event_units_prorated"]), strict=True))
    return {"amount_2dp": amount, "unit_amount_2dp": unit_amount(amount, sum(units, D(0)))}


def seats(price: Graduated, given: Numbers) -> Numbers:
    """Seats that come and go on days of September, then carry over into October."""

    def change(day: str, units: str, period: Period) -> tuple[Decimal, Decimal]:
        left = len(day_range(Period(at(day), period.end), period))
        return D(units), D(units) * left / days(period)

    september = Period(*(at(day) for day in given["period"]))
    october = Period(september.end, at("2023-11-01"))
    changes = [change(day, units, september) for day, units in given["events"]]
    after_each = [cents(prorated.graduated(price, changes[: i + 1])) for i in range(len(changes))]
    there = sum((units for units, _ in changes), D(0))
    return {
        "before_any_event": cents(prorated.graduated(price, [])),
        "amount_cents_after_each_event": after_each,
        "invoice_total_cents": after_each[-1],
        "next_period_start_amount_cents": cents(prorated.graduated(price, [(there, there)])),
        "after_2023_10_17_plus20": cents(
            prorated.graduated(price, [(there, there), change("2023-10-17", "20", october)])
        ),
    }


# Charges


def rated(preset: Preset, given: Numbers, units: Decimal, **more: Any) -> Rated:
    price = PerUnit(unit=D(given["unit_price"])) if "unit_price" in given else graduated_price(preset, given)
    return rate(charge(price, **more), Usage(units))


def graduated_price(preset: Preset, given: Numbers) -> Graduated:
    return Graduated(tiers=preset.tiers(given["tiers"]), flat_at_zero=preset.flat_at_zero)


def maximum_spend(preset: Preset, given: Numbers) -> Numbers:
    """Billed in two parts: the second gets what the cap leaves after the first."""
    before, both = D(given["pre_units"]), D(given["pre_units"]) + D(given["units"])
    percent = D(given.get("discount_pct", 0))
    gross = rated(preset, given, both).gross - rated(preset, given, before).gross
    percent_off = gross * percent / HUNDRED
    capped = rated(preset, given, both, maximum=D(given["max_spend"]), discount_percent=percent)
    total = capped.amount - D(given["previously_billed"])
    off = gross - percent_off - total
    return {"amount": gross, "total": total, "discount": off, "max_discount": off, "pct_discount": percent_off}


def usage_discount(preset: Preset, given: Numbers) -> Numbers:
    free = split_free(D(given["pre_units"]), D(given["units"]), D(given["free_units"]))
    return {"billable": free.now, "pre_billable": free.before, "discounted_now": free.taken_now}


def overage(preset: Preset, given: Numbers) -> Numbers:
    used = sum((D(f["unit"]) * D(f["units"]) for f in given["features"]), D(0))
    commitment = Commitment(amount=D(given["commitment"]), overage_factor=D(given["overage_factor"]))
    return {"total": with_overage(used, commitment)}


def deltas(preset: Preset, given: Numbers) -> Numbers:
    price: Any
    if "unit_price" in given:
        price = PerUnit(unit=D(given["unit_price"]))
    elif "package_size" in given:
        price = Package(size=D(given["package_size"]), package=D(given["package_amount"]))
    else:
        price = Volume(tiers=preset.tiers(given["tiers"]))
    asked = charge(price, minimum=optional(given, "min_spend"))
    booked: list[Decimal] = []
    for i, units in enumerate(given["cumulative_units"]):
        final = given["final"][i] if "final" in given else True
        booked.append(booking(asked, Usage(D(units)), sum(booked, D(0)), iso("USD"), final=final))
    return {"booked": booked, "sum": sum(booked)}


def llm(preset: Preset, given: Numbers) -> Numbers:
    prices: dict[tuple[str, str], dict[str, Decimal]] = {}
    for provider, model, kind, _, price in given["rows"]:
        prices.setdefault((provider, model), {})[kind] = D(price) * 1_000_000
    table = tokens.PriceTable(
        "test",
        "USD",
        tuple(
            tokens.ModelPrice(provider=p, model=m, since="2024-01-01", per_million=kinds)
            for (p, m), kinds in prices.items()
        ),
    )
    cost = sum(table.cost(p, m, at("2024-06-01"), {kind: count}) for p, m, kind, count, _ in given["rows"])
    return {"usage": sum(row[3] for row in given["rows"]), "cost": cost}


# Aggregation


def weighted_sum(preset: Preset, given: Numbers) -> Numbers:
    period = Period(*(at(t) for t in given["period"]))
    events = [event(at(t), value=v, **({"region": g[0]} if g else {})) for t, v, *g in given["events"]]
    groups = (given["group"],) if "group" in given else ()
    asked = meter(Aggregation.WEIGHTED_SUM, carries=True, group_by=groups)
    start = Carried(D(given.get("initial", 0)))
    read = measure(asked, events, period, {} if groups else {(): start})
    if groups:
        return {group[0][1]: round_to(usage.quantity, 5) for group, usage in read.items()}
    total = sum((D(v) for _, v in given["events"]), start.level)
    return {"value_5dp": read[()].quantity, "count": read[()].events, "end_level": total}


def latest(preset: Preset, given: Numbers) -> Numbers:
    events = [event(JANUARY.start + i, value=v) for i, v in enumerate(given["events_in_time_order"])]
    read = measure(meter(Aggregation.LATEST), events, JANUARY)[()]
    return {"value": read.quantity, "count": read.events}


def plain_sum(preset: Preset, given: Numbers) -> Numbers:
    old = [event(JANUARY.start - DAY - i, value=v) for i, v in enumerate(given["old_events_before_period"])]
    new = [event(JANUARY.start + i, value=v) for i, v in enumerate(given["events"])]
    read = measure(meter(Aggregation.SUM, carries=given["recurring"]), [*old, *new], JANUARY)[()]
    return {"value": read.quantity, "count": read.events}


def unique(preset: Preset, given: Numbers) -> Numbers:
    events = [event(JANUARY.start, id=v, value=v) for v in given["in_period"]]
    asked = meter(Aggregation.UNIQUE_COUNT, carries=given["recurring"])
    before = {(): Carried(values=frozenset(given["before_period"]))}
    return {"value": measure(asked, events, JANUARY, before)[()].quantity}


def unique_prorated(preset: Preset, given: Numbers) -> Numbers:
    """One value came in the period and stayed, or was there from the start until the part that is billed ended."""
    assert days(JANUARY) == given["period_days"]
    asked = meter(Aggregation.UNIQUE_COUNT, carries=True, prorated=True)
    (active,) = given["active_days"]
    if given["full"]:
        came = event(JANUARY.end - active * DAY, value="new")
        read = measure(asked, [came], JANUARY, {(): Carried(values=frozenset({"old"}))})
    else:
        ended = Period(JANUARY.start, JANUARY.start + active * DAY)
        read = measure(asked, [], ended, {(): Carried(values=frozenset({"old"}))}, JANUARY)
        gone = event(ended.end - 1, value="old", operation="remove")
        removed = measure(asked, [gone], JANUARY, {(): Carried(values=frozenset({"old"}))})
        assert removed == {(): Usage(read[()].quantity, events=1)}
    return {"value": read[()].quantity}


def sum_prorated(preset: Preset, given: Numbers) -> Numbers:
    assert days(JANUARY) == given["period_days"]
    asked = meter(Aggregation.SUM, carries=True, prorated=True)
    persisted = sum((D(v) for v in given["persisted"]), D(0))
    events = [event(JANUARY.end - left * DAY, id=str(i), value=v) for i, (v, left) in enumerate(given["in_period"])]
    read = measure(asked, events, JANUARY, {(): Carried(persisted)})[()]
    return {"value": read.quantity, "count": len(given["persisted"]) + read.events}


def unit_rounding(preset: Preset, given: Numbers) -> Numbers:
    modes = {"round": Rounding.HALF_UP, "floor": Rounding.FLOOR, "ceil": Rounding.CEIL}
    rounding = None
    if given["function"]:
        rounding = UnitRounding(modes[given["function"]], given["precision"] or 0)
    asked = meter(Aggregation.SUM, rounding=rounding)
    return {"units": measure(asked, [event(JANUARY.start, value=given["units"])], JANUARY)[()].quantity}


RUNS = {
    "price.graduated": graduated,
    "price.graduated_blocks": graduated,
    "price.volume": volume,
    "price.volume_blocks": volume,
    "price.per_unit": per_unit,
    "price.package": package,
    "price.percentage": percentage,
    "price.graduated_percentage": graduated_percentage,
    "price.graduated_prorated": graduated_prorated,
    "price.dynamic": dynamic,
    "commitment.max_spend": maximum_spend,
    "commitment.overage": overage,
    "discount.usage": usage_discount,
    "correction.delta": deltas,
    "cost.llm": llm,
    "agg.weighted_sum": weighted_sum,
    "agg.latest": latest,
    "agg.sum": plain_sum,
    "agg.unique_count": unique,
    "agg.unique_count_prorated": unique_prorated,
    "agg.sum_prorated": sum_prorated,
    "agg.rounding": unit_rounding,
}
