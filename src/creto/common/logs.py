"""Logs: one JSON object per line, in the client's format, with the trace it belongs to and without secrets.

    {"timestamp": "2025-12-26T10:30:00.123456Z", "level": "INFO", "product": "runtime", "trace_id": …, "span_id": …,
     "agent_nhi": …, "operation": "spawn_sandbox", "message": "Sandbox spawned", "duration_ms": 1523, "attributes": {…}}

    log = logging.getLogger("creto.runtime")
    log.info("Sandbox spawned", extra=fields(operation="spawn_sandbox", agent_nhi=agent, duration_ms=1523, sandbox_id=id))

The SDK uses the standard library through `JsonFormatter`; a server that runs structlog puts `render_event` last among its processors.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec

from creto.common.errors import EnablementError, ProductId
from creto.common.redact import redacted, redacted_text
from creto.common.tracing import current

ROOT: Final = "creto"
CARRIER: Final = "creto_fields"
LEVELS: Final = {"WARN": "WARNING", "FATAL": "CRITICAL", "EXCEPTION": "ERROR"}
PRODUCTS: Final = frozenset(ProductId)


class LogLine(msgspec.Struct, frozen=True):
    """The client's structure, in its order; what is not known is null."""

    timestamp: str
    level: str
    product: str
    trace_id: str | None
    span_id: str | None
    agent_nhi: str | None
    operation: str | None
    message: str
    duration_ms: float | None
    attributes: dict[str, Any]


def fields(
    *,
    operation: str | None = None,
    agent_nhi: str | None = None,
    duration_ms: float | None = None,
    product: str | None = None,
    **attributes: Any,
) -> dict[str, Any]:
    """The `extra` of a log call."""
    known = {"operation": operation, "agent_nhi": agent_nhi, "duration_ms": duration_ms, "product": product}
    return {CARRIER: {**{k: v for k, v in known.items() if v is not None}, **attributes}}


def line(message: str, level: str, logger: str, given: Mapping[str, Any], timestamp_s: float) -> LogLine:
    here = current()
    rest = dict(given)
    product = rest.pop("product", None) or product_of(logger)
    moment = datetime.fromtimestamp(timestamp_s, UTC)
    return LogLine(
        timestamp=f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z",
        level=LEVELS.get(level.upper(), level.upper()),
        product=str(product),
        trace_id=rest.pop("trace_id", None) or (here.trace_id if here else None),
        span_id=rest.pop("span_id", None) or (here.span_id if here else None),
        agent_nhi=rest.pop("agent_nhi", None),
        operation=rest.pop("operation", None),
        message=redacted_text(message),
        duration_ms=rest.pop("duration_ms", None),
        attributes=redacted(rest),
    )


def product_of(logger: str) -> str:
    """`creto.runtime.pool` speaks for runtime; what is no product is the platform."""
    part = logger.removeprefix(f"{ROOT}.").partition(".")[0]
    return part if part in PRODUCTS else ProductId.PLATFORM


def with_error(given: dict[str, Any], error: BaseException | None, trace: str | None) -> dict[str, Any]:
    if isinstance(error, EnablementError):
        return {**given, "error": msgspec.to_builtins(error.body()), **({"traceback": trace} if trace else {})}
    if error is not None:
        return {**given, "error": f"{type(error).__name__}: {error}", **({"traceback": trace} if trace else {})}
    return given


def encoded(log_line: LogLine) -> str:
    return msgspec.json.encode(log_line, enc_hook=str).decode()


class JsonFormatter(logging.Formatter):
    """For the standard library's logging."""

    def format(self, record: logging.LogRecord) -> str:
        return encoded(self.line(record))

    def line(self, record: logging.LogRecord) -> LogLine:
        given = dict(getattr(record, CARRIER, {}))
        if record.exc_info and record.exc_info[1] is not None:
            given = with_error(given, record.exc_info[1], self.formatException(record.exc_info))
        return line(record.getMessage(), record.levelname, record.name, given, record.created)


class TextFormatter(JsonFormatter):
    """The same for a person at a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        made = self.line(record)
        words = [made.timestamp[11:23], f"{made.level:<7}", made.product, made.message]
        words += [f"{made.duration_ms} ms"] if made.duration_ms is not None else []
        words += [f"{key}={value}" for key, value in made.attributes.items() if key != "traceback"]
        trace = made.attributes.get("traceback")
        return " ".join(words) + (f"\n{trace}" if trace else "")


def render_event(logger: Any, method: str, event: MutableMapping[str, Any]) -> str:
    """structlog's last processor: its event dictionary as the same line."""
    given = dict(event)
    message = str(given.pop("event", ""))
    level = str(given.pop("level", method))
    name = str(given.pop("logger", getattr(logger, "name", ROOT)))
    given.pop("timestamp", None)
    error = given.pop("exc_info", None)
    error = error[1] if isinstance(error, tuple) else sys.exc_info()[1] if error is True else error
    trace = given.pop("exception", None)
    return encoded(line(message, level, name, with_error(given, error, trace), time.time()))


def start_logging(level: str = "info", format: str = "json", stream: TextIO | None = None) -> logging.Handler:
    """Send what `creto` logs to the stream; calling it again replaces the earlier choice."""
    logger = logging.getLogger(ROOT)
    for old in [h for h in logger.handlers if isinstance(h.formatter, JsonFormatter)]:
        logger.removeHandler(old)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(TextFormatter() if format == "text" else JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(level.upper())
    logger.propagate = False
    return handler
