"""Standard Webhooks: the published vector, both signatures, one attempt, the schedule."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common.errors import EnablementError, InvalidInput, SignatureVerificationFailed
from creto.common.limits import WEBHOOK_BODY_BYTES_MAX, WEBHOOK_SKEW_S
from creto.common.timestamps import SECOND
from creto.connectors.destinations import Destinations
from creto.connectors.webhook import (
    WAITS_S,
    Outcome,
    Sender,
    Target,
    next_wait_s,
    public_key,
    public_text,
    secret_bytes,
    secret_text,
    signed,
    verify,
)
from creto.platform.consensus.testing import ManualClock
from creto.platform.crypto import SignatureSuite, SigningKey, random_bytes
from tests.receivers import Receiver, Say

NOW_S = 1_700_000_000
BODY = b'{"type":"test"}'
SECRET, KEY = random_bytes(32), SigningKey.generate(SignatureSuite.ED25519)
# An Ed25519 pair as the reference libraries publish it.
PUBLISHED_SEED = "6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLISHED_KEY = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="


def headers(**changes: str) -> dict[str, str]:
    return signed(Target("https://x/", (SECRET,), (KEY,)), "msg_1", NOW_S, BODY) | changes


def checked(found: dict[str, str], body: bytes = BODY, now_s: int = NOW_S) -> str:
    return verify(
        found, body, now=now_s * SECOND, secrets=(secret_text(SECRET),), public_keys=(public_text(KEY.public),)
    )


def test_the_published_vector(vectors: Path) -> None:
    known = json.loads((vectors / "oversight.json").read_text())["vectors"]["standard_webhooks_v1"]
    target = Target("https://x/", (secret_bytes(known["secret"]),))
    made = signed(target, known["webhook-id"], known["webhook-timestamp"], known["body"].encode())
    assert made["webhook-signature"] == known["signature"]
    assert verify(
        made, known["body"].encode(), now=known["webhook-timestamp"] * SECOND, secrets=(known["secret"],)
    ) == known["webhook-id"]  # fmt: skip


def test_keys_are_spelled_as_the_reference_libraries_spell_them() -> None:
    import base64

    seed = base64.b64decode(PUBLISHED_SEED)[:32]
    assert public_text(SigningKey.from_seed(SignatureSuite.ED25519, seed).public) == PUBLISHED_KEY
    assert public_text(public_key(PUBLISHED_KEY)) == PUBLISHED_KEY


def test_either_signature_is_enough_for_who_knows_its_key() -> None:
    made = headers()
    assert [one.partition(",")[0] for one in made["webhook-signature"].split(" ")] == ["v1", "v1a"]
    assert verify(made, BODY, now=NOW_S * SECOND, secrets=(secret_text(SECRET),)) == "msg_1"
    assert verify(made, BODY, now=NOW_S * SECOND, public_keys=(public_text(KEY.public),)) == "msg_1"


def test_unknown_versions_are_passed_over() -> None:
    made = headers()
    made["webhook-signature"] = "v9,AAAA v1 v1, ," + " " + made["webhook-signature"]
    assert checked(made) == "msg_1"


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-id": "msg_2"}, {"webhook-id": "msg.1"}, {"webhook-id": ""}, {"webhook-timestamp": str(NOW_S + 1)},
        {"webhook-timestamp": f"{NOW_S}.7"}, {"webhook-timestamp": "abc"}, {"webhook-timestamp": "-1"},
        {"webhook-timestamp": "٣"}, {"webhook-signature": ""}, {"webhook-signature": "v1"}, {"webhook-signature": "v1,ä"},
        {"webhook-signature": "v1a,AAAA"}, {"webhook-signature": "v2,AAAA"}, {"webhook-signature": "v1,"},
    ],
)  # fmt: skip
def test_anything_else_is_refused(changes: dict[str, str]) -> None:
    with pytest.raises(SignatureVerificationFailed) as caught:
        checked(headers(**changes))
    assert caught.value.code == "PL-941"


def test_a_signature_of_one_kind_is_none_of_the_other() -> None:
    mine = signed(Target("https://x/", (SECRET,)), "msg_1", NOW_S, BODY)
    mine["webhook-signature"] = mine["webhook-signature"].replace("v1,", "v1a,")
    with pytest.raises(SignatureVerificationFailed):
        checked(mine)


@pytest.mark.parametrize("apart_s", [-WEBHOOK_SKEW_S - 1, WEBHOOK_SKEW_S + 1])
def test_an_old_message_is_a_replay(apart_s: int) -> None:
    with pytest.raises(SignatureVerificationFailed):
        checked(headers(), now_s=NOW_S + apart_s)


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=80), max_size=5), st.binary(max_size=50))
def test_any_bytes_give_a_documented_error(found: dict[str, str], body: bytes) -> None:
    with pytest.raises(SignatureVerificationFailed):
        checked({**headers(), "webhook-signature": "v1,x", **found}, body + b"!")


@pytest.mark.parametrize("text", ["", "whsec_", "whsec_AAAA", "whpk_AAAA", "whsec_ä", "AAAA" * 10])
def test_secrets_have_one_form(text: str) -> None:
    with pytest.raises(InvalidInput):
        secret_bytes(text)
    with pytest.raises(InvalidInput):
        public_key(text)


def test_a_target_does_not_show_its_secrets() -> None:
    assert "secrets" in repr(Target("https://x/", (b"s" * 32,)))
    assert "sss" not in repr(Target("https://x/", (b"s" * 32,)))


# One attempt


def sender() -> Sender:
    return Sender(Destinations(allowed_networks=("127.0.0.0/8",)), ManualClock())


@pytest.mark.parametrize(
    ("say", "outcome", "wait_s"),
    [
        (Say(200), Outcome.DELIVERED, None), (Say(204, body=b""), Outcome.DELIVERED, None), (Say(302), Outcome.FAILED, None),
        (Say(400), Outcome.FAILED, None), (Say(410), Outcome.GONE, None), (Say(500), Outcome.FAILED, None),
        (Say(429, {"retry-after": "17"}), Outcome.THROTTLED, 17.0), (Say(503), Outcome.THROTTLED, None),
        (Say(cut=True), Outcome.FAILED, None),
    ],
)  # fmt: skip
async def test_what_came_of_it(say: Say, outcome: Outcome, wait_s: float | None) -> None:
    async with Receiver.open() as receiver:
        receiver.answers.append(say)
        attempt = await sender().send(Target(receiver.url(), (SECRET,)), "msg_1", BODY)
        assert (attempt.outcome, attempt.retry_after_s) == (outcome, wait_s)


async def test_the_id_stays_and_the_time_moves() -> None:
    clock = ManualClock()
    one = Sender(Destinations(allowed_networks=("127.0.0.0/8",)), clock)
    async with Receiver.open() as receiver:
        for _ in range(2):
            await one.send(Target(receiver.url(), (SECRET,), (KEY,)), "msg_1", BODY)
            clock.advance(60 * SECOND)
        first, second = (taken.headers for taken in receiver.taken)
        assert first["webhook-id"] == second["webhook-id"]
        assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
        for taken in receiver.taken:
            now = int(taken.headers["webhook-timestamp"]) * SECOND
            assert verify(taken.headers, taken.body, now=now, secrets=(secret_text(SECRET),)) == "msg_1"


async def test_a_destination_that_is_not_allowed_is_an_outcome() -> None:
    attempt = await Sender(Destinations(), ManualClock()).send(Target("https://127.0.0.1/", (SECRET,)), "msg_1", BODY)
    assert attempt.outcome is Outcome.REFUSED


@pytest.mark.parametrize(
    ("target", "message_id", "body"),
    [
        (Target("https://x/"), "msg_1", BODY),
        (Target("https://x/", (SECRET,)), "msg.1", BODY),
        (Target("https://x/", (SECRET,)), "msg_1", b"x" * (WEBHOOK_BODY_BYTES_MAX + 1)),
        (Target("https://x/", (b"short",)), "msg_1", BODY),
    ],
)
async def test_a_message_that_is_none_is_refused(target: Target, message_id: str, body: bytes) -> None:
    with pytest.raises(EnablementError):
        await sender().send(target, message_id, body)


def test_the_schedule() -> None:
    assert [next_wait_s(n) for n in range(1, 11)] == [*WAITS_S, None]
    assert next_wait_s(1, retry_after_s=60.0) == 60.0
    assert next_wait_s(2, retry_after_s=60.0) == 300.0
