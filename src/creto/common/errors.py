"""One error for the whole layer: a code, a cause, a retry strategy and a hint.

    EnablementError
      Common      NotFound  AlreadyExists  InvalidInput  Unauthorized  InternalError  Timeout  ConnectionFailed
      Metering    QuotaExceeded  IdempotencyConflict
      Oversight   OversightRequired  ApprovalDenied  ApprovalTimeout
      Runtime     SandboxSpawnFailed  SandboxNotFound  AttestationFailed  EgressDenied
      Messaging   EncryptionFailed  SignatureVerificationFailed  DeliveryDenied  RecipientNotFound  TopicNotFound
      Platform    AuthzError  AuditError  NhiError  CryptoError

The class is the kind of failure, the code says exactly which one. A code belongs to one kind; `creto.common.codes` is the table.

    try:
        await creto.agents.get(agent=agent)
    except NotFound as error:
        print(error.code, error.message, error.hint)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, ClassVar, Self

import msgspec

from creto.common.codes import RetryAfter, RetryStrategy, row


class ProductId(StrEnum):
    """Who raised it. The platform is the ground the four products stand on."""

    RUNTIME = "runtime"
    METERING = "metering"
    OVERSIGHT = "oversight"
    MESSAGING = "messaging"
    PLATFORM = "platform"


PREFIXES: dict[str, ProductId] = {
    "RT": ProductId.RUNTIME,
    "MT": ProductId.METERING,
    "OV": ProductId.OVERSIGHT,
    "MS": ProductId.MESSAGING,
    "PL": ProductId.PLATFORM,
}


Detail = str | int | float | bool


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """An error as it travels: REST bodies, gRPC trailers, dead letters, logs."""

    code: str
    message: str
    product: ProductId
    retryable: bool = False
    retry_after: float | None = None
    trace_id: str | None = None
    hint: str | None = None
    field: str | None = None
    got: str | None = None
    expected: str | None = None
    context: tuple[str, ...] = ()
    caused_by: ErrorBody | None = None
    details: dict[str, Detail] = {}  # what the class of the error says beyond its message, as `policy_id` or `limit`


class EnablementError(Exception):
    """The base of every error this package raises on purpose."""

    kinds: ClassVar[dict[str, type[EnablementError]]] = {}
    carries: ClassVar[tuple[str, ...]] = ()  # attributes that travel with it, in `details`
    default_code: ClassVar[str] = "PL-500"

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        EnablementError.kinds[cls.__name__] = cls

    def __init__(
        self,
        code: str | None = None,
        message: str | None = None,
        *,
        caused_by: EnablementError | None = None,
        retry_after_s: float | None = None,
        trace_id: str | None = None,
        hint: str | None = None,
        field: str | None = None,
        got: object = None,
        expected: object = None,
        context: tuple[str, ...] = (),
        details: Mapping[str, Detail] | None = None,
        **carried: Detail | None,
    ) -> None:
        self.code = code or type(self).default_code
        spec = row(self.code)
        self.message = message or spec.title
        self.product = PREFIXES.get(self.code[:2], ProductId.PLATFORM)
        self.caused_by = caused_by
        self.retryable = spec.retryable
        self.retry_after_s = retry_after_s
        self.trace_id = trace_id
        self.hint = hint or spec.hint
        self.field = field
        self.got = shown(got)
        self.expected = shown(expected)
        self.context = context
        if unknown := carried.keys() - set(self.carries):
            raise TypeError(f"{type(self).__name__} carries no {', '.join(sorted(unknown))}")
        said = {name: value for name, value in carried.items() if value is not None}
        self.details: dict[str, Detail] = {**(details or {}), **said}
        for name in self.carries:
            if name in self.details:
                setattr(self, name, self.details[name])
        super().__init__(f"{self.code} {self.message}")

    @classmethod
    def of(cls, field: str, *, got: object, expected: object, code: str | None = None) -> Self:
        """The error for a value that does not fit: which field, what came, what would have been right."""
        message = f"{field}: expected {shown(expected)}, got {shown(got)}"
        return cls(code, message, field=field, got=got, expected=expected)

    @property
    def kind(self) -> str:
        return type(self).__name__

    def with_context(self, context: str) -> Self:
        """Say what was being done when it failed; the innermost comes first."""
        self.context = (*self.context, context)
        return self

    def retry_strategy(self) -> RetryStrategy:
        """What a caller should do about it: never, back off, or wait for the period it names."""
        strategy = row(self.code).retry
        if isinstance(strategy, RetryAfter) and self.retry_after_s is not None:
            return RetryAfter(self.retry_after_s)
        return strategy

    def causes(self) -> Iterator[EnablementError]:
        """This error and every error beneath it."""
        error: EnablementError | None = self
        while error is not None:
            yield error
            error = error.caused_by

    def body(self) -> ErrorBody:
        return ErrorBody(
            code=self.code,
            message=self.message,
            product=self.product,
            retryable=self.retryable,
            retry_after=self.retry_after_s,
            trace_id=self.trace_id,
            hint=self.hint,
            field=self.field,
            got=self.got,
            expected=self.expected,
            context=self.context,
            caused_by=self.caused_by.body() if self.caused_by else None,
            details=self.details,
        )

    @staticmethod
    def from_body(body: ErrorBody) -> EnablementError:
        """The error that another process raised, as the class and of the product it had there, whatever release that was."""
        error = EnablementError.kinds.get(row(body.code).kind, InternalError)(
            body.code,
            body.message,
            caused_by=EnablementError.from_body(body.caused_by) if body.caused_by else None,
            retry_after_s=body.retry_after,
            trace_id=body.trace_id,
            hint=body.hint,
            field=body.field,
            got=body.got,
            expected=body.expected,
            context=body.context,
            details=body.details,
        )
        error.product = body.product
        return error

    def rendered(self) -> str:
        """For a person at a terminal: what happened, why, and what to do next."""
        lines = [f"{self.code}  {self.message}"]
        lines += [f"  while {context}" for context in self.context]
        lines += [f"  because {cause.code}  {cause.message}" for cause in list(self.causes())[1:]]
        if self.hint:
            lines.append(f"  hint: {self.hint}")
        if self.trace_id:
            lines.append(f"  trace: {self.trace_id}")
        return "\n".join(lines)


GOT_CHARS_MAX = 200


def shown(value: object) -> str | None:
    """A value as it may stand in an error: short, on one line, without control characters."""
    if value is None:
        return None
    text = value if isinstance(value, str) else repr(value)
    text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text[: GOT_CHARS_MAX + 1])
    return text if len(text) <= GOT_CHARS_MAX else text[:GOT_CHARS_MAX] + "…"


class NotFound(EnablementError):
    default_code = "PL-404"


class AlreadyExists(EnablementError):
    default_code = "PL-409"


class InvalidInput(EnablementError):
    default_code = "PL-400"


class Unauthorized(EnablementError):
    default_code = "PL-403"


class InternalError(EnablementError):
    default_code = "PL-500"


class Timeout(EnablementError):
    default_code = "PL-504"


class ConnectionFailed(EnablementError):
    default_code = "PL-503"


class QuotaExceeded(EnablementError):
    """`used` of `limit` are used up, where the quota says so."""

    default_code = "MT-429"
    carries = ("limit", "used")
    limit: int | None = None
    used: int | None = None


class IdempotencyConflict(EnablementError):
    """`existing_id` names what the key stands for already."""

    default_code = "MT-409"
    carries = ("existing_id",)
    existing_id: str = ""


class OversightRequired(EnablementError):
    """The act waits for a human. `policy_id` names the policy that asks, or all that do; `decision` is authz's, which says how serious it
    is, and of each whom to ask."""

    default_code = "PL-202"
    carries = ("policy_id",)
    policy_id: str = ""

    def __init__(
        self,
        code: str | None = None,
        message: str | None = None,
        *,
        decision: object = None,
        **rest: Any,
    ) -> None:
        self.decision = decision
        super().__init__(code, message, **rest)


class ApprovalDenied(EnablementError):
    default_code = "OV-451"
    carries = ("reason",)
    reason: str = ""


class ApprovalTimeout(EnablementError):
    default_code = "OV-408"


class SandboxSpawnFailed(EnablementError):
    default_code = "RT-500"


class SandboxNotFound(EnablementError):
    default_code = "RT-404"


class AttestationFailed(EnablementError):
    default_code = "RT-401"


class EgressDenied(EnablementError):
    """`destination` is where the connection would have gone."""

    default_code = "RT-451"
    carries = ("destination",)
    destination: str = ""


class EncryptionFailed(EnablementError):
    default_code = "MS-002"


class SignatureVerificationFailed(EnablementError):
    default_code = "PL-210"


class DeliveryDenied(EnablementError):
    default_code = "MS-403"
    carries = ("reason",)
    reason: str = ""


class RecipientNotFound(EnablementError):
    default_code = "MS-404"


class TopicNotFound(EnablementError):
    default_code = "MS-405"


class AuthzError(EnablementError):
    default_code = "PL-700"


class AuditError(EnablementError):
    default_code = "PL-600"


class NhiError(EnablementError):
    default_code = "PL-100"


class CryptoError(EnablementError):
    default_code = "PL-200"
