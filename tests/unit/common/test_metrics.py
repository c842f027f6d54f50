"""Metrics: names as agreed, label sets bounded, text that Prometheus' own parser reads back."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from creto.common.errors import AlreadyExists, InvalidInput
from creto.common.limits import METRIC_LABEL_SETS_MAX
from creto.common.metrics import Metrics, Tally


def test_the_text_is_what_prometheus_reads() -> None:
    parser = pytest.importorskip("prometheus_client.parser")
    metrics = Metrics()
    metrics.counter("runtime_inference_requests_total", "Calls", "provider", "model").labels('a"\\\n', "m").add(3)
    metrics.gauge("platform_store_queue_count", "Waiting").labels().set(2.5)
    metrics.read("platform_store_commits_total", "Commits", lambda: 7)
    spawn = metrics.histogram("runtime_sandbox_spawn_duration_seconds", "Spawn", "runtime_class", bounds=(0.1, 1))
    for value in (0.05, 0.1, 0.5, 3):
        spawn.labels("gvisor").observe(value)
    families = {f.name: f for f in parser.text_string_to_metric_families(metrics.render())}
    counter = families["runtime_inference_requests"].samples[0]
    assert (counter.labels, counter.value) == ({"provider": 'a"\\\n', "model": "m"}, 3)
    assert families["platform_store_queue_count"].samples[0].value == 2.5
    assert families["platform_store_commits"].type == "counter"
    samples = families["runtime_sandbox_spawn_duration_seconds"].samples
    assert [(s.labels.get("le"), s.value) for s in samples] == [
        ("0.1", 2),
        ("1", 3),
        ("+Inf", 4),
        (None, 3.65),
        (None, 4),
    ] or [(s.labels.get("le"), s.value) for s in samples] == [
        ("0.1", 2),
        ("1", 3),
        ("+Inf", 4),
        (None, 4),
        (None, 3.65),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "requests_total",
        "runtime_requests_total",
        "billing_events_ingested_total",
        "runtime_sandbox_spawn_duration_ms",
        "runtime_sandbox_spawn_duration",
        "runtime_Sandbox_spawns_total",
        "runtime_sandbox_spawns_total\n",
    ],
)
def test_a_name_outside_the_convention_is_refused(name: str) -> None:
    with pytest.raises(InvalidInput):
        Metrics().counter(name, "x")


@pytest.mark.parametrize(
    "name",
    [
        "runtime_egress_bytes_total",
        "metering_quota_checks_total",
        "oversight_state_transitions_total",
        "messaging_messages_sent_total",
    ],
)
def test_the_clients_names_are_accepted(name: str) -> None:
    Metrics().counter(name, "x")


def test_a_name_is_declared_once_and_labels_are_checked() -> None:
    metrics = Metrics()
    family = metrics.counter("runtime_egress_bytes_total", "x", "destination_type")
    with pytest.raises(AlreadyExists):
        metrics.counter("runtime_egress_bytes_total", "x")
    with pytest.raises(InvalidInput):
        family.labels("a", "b")
    with pytest.raises(InvalidInput):
        metrics.histogram("runtime_sandbox_exec_duration_seconds", "x", "le")


def test_label_sets_are_bounded_and_nothing_goes_uncounted() -> None:
    family = Metrics().counter("metering_events_ingested_total", "x", "event_type")
    for number in range(METRIC_LABEL_SETS_MAX + 50):
        family.labels(f"type{number}").add()
    sets = dict(family.samples())
    assert len(sets) == METRIC_LABEL_SETS_MAX + 1
    assert sets["other",].value == 50


def test_a_tally_loses_nothing_between_threads() -> None:
    """given threads that count at once while somebody reads / when they are done / then the sum is exact, and no reading was above it."""
    tally, seen = Tally(), list[int]()
    with ThreadPoolExecutor(9) as threads:
        for _ in range(8):
            threads.submit(lambda: [tally.add() for _ in range(20_000)])
        threads.submit(lambda: seen.extend(tally.value for _ in range(1_000)))
    assert tally.value == tally.value == 160_000
    assert seen == sorted(seen)
    assert seen[-1] <= 160_000
