"""Measure encrypted fields: the time for each field, and decoding with three of 32 fields encrypted.

    python -m benchmarks.encryption --events 20000 --rounds 7

CPU time, plain and encrypted events in turn; the median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Sequence

import numpy as np
import orjson
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from forebay.models.artefacts.signature import Feature, Signature
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_columns import PlainRecord
from forebay.stream.core.records import Epoch, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.encrypted_input import EncryptedInput
from forebay.stream.encryption.documents import DocumentOpener, DocumentSealer
from forebay.stream.encryption.keyring import Keyring
from forebay.stream.encryption.live_keys import LiveKeys

NUM_FEATURES = 32
FIELDS = ("features.f3", "features.f7", "features.f20")
POLL = 2_000
PLACE = TopicPartition("events", 0)


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    num_events: int = options.events
    random = np.random.default_rng(0)
    rows_BF = random.normal(size=(num_events, NUM_FEATURES)).astype(np.float32).round(4)
    plain = [
        orjson.dumps(
            {
                "id": f"event-{number}",
                "timestamp": 1_372_636_800_000,
                "features": {f"f{column}": float(value) for column, value in enumerate(row)},
            }
        )
        for number, row in enumerate(rows_BF)
    ]
    key = os.urandom(32)
    keys = LiveKeys(lambda: Keyring({"2026-11": key}, "2026-11"), clock=SystemClock(), refresh_s=None)
    documents = DocumentSealer("events", FIELDS, id_field="id")
    opener = DocumentOpener("events", FIELDS, {"2026-11": AESGCM(key)}, id_field="id", accepts_plain=False)
    signature = Signature(tuple(Feature(f"f{column}") for column in range(NUM_FEATURES)), (NUM_FEATURES,), "binary", 1)
    model = DecodedModel(ModelRef("m", 1), signature, frozenset({"events"}))
    encrypted_input = EncryptedInput(["events"], FIELDS, keys, id_field="id", accepts_plain=False)
    off = Decoder([model], max_event_bytes=1_000_000)
    on = Decoder([model], max_event_bytes=1_000_000, encrypted=encrypted_input)
    encrypted = documents.seal(plain, keys.sealer)

    def decode(decoder: Decoder, values: Sequence[bytes]) -> None:
        for start in range(0, len(values), POLL):
            records = [PlainRecord(n, 0, b"k", value, ()) for n, value in enumerate(values[start : start + POLL])]
            (chunk,) = decoder.decode({PLACE: records}, Epoch(1, "m", None, 0))
            assert chunk.num_rows == len(records)

    works: dict[str, tuple[Callable[[], object], int, str]] = {
        "encrypt documents": (lambda: documents.seal(plain, keys.sealer), num_events * len(FIELDS), "field"),
        "decrypt documents": (lambda: [opener.open(value) for value in encrypted], num_events * len(FIELDS), "field"),
        "decode plain events": (lambda: decode(off, plain), num_events, "event"),
        "decode encrypted events": (lambda: decode(on, encrypted), num_events, "event"),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(options.rounds):
        for name, (work, count, _unit) in works.items():
            times[name].append(cpu_s(work) / count)
    for name, (_work, _count, unit) in works.items():
        each = statistics.median(times[name])
        print(f"{name:<24} {each * 1e6:6.2f} µs a{'n' if unit == 'event' else ''} {unit}  {1 / each:10,.0f} {unit}s/s")


if __name__ == "__main__":
    main()
