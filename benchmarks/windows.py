"""What windows over event time cost: events a second, memory for open keys, and the time of a replay. No broker.

    python -m benchmarks.windows
    python -m benchmarks.windows --keys 1000000 --features 8

A replay is what a worker does after an assignment: it decodes the records from the oldest open window on once more, and puts
their events into windows again. The fetching is left out here; `--bootstrap-server` adds a worker that is stopped in the
middle of windows on that broker and started again.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import re
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np
import orjson
import psutil
from rich.console import Console
from rich.table import Table

from forebay.models.signature import Signature
from forebay.models.window_input import Aggregate, WindowInput
from forebay.stream.bench.machine import describe_machine
from forebay.stream.clock import SystemClock
from forebay.stream.decode import Decoder
from forebay.stream.eventtime.plan import WindowLimits, WindowPlan
from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.eventtime.timestamp_guard import TimestampBounds
from forebay.stream.records import Committed, Epoch, Partition

P0 = Partition("features", 0)
EPOCH = Epoch(1, "member", None, 1)
START_MS = 1_790_000_000_000
POLL = 4096
MINUTE_MS = 60_000


class BenchRecord:
    """A record as the client gives it, as small as it can be."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(self, offset: int, timestamp: int, key: bytes, value: bytes) -> None:
        self.offset, self.timestamp, self.key, self.value = offset, timestamp, key, value
        self.headers: tuple[tuple[str, bytes], ...] = ()


def polls(count: int, *, keys: int, num_features: int, step_ms: float) -> Iterator[list[BenchRecord]]:
    """Events of `keys` keys in turn, event time going on by step_ms each."""
    features = np.random.default_rng(7).normal(size=num_features).astype(np.float32).tolist()
    tail = orjson.dumps(features)
    poll: list[BenchRecord] = []
    for offset in range(count):
        t = START_MS + int(offset * step_ms)
        value = b'{"id":"e%d","timestamp":%d,"features":%s}' % (offset, t, tail)
        poll.append(BenchRecord(offset, t, b"key-%d" % (offset % keys), value))
        if len(poll) == POLL:
            yield poll
            poll = []
    if poll:
        yield poll


def stage_of(spec: WindowSpec, num_features: int) -> WindowStage:
    window = WindowInput(aggregates=(Aggregate("count"), Aggregate("mean", 0)))
    most = 1 << 40
    limits = WindowLimits(most, most, most, most, 1 << 20, 3600.0, TimestampBounds(most, most))
    return WindowStage(WindowPlan(spec, window, num_features, "01234567", limits), clock=SystemClock())


def decoder_of(num_features: int) -> Decoder:
    signature = Signature((), (num_features,), "regression", 1)
    return Decoder(signature, model_name="m", max_event_bytes=1 << 20)


def throughput(spec: WindowSpec, count: int, num_features: int, keys: int) -> tuple[float, float]:
    """Events a second of decoding and windows, and of windows alone. Windows of about a minute with some thousand events."""
    decoder, stage = decoder_of(num_features), stage_of(spec, num_features)
    stage.restore({P0: None})
    decode_s = window_s = 0.0
    for poll in polls(count, keys=keys, num_features=num_features, step_ms=1.0):
        began_s = time.perf_counter()
        (chunk,) = decoder.decode({P0: poll}, EPOCH)
        decoded_s = time.perf_counter()
        stage.take(chunk)
        window_s += time.perf_counter() - decoded_s
        decode_s += decoded_s - began_s
    return count / (decode_s + window_s), count / window_s


def memory(spec: WindowSpec, keys: int, num_features: int) -> tuple[float, float]:
    """MiB that a million open keys with one event each take, and the seconds to open `keys` of them."""
    decoder, stage = decoder_of(num_features), stage_of(spec, num_features)
    stage.restore({P0: None})
    process = psutil.Process()
    gc.collect()
    before = process.memory_info().rss
    began_s = time.perf_counter()
    for poll in polls(keys, keys=keys, num_features=num_features, step_ms=0.0):
        (chunk,) = decoder.decode({P0: poll}, EPOCH)
        stage.take(chunk)
    took_s = time.perf_counter() - began_s
    gc.collect()
    grown = process.memory_info().rss - before
    assert stage.status()[P0].open_windows >= keys  # a key is in several hopping ones
    return grown / (1 << 20) * 1_000_000 / keys, took_s


