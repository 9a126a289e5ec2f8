"""Measure what [privacy] adds to the building of a commit's records, by event and by what is in ids, keys and headers.

    python -m benchmarks.privacy --events 2000 --rounds 9

CPU time, with and without privacy in turn in each round. Prints the median of the differences, in microseconds an event.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
import uuid

import numpy as np
import orjson

from forebay.models.artefacts.signature import Signature
from forebay.stream.config.privacy_section import PrivacySection
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.outputs import OutputTopic, OutputTopics
from forebay.stream.core.record_columns import PlainRecord
from forebay.stream.core.records import BatchResult, Epoch, MicroBatch, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.output.emitter import EmissionBuilder, Emitter, Placer
from forebay.stream.output.encoder import PredictionEncoder
from forebay.stream.worker.privacy_assembly import private_emissions

TOPICS = OutputTopics(
    OutputTopic("predictions", 4, 1_000_000),
    OutputTopic("dead-letters", 4, 1_000_000),
    OutputTopic("outcome-deltas", 1, 1_000_000),
)
MODEL = Signature((), (4,), "multiclass", 2)


def contents(count: int) -> dict[str, list[str]]:
    """Return a text for id, key and header of each event."""
    rng = random.Random(0)
    return {
        "short ids": [f"event-{number}" for number in range(count)],
        "UUIDs": [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(count)],
        "numbers of 12 digits": [str(rng.randrange(10**11, 10**12)) for _ in range(count)],
        "an address in one of 100": [f"user{n}@example.org" if n % 100 == 0 else f"event-{n}" for n in range(count)],
        "addresses": [f"user{number}@example.org" for number in range(count)],
    }


def result_of(texts: list[str]) -> BatchResult:
    """Return a micro-batch of events with these texts in id, key and one header."""
    records = [
        PlainRecord(
            offset,
            1_372_636_800_000,
            text.encode(),
            value=orjson.dumps({"id": text, "timestamp": 1_372_636_800_000, "features": [1.0, 2.0, 3.0, 4.0]}),
            headers=(("user", text.encode()),),
        )
        for offset, text in enumerate(texts)
    ]
    decoder = Decoder([DecodedModel(ModelRef("m", 1), MODEL)], max_event_bytes=1 << 20)
    chunks = tuple(decoder.decode({TopicPartition("features", 0): records}, Epoch(1, "member", None, 1)))
    size = len(texts)
    return BatchResult(
        MicroBatch(0, chunks, "size", 0.0),
        values_BO=np.full((size, 2), 0.5, dtype=np.float32),
        classes_B=np.zeros(size, dtype=np.int64),
        confidences_B=np.full(size, 0.5, dtype=np.float32),
        failures={},
        model_s=0.0,
    )


def builders() -> tuple[EmissionBuilder, EmissionBuilder]:
    """Return a builder of emissions without privacy, and with its default settings."""
    clock = SystemClock()
    plain = Emitter(
        PredictionEncoder(model="m", version=1, labels=("no", "yes"), num_classes=2),
        model="m",
        version=1,
        topics=TOPICS,
        placer=Placer({"features": 4}, len),
        worker="bench",
        clock=clock,
    )
    section = PrivacySection(enabled=True)
    return plain, private_emissions(section, plain, outputs=TOPICS, used_features=(), clock=clock)


def build_cpu_s(builder: EmissionBuilder, result: BatchResult) -> float:
    """Return the CPU time of building an emission."""
    began = time.process_time()
    for _ in builder.build([result]):
        pass
    return time.process_time() - began


def main() -> None:
    """Measure, and print a line for each content."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2_000, help="Events of a micro-batch.")
    parser.add_argument("--rounds", type=int, default=9, help="Number of rounds; variants are interleaved.")
    arguments = parser.parse_args()
    plain, private = builders()
    print(f"{'id, key and header':28} {'without':>9} {'added':>9}   microseconds an event")
    for name, texts in contents(arguments.events).items():
        result = result_of(texts)
        without, added = [], []
        for _ in range(arguments.rounds + 1):
            before, with_privacy = build_cpu_s(plain, result), build_cpu_s(private, result)
            without.append(before / len(texts) * 1e6)
            added.append((with_privacy - before) / len(texts) * 1e6)
        # The first round warms up.
        print(f"{name:28} {statistics.median(without[1:]):9.2f} {statistics.median(added[1:]):9.2f}")


if __name__ == "__main__":
    main()
