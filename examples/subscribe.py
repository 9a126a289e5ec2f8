"""Subscribe to predictions and dead letters with aiokafka. Any other Kafka client works in the same way.

    pip install aiokafka
    python examples/subscribe.py localhost:9092 100

The script reads from the beginning, in its own consumer group. It ends after the given number of events have an outcome;
without a number it runs until you stop it. An event is either predicted or a dead letter. This consumer reads at least once:
after a crash it may read some outcomes twice. It therefore keeps the ids of the events and skips repeated outcomes.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError


async def main(bootstrap_servers: str, wanted: int | None = None, prefix: str = "") -> None:
    predictions, dead_letters = f"{prefix}predictions", f"{prefix}dead-letters"
    consumer = AIOKafkaConsumer(
        predictions,
        dead_letters,
        bootstrap_servers=bootstrap_servers,
        group_id=f"{prefix}example-subscriber",
        auto_offset_reset="earliest",
        isolation_level="read_committed",  # the worker writes in transactions by default
    )
    seen: set[object] = set()
    try:
        await consumer.start()
        async for record in consumer:
            if record.topic == predictions:
                prediction = json.loads(record.value)
                outcome = prediction["id"]
                answer = prediction["label"] if prediction["label"] is not None else prediction["prediction"]
                text = (
                    f"{answer}, confidence {prediction['confidence']}, {prediction['model']} v{prediction['version']}"
                )
            else:
                # The value is the original event and can be any bytes. The headers state the reason.
                headers = {name: value.decode() for name, value in record.headers}
                outcome = (headers["forebay.error.partition"], headers["forebay.error.offset"])
                text = f"no prediction: {headers['forebay.error.kind']}: {headers['forebay.error.message']}"
            if outcome in seen:
                continue
            seen.add(outcome)
            print(f"{outcome}: {text}")
            if len(seen) == wanted:
                break
    finally:
        await consumer.stop()


if __name__ == "__main__":
    address = sys.argv[1] if len(sys.argv) in (2, 3) else ""
    if address.startswith("-") or not re.fullmatch(r".+:\d+", address) or not all(map(str.isdecimal, sys.argv[2:])):
        sys.exit("usage: python examples/subscribe.py HOST:PORT [NUMBER]")
    try:
        asyncio.run(main(address, int(sys.argv[2]) if len(sys.argv) == 3 else None))
    except (KafkaError, ValueError) as error:
        sys.exit(f"cannot read from {address}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
