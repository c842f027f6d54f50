"""The code table: one row says what a code is, how it maps to HTTP and gRPC, and whether trying again can help.

INVARIANT: a code never changes its kind; new failures get new codes.
"""

from __future__ import annotations

from enum import IntEnum

import msgspec


class GrpcStatus(IntEnum):
    """The numbers of the gRPC status codes that we use; this floor loads no gRPC library."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Never(msgspec.Struct, frozen=True, tag="never"):
    """Trying again gives the same answer."""


class ExponentialBackoff(msgspec.Struct, frozen=True, tag="exponential_backoff"):
    """Doubling waits with jitter."""

    initial_delay_s: float = 0.1
    max_delay_s: float = 30.0
    max_attempts: int = 5


class FixedDelay(msgspec.Struct, frozen=True, tag="fixed_delay"):
    """The same wait each time."""

    delay_s: float
    max_attempts: int


class RetryAfter(msgspec.Struct, frozen=True, tag="retry_after"):
    """Once, when the period has passed."""

    delay_s: float = 3600.0


RetryStrategy = Never | ExponentialBackoff | FixedDelay | RetryAfter


class CodeRow(msgspec.Struct, frozen=True):
    code: str
    kind: str
    http: int
    grpc: GrpcStatus
    title: str
    hint: str | None = None
    retry: RetryStrategy = Never()

    @property
    def retryable(self) -> bool:
        """Whether the caller may try again now; a quota must first reset, so RetryAfter is not."""
        return isinstance(self.retry, ExponentialBackoff | FixedDelay)


BACKOFF = ExponentialBackoff()
G = GrpcStatus

# fmt: off
ROWS: tuple[CodeRow, ...] = (
    # Platform: common
    CodeRow("PL-202", "OversightRequired", 202, G.FAILED_PRECONDITION, "A human must approve this first", "Ask for approval, then try again with the override token."),
    CodeRow("PL-400", "InvalidInput", 400, G.INVALID_ARGUMENT, "The input is not valid"),
    CodeRow("PL-401", "Unauthorized", 401, G.UNAUTHENTICATED, "The caller is not authenticated", "Send a bearer token or use a client certificate; `creto keys token` makes one."),
    CodeRow("PL-403", "Unauthorized", 403, G.PERMISSION_DENIED, "Not permitted", "`creto policies why` shows which policy decided."),
    CodeRow("PL-404", "NotFound", 404, G.NOT_FOUND, "Not found"),
    CodeRow("PL-405", "InvalidInput", 405, G.UNIMPLEMENTED, "The method is not allowed here"),
    CodeRow("PL-406", "InvalidInput", 406, G.INVALID_ARGUMENT, "No representation fits the Accept header"),
    CodeRow("PL-408", "Timeout", 408, G.DEADLINE_EXCEEDED, "The request did not arrive in time"),
    CodeRow("PL-409", "AlreadyExists", 409, G.ALREADY_EXISTS, "It already exists"),
    CodeRow("PL-410", "IdempotencyConflict", 409, G.ABORTED, "The idempotency key was used with another payload", "Use a new key for a new request."),
    CodeRow("PL-411", "IdempotencyConflict", 409, G.ABORTED, "The operation with this idempotency key is still open", "Wait for it to finish, then ask again.", FixedDelay(0.1, 50)),
    CodeRow("PL-412", "AlreadyExists", 412, G.FAILED_PRECONDITION, "It changed in the meantime", "Read it again and repeat the change on the new version."),
    CodeRow("PL-413", "InvalidInput", 413, G.OUT_OF_RANGE, "Too large"),
    CodeRow("PL-415", "InvalidInput", 415, G.INVALID_ARGUMENT, "The content type is not supported", "Send application/json."),
    CodeRow("PL-429", "QuotaExceeded", 429, G.RESOURCE_EXHAUSTED, "Too many requests", None, RetryAfter(1.0)),
    CodeRow("PL-499", "Timeout", 499, G.CANCELLED, "The caller went away"),
    CodeRow("PL-500", "InternalError", 500, G.INTERNAL, "Something failed inside", "Report it with the trace id; the details are in the server's log."),
    CodeRow("PL-501", "InternalError", 501, G.UNIMPLEMENTED, "Not available in this installation"),
    CodeRow("PL-503", "ConnectionFailed", 503, G.UNAVAILABLE, "Unavailable for the moment", "Try again shortly; `creto doctor` says what is missing.", BACKOFF),
    CodeRow("PL-504", "Timeout", 504, G.DEADLINE_EXCEEDED, "It took too long", None, BACKOFF),
    # Platform: identity and delegation
    CodeRow("PL-100", "NhiError", 500, G.INTERNAL, "The identity service failed"),
    CodeRow("PL-101", "InvalidInput", 400, G.INVALID_ARGUMENT, "The agent id is malformed", "It reads agent:nhi:ed25519:<base58 public key>."),
    CodeRow("PL-102", "NotFound", 404, G.NOT_FOUND, "The identity is not registered", "`creto agents list` shows those that are."),
    CodeRow("PL-103", "Unauthorized", 403, G.PERMISSION_DENIED, "The identity is revoked"),
    CodeRow("PL-104", "Unauthorized", 403, G.PERMISSION_DENIED, "The identity is suspended", "`creto agents resume` lifts it."),
    CodeRow("PL-105", "AlreadyExists", 409, G.ALREADY_EXISTS, "The identity is already registered"),
    CodeRow("PL-106", "Unauthorized", 401, G.UNAUTHENTICATED, "The challenge is unknown or expired", "Ask for a new challenge and sign it at once."),
    CodeRow("PL-107", "Unauthorized", 401, G.UNAUTHENTICATED, "The bearer token is not valid"),
    CodeRow("PL-108", "Unauthorized", 401, G.UNAUTHENTICATED, "The bearer token has expired", "Sign a new challenge for a new token."),
    CodeRow("PL-109", "Unauthorized", 403, G.PERMISSION_DENIED, "The token's scope does not cover this"),
    CodeRow("PL-110", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain is empty", "Every agent acts for a human or a service; pass its chain."),
    CodeRow("PL-111", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain is too long"),
    CodeRow("PL-112", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain does not start at a human or a service"),
    CodeRow("PL-113", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain has a gap"),
    CodeRow("PL-114", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain has a cycle"),
    CodeRow("PL-115", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain crosses tenants"),
    CodeRow("PL-116", "SignatureVerificationFailed", 403, G.PERMISSION_DENIED, "A delegation link's signature is not valid"),
    CodeRow("PL-117", "Unauthorized", 403, G.PERMISSION_DENIED, "A delegation link widens the actions"),
    CodeRow("PL-118", "Unauthorized", 403, G.PERMISSION_DENIED, "A delegation link widens the resources"),
    CodeRow("PL-119", "Unauthorized", 403, G.PERMISSION_DENIED, "A delegation link widens the budget"),
    CodeRow("PL-120", "Unauthorized", 403, G.PERMISSION_DENIED, "A delegation link goes deeper than was allowed"),
    CodeRow("PL-121", "Unauthorized", 403, G.PERMISSION_DENIED, "A delegation link lives longer than its parent"),
    CodeRow("PL-122", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation is not valid yet"),
    CodeRow("PL-123", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation has expired", "Ask the parent for a new link."),
    CodeRow("PL-124", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain contains a revoked identity or link"),
    CodeRow("PL-125", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain contains an unknown identity"),
    CodeRow("PL-126", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain contains a suspended identity"),
    CodeRow("PL-127", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation chain ends at another agent"),
    CodeRow("PL-128", "Unauthorized", 403, G.PERMISSION_DENIED, "A delegation link was replayed"),
    CodeRow("PL-129", "InvalidInput", 400, G.INVALID_ARGUMENT, "The delegation chain is malformed"),
    CodeRow("PL-130", "NotFound", 404, G.NOT_FOUND, "The agent has published no key bundle"),
    CodeRow("PL-131", "Unauthorized", 401, G.UNAUTHENTICATED, "The client certificate is not valid"),
    CodeRow("PL-132", "InvalidInput", 409, G.FAILED_PRECONDITION, "The identity cannot change to that state"),
    CodeRow("PL-133", "Unauthorized", 403, G.PERMISSION_DENIED, "The identity was rotated and its overlap is over", "Use the successor's key."),
    CodeRow("PL-134", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation does not cover this action"),
    CodeRow("PL-135", "Unauthorized", 403, G.PERMISSION_DENIED, "The delegation does not cover this resource"),
    CodeRow("PL-136", "Unauthorized", 401, G.UNAUTHENTICATED, "The bearer token was revoked", "Sign a new challenge for a new token."),
    CodeRow("PL-137", "InvalidInput", 409, G.FAILED_PRECONDITION, "The tenant would have no operator left", "Give another person the role operator first: `creto policies roles give AGENT operator`."),
    # Platform: crypto
    CodeRow("PL-200", "CryptoError", 500, G.INTERNAL, "A cryptographic operation failed"),
    CodeRow("PL-210", "SignatureVerificationFailed", 400, G.INVALID_ARGUMENT, "The signature is not valid"),
    CodeRow("PL-211", "CryptoError", 400, G.INVALID_ARGUMENT, "The crypto suite is unknown"),
    CodeRow("PL-212", "CryptoError", 400, G.FAILED_PRECONDITION, "The crypto suite is not accepted any more", "Sign or seal again with a current suite."),
    CodeRow("PL-213", "CryptoError", 400, G.INVALID_ARGUMENT, "It cannot be decrypted with this key"),
    CodeRow("PL-214", "NotFound", 404, G.NOT_FOUND, "The key is not in the keystore"),
    CodeRow("PL-215", "CryptoError", 500, G.FAILED_PRECONDITION, "The keystore cannot be opened", "Check the key-encryption key (crypto.kek in the configuration)."),
    CodeRow("PL-216", "InvalidInput", 400, G.INVALID_ARGUMENT, "The key is malformed"),
    CodeRow("PL-217", "CryptoError", 400, G.INVALID_ARGUMENT, "The Merkle proof is not valid"),
    CodeRow("PL-218", "CryptoError", 400, G.INVALID_ARGUMENT, "The sealed bytes are malformed"),
    CodeRow("PL-219", "CryptoError", 400, G.FAILED_PRECONDITION, "A weaker suite than agreed was offered", "The peer must use a suite from the signed list."),
    CodeRow("PL-220", "CryptoError", 400, G.INVALID_ARGUMENT, "The digest or authentication code does not fit the data"),
    # Platform: consensus
    CodeRow("PL-300", "ConnectionFailed", 503, G.UNAVAILABLE, "The consensus service failed", None, BACKOFF),
    CodeRow("PL-301", "ConnectionFailed", 503, G.UNAVAILABLE, "No quorum of time nodes answers", "Check the time nodes; until then timestamps are local and marked degraded.", BACKOFF),
    CodeRow("PL-302", "ConnectionFailed", 503, G.UNAVAILABLE, "The clock is outside the tolerated skew", "Check the machine's clock (NTP).", BACKOFF),
    CodeRow("PL-303", "AlreadyExists", 409, G.ABORTED, "The lease is held by another", None, FixedDelay(1.0, 30)),
    CodeRow("PL-304", "Unauthorized", 409, G.ABORTED, "The fencing token is stale: the lease moved on"),
    CodeRow("PL-305", "SignatureVerificationFailed", 400, G.INVALID_ARGUMENT, "The decision certificate is not valid"),
    CodeRow("PL-306", "SignatureVerificationFailed", 400, G.INVALID_ARGUMENT, "A time reading is not valid"),
    # Platform: audit
    CodeRow("PL-600", "AuditError", 500, G.INTERNAL, "The audit log failed"),
    CodeRow("PL-601", "NotFound", 404, G.NOT_FOUND, "No such log entry"),
    CodeRow("PL-602", "AuditError", 409, G.DATA_LOSS, "A log entry was altered"),
    CodeRow("PL-603", "AuditError", 409, G.DATA_LOSS, "The log is shorter than a checkpoint says"),
    CodeRow("PL-604", "AuditError", 409, G.DATA_LOSS, "The log is not the one that was seen before"),
    CodeRow("PL-605", "AuditError", 409, G.DATA_LOSS, "Two checkpoints of the log contradict each other"),
    CodeRow("PL-606", "SignatureVerificationFailed", 400, G.INVALID_ARGUMENT, "The checkpoint's signature is not valid"),
    CodeRow("PL-607", "AuditError", 409, G.FAILED_PRECONDITION, "The checkpoint lacks the witnesses that are demanded"),
    CodeRow("PL-608", "AuditError", 400, G.INVALID_ARGUMENT, "The inclusion or consistency proof is not valid"),
    CodeRow("PL-609", "AuditError", 409, G.UNAVAILABLE, "The entry is stored but not in the tree yet", "Ask again in a moment.", FixedDelay(0.05, 40)),
    CodeRow("PL-610", "InvalidInput", 400, G.INVALID_ARGUMENT, "The checkpoint is malformed"),
    CodeRow("PL-611", "AuditError", 500, G.DATA_LOSS, "It is done, but its outcome is not recorded", "Do not repeat it: the log has its intent, under intent_id, and no outcome."),
    # Platform: authorization
    CodeRow("PL-700", "AuthzError", 500, G.INTERNAL, "The authorization service failed"),
    CodeRow("PL-701", "InvalidInput", 400, G.INVALID_ARGUMENT, "The policy is not valid"),
    CodeRow("PL-702", "InvalidInput", 400, G.INVALID_ARGUMENT, "The authorization schema or an entity is not valid"),
    CodeRow("PL-703", "Unauthorized", 403, G.PERMISSION_DENIED, "The override token is not valid"),
    CodeRow("PL-704", "Unauthorized", 403, G.PERMISSION_DENIED, "The override token was used already"),
    CodeRow("PL-705", "Unauthorized", 403, G.PERMISSION_DENIED, "The override token has expired", "Ask for a new approval."),
    CodeRow("PL-706", "Unauthorized", 403, G.PERMISSION_DENIED, "The override token is bound to another operation"),
    # Platform: store, storage, memory
    CodeRow("PL-801", "CryptoError", 409, G.DATA_LOSS, "The stored object is damaged or was altered"),
    CodeRow("PL-802", "Unauthorized", 409, G.FAILED_PRECONDITION, "The object is under retention"),
    CodeRow("PL-803", "Unauthorized", 409, G.FAILED_PRECONDITION, "The object is under legal hold", "`creto objects hold --release` lifts it."),
    CodeRow("PL-804", "NotFound", 404, G.NOT_FOUND, "No such upload"),
    CodeRow("PL-805", "InvalidInput", 416, G.OUT_OF_RANGE, "The range lies outside the object"),
    CodeRow("PL-821", "InvalidInput", 400, G.INVALID_ARGUMENT, "The vector has another dimension than its partition"),
    CodeRow("PL-840", "InternalError", 500, G.FAILED_PRECONDITION, "A migration that was applied has changed since", "Restore the original migration file."),
    CodeRow("PL-841", "InternalError", 500, G.FAILED_PRECONDITION, "The database is newer than this program", "Install the newer release."),
    CodeRow("PL-842", "InternalError", 500, G.FAILED_PRECONDITION, "The database lacks migrations", "Run `creto migrate`."),
    # Platform: bus, configuration
    CodeRow("PL-901", "InvalidInput", 400, G.INVALID_ARGUMENT, "The subject is not valid"),
    CodeRow("PL-902", "InternalError", 500, G.ABORTED, "The message was moved to the dead letters"),
    CodeRow("PL-920", "InvalidInput", 400, G.INVALID_ARGUMENT, "The configuration has an unknown key"),
    CodeRow("PL-921", "InvalidInput", 400, G.INVALID_ARGUMENT, "The configuration has a value that does not fit"),
    # Platform: connections to the outside
    CodeRow("PL-940", "Unauthorized", 403, G.PERMISSION_DENIED, "The destination is not allowed", "It must be https and a public address; networks of your own are named in webhooks.allowed_networks."),
    CodeRow("PL-941", "SignatureVerificationFailed", 401, G.UNAUTHENTICATED, "The callback's signature is not valid"),
    # Runtime
    CodeRow("RT-202", "OversightRequired", 202, G.FAILED_PRECONDITION, "Pending approval", "Await the approval, then try again."),
    CodeRow("RT-401", "AttestationFailed", 401, G.UNAUTHENTICATED, "The attestation is not valid"),
    CodeRow("RT-403", "Unauthorized", 403, G.PERMISSION_DENIED, "The sandbox may not be spawned"),
    CodeRow("RT-404", "SandboxNotFound", 404, G.NOT_FOUND, "Sandbox not found"),
    CodeRow("RT-429", "QuotaExceeded", 429, G.RESOURCE_EXHAUSTED, "Quota exceeded", None, RetryAfter()),
    CodeRow("RT-451", "EgressDenied", 403, G.PERMISSION_DENIED, "The connection to the outside is not allowed"),
    CodeRow("RT-500", "SandboxSpawnFailed", 500, G.INTERNAL, "The sandbox could not be spawned"),
    CodeRow("RT-503", "ConnectionFailed", 503, G.UNAVAILABLE, "The runtime is unavailable", None, BACKOFF),
    # Metering
    CodeRow("MT-202", "OversightRequired", 202, G.FAILED_PRECONDITION, "The event waits for approval"),
    CodeRow("MT-400", "InvalidInput", 400, G.INVALID_ARGUMENT, "The event is not valid"),
    CodeRow("MT-401", "SignatureVerificationFailed", 401, G.UNAUTHENTICATED, "The event's signature is not valid"),
    CodeRow("MT-403", "Unauthorized", 403, G.PERMISSION_DENIED, "Metering is not permitted to this caller"),
    CodeRow("MT-404", "NotFound", 404, G.NOT_FOUND, "No such metering record"),
    CodeRow("MT-409", "IdempotencyConflict", 409, G.ABORTED, "The idempotency key was used with another event"),
    CodeRow("MT-412", "AlreadyExists", 412, G.FAILED_PRECONDITION, "Its state does not allow this"),
    CodeRow("MT-429", "QuotaExceeded", 429, G.RESOURCE_EXHAUSTED, "Quota exceeded", None, RetryAfter()),
    CodeRow("MT-503", "ConnectionFailed", 503, G.UNAVAILABLE, "Metering is unavailable", None, BACKOFF),
    # Oversight
    CodeRow("OV-202", "OversightRequired", 202, G.FAILED_PRECONDITION, "The notification is queued", None, BACKOFF),
    CodeRow("OV-400", "InvalidInput", 400, G.INVALID_ARGUMENT, "The request is not valid"),
    CodeRow("OV-401", "SignatureVerificationFailed", 401, G.UNAUTHENTICATED, "The decision's signature is not valid"),
    CodeRow("OV-403", "Unauthorized", 403, G.PERMISSION_DENIED, "The approver is not eligible"),
    CodeRow("OV-404", "NotFound", 404, G.NOT_FOUND, "No such approval request"),
    CodeRow("OV-408", "ApprovalTimeout", 408, G.DEADLINE_EXCEEDED, "Nobody decided in time"),
    CodeRow("OV-409", "IdempotencyConflict", 409, G.ABORTED, "The request was decided or changed already"),
    CodeRow("OV-410", "AlreadyExists", 409, G.FAILED_PRECONDITION, "The approval was taken back or can no longer be used", "Ask for a new approval."),
    CodeRow("OV-424", "Unauthorized", 409, G.FAILED_PRECONDITION, "Nobody could approve this", "Name approvers who are registered and are not the agent's owner or ancestors."),
    CodeRow("OV-429", "QuotaExceeded", 429, G.RESOURCE_EXHAUSTED, "The agent has too many open requests", "Cancel those that are not needed any more.", RetryAfter()),
    CodeRow("OV-451", "ApprovalDenied", 403, G.PERMISSION_DENIED, "The request was denied"),
    CodeRow("OV-504", "Timeout", 504, G.DEADLINE_EXCEEDED, "The wait has ended, the request stays open", "Ask again with the same request: the decision is kept.", BACKOFF),
    CodeRow("OV-503", "ConnectionFailed", 503, G.UNAVAILABLE, "No reasoning context is available", None, BACKOFF),
    # Messaging
    CodeRow("MS-001", "SignatureVerificationFailed", 400, G.INVALID_ARGUMENT, "The message's signature is not valid"),
    CodeRow("MS-002", "EncryptionFailed", 500, G.INTERNAL, "The message could not be encrypted or decrypted"),
    CodeRow("MS-400", "InvalidInput", 400, G.INVALID_ARGUMENT, "The message is not valid"),
    CodeRow("MS-403", "DeliveryDenied", 403, G.PERMISSION_DENIED, "The delivery is not allowed"),
    CodeRow("MS-202", "OversightRequired", 202, G.FAILED_PRECONDITION, "The delivery waits for approval"),
    CodeRow("MS-404", "RecipientNotFound", 404, G.NOT_FOUND, "The recipient is not known"),
    CodeRow("MS-405", "TopicNotFound", 404, G.NOT_FOUND, "The topic is not known"),
    CodeRow("MS-408", "Timeout", 408, G.DEADLINE_EXCEEDED, "The message has expired"),
    CodeRow("MS-409", "IdempotencyConflict", 409, G.ABORTED, "The message id was used with another message"),
    CodeRow("MS-429", "QuotaExceeded", 429, G.RESOURCE_EXHAUSTED, "The message quota is exceeded", None, RetryAfter()),
    CodeRow("MS-503", "ConnectionFailed", 503, G.UNAVAILABLE, "Messaging is unavailable", None, BACKOFF),
)
# fmt: on

CODES: dict[str, CodeRow] = {r.code: r for r in ROWS}


def row(code: str) -> CodeRow:
    """The row of a code. A code of a newer release than ours is treated as an unknown fault."""
    return CODES.get(code) or CodeRow(code, "InternalError", 500, G.INTERNAL, "Unknown failure")
