"""What is proposed in advance on the page: which field does not fit, in the words that every face has."""

from __future__ import annotations

import pytest

from creto.common.errors import InvalidInput
from creto.edge.console.grants import wanted
from creto.edge.console.site import Form
from tests.unit.oversight.world import id_of

FIELDS = {"policy": "p", "agent": id_of("bot-7"), "action": "email.send", "resource": "list:team", "minutes": "60", "uses": "1"}  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("action", "", "grant.action: Expected `str` of length >= 1, got str of length 0"),
        ("uses", "0", "grant.uses: Expected `int` >= 1, got 0"),
        ("agent", "carl", "agent: expected agent:nhi:ed25519:<base58 of 32 bytes>, got carl"),
        (
            "limits",
            "amount < 4",
            'limits: expected a limit a line, as amount <= 40 or currency = "EUR", got amount < 4',
        ),
    ],
)
def test_what_does_not_fit_is_told_by_its_field(field: str, value: str, told: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        wanted(Form({name: [one] for name, one in {**FIELDS, field: value}.items()}))
    assert caught.value.message == told
