"""Log lines: the client's format, the trace they belong to, no secrets."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest

from creto.common.errors import ConnectionFailed
from creto.common.logs import ROOT, fields, render_event, start_logging
from creto.common.redact import redacted, redacted_text
from creto.common.tracing import SpanContext, continued

HERE = SpanContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
KEYS = [
    "timestamp",
    "level",
    "product",
    "trace_id",
    "span_id",
    "agent_nhi",
    "operation",
    "message",
    "duration_ms",
    "attributes",
]


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    out = io.StringIO()
    handler = start_logging("info", "json", out)
    yield out
    logging.getLogger(ROOT).removeHandler(handler)


def test_a_line_is_the_clients_structure(stream: io.StringIO) -> None:
    with continued(HERE):
        logging.getLogger("creto.runtime.pool").info(
            "Sandbox %s",
            "spawned",
            extra=fields(
                operation="spawn_sandbox", agent_nhi="agent:nhi:ed25519:x", duration_ms=1523, cpu_millicores=1000
            ),
        )
    line = json.loads(stream.getvalue())
    assert list(line) == KEYS
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line.pop("timestamp"))
    assert line == {
        "level": "INFO",
        "product": "runtime",
        "trace_id": HERE.trace_id,
        "span_id": HERE.span_id,
        "agent_nhi": "agent:nhi:ed25519:x",
        "operation": "spawn_sandbox",
        "message": "Sandbox spawned",
        "duration_ms": 1523,
        "attributes": {"cpu_millicores": 1000},
    }


def test_errors_come_with_code_and_traceback(stream: io.StringIO) -> None:
    try:
        raise ConnectionFailed("PL-503", "postgresql://creto:hunter2@db is away")
    except ConnectionFailed:
        logging.getLogger("creto.store").exception("The store is away")
    line = json.loads(stream.getvalue())
    assert line["product"] == "platform"
    assert line["attributes"]["error"]["code"] == "PL-503"
    assert "Traceback" in line["attributes"]["traceback"]
    assert "hunter2" not in stream.getvalue()


def test_structlog_writes_the_same_line() -> None:
    with continued(HERE):
        text = render_event(None, "warning", {"event": "late", "product": "metering", "api_key": "hunter2", "n": 1})
    line = json.loads(text)
    assert list(line) == KEYS
    assert (line["level"], line["message"], line["product"]) == ("WARNING", "late", "metering")
    assert line["attributes"] == {"api_key": "***", "n": 1}


def test_structlog_itself_takes_the_processor() -> None:
    structlog = pytest.importorskip("structlog")
    out = io.StringIO()
    logger = structlog.wrap_logger(
        structlog.PrintLogger(out), processors=[structlog.processors.add_log_level, render_event]
    )
    try:
        raise ValueError("token=hunter2hunter2")
    except ValueError:
        logger.exception("failed")
    line = json.loads(out.getvalue())
    assert line["level"] == "ERROR"
    assert line["attributes"]["error"] == "ValueError: token=***"


def test_text_for_people() -> None:
    out = io.StringIO()
    handler = start_logging("debug", "text", out)
    logging.getLogger("creto.audit").debug("appended", extra=fields(duration_ms=2, leaves=3))
    logging.getLogger(ROOT).removeHandler(handler)
    assert out.getvalue().split(" ", 1)[1] == "DEBUG   platform appended 2 ms leaves=3\n"


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer abcdefghijklmnop.hunter2",
        "redis://:hunter2@host:6379/0",
        "https://hooks.slack.com/services/T1/B1/hunter2",
        "key sk-" + "live-abcdefghijkl-hunter2",
        "xoxb-1234567890-hunter2",
        "password=hunter2 user=x",
        "-----BEGIN EC PRIVATE KEY-----\nhunter2\n-----END EC PRIVATE KEY-----",
    ],
)
def test_what_looks_like_a_credential_is_masked(text: str) -> None:
    assert "hunter2" not in redacted_text(text)


def test_names_of_secrets_mask_their_values_and_counts_of_tokens_do_not() -> None:
    value = {"client_secret": "hunter2", "nested": [{"x-api-key": "hunter2"}], "output_tokens": 12, "max_tokens": 5}
    assert redacted(value) == {
        "client_secret": "***",
        "nested": [{"x-api-key": "***"}],
        "output_tokens": 12,
        "max_tokens": 5,
    }
    deep: list[object] = []
    for _ in range(100):
        deep = [deep]
    assert redacted(deep)
