"""The resources of a process between two commits."""

from __future__ import annotations

import sys

from forebay.stream.rollouts.performance import ProcessUsage
from forebay.stream.worker.process_report import ProcessReport, gpu_memory_reader
from tests.core.build import ManualClock


def test_cpu_time_is_that_since_the_last_report_and_memory_is_read_once_a_second() -> None:
    clock, cpu_s, sizes = ManualClock(), [5.0], iter([1000, 2000])
    report = ProcessReport(clock, gpu_memory=lambda: 7, cpu_s=lambda: cpu_s[0], memory=lambda: next(sizes))
    cpu_s[0] = 5.5
    assert report() == ProcessUsage(0.5, 1000, 7)
    assert report() == ProcessUsage(0.0, 1000, 7)
    clock.advance(1.0)
    cpu_s[0] = 7.5
    assert report() == ProcessUsage(2.0, 2000, 7)


def test_a_process_measures_itself() -> None:
    usage = ProcessReport(ManualClock())()
    assert usage.memory_bytes is not None and usage.memory_bytes > 10_000_000
    assert usage.gpu_memory_bytes is None


def test_memory_on_gpus_is_read_if_a_model_runs_on_one_in_torch() -> None:
    assert gpu_memory_reader(["cpu"]) is None
    assert (gpu_memory_reader(["cpu", "cuda:0"]) is None) == ("torch" not in sys.modules)
