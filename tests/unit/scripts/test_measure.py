"""The arithmetic behind a printed line: limits, ratios, percentiles, schedules."""

from __future__ import annotations

import asyncio
import time

import msgspec
import pytest
from scripts.bench.__main__ import as_json, parts
from scripts.bench.measure import (
    Peer,
    Row,
    amortised,
    each,
    latency,
    line,
    open_loop,
    percentile,
    precise_loop,
    throughput,
)


def test_a_latency_is_met_when_its_p99_is_not_above_what_must_be() -> None:
    samples = [1.0] * 985 + [50.0] * 15
    assert latency("x", samples, must=50.0).met is True
    assert latency("x", samples, must=49.9).met is False
    assert latency("x", samples).met is None
    row = latency("x", samples, must=60.0, aim=10.0)
    assert (row.p50, row.p99, row.peak, row.reached) == (1.0, 50.0, 50.0, False)


def test_a_rate_is_met_when_it_is_at_least_what_must_be() -> None:
    assert throughput("x", 100.0, must=100.0).met is True
    assert throughput("x", 99.0, must=100.0).met is False
    assert throughput("x", 200.0, must=100.0, aim=150.0).reached


def test_ratios_say_how_many_times_better() -> None:
    slow, fast = Peer("slow", 40.0), Peer("fast", 2.0)
    assert latency("x", [4.0], peers=(slow, fast)).ratios == {"slow": 10.0, "fast": 0.5}
    assert throughput("x", 80.0, peers=(slow,)).ratios == {"slow": 2.0}
    assert latency("x", [4.0]).ratios == {}


def test_the_999th_thousandth_needs_a_thousand_samples() -> None:
    assert latency("x", [1.0] * 999).p999 is None
    assert latency("x", [1.0] * 999 + [9.0]).p999 == 9.0


@pytest.mark.parametrize(("share", "value"), [(0.0, 0), (0.5, 50), (0.99, 99), (1.0, 99)])
def test_percentiles(share: float, value: int) -> None:
    assert percentile(reversed(range(100)), share) == value


def test_a_line_names_the_miss_and_the_peers() -> None:
    row = latency("decision", [2_000.0], must=1_000.0, aim=250.0, peers=(Peer("cedarpy", 16_000.0),))
    text = line(row)
    assert "MISS" in text
    assert "2.00 ms" in text
    assert "cedarpy 16.00 ms (×8.0)" in text
    assert line(latency("decision", [0.1], must=0.168, aim=0.12)).endswith(" aim")
    assert "100 ns" in line(latency("decision", [0.1]))


def test_a_figure_in_another_unit_keeps_it() -> None:
    assert "470 MiB/s" in line(Row(name="seal", unit="MiB/s", value=470.0, p50=470.0, at_least=True))


def test_json_holds_what_the_line_says() -> None:
    told = msgspec.json.decode(
        as_json("foundation", latency("x", [4.0], must=3.0, peers=(Peer("q", 12.0), Peer("p", 8.0))))
    )
    assert told["part"] == "foundation"
    assert told["met"] is False
    assert told["ratios"] == {"q": 3.0, "p": 2.0}
    assert (told["peer"], told["ratio"]) == ("p", 2.0), "the closest"
    assert told["value"] == told["p99"] == 4.0


def test_each_call_is_a_sample_and_warming_is_not() -> None:
    calls: list[int] = []
    assert len(each(lambda: calls.append(1), 5, warm=2)) == 5
    assert len(calls) == 7


def test_amortised_divides_by_the_turns() -> None:
    spun: list[int] = []

    def loop(count: int) -> None:
        spun.append(count)
        time.sleep(count / 1_000_000)  # what is measured: a thousand turns of at least a microsecond each

    assert amortised(loop, 1_000, rounds=3) >= 1.0
    assert spun == [1_000] * 4


def test_an_open_loop_charges_a_stall_to_the_calls_that_should_have_come_meanwhile() -> None:
    async def act(number: int) -> None:
        if number == 0:
            time.sleep(0.05)  # noqa: ASYNC251 - the stall: nobody else of this loop runs

    with asyncio.Runner(loop_factory=precise_loop) as runner:
        samples = runner.run(open_loop(act, 1_000, 20))
    assert len(samples) == 20
    assert sum(sample > 20_000 for sample in samples) == 20, "all were due within the first 20 ms of the stall"


def test_foundation_is_a_part_and_shared_modules_are_not() -> None:
    assert "foundation" in parts()
    assert not {"peers", "beside", "measure"} & set(parts())
