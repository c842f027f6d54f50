"""What the command line says to the program that called it: one number for each kind of end.

    creto policies check …; case $? in 4) echo denied;; 5) echo ask a human;; esac

INVARIANT: a number never changes its meaning; scripts depend on it.
"""

from __future__ import annotations

from enum import IntEnum

from creto.common.errors import (
    ApprovalDenied,
    ApprovalTimeout,
    AttestationFailed,
    ConnectionFailed,
    DeliveryDenied,
    EgressDenied,
    EnablementError,
    InvalidInput,
    NotFound,
    OversightRequired,
    QuotaExceeded,
    RecipientNotFound,
    SandboxNotFound,
    SignatureVerificationFailed,
    Timeout,
    TopicNotFound,
    Unauthorized,
)


class Exit(IntEnum):
    OK = 0
    FAILURE = 1
    USAGE = 2
    NOT_FOUND = 3
    DENIED = 4
    NEEDS_APPROVAL = 5
    UNAVAILABLE = 6
    VERIFICATION_FAILED = 7
    INTERRUPTED = 130


MEANINGS: dict[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILURE: "it failed",
    Exit.USAGE: "the command, its input or the configuration is not valid",
    Exit.NOT_FOUND: "what was asked for is not there",
    Exit.DENIED: "not permitted, or over a quota",
    Exit.NEEDS_APPROVAL: "a human must approve it first",
    Exit.UNAVAILABLE: "a service did not answer; trying again may help",
    Exit.VERIFICATION_FAILED: "a signature, a proof or a log does not hold",
    Exit.INTERRUPTED: "interrupted by Ctrl-C",
}

KINDS: tuple[tuple[Exit, tuple[type[EnablementError], ...]], ...] = (
    (Exit.NEEDS_APPROVAL, (OversightRequired,)),
    (Exit.VERIFICATION_FAILED, (SignatureVerificationFailed, AttestationFailed)),
    (Exit.NOT_FOUND, (NotFound, SandboxNotFound, RecipientNotFound, TopicNotFound)),
    (Exit.DENIED, (Unauthorized, ApprovalDenied, ApprovalTimeout, QuotaExceeded, EgressDenied, DeliveryDenied)),
    (Exit.UNAVAILABLE, (ConnectionFailed, Timeout)),
    (Exit.USAGE, (InvalidInput,)),
)
# Damaged bytes, proofs and logs are errors of several kinds; the code says that it is one of these.
NOT_VERIFIED = frozenset(
    {
        "MT-422",
        "PL-213",
        "PL-217",
        "PL-220",
        "PL-602",
        "PL-603",
        "PL-604",
        "PL-605",
        "PL-606",
        "PL-607",
        "PL-608",
        "PL-801",
    }
)
NOT_YET = frozenset({"PL-609"})


def exit_of(error: EnablementError) -> Exit:
    """The number that an error ends a command with."""
    if error.code in NOT_VERIFIED:
        return Exit.VERIFICATION_FAILED
    if error.code in NOT_YET:
        return Exit.UNAVAILABLE
    return next((number for number, kinds in KINDS if isinstance(error, kinds)), Exit.FAILURE)
