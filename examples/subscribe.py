"""Subscribe to predictions and dead letters with aiokafka: any Kafka client does it like this.

    pip install aiokafka
    python examples/subscribe.py localhost:9092 100

Reads from the beginning, as a group of its own, until so many events have an outcome (without the number: for ever). An event
is either predicted or in the dead letters. Delivery is at least once: after a crash some outcomes come twice, so whoever acts
on them keeps the ids, as is done here.
"""

from __future__ import annotations

import asyncio
import json
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
        isolation_level="read_committed",  # right already for when the worker writes in transactions
    )
    seen: set[object] = set()
    try:
        await consumer.start()
        async for record in consumer:
            if record.topic == predictions:
                prediction = json.loads(record.value)
                outcome = prediction["id"]
                answer = prediction["label"] if prediction["label"] is not None else prediction["prediction"]
                told = (
                    f"{answer}, confidence {prediction['confidence']}, {prediction['model']} v{prediction['version']}"
                )
            else:
                # The value is the event as it came; it may be anything. Why it is here is in the headers.
                headers = {name: value.decode() for name, value in record.headers}
                outcome = (headers["forebay.error.partition"], headers["forebay.error.offset"])
                told = f"no prediction: {headers['forebay.error.kind']}: {headers['forebay.error.message']}"
            if outcome in seen:
                continue
            seen.add(outcome)
            print(f"{outcome}: {told}")
            if len(seen) == wanted:
                break
    finally:
        await consumer.stop()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3) or sys.argv[1].startswith("-"):
        sys.exit("usage: python examples/subscribe.py HOST:PORT [NUMBER]")
    try:
        asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) == 3 else None))
    except (KafkaError, ValueError) as error:
        sys.exit(f"cannot read from {sys.argv[1]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
