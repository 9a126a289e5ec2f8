"""`make test-processes`: kill processes of one supervisor on a real Apache Kafka, and count every event.

python -m tests.exactness.processes
python -m tests.exactness.processes --seconds 20 --seed 7
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.brokers.clients import create_topic
from tests.brokers.resolve import resolve
from tests.exactness.checker import Counts, check, topics_of, until_stable
from tests.exactness.feed import Feed
from tests.worker.harness import WorkerGroup

PROCESSES = 3
PARTITIONS = 8
RATE = 2000
GAP_S = (1.0, 5.0)
HANGUP_EVERY = 4


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-processes ARGS=...", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120.0, help="duration of the kills; default: 120")
    parser.add_argument("--seed", type=int, help="seed of the events and the kills; default: random")
    return parser.parse_args(words)


async def prove(bootstrap: str, folder: Path, *, seed: int, seconds: float) -> tuple[Counts, int, int]:
    """Return the counts, and how many processes were killed and how often SIGHUP was sent. Raises AssertionError."""
    rng = random.Random(f"{seed}/kills")
    with WorkerGroup(bootstrap, f"processes-{seed}", folder, partitions=PARTITIONS) as group:
        for name in topics_of(group):
            await create_topic(bootstrap, group.topic(name), PARTITIONS)
        worker = group.start(worker={"processes": PROCESSES})
        for number in range(PROCESSES):
            await worker.says(f"process {number} is ready")
        feed = Feed(group, random.Random(f"{seed}/feed"), rate=RATE, seconds=seconds)
        feeding = asyncio.create_task(feed.run())
        kills = hangups = 0
        while not feeding.done():
            await asyncio.wait({feeding}, timeout=rng.uniform(*GAP_S))
            if rng.randrange(HANGUP_EVERY) == 0:
                worker.process.send_signal(signal.SIGHUP)
                hangups += 1
                continue
            pids = [process["pid"] for process in (await worker.status())["processes"] if process["pid"]]
            if pids and not feeding.done():
                os.kill(rng.choice(pids), signal.SIGKILL)
                kills += 1
        feeding.result()
        await until_stable(group)
        await group.settled(120.0)
        assert await worker.stop() == 0, worker.log[-3000:]
        assert "Traceback" not in worker.log, "the log has a traceback"
        return await check(group, feed), kills, hangups


def main(words: Sequence[str]) -> int:
    asked = arguments(words)
    seed = random.randrange(1 << 32) if asked.seed is None else asked.seed
    source = resolve(os.environ)
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "logs").mkdir()
        print(f"{source.description}; seed {seed}; logs in {folder}", flush=True)
        kafka = None if source.make is None else source.make(folder / "kafka", {})
        try:
            if kafka is not None:
                kafka.start()
            bootstrap = str(source.named) if kafka is None else kafka.bootstrap
            counts, kills, hangups = asyncio.run(prove(bootstrap, folder / "logs", seed=seed, seconds=asked.seconds))
        finally:
            if kafka is not None:
                kafka.remove()
    print(f"{kills} processes killed, {hangups} times SIGHUP; every event has exactly one outcome:")
    for what, count in asdict(counts).items():
        print(f"  {what}: {count}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
