"""From a wished rate to processes, partitions, CPU, memory and devices: the arithmetic of docs/sizing.md. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from forebay.stream.bench.batch_cost import BatchCost

MIB: Final = 1 << 20
CALL_SHARE: Final = 0.25
"""A micro-batch takes at most this share of the wished latency, as with `objective.p99_ms`."""
WORTHWHILE: Final = 1.1
"""Larger micro-batches are not needed if an event costs at most this much more than in the largest one."""
MEMORY_FACTOR: Final = 2.0
"""The memory limit divided by the request."""
CPU_STEP: Final = 0.1
MEMORY_STEP_MIB: Final = 64
CATCH_UP_MINUTES: Final = 10.0


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured of one worker process on this machine.

    cores, free_mib: of the machine, as far as this process may use them.
    cost: CPU time by micro-batch.
    batch_limit: the largest micro-batch, by the configuration.
    batches_per_s: micro-batches per second at `loop_rate`, the higher of the rates of the open loop.
    rest_mib, peak_mib: resident memory before the first event, and the largest while draining a backlog.
    peak_in_flight_mib: the largest number of bytes of events in flight that was seen while draining.
    window_bytes: memory of an open window; None if the model takes single events.
    p99_ms: latency at `latency_rate` events/s until predictions were readable; None if it was not measured.
    commit_ms: median time from when the worker sent a prediction until it was readable, the rest of its commit; None if it was
        not measured.
    event_bytes, prediction_bytes: a record on the topics, without compression.
    model_us: time of the model's calls per event while draining.
    device: what runs the model.
    """

    cores: int
    free_mib: float
    cost: BatchCost
    batch_limit: int
    batches_per_s: float
    rest_mib: float
    peak_mib: float
    peak_in_flight_mib: float
    event_bytes: float
    prediction_bytes: float
    model_us: float
    window_bytes: float | None = None
    latency_rate: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None
    commit_ms: float | None = None
    device: str = "cpu"


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be sized for.

    rate: events per second at the peak.
    p99_ms: 99th percentile of latency; None for any.
    event_bytes: size of an event with its key; None for that of the measured events.
    headroom: share of the measured capacity that is used at the peak.
    growth: by how much the rate may grow before partitions have to be added.
    open_windows: windows over event time that are open at the same time, in all processes.
    replication_factor: replicas of each partition.
    """

    rate: float
    p99_ms: float | None = None
    event_bytes: float | None = None
    headroom: float = 0.6
    growth: float = 2.0
    open_windows: int = 0
    replication_factor: int = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One step of the arithmetic. value: its result; how: how it follows from the steps before."""

    name: str
    value: str
    how: str


@dataclass(frozen=True, slots=True)
class Advice:
    """The recommended size, with the arithmetic.

    cpu_request: cores of each process; memory in MiB of each process.
    drain_minutes: time to read the backlog of `CATCH_UP_MINUTES` of the peak rate; infinite if there is no spare capacity.
    devices: number of devices; 0 if the model runs on CPUs.
    problems: why the wish cannot be met as a whole.
    """

    processes: int
    partitions: int
    batch_size: int
    cpu_request: float
    memory_request_mib: int
    memory_limit_mib: int
    drain_minutes: float
    bytes_in_per_s: float
    bytes_out_per_s: float
    devices: int
    lines: Sequence[Line] = field(default_factory=tuple)
    problems: Sequence[str] = field(default_factory=tuple)
    assumptions: Sequence[str] = field(default_factory=tuple)


