"""Traces, metrics and logs behind one door.

    from creto.common.telemetry import Metrics, inject, span

    with span("metering.ingest"):
        headers = inject({})

`common.tracing` carries the trace, `common.metrics` counts, `common.logs` writes, `common.genai` has the names of the GenAI
conventions. None of them belongs on a hot path, and none of them loads a server library.
"""

from creto.common.logs import JsonFormatter, TextFormatter, fields, render_event, start_logging
from creto.common.metrics import CONTENT_TYPE, SECONDS_BUCKETS, Counter, Family, Gauge, Histogram, Metrics, Tally
from creto.common.redact import redacted, redacted_text
from creto.common.tracing import (
    Attribute,
    Span,
    SpanContext,
    continued,
    current,
    extract,
    inject,
    parse_traceparent,
    span,
    trace_id,
)

__all__ = [
    "CONTENT_TYPE",
    "SECONDS_BUCKETS",
    "Attribute",
    "Counter",
    "Family",
    "Gauge",
    "Histogram",
    "JsonFormatter",
    "Metrics",
    "Span",
    "SpanContext",
    "Tally",
    "TextFormatter",
    "continued",
    "current",
    "extract",
    "fields",
    "inject",
    "parse_traceparent",
    "redacted",
    "redacted_text",
    "render_event",
    "span",
    "start_logging",
    "trace_id",
]
