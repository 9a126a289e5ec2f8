"""CPU time and memory of this process and of another."""

from __future__ import annotations

import os
import subprocess
import sys
import time

from forebay.stream.telemetry import catalogue as c
from forebay.stream.telemetry.metric_store import MetricStore
from forebay.stream.telemetry.process_usage import ProcessMeter
from forebay.stream.telemetry.resources import ProcessGauges


def test_the_usage_of_this_process_with_and_without_its_id() -> None:
    before, after = ProcessMeter().usage(), ProcessMeter(os.getpid()).usage()
    assert before is not None and after is not None
    assert 0 < before.cpu_s <= after.cpu_s
    assert 0 < before.own_bytes <= before.rss_bytes
    assert 0 < ProcessMeter().started_at_s <= time.time() + 1


def test_an_ended_process_has_no_usage() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        meter = ProcessMeter(process.pid)
        assert meter.usage() is not None
        process.kill()
    assert meter.usage() is None


def test_the_gauges_are_of_this_process() -> None:
    store = MetricStore()
    before = ProcessMeter().usage()
    ProcessGauges(store).sample()
    snapshot = store.snapshot()
    assert before is not None and snapshot.counters[c.PROCESS_CPU][()] >= before.cpu_s
    assert snapshot.gauges[c.PROCESS_MEMORY][()] > 0
    assert snapshot.gauges[c.PROCESS_START][()] == ProcessMeter().started_at_s
