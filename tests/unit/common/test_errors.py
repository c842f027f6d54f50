"""Errors: the spec's structure, its codes, and what they become on the way out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common import codes, wire
from creto.common.codes import CODES, ExponentialBackoff, Never, RetryAfter
from creto.common.errors import (
    ApprovalDenied,
    EgressDenied,
    EnablementError,
    ErrorBody,
    IdempotencyConflict,
    InternalError,
    InvalidInput,
    NotFound,
    OversightRequired,
    ProductId,
    QuotaExceeded,
    shown,
)

SPEC_CODES = ["RT-202", "RT-403", "RT-404", "RT-429", "RT-503", "MT-401", "MT-429", "MT-503", "OV-202", "OV-403", "OV-503", "MS-001", "MS-503", "PL-503"]  # fmt: skip
SPEC_KINDS = [
    "NotFound", "AlreadyExists", "InvalidInput", "Unauthorized", "InternalError", "QuotaExceeded", "IdempotencyConflict",
    "OversightRequired", "ApprovalDenied", "ApprovalTimeout", "SandboxSpawnFailed", "SandboxNotFound", "AttestationFailed",
    "EgressDenied", "EncryptionFailed", "SignatureVerificationFailed", "DeliveryDenied", "RecipientNotFound", "TopicNotFound",
    "AuthzError", "AuditError", "NhiError", "CryptoError", "Timeout", "ConnectionFailed",
]  # fmt: skip


def quota() -> QuotaExceeded:
    """The spec's own example: a sandbox refused because a quota is used up."""
    inner = QuotaExceeded(
        "MT-429", "Monthly sandbox quota exceeded (100/100)", retry_after_s=86_400, trace_id="trace-xyz"
    )
    return QuotaExceeded(
        "RT-429", "Cannot spawn sandbox: quota exceeded", caused_by=inner, retry_after_s=86_400, trace_id="trace-xyz"
    )


@pytest.mark.parametrize("code", SPEC_CODES)
def test_every_code_of_the_spec_has_a_row(code: str) -> None:
    assert code in CODES


@pytest.mark.parametrize("kind", SPEC_KINDS)
def test_every_kind_of_the_spec_is_a_class(kind: str) -> None:
    assert kind in EnablementError.kinds


def test_every_row_names_a_class_and_every_class_has_a_code_of_its_kind() -> None:
    for spec in codes.ROWS:
        assert spec.kind in EnablementError.kinds, spec.code
    for name, kind in EnablementError.kinds.items():
        assert CODES[kind.default_code].kind in {name, kind.__base__.__name__}


def test_codes_are_unique() -> None:
    assert len(CODES) == len(codes.ROWS)


def test_the_cause_chain_travels_whole() -> None:
    error = quota()
    back = EnablementError.from_body(wire.decode(wire.encode(error.body()), ErrorBody))
    assert isinstance(back, QuotaExceeded)
    assert [cause.code for cause in back.causes()] == ["RT-429", "MT-429"]
    assert back.product is ProductId.RUNTIME
    assert back.body() == error.body()


def test_retry_strategies_are_the_spec_s() -> None:
    assert EnablementError("PL-503").retry_strategy() == ExponentialBackoff(0.1, 30.0, 5)
    assert quota().retry_strategy() == RetryAfter(86_400)
    assert EnablementError("MT-429").retry_strategy() == RetryAfter(3_600)
    for code in ("RT-404", "MT-401", "OV-403", "MS-001", "PL-400"):
        assert EnablementError(code).retry_strategy() == Never()


def test_quota_errors_are_not_retryable_as_in_the_spec_s_example() -> None:
    assert quota().retryable is False
    assert EnablementError("PL-503").retryable is True


def test_a_person_sees_what_why_and_what_to_do() -> None:
    error = NotFound("PL-102", "agent x is not registered", trace_id="t1").with_context("agents.get")
    assert error.rendered().splitlines() == [
        "PL-102  agent x is not registered",
        "  while agents.get",
        "  hint: `creto agents list` shows those that are.",
        "  trace: t1",
    ]


def test_bad_input_says_field_got_and_expected() -> None:
    error = InvalidInput.of("limit", got=-1, expected="an integer from 1 to 1000")
    assert (error.code, error.field, error.got, error.expected) == (
        "PL-400",
        "limit",
        "-1",
        "an integer from 1 to 1000",
    )


def test_a_code_from_a_newer_release_is_an_unknown_fault() -> None:
    body = ErrorBody(code="PL-998", message="from the future", product=ProductId.PLATFORM)
    assert isinstance(EnablementError.from_body(body), InternalError)


@given(st.text())
def test_what_was_got_is_shown_on_one_short_printable_line(text: str) -> None:
    assert shown(text) is not None
    assert str(shown(text)).isprintable() or text == ""
    assert len(str(shown(text))) <= 4 * 201 + 1


@pytest.mark.parametrize(
    ("error", "details"),
    [
        (OversightRequired("RT-202", policy_id="large-transfer"), {"policy_id": "large-transfer"}),
        (QuotaExceeded("MT-429", limit=100, used=0), {"limit": 100, "used": 0}),
        (IdempotencyConflict("MT-409", existing_id="e-1"), {"existing_id": "e-1"}),
        (EgressDenied(destination="evil.com:443"), {"destination": "evil.com:443"}),
        (ApprovalDenied(reason="too much"), {"reason": "too much"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_class_carries_travels_with_it(error: EnablementError, details: dict[str, object]) -> None:
    back = EnablementError.from_body(wire.decode(wire.encode(error.body()), ErrorBody))
    assert type(back) is type(error)
    assert back.details == details
    assert {name: getattr(back, name) for name in error.carries} == details


def test_a_class_carries_nothing_else() -> None:
    with pytest.raises(TypeError, match="limt"):
        QuotaExceeded("MT-429", limt=1)


def test_an_error_of_an_unknown_area_keeps_its_product() -> None:
    """A newer release may have codes that begin otherwise."""
    body = ErrorBody(code="ZZ-001", message="from afar", product=ProductId.RUNTIME)
    back = EnablementError.from_body(body)
    assert (type(back), back.code, back.product) == (InternalError, "ZZ-001", ProductId.RUNTIME)
