"""`creto approvals approve --item`: a vote on the items that there are, or none."""

from __future__ import annotations

import click
import pytest

from creto.cli.approvals import only_items
from creto.oversight import Verdict


def test_the_others_are_denied() -> None:
    assert only_items(["a", "b"], ["a"]) == {"a": Verdict.APPROVE, "b": Verdict.DENY}
    assert only_items(["a", "b"], []) == {}


@pytest.mark.parametrize("known", [[], ["a", "b"]])
def test_an_item_that_is_not_there_is_no_vote(known: list[str]) -> None:
    with pytest.raises(click.UsageError, match="Nothing was voted"):
        only_items(known, ["a", "x"])
