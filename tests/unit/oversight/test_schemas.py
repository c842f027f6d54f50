"""Schemas of arguments: what does not fit is neither asked about nor approved instead."""

from __future__ import annotations

import json

import pytest

from creto.common.errors import InvalidInput
from creto.common.ids import PolicyId
from creto.oversight import BatchItem, RequestState, schemas
from creto.oversight.arguments import parsed
from tests.unit.oversight.test_scenarios import refused
from tests.unit.oversight.world import P1, World

SCHEMA = json.dumps(
    {
        "type": "object", "required": ["amount"], "additionalProperties": False,
        "properties": {
            "amount": {"type": "number", "minimum": 0, "maximum": 500}, "note": {"type": "string", "maxLength": 5},
            "to": {"type": "string", "pattern": "[a-z]+"}, "days": {"type": ["integer", "null"]}, "now": {"type": "boolean"},
            "rows": {"type": "array", "maxItems": 2, "items": {"enum": [1, "a"]}},
        },
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ({"amount": 500}, None),
        ({"amount": 1.5, "note": "abcde", "to": "ann", "days": 3, "now": True, "rows": [1, "a"]}, None),
        ({"amount": 1, "days": None}, None),
        ({}, "arguments.amount"),
        ([], "arguments"),
        ({"amount": "lots"}, "arguments.amount"),
        ({"amount": True}, "arguments.amount"),
        ({"amount": 501}, "arguments.amount"),
        ({"amount": -1}, "arguments.amount"),
        ({"amount": 1, "x": [1]}, "arguments.x"),
        ({"amount": 1, "note": "abcdef"}, "arguments.note"),
        ({"amount": 1, "to": "ann;"}, "arguments.to"),
        ({"amount": 1, "to": "a" * 1_001}, "arguments.to"),
        ({"amount": 1, "days": 1.5}, "arguments.days"),
        ({"amount": 1, "now": 0}, "arguments.now"),
        ({"amount": 1, "rows": [1, "1"]}, "arguments.rows[1]"),
        ({"amount": 1, "rows": [1, 1, 1]}, "arguments.rows"),
    ],
)
def test_what_fits_and_the_place_that_does_not(arguments: object, place: str | None) -> None:
    value = parsed(json.dumps(arguments).encode())
    if place is None:
        schemas.fit(schemas.read(SCHEMA), value, "")
        return
    with pytest.raises(InvalidInput) as caught:
        schemas.fit(schemas.read(SCHEMA), value, "")
    assert (caught.value.code, caught.value.field) == ("OV-400", place)


@pytest.mark.parametrize(
    "schema",
    [
        "[]", "{", '{"type": "text"}', '{"oneOf": []}', '{"pattern": "("}', '{"maximum": "5"}', '{"items": []}',
        '{"properties": {"a": {"format": "date"}}}', '{"required": [1]}', '{"enum": 1}', '{"additionalProperties": 1}',
    ],
)  # fmt: skip
async def test_a_schema_that_could_not_be_kept_to_is_refused(world: World, schema: str) -> None:
    await refused("OV-400", world.policy(P1, arguments_schemas={"*": schema}))


async def test_what_does_not_fit_is_neither_asked_nor_approved_instead(world: World) -> None:
    await world.permit_all()
    policy = await world.policy(P1, policy_id=PolicyId("strict"), arguments_schemas={"funds.transfer": SCHEMA})
    await refused("OV-400", world.request(policy, {"amount": 501}))
    await refused("OV-400", world.request(policy, items=[BatchItem(item_id="a", arguments=b'{"sum":1}')]))
    await world.request(policy, {"anything": 1}, action="mail.send")
    record = await world.request(policy, {"amount": 500})
    await refused("OV-400", world.approve(record, "alice", arguments=b'{"amount":"lots","x":[1]}'))
    assert (await world.approve(record, "alice", arguments=b'{"amount":40}')).state is RequestState.APPROVED


async def test_a_schema_of_an_action_goes_before_that_of_any(world: World) -> None:
    policy = await world.policy(P1, arguments_schemas={"*": SCHEMA, "funds.transfer": "{}"})
    await world.request(policy, {"anything": 1})
    await refused("OV-400", world.request(policy, {"anything": 1}, action="mail.send"))
