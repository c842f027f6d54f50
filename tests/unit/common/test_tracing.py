"""W3C trace context: what is valid passes through, what is not starts anew; spans nest with or without OpenTelemetry."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from creto.common import genai
from creto.common.tracing import (
    SpanContext,
    continued,
    current,
    extract,
    inject,
    parse_traceparent,
    parse_tracestate,
    span,
)

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_a_header_comes_back_as_it_went() -> None:
    context = parse_traceparent(PARENT, "congo=t61rcWkgMzE, rojo=00f067aa0ba902b7")
    assert context == SpanContext(TRACE, SPAN, True, "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7")
    assert context.traceparent() == PARENT
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-00") == SpanContext(TRACE, SPAN, False)
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-03-more") == SpanContext(TRACE, SPAN, True)


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        PARENT.upper(),
        PARENT + "\n",
        PARENT[:-1],
        "0" * 10_000,
    ],
)
def test_a_header_that_is_not_valid_starts_a_new_trace(header: str) -> None:
    assert parse_traceparent(header) is None


@pytest.mark.parametrize("state", ["a", "a=1,a=2", "A=1", "a=\x01", ",".join(f"k{i}=1" for i in range(33)), "a" * 5000])
def test_a_tracestate_that_is_not_valid_is_dropped_whole(state: str) -> None:
    assert parse_tracestate(state) == ""


def test_a_long_tracestate_loses_its_oldest_members() -> None:
    kept = parse_tracestate(",".join(f"key{i}={'v' * 100}" for i in range(20)))
    assert len(kept) <= 512
    assert kept.startswith("key0=")


@given(st.text(max_size=600), st.text(max_size=600))
def test_any_text_is_a_context_or_none(parent: str, state: str) -> None:
    context = extract({"traceparent": parent, "tracestate": state})
    assert context is None or parse_traceparent(context.traceparent(), context.state) == context


def test_spans_nest_and_travel() -> None:
    assert current() is None
    assert inject({"a": "b"}) == {"a": "b"}
    with span("outer", parent=parse_traceparent(PARENT, "congo=1")) as outer:
        assert outer.context.trace_id == TRACE
        with span("inner") as inner:
            headers = inject({"a": "b"})
            assert extract(headers) == inner.context
            assert inner.context.span_id not in (SPAN, outer.context.span_id)
            assert headers["tracestate"] == "congo=1"
    assert current() is None


def test_headers_set_by_the_caller_stay() -> None:
    with continued(SpanContext("1" * 32, "2" * 16)):
        assert inject({"traceparent": PARENT}) == {"traceparent": PARENT}


WITH_SDK = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from creto.common.tracing import span, parse_traceparent, Attribute

memory = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(memory))
trace.set_tracer_provider(provider)
with span("outer", parent=parse_traceparent("PARENT")) as outer:
    with span("inner", {Attribute.RUNTIME_SANDBOX_ID: "sb-1"}) as inner:
        inner.set(Attribute.METERING_EVENT_VALUE, 5)
first, second = memory.get_finished_spans()
assert f"{first.context.trace_id:032x}" == "TRACE" == inner.context.trace_id, first
assert f"{first.context.span_id:016x}" == inner.context.span_id
assert f"{first.parent.span_id:016x}" == outer.context.span_id
assert f"{second.parent.span_id:016x}" == "SPAN"
assert dict(first.attributes) == {"runtime.sandbox_id": "sb-1", "metering.event_value": 5}
"""


@pytest.mark.parametrize(
    "program",
    [
        WITH_SDK.replace("PARENT", PARENT).replace("TRACE", TRACE).replace('"SPAN"', f'"{SPAN}"'),
        "import sys, creto.common.telemetry\nassert 'opentelemetry' not in sys.modules and 'structlog' not in sys.modules",
        "from opentelemetry import trace\nfrom creto.common.tracing import span\n"
        "with span('a') as a, span('b') as b:\n    assert a.context.trace_id == b.context.trace_id != '0' * 32",
    ],
    ids=["recorded by OpenTelemetry", "loads no server library", "the API without an SDK"],
)
def test_in_a_process_of_its_own(program: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_genai_names_are_those_of_the_pinned_conventions() -> None:
    attributes = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    schemas = pytest.importorskip("opentelemetry.semconv.schemas")
    theirs = {value for name, value in vars(attributes).items() if name.startswith("GEN_AI_")}
    ours = {value for value in vars(genai).values() if isinstance(value, str) and value.startswith("gen_ai.")}
    assert ours <= theirs
    assert {o.value for o in genai.Operation} <= {v.value for v in attributes.GenAiOperationNameValues}
    assert genai.SCHEMA_URL in {s.value for s in schemas.Schemas}