def replay(spec: WindowSpec, count: int, num_features: int, keys: int) -> float:
    """Seconds for 100,000 records: decoded and put into windows again, silently."""
    log = list(polls(count, keys=keys, num_features=num_features, step_ms=0.01))
    decoder, first, again = decoder_of(num_features), stage_of(spec, num_features), stage_of(spec, num_features)
    first.restore({P0: None})
    for poll in log:
        (part,) = first.take(decoder.decode({P0: poll}, EPOCH)[0])
    again.restore({P0: Committed(count, part.metadata)})
    began_s = time.perf_counter()
    for poll in log:
        assert not again.take(decoder.decode({P0: poll}, EPOCH)[0])
    return (time.perf_counter() - began_s) * 100_000 / count


async def recover(bootstrap: str, count: int) -> float:
    """Seconds for 100,000 records in a worker on a broker: from the assignment until its windows are there again."""
    from tests.worker.harness import WorkerGroup

    with TemporaryDirectory() as folder:
        prefix = f"bench-windows-{random.randrange(1 << 32):08x}"
        group = WorkerGroup(bootstrap, prefix, Path(folder), partitions=1)
        await group.create_for_windows()
        values, keys = [], []
        for poll in polls(count, keys=10_000, num_features=4, step_ms=0.01):
            values += [record.value for record in poll]
            keys += [record.key for record in poll]
        for at in range(0, count, 5000):
            await group.send([values[at : at + 5000]], [keys[at : at + 5000]])
        window = {"kind": "tumbling", "size_ms": 3_600_000, "max_replay_records": 10 * count}
        batch = {"max_batch_size": POLL}
        worker = group.start(mode="windows", window=window, batch=batch)
        await group.settled(120)
        assert await worker.stop() == 0, worker.log
        worker = group.start(mode="windows", window=window, batch=batch)
        began_s = None
        while True:
            if began_s is None and "making the open windows again" in worker.log:
                began_s = time.perf_counter()
            if "open windows are there again" in worker.log:
                assert began_s is not None
                took_s = time.perf_counter() - began_s
                break
            await asyncio.sleep(0.005)
        await worker.stop()
        (records,) = re.findall(r"reading up to (\d+) records", worker.log)
        return took_s * 100_000 / int(records)


SPECS: Sequence[tuple[str, WindowSpec]] = (
    ("tumbling, 1 minute", WindowSpec(WindowKind.TUMBLING, MINUTE_MS, MINUTE_MS, 0, 1000, 0)),
    ("hopping, 1 minute every 10 s", WindowSpec(WindowKind.HOPPING, MINUTE_MS, 10_000, 0, 1000, 0)),
    ("session, gap 10 s", WindowSpec(WindowKind.SESSION, 10 * MINUTE_MS, 0, 10_000, 1000, 0)),
)


@click.command(help=__doc__)
@click.option("--events", default=400_000, show_default=True)
@click.option("--keys", default=1_000_000, show_default=True, help="Open keys whose memory is measured.")
@click.option("--features", default=4, show_default=True)
@click.option("--bootstrap-server", help="Measure the recovery of a worker on this broker too.")
def main(events: int, keys: int, features: int, bootstrap_server: str | None) -> None:
    table = Table(
        "", "decode + windows", "windows alone", "memory, 1 M open keys", "100,000 replayed", title_justify="left"
    )
    machine = describe_machine()
    table.title = f"{events:,} events of {features} features, {machine['cores']} cores {machine['processor']}"
    for name, spec in SPECS:
        both, alone = throughput(spec, events, features, keys=1000)
        mib, _ = memory(spec, keys, features)
        again_s = replay(spec, events, features, keys=10_000)
        table.add_row(name, f"{both:,.0f}/s", f"{alone:,.0f}/s", f"{mib:,.0f} MiB", f"{again_s:.2f} s")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if bootstrap_server is not None:
        took_s = asyncio.run(recover(bootstrap_server, events))
        print(f"a worker on {bootstrap_server}: {took_s:.2f} s for 100,000 replayed records, fetching included")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
