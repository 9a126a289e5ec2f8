"""Publish feature events with aiokafka. Any other Kafka client works in the same way.

    pip install aiokafka
    python examples/publish.py localhost:9092 features

An event is one JSON object with `id`, `timestamp` (milliseconds since 1970, or RFC 3339) and `features`. The features are an
object by name, or a list in the order of the model's signature. Events with the same record key are kept in order. The
features in this script are those of the model that examples/train_model.py trains.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import sys
import time

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError


async def main(bootstrap_servers: str, topic: str, count: int = 100) -> None:
    numbers = random.Random(7)
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap_servers, acks="all", enable_idempotence=True)
    try:
        await producer.start()
        deliveries = []
        for number in range(count):
            room = f"room-{number % 4}"
            event = {
                "id": f"reading-{number}",
                "timestamp": int(time.time() * 1000),
                "features": {
                    "sensor": numbers.choice(["kitchen", "cellar"]),
                    "temperature": round(numbers.gauss(20, 5), 1),
                    # The model's signature defines which features may be missing. This one may.
                    "humidity": None if number % 10 == 0 else round(numbers.uniform(30, 70), 1),
                },
            }
            # `send` only adds the record to a batch. The future that it returns is done when the broker has the record.
            deliveries.append(await producer.send(topic, json.dumps(event).encode(), key=room.encode()))
        await asyncio.gather(*deliveries)
        print(f"published {count} events to {topic}")
    finally:
        await producer.stop()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1].startswith("-") or not re.fullmatch(r".+:\d+", sys.argv[1]):
        sys.exit("usage: python examples/publish.py HOST:PORT TOPIC")
    try:
        asyncio.run(main(sys.argv[1], sys.argv[2]))
    except (KafkaError, ValueError) as error:
        # For example no broker at this address, no such topic, or a failed delivery. The message names the cause.
        sys.exit(f"cannot publish to {sys.argv[2]} at {sys.argv[1]}: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
