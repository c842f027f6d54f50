"""Metering: from what agents used to invoices that can be proved line by line.

    tokens = Meter(meter_id="tokens", event_type="inference", aggregation=Aggregation.SUM, property="input_tokens")
    charge = Charge(charge_id="tokens", meter=tokens, price=PerUnit(unit=Decimal("0.000003")))
    plan = Plan(plan_id="team", version=1, name="Team", currency="USD", cycle=CycleUnit.MONTH, charges=(charge,))

    lines = bill(Bill(plans=(plan,), subscription=subscription, period=period), events)
    invoice = draft(heading, lines, Terms(coupons=coupons, taxes=taxes, grants=grants, remaining=remaining))

Rules are pure and stand in files named after them: `aggregation`, `prices`, `charges`, `plans`, `periods`, `credits`, `coupons`, `taxes`,
`attribution`, `invoices`, `corrections`. `presets` has the switches that reproduce other systems' numbers.
"""
