"""Logs and traces of a server, as the configuration says; the libraries are loaded when they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from creto.common.config import Config
from creto.common.errors import InternalError
from creto.common.settings import LogConfig, LogFormat, TelemetryConfig
from creto.common.telemetry import render_event, start_logging
from creto.version import VERSION

LIBRARIES = ("uvicorn.error", "grpc", "asyncio")  # what they have to say comes in our format
TRACES_PATH = "/v1/traces"


def log_as_configured(config: Config, *, for_people: bool = False) -> None:
    """One line per event on standard error, text for people unless the configuration names a format.

    structlog, where a product uses it, writes the same lines.
    """
    import structlog

    wanted = config[LogConfig]
    text = wanted.format is LogFormat.TEXT or (for_people and config.origin("log.format") == "default")
    handler = start_logging(wanted.level, LogFormat.TEXT if text else LogFormat.JSON)
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.WARNING)
    last = structlog.dev.ConsoleRenderer() if text else render_event
    structlog.configure(
        processors=[structlog.stdlib.add_log_level, last],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, wanted.level.upper())),
    )


@contextmanager
def traces_as_configured(config: Config) -> Iterator[None]:
    """Spans go to `telemetry.otlp_endpoint`; without one only their ids travel."""
    endpoint = config[TelemetryConfig].otlp_endpoint
    if endpoint is None:
        yield
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise InternalError("PL-501", "OpenTelemetry is not installed", hint="pip install 'creto[server]'") from error
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        provider = TracerProvider(resource=Resource.create({"service.name": "creto", "service.version": VERSION}))
        trace.set_tracer_provider(provider)
    url = endpoint if endpoint.endswith(TRACES_PATH) else endpoint.rstrip("/") + TRACES_PATH
    exporter = BatchSpanProcessor(OTLPSpanExporter(url))
    provider.add_span_processor(exporter)
    try:
        yield
    finally:
        exporter.shutdown()  # type: ignore[no-untyped-call]