def advise(measured: Measured, wish: Wish) -> Advice:
    """Return what the wish needs. Raises ValueError if a number of the wish is not positive."""
    _check(wish)
    cost, lines = measured.cost, []
    batch, batch_line = _batch_size(measured, wish)
    event_us = cost.per_event(batch)
    capacity = 1e6 / event_us
    usable = wish.headroom * capacity
    processes = math.ceil(wish.rate / usable)
    grown = math.ceil(wish.growth * wish.rate / usable)
    partitions = processes * math.ceil(max(3 * processes, grown) / processes)
    lines += [
        batch_line,
        Line(
            "CPU time of an event",
            f"{event_us:.2f} µs",
            f"S({batch:,}) / {batch:,} = {cost.of(batch):,.0f} µs / {batch:,}",
        ),
        Line(
            "capacity of a process",
            f"{capacity:,.0f} events/s",
            f"1,000,000 µs / {event_us:.2f} µs, with a core of its own",
        ),
        Line(
            "used at the peak",
            f"{usable:,.0f} events/s",
            f"{wish.headroom:.0%} of it; the rest is for backlogs and rebalances",
        ),
        Line("processes", f"{processes:,}", f"{wish.rate:,.0f} / {usable:,.0f}, rounded up"),
        Line(
            "partitions",
            f"{partitions:,}",
            f"a multiple of {processes:,}, at least 3 for each process and {grown:,} processes at {wish.growth:g} × the rate",
        ),
    ]
    cpu_request, cpu_lines = _cpu(measured, wish, processes, event_us)
    memory_request, memory_limit, memory_lines = _memory(measured, wish, processes)
    drain_minutes, drain_line = _catch_up(wish, processes * capacity)
    bytes_in, bytes_out, byte_lines = _traffic(measured, wish)
    devices, device_lines = _devices(measured, wish)
    lines += [*cpu_lines, *memory_lines, drain_line, *byte_lines, *device_lines]
    return Advice(
        processes=processes,
        partitions=partitions,
        batch_size=batch,
        cpu_request=cpu_request,
        memory_request_mib=memory_request,
        memory_limit_mib=memory_limit,
        drain_minutes=drain_minutes,
        bytes_in_per_s=bytes_in,
        bytes_out_per_s=bytes_out,
        devices=devices,
        lines=tuple(lines),
        problems=tuple(
            _problems(
                measured,
                wish,
                batch,
                processes=processes,
                cpu_request=cpu_request,
                memory_request_mib=memory_request,
            )
        ),
        assumptions=tuple(_assumptions(measured, wish)),
    )


def _check(wish: Wish) -> None:
    if (
        wish.rate <= 0
        or not 0 < wish.headroom <= 1
        or wish.growth < 1
        or (wish.p99_ms is not None and wish.p99_ms <= 0)
    ):
        raise ValueError("rate and p99 must be positive, headroom above 0 and at most 1, growth at least 1")


def _batch_size(measured: Measured, wish: Wish) -> tuple[int, Line]:
    """Return the smallest power of two that costs little more than the largest micro-batch, within the wished latency."""
    cost, limit = measured.cost, measured.batch_limit
    target_us = WORTHWHILE * cost.per_event(limit)
    size = next((size for size in _powers(limit) if cost.per_event(size) <= target_us), limit)
    how = f"an event costs at most {WORTHWHILE - 1:.0%} more than in one of {limit:,}, the configured limit"
    if wish.p99_ms is None:
        return size, Line("micro-batch", f"{size:,} events", how)
    allowed_us = CALL_SHARE * wish.p99_ms * 1000
    fitting = max((fit for fit in _powers(limit) if cost.of(fit) <= allowed_us), default=1)
    if fitting >= size:
        return size, Line("micro-batch", f"{size:,} events", how)
    how = f"S({fitting:,}) = {cost.of(fitting) / 1000:.1f} ms, at most a quarter of {wish.p99_ms:g} ms"
    return fitting, Line("micro-batch", f"{fitting:,} events", how)


def _powers(limit: int) -> list[int]:
    """Return the powers of two up to a limit, and the limit."""
    powers = [1 << exponent for exponent in range(limit.bit_length()) if 1 << exponent <= limit]
    return powers if powers[-1] == limit else [*powers, limit]


