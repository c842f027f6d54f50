"""What a person sees of approvals in a terminal of 80 columns: each in one line, its id whole."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from creto.cli import approvals, approvers, grants, output
from creto.cli.output import Column, Output
from creto.common.timestamps import SECOND

ID, AGENT, NOW = (
    "01a1ff1e-7f6d-7000-8291-269bb4da822a",
    "agent:nhi:ed25519:G32q6B2kovuW5eHfEdrtsk5bQvmZoGwgkMYNinM2VH1u",
    1_800_000_000 * SECOND,
)
ASKED = SimpleNamespace(
    request_id=f"req-{ID}",
    state="escalated",
    risk="critical",
    effect="planner wants to transfer money: bank:acme",
    policy_id="large-transfers",
    ends_at=NOW,
    decided_at=None,
)
LOST = SimpleNamespace(
    request_id=f"req-{ID}",
    channel="webhook",
    address="approver.number.one@corp.example",
    kind="escalated",
    state="queued",
    attempts=12,
    error="the relay said 451 and nothing else",
)
GRANT = SimpleNamespace(
    grant_id=f"grant-{ID}",
    kind="standing",
    agent=AGENT,
    action="funds.transfer.abroad",
    resource="bank:acme:account:7",
    uses=0,
    uses_max=3,
    ended_at=None,
    expires_at=NOW,
)
CONTACT = SimpleNamespace(channel="webhook", address=f"whe-{ID}", person=AGENT)
GROUP = SimpleNamespace(name="finance", members=(AGENT, AGENT))
TABLES: dict[str, tuple[Sequence[Column[Any]], SimpleNamespace]] = {
    "requests": (approvals.COLUMNS, ASKED), "lost": (approvers.LOST, LOST), "grants": (grants.GRANT, GRANT),
    "contacts": (approvers.CONTACT, CONTACT), "groups": (approvers.GROUP, GROUP),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_it_fits_a_terminal(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    columns, row = TABLES[name]
    monkeypatch.setattr(output, "terminal_chars", lambda: 80)
    Output().items([row], columns)
    printed = capsys.readouterr().out
    assert all(len(line.rstrip()) <= 80 for line in printed.splitlines())
    assert all(own in printed for own in (getattr(row, "request_id", ""), getattr(row, "grant_id", "")))
