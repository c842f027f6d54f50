"""Traces across every hop: W3C trace context in, spans inside, W3C trace context out.

    with span("runtime.spawn_sandbox", parent=extract(request.headers)) as here:
        here.set(Attribute.RUNTIME_SANDBOX_ID, sandbox_id)
        await bus.publish(subject, payload, headers=inject({}))

A span is recorded by OpenTelemetry where the process has loaded it; otherwise only its ids travel, so that logs, errors and ledger
entries of one operation still share a trace id. This module never imports OpenTelemetry itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from enum import StrEnum
from random import getrandbits
from typing import Any, Final

import msgspec

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
TRACESTATE_CHARS_MAX: Final = 512  # W3C Trace Context 3.3.1.5: what a vendor should propagate at least
TRACESTATE_MEMBERS_MAX: Final = 32  # W3C Trace Context 3.3.1.1

PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
MEMBER = re.compile(
    r"[a-z0-9][a-z0-9_\-*/]{0,240}(?:@[a-z][a-z0-9_\-*/]{0,13})?=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)


class Attribute(StrEnum):
    """The span attributes that the products share."""

    TRACE_ID = "trace.id"
    SPAN_ID = "span.id"
    PARENT_SPAN_ID = "parent.span.id"
    TENANT = "creto.tenant"
    RUNTIME_SANDBOX_ID = "runtime.sandbox_id"
    RUNTIME_AGENT_NHI = "runtime.agent_nhi"
    RUNTIME_CLASS = "runtime.runtime_class"
    METERING_EVENT_TYPE = "metering.event_type"
    METERING_SUBSCRIPTION_ID = "metering.subscription_id"
    METERING_EVENT_VALUE = "metering.event_value"
    OVERSIGHT_REQUEST_ID = "oversight.request_id"
    OVERSIGHT_STATE = "oversight.state"
    OVERSIGHT_APPROVER = "oversight.approver"
    MESSAGING_MESSAGE_ID = "messaging.message_id"
    MESSAGING_PROTOCOL = "messaging.protocol"
    MESSAGING_ENCRYPTED_SIZE = "messaging.encrypted_size"


class SpanContext(msgspec.Struct, frozen=True):
    """Where we are in a trace."""

    trace_id: str  # 32 hex digits, not all zero
    span_id: str  # 16 hex digits, not all zero
    sampled: bool = True
    state: str = ""

    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{int(self.sampled):02x}"

    def child(self) -> SpanContext:
        return SpanContext(self.trace_id, new_span_id(), self.sampled, self.state)


_current: ContextVar[SpanContext | None] = ContextVar("creto_span", default=None)


def current() -> SpanContext | None:
    return _current.get()


def trace_id() -> str | None:
    here = _current.get()
    return here.trace_id if here else None


def new_trace() -> SpanContext:
    return SpanContext(f"{getrandbits(128) or 1:032x}", new_span_id())


def new_span_id() -> str:
    """An id, not a secret: the generator of the process, which starts anew in a forked child, costs no system call."""
    return f"{getrandbits(64) or 1:016x}"


def parse_traceparent(text: str, state: str = "") -> SpanContext | None:
    """W3C Trace Context 3.2.2. A header that is not valid starts a new trace (None), it is not an error."""
    match = PARENT.fullmatch(text.strip(" \t")) if len(text) <= TRACESTATE_CHARS_MAX else None
    if match is None:
        return None
    version, trace, parent, flags, rest = match.groups()
    if version == "ff" or (version == "00" and rest) or not int(trace, 16) or not int(parent, 16):
        return None
    return SpanContext(trace, parent, bool(int(flags, 16) & 1), parse_tracestate(state))


def parse_tracestate(text: str) -> str:
    """The list in its normal spelling; empty if any member is not valid, as the standard has it."""
    members = [member.strip(" \t") for member in text.split(",")] if len(text) <= 8 * TRACESTATE_CHARS_MAX else []
    members = [member for member in members if member]
    keys = [member.partition("=")[0] for member in members]
    if len(members) > TRACESTATE_MEMBERS_MAX or len(set(keys)) < len(keys):
        return ""
    if not all(MEMBER.fullmatch(member) for member in members):
        return ""
    while members and len(",".join(members)) > TRACESTATE_CHARS_MAX:
        members.pop()
    return ",".join(members)


def extract(headers: Mapping[str, str]) -> SpanContext | None:
    """The caller's place in its trace, from HTTP headers, gRPC metadata or bus headers."""
    parent = headers.get(TRACEPARENT) or headers.get("Traceparent")
    return parse_traceparent(parent, headers.get(TRACESTATE) or headers.get("Tracestate") or "") if parent else None


def inject(headers: Mapping[str, str], here: SpanContext | None = None) -> dict[str, str]:
    """The headers with our place in the trace, or with the one given; what the caller set itself stays."""
    here = here or _current.get()
    if here is None or TRACEPARENT in headers:
        return dict(headers)
    state = {TRACESTATE: here.state} if here.state else {}
    return {**headers, TRACEPARENT: here.traceparent(), **state}


@contextmanager
def continued(context: SpanContext | None) -> Iterator[None]:
    """Work on behalf of a caller in another process, without a span of our own."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


class Span:
    """One piece of work. `set` notes an attribute; nothing is kept unless OpenTelemetry records it."""

    __slots__ = ("_recorded", "context")

    def __init__(self, context: SpanContext, recorded: Any) -> None:
        self.context = context
        self._recorded = recorded

    def set(self, name: str, value: str | int | float | bool) -> None:
        if self._recorded is not None:
            self._recorded.set_attribute(str(name), value)


@contextmanager
def span(
    name: str, attributes: Mapping[str, str | int | float | bool] | None = None, *, parent: SpanContext | None = None
) -> Iterator[Span]:
    """A span under `parent`, or under the current one, or at the root of a new trace."""
    above = parent or _current.get()
    telemetry = sys.modules.get("opentelemetry.trace")
    if telemetry is None:
        context = above.child() if above else new_trace()
        with continued(context):
            yield Span(context, None)
        return
    tracer = telemetry.get_tracer("creto")
    given = {str(key): value for key, value in (attributes or {}).items()}
    with tracer.start_as_current_span(name, context=foreign(telemetry, above), attributes=given) as recorded:
        ids = recorded.get_span_context()
        if ids.is_valid and (above is None or f"{ids.span_id:016x}" != above.span_id):
            state = above.state if above else ""
            context = SpanContext(f"{ids.trace_id:032x}", f"{ids.span_id:016x}", ids.trace_flags.sampled, state)
        else:  # the API without an SDK records nothing
            context = above.child() if above else new_trace()
        with continued(context):
            yield Span(context, recorded)


def foreign(telemetry: Any, above: SpanContext | None) -> Any:
    """Our context in OpenTelemetry's terms; its own context already is the parent if the ids agree."""
    if above is None:
        return None
    ids = telemetry.get_current_span().get_span_context()
    if ids.is_valid and f"{ids.span_id:016x}" == above.span_id:
        return None
    remote = telemetry.SpanContext(
        int(above.trace_id, 16),
        int(above.span_id, 16),
        is_remote=True,
        trace_flags=telemetry.TraceFlags(int(above.sampled)),
        trace_state=telemetry.TraceState.from_header([above.state]) if above.state else None,
    )
    return telemetry.set_span_in_context(telemetry.NonRecordingSpan(remote))