def _cpu(measured: Measured, wish: Wish, processes: int, event_us: float) -> tuple[float, list[Line]]:
    """Return the CPU request of a process in cores.

    A process that waits for events handles small micro-batches, and at a low rate it has at most as many as were measured.
    """
    rate = wish.rate / processes
    full = rate * event_us / 1e6
    small = (measured.cost.a_us * min(measured.batches_per_s, rate) + measured.cost.b_us * rate) / 1e6
    used = max(full, min(small, 1.0))
    request = max(CPU_STEP, min(1.0, math.ceil(round(used / wish.headroom / CPU_STEP, 6)) * CPU_STEP))
    how = f"{rate:,.0f} events/s × {event_us:.2f} µs = {full:.2f}"
    if small > full:
        how = (
            f"{min(measured.batches_per_s, rate):,.0f} micro-batches/s × {measured.cost.a_us:,.0f} µs + {rate:,.0f} events/s "
            f"× {measured.cost.b_us:.2f} µs = {small:.2f}"
        )
    return round(request, 1), [
        Line("CPU used by a process", f"{used:.2f} cores", how),
        Line(
            "CPU request of a process", f"{request:.1f} cores", f"{used:.2f} / {wish.headroom:.0%}, at most 1; no limit"
        ),
    ]


def _memory(measured: Measured, wish: Wish, processes: int) -> tuple[int, int, list[Line]]:
    """Return the memory request and limit of a process in MiB."""
    load_mib = max(0.0, measured.peak_mib - measured.rest_mib)
    windows = math.ceil(wish.open_windows / processes)
    windows_mib = windows * (measured.window_bytes or 0) / MIB
    needed = measured.rest_mib + load_mib + windows_mib
    request = _step_up(needed)
    limit = _step_up(MEMORY_FACTOR * needed)
    how = f"{measured.rest_mib:,.0f} at rest + {load_mib:,.0f} while draining"
    if windows_mib:
        how += f" + {windows:,} open windows × {measured.window_bytes:,.0f} bytes"
    return (
        request,
        limit,
        [
            Line("memory request of a process", f"{request:,} MiB", f"{how} = {needed:,.0f} MiB"),
            Line("memory limit of a process", f"{limit:,} MiB", f"{MEMORY_FACTOR:g} × {needed:,.0f} MiB"),
        ],
    )


def _step_up(mib: float) -> int:
    return math.ceil(mib / MEMORY_STEP_MIB) * MEMORY_STEP_MIB


def _catch_up(wish: Wish, capacity: float) -> tuple[float, Line]:
    spare = capacity - wish.rate
    backlog = wish.rate * CATCH_UP_MINUTES * 60
    minutes = backlog / spare / 60 if spare > 0 else math.inf
    how = f"{backlog:,.0f} events / ({capacity:,.0f} − {wish.rate:,.0f}) events/s"
    return minutes, Line(f"backlog of {CATCH_UP_MINUTES:g} minutes is read in", f"{minutes:,.1f} minutes", how)


def _traffic(measured: Measured, wish: Wish) -> tuple[float, float, list[Line]]:
    """Return bytes per second from and to the brokers."""
    event_bytes = wish.event_bytes or measured.event_bytes
    bytes_in, bytes_out = wish.rate * event_bytes, wish.rate * measured.prediction_bytes
    replicated = wish.replication_factor * (bytes_in + bytes_out)
    return (
        bytes_in,
        bytes_out,
        [
            Line("read from the brokers", _rate(bytes_in), f"{wish.rate:,.0f} × {event_bytes:,.0f} bytes"),
            Line(
                "written to the brokers", _rate(bytes_out), f"{wish.rate:,.0f} × {measured.prediction_bytes:,.0f} bytes"
            ),
            Line(
                "written to disks by the brokers",
                _rate(replicated),
                f"events and predictions × {wish.replication_factor} replicas; {replicated * 86_400 / 1e9:,.0f} GB a day",
            ),
        ],
    )


def _rate(bytes_per_s: float) -> str:
    return f"{bytes_per_s / 1e6:,.1f} MB/s"


