"""A stand-in for kcat where it is not installed: the few options that the pages use, on the same librdkafka."""

from __future__ import annotations

import argparse
import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

TIMEOUT_S = 10.0


def produce(broker: str, topic: str, partition: int, delimiter: str | None) -> None:
    """Publish each line of standard input. With a delimiter, the part before it is the key."""
    failed: list[object] = []
    producer = Producer({"bootstrap.servers": broker})
    for line in sys.stdin.read().splitlines():
        key, value = line.split(delimiter, 1) if delimiter else (None, line)
        producer.produce(
            topic, value, key=key, partition=partition, on_delivery=lambda error, _: error and failed.append(error)
        )
    if producer.flush(TIMEOUT_S) or failed:
        raise KafkaException(failed)


def consume(broker: str, topic: str) -> None:
    """Print the values of all records committed so far."""
    consumer = Consumer(
        {"bootstrap.servers": broker, "group.id": "kcat", "enable.auto.commit": False, "enable.partition.eof": True}
    )
    partitions = consumer.list_topics(topic, TIMEOUT_S).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, 0) for number in partitions])
    ended: set[int] = set()
    while len(ended) < len(partitions):
        message = consumer.poll(TIMEOUT_S)
        if message is None:
            raise TimeoutError(f"no record from {topic} within {TIMEOUT_S:g} s")
        if message.error():
            ended.add(message.partition())
        else:
            print((message.value() or b"").decode(errors="replace"), flush=True)
    consumer.close()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-b", required=True)
    parser.add_argument("-t", required=True)
    parser.add_argument("-p", type=int, default=-1)
    parser.add_argument("-K")
    parser.add_argument("-e", action="store_true")
    parser.add_argument("-q", action="store_true")
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("-P", action="store_true")
    mode.add_argument("-C", action="store_true")
    options = parser.parse_args()
    if options.P:
        produce(options.b, options.t, options.p, options.K)
    else:
        consume(options.b, options.t)


if __name__ == "__main__":
    main()
