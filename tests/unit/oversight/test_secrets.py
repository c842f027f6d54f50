"""Secrets in what an approver is shown: masked wherever they stand, and on the bus too."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from creto.common.limits import BUS_PAYLOAD_BYTES_MAX, OVERSIGHT_RISK_FACTORS_MAX, OVERSIGHT_TEXT_CHARS_MAX
from creto.common.redact import redacted_text
from creto.common.timestamps import SECOND
from creto.contracts import SUBJECT_NOTIFICATION, RiskFactor, RiskLevel
from creto.oversight import Channel, NotificationChannel, render
from creto.oversight.types import EscalationTier
from tests.unit.oversight.test_service import events
from tests.unit.oversight.world import P1, TENANT, World, id_of

TOKEN = "ghp_abcdefghijklmnopqrstuvwxyz0123456789"
SECRETS = (
    TOKEN, "github_pat_11ABCDEFG0123456789_abcdef", "glpat-abcdefghijklmnopqrst", "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "npm_abcdefghijklmnopqrstuvwxyz0123456789",
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_a_credential_is_known_by_its_looks(secret: str) -> None:
    assert redacted_text(f"use {secret} now") == "use *** now"


@pytest.mark.parametrize("text", ["ghp_short", "an npm_package", "hf_models/llama", "see eyJ", "object:reports/2026"])
def test_what_only_begins_like_one_stays(text: str) -> None:
    assert redacted_text(text) == text


@pytest.mark.parametrize(
    "arguments",
    [{"secrets": {"a": "Xq7"}}, {"credentials": [{"user": "Xq7"}]}, {"auth": {"api-key": {"v": "Xq7"}}}, {"x": {"password": ["Xq7"]}}],
)  # fmt: skip
async def test_all_that_is_beneath_a_secret_is_one(world: World, arguments: object) -> None:
    shown = render((await world.request(P1, arguments)).ask)
    assert "Xq7" not in shown.text()
    assert any("masked" in warning for warning in shown.warnings)


async def test_a_secret_in_the_resource_is_in_no_line(world: World) -> None:
    for resource in ("site:https://x/?token=hunter2hunter2", "db:postgres://u:p4ss@h/db"):
        shown = render((await world.request(P1, resource=resource)).ask)
        assert "hunter2" not in shown.text()
        assert "p4ss" not in shown.text()


@pytest.mark.parametrize("full", [False, True])
async def test_the_bus_says_no_more_than_the_card(world: World, full: bool) -> None:
    channels = (NotificationChannel(channel=Channel.SLACK, full_arguments=full),)
    tiers = (EscalationTier(name="t", approvers=(id_of("alice"),), channels=channels),)
    await world.contact("alice", "U1")
    policy = await world.policy(P1, tiers=tiers)
    factor = RiskFactor(name="n", level=RiskLevel.LOW, description=f"uses {TOKEN}")
    words = "\n".join(["one", f"my {TOKEN}", "three", "four", "five"])
    await world.request(policy, description=words, risk_factors=(factor,))
    (row,) = await events(world, f"{SUBJECT_NOTIFICATION}.slack")
    assert TOKEN.encode() not in row.payload
    context = json.loads(row.payload)["notification_payload"]["reasoning_context"]
    assert ("five" in context) is full


@pytest.mark.parametrize("letter", ["\x01", "\u202e", "\U0001f600", "\\"], ids=ascii)
async def test_what_an_agent_says_has_room_on_the_bus_whatever_it_is(world: World, letter: str) -> None:
    """Else nobody at the next tier could be told, and the request would neither escalate nor end."""
    channels = (NotificationChannel(channel=Channel.SLACK, full_arguments=True),)
    policy = await world.policy(P1, tiers=(P1.tiers[0], replace(P1.tiers[1], channels=channels)))
    await world.contact("bob", "U-bob")
    words = letter * OVERSIGHT_TEXT_CHARS_MAX
    factor = RiskFactor(name=words, level=RiskLevel.LOW, description=words)
    record = await world.request(policy, description=words, risk_factors=OVERSIGHT_RISK_FACTORS_MAX * (factor,))
    world.clock.advance(policy.tiers[0].timeout_s * SECOND)
    assert await world.oversight.advance(TENANT, record.ask.request_id)
    (row,) = await events(world, f"{SUBJECT_NOTIFICATION}.slack")
    assert len(row.payload) < BUS_PAYLOAD_BYTES_MAX // 2
