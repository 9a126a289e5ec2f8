"""Measure event-time windows without a broker: events per second, memory of open keys, and the time of a replay.

    python -m benchmarks.windows
    python -m benchmarks.windows --keys 1000000 --features 8

After an assignment, a worker replays the records since the oldest open window: it decodes them again and adds their events
to windows. Fetching is not included. `--bootstrap-server` also measures a worker on that broker. The worker is stopped while
windows are open, and restarted.
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

from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.window_input import Aggregate, WindowInput
from forebay.stream.bench.host_info import describe_host
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.records import Committed, Epoch, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.eventtime.plan import WindowLimits, WindowPlan
from forebay.stream.eventtime.spec import WindowKind, WindowSpec
from forebay.stream.eventtime.stage import WindowStage
from forebay.stream.eventtime.timestamp_guard import TimestampBounds

P0 = TopicPartition("features", 0)
EPOCH = Epoch(1, "member", None, 1)
START_MS = 1_790_000_000_000
POLL = 4096
MINUTE_MS = 60_000


class BenchRecord:
    """A record with the fields that the client's records have, as small as possible."""

    __slots__ = ("headers", "key", "offset", "timestamp", "value")

    def __init__(self, offset: int, timestamp: int, key: bytes, value: bytes) -> None:
        self.offset, self.timestamp, self.key, self.value = offset, timestamp, key, value
        self.headers: tuple[tuple[str, bytes], ...] = ()


def polls(count: int, *, keys: int, num_features: int, step_ms: float) -> Iterator[list[BenchRecord]]:
    """Yield polls of events that cycle through `keys` keys. Event time advances by step_ms per event."""
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
    unlimited = 1 << 40
    bounds = TimestampBounds(unlimited, unlimited)
    limits = WindowLimits(
        max_open_windows=unlimited,
        max_buffered_rows=unlimited,
        max_buffered_bytes=unlimited,
        max_replay_records=unlimited,
        max_rows_per_window=1 << 20,
        idle_timeout_s=3600.0,
        timestamps=bounds,
    )
    return WindowStage(
        WindowPlan(
            spec=spec,
            model=ModelRef("m", 1),
            window_input=window,
            num_features=num_features,
            digest="01234567",
            limits=limits,
        ),
        clock=SystemClock(),
    )


def decoder_of(num_features: int) -> Decoder:
    signature = Signature((), (num_features,), "regression", 1)
    return Decoder([DecodedModel(ModelRef("m", 1), signature)], max_event_bytes=1 << 20)


def throughput(spec: WindowSpec, count: int, num_features: int, keys: int) -> tuple[float, float]:
    """Return the events per second of decoding with windows, and of windows alone."""
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
    """Return the MiB of a million open keys with one event each, and the seconds to open `keys` keys."""
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
    assert stage.status()[P0].open_windows >= keys  # a key is in several hopping windows
    return grown / (1 << 20) * 1_000_000 / keys, took_s


def replay(spec: WindowSpec, count: int, num_features: int, keys: int) -> float:
    """Return the seconds to replay 100,000 records: to decode them and add them to windows without output."""
    log = list(polls(count, keys=keys, num_features=num_features, step_ms=0.01))
    decoder, first, second = decoder_of(num_features), stage_of(spec, num_features), stage_of(spec, num_features)
    first.restore({P0: None})
    for poll in log:
        (part,) = first.take(decoder.decode({P0: poll}, EPOCH)[0])
    second.restore({P0: Committed(count, part.metadata)})
    began_s = time.perf_counter()
    for poll in log:
        assert not second.take(decoder.decode({P0: poll}, EPOCH)[0])
    return (time.perf_counter() - began_s) * 100_000 / count


async def recover(bootstrap: str, count: int) -> float:
    """Return the seconds to replay 100,000 records in a worker on a broker, until its windows are restored."""
    from tests.worker.harness import WorkerGroup

    with TemporaryDirectory() as folder:
        prefix = f"bench-windows-{random.randrange(1 << 32):08x}"
        group = WorkerGroup(bootstrap, prefix, Path(folder), partitions=1)
        await group.create_for_windows()
        values, keys = [], []
        for poll in polls(count, keys=10_000, num_features=4, step_ms=0.01):
            values += [record.value for record in poll]
            keys += [record.key for record in poll]
        for start in range(0, count, 5000):
            await group.send([values[start : start + 5000]], [keys[start : start + 5000]])
        window = {"kind": "tumbling", "size_ms": 3_600_000, "max_replay_records": 10 * count}
        batch = {"max_batch_size": POLL}
        worker = group.start(mode="windows", window=window, batch=batch)
        await group.settled(120)
        assert await worker.stop() == 0, worker.log
        worker = group.start(mode="windows", window=window, batch=batch)
        began_s = None
        async with asyncio.timeout(120):  # the texts are log messages of the worker
            while "open windows are rebuilt" not in worker.log:
                if began_s is None and "rebuilding the open windows" in worker.log:
                    began_s = time.perf_counter()
                await asyncio.sleep(0.005)
        assert began_s is not None
        took_s = time.perf_counter() - began_s
        await worker.stop()
        (records,) = re.findall(r"reading up to (\d+) records", worker.log)
        return took_s * 100_000 / int(records)


SPECS: Sequence[tuple[str, WindowSpec]] = (
    (
        "tumbling, 1 minute",
        WindowSpec(
            WindowKind.TUMBLING, size_ms=MINUTE_MS, hop_ms=MINUTE_MS, gap_ms=0, out_of_orderness_ms=1000, lateness_ms=0
        ),
    ),
    (
        "hopping, 1 minute every 10 s",
        WindowSpec(
            WindowKind.HOPPING, size_ms=MINUTE_MS, hop_ms=10_000, gap_ms=0, out_of_orderness_ms=1000, lateness_ms=0
        ),
    ),
    (
        "session, gap 10 s",
        WindowSpec(
            WindowKind.SESSION, size_ms=10 * MINUTE_MS, hop_ms=0, gap_ms=10_000, out_of_orderness_ms=1000, lateness_ms=0
        ),
    ),
)


@click.command(help=__doc__)
@click.option("--events", default=400_000, show_default=True)
@click.option("--keys", default=1_000_000, show_default=True, help="Open keys for the memory measurement.")
@click.option("--features", default=4, show_default=True)
@click.option("--bootstrap-server", help="Also measure the recovery of a worker on this broker.")
def main(events: int, keys: int, features: int, bootstrap_server: str | None) -> None:
    table = Table(
        "", "decode + windows", "windows only", "memory of 1 M open keys", "replay of 100,000", title_justify="left"
    )
    machine = describe_host()
    table.title = f"{events:,} events of {features} features, {machine['cores']} cores {machine['processor']}"
    for name, spec in SPECS:
        both, alone = throughput(spec, events, features, keys=1000)
        mib, _ = memory(spec, keys, features)
        replay_s = replay(spec, events, features, keys=10_000)
        table.add_row(name, f"{both:,.0f}/s", f"{alone:,.0f}/s", f"{mib:,.0f} MiB", f"{replay_s:.2f} s")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if bootstrap_server is not None:
        took_s = asyncio.run(recover(bootstrap_server, events))
        print(f"a worker on {bootstrap_server}: {took_s:.2f} s per 100,000 replayed records, including fetching")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