def _devices(measured: Measured, wish: Wish) -> tuple[int, list[Line]]:
    """Return how many devices the model's calls keep busy; 0 on CPUs."""
    if measured.device == "cpu":
        return 0, []
    busy = wish.rate * measured.model_us / 1e6
    devices = max(1, math.ceil(busy / wish.headroom))
    how = f"{wish.rate:,.0f} events/s × {measured.model_us:.2f} µs of calls = {busy:.2f} busy devices / {wish.headroom:.0%}"
    return devices, [Line(f"devices ({measured.device})", f"{devices:,}", how)]


def _problems(
    measured: Measured, wish: Wish, batch: int, *, processes: int, cpu_request: float, memory_request_mib: int
) -> list[str]:
    problems = []
    cost = measured.cost
    if wish.p99_ms is not None:
        if measured.commit_ms is not None and wish.p99_ms < measured.commit_ms:
            problems.append(
                f"a p99 of {wish.p99_ms:g} ms cannot be met: half of the commits took over {measured.commit_ms:.1f} ms. "
                'Use faster brokers, or delivery.processing_guarantee = "at_least_once"'
            )
        elif measured.p99_ms is not None and wish.p99_ms < measured.p99_ms:
            problems.append(
                f"a p99 of {wish.p99_ms:g} ms was not met here: it was {measured.p99_ms:.1f} ms at "
                f"{measured.latency_rate:,.0f} events/s. An event waits for up to one commit, and then for its own"
            )
        if cost.of(batch) > CALL_SHARE * wish.p99_ms * 1000:
            problems.append(
                f"one event takes {cost.of(batch) / 1000:.1f} ms, more than a quarter of {wish.p99_ms:g} ms: "
                "use a faster model or device"
            )
    if processes * cpu_request > measured.cores:
        machines = math.ceil(processes * cpu_request / measured.cores)
        problems.append(
            f"{processes:,} processes need {processes * cpu_request:,.1f} cores, and this machine has {measured.cores}: "
            f"use {machines:,} machines like it, beside those of the brokers"
        )
    elif processes * memory_request_mib > measured.free_mib:
        problems.append(
            f"{processes:,} processes need {processes * memory_request_mib:,} MiB, and this machine has "
            f"{measured.free_mib:,.0f} MiB to spare"
        )
    return problems


def _assumptions(measured: Measured, wish: Wish) -> list[str]:
    assumptions = [
        "throughput grows with the processes, and the brokers keep up with the rates above",
        "events are spread evenly over keys and partitions",
        "the figures are of this machine: other processors, networks and brokers need their own",
        "record sizes are without compression",
    ]
    if wish.p99_ms is not None:
        assumptions.append(
            f"latency at {wish.rate:,.0f} events/s was not measured, only at {measured.latency_rate:,.0f}: "
            "set objective.p99_ms, which reports what binds if it is not met"
        )
    if wish.event_bytes is not None and abs(wish.event_bytes - measured.event_bytes) > 0.2 * measured.event_bytes:
        assumptions.append(
            f"events of {wish.event_bytes:,.0f} bytes cost as much as the measured ones of {measured.event_bytes:,.0f}: "
            "measure your own model with --configured-model"
        )
    if wish.open_windows and measured.window_bytes is None:
        assumptions.append("open windows are not in the memory: the measured model takes single events")
    return assumptions


def helm_values(advice: Advice, wish: Wish) -> Mapping[str, object]:
    """Return the values of the Helm chart."""
    config: dict[str, object] = {
        "topics": {"partitions": advice.partitions, "replication_factor": wish.replication_factor},
        "batch": {"max_batch_size": advice.batch_size},
    }
    if wish.p99_ms is not None:
        config["objective"] = {"p99_ms": max(1, int(wish.p99_ms))}
    return {
        "replicaCount": advice.processes,
        "resources": {
            "requests": {"cpu": f"{round(advice.cpu_request * 1000)}m", "memory": f"{advice.memory_request_mib}Mi"},
            "limits": {"memory": f"{advice.memory_limit_mib}Mi"},
        },
        "config": config,
    }
