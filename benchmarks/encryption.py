"""Measure encrypted fields: the time for each field, and decoding with three of 32 fields encrypted.

    python -m benchmarks.encryption --events 20000 --rounds 7
    FOREBAY_NATIVE=0 python -m benchmarks.encryption        without the compiled part

CPU time, the variants in turn in each round. Prints the best round, in which other programs disturb least, and the median.
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
from forebay.stream import native
from forebay.stream.core.clock import SystemClock
from forebay.stream.core.model_ref import ModelRef
from forebay.stream.core.record_columns import NUM_FIELDS, OFFSET, RecordColumns
from forebay.stream.core.records import Epoch, TopicPartition
from forebay.stream.decode import DecodedModel, Decoder
from forebay.stream.decode.encrypted_input import EncryptedInput
from forebay.stream.encryption.documents import DocumentSealer
from forebay.stream.encryption.keyring import Keyring
from forebay.stream.encryption.live_keys import LiveKeys

NUM_FEATURES = 32
FIELDS = ("features.f3", "features.f7", "features.f20")
POLL = 2_000
PLACE = TopicPartition("events", 0)
TEXT, HEADER = b"-0.1234", b"h" * 180
Work = tuple[Callable[[], object], int, str]


def cpu_s(work: Callable[[], object]) -> float:
    """Return the CPU time of a call."""
    began = time.process_time()
    work()
    return time.process_time() - began


def events(num_events: int) -> list[bytes]:
    """Return events with features by name."""
    rows_BF = np.random.default_rng(0).normal(size=(num_events, NUM_FEATURES)).astype(np.float32).round(4)
    return [
        orjson.dumps(
            {
                "id": f"event-{number}",
                "timestamp": 1_372_636_800_000,
                "features": {f"f{column}": float(value) for column, value in enumerate(row)},
            }
        )
        for number, row in enumerate(rows_BF)
    ]


def polls(values: Sequence[bytes]) -> list[RecordColumns]:
    """Return records with these values as a worker polls them."""
    found = []
    for start in range(0, len(values), POLL):
        some = values[start : start + POLL]
        fields_7N = np.zeros((NUM_FIELDS, len(some)), dtype=np.int64)
        fields_7N[OFFSET] = np.arange(start, start + len(some))
        found.append(RecordColumns([b""], fields_7N, None).with_values(some))
    return found


def works(num_events: int) -> dict[str, Work]:
    """Return what is measured, with the number of its units and their name."""
    key = os.urandom(32)
    cipher, nonce = AESGCM(key), os.urandom(12)
    data = cipher.encrypt(nonce, TEXT, HEADER)
    keys = LiveKeys(lambda: Keyring({"2026-11": key}, "2026-11"), clock=SystemClock(), refresh_s=None)
    documents = DocumentSealer("events", FIELDS, id_field="id")
    signature = Signature(tuple(Feature(f"f{column}") for column in range(NUM_FEATURES)), (NUM_FEATURES,), "binary", 1)
    model = DecodedModel(ModelRef("m", 1), signature, frozenset({"events"}))
    encrypted_input = EncryptedInput(["events"], FIELDS, keys, id_field="id", accepts_plain=False)
    off = Decoder([model], max_event_bytes=1_000_000)
    on = Decoder([model], max_event_bytes=1_000_000, encrypted=encrypted_input)
    plain = events(num_events)
    plain_polls, encrypted_polls = polls(plain), polls(documents.seal(plain, keys.sealer))

    def decode(decoder: Decoder, some: Sequence[RecordColumns]) -> None:
        for records in some:
            (chunk,) = decoder.decode({PLACE: records}, Epoch(1, "m", None, 0))
            assert chunk.num_rows == len(records)

    def seal() -> None:
        for start in range(0, num_events, POLL):
            documents.seal(plain[start : start + POLL], keys.sealer)

    num_fields = num_events * len(FIELDS)
    return {
        "AES-GCM alone: encrypt": (
            lambda: [cipher.encrypt(nonce, TEXT, HEADER) for _ in range(num_fields)],
            num_fields,
            "field",
        ),
        "AES-GCM alone: decrypt": (
            lambda: [cipher.decrypt(nonce, data, HEADER) for _ in range(num_fields)],
            num_fields,
            "field",
        ),
        "encrypt documents": (seal, num_fields, "field"),
        "decode plain events": (lambda: decode(off, plain_polls), num_events, "event"),
        "decode encrypted events": (lambda: decode(on, encrypted_polls), num_events, "event"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    measured = works(options.events)
    times: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(options.rounds):
        for name, (work, count, _unit) in measured.items():
            times[name].append(cpu_s(work) / count)
    print(native.description())
    for name, (_work, _count, unit) in measured.items():
        best, median = min(times[name]), statistics.median(times[name])
        print(
            f"{name:<24} best {best * 1e6:6.2f}, median {median * 1e6:6.2f} µs per {unit}  {1 / best:10,.0f} {unit}s/s"
        )
    fields = min(times["decode encrypted events"]) - min(times["decode plain events"])
    print(
        f"{'decrypt documents':<24} best {fields / len(FIELDS) * 1e6:6.2f} µs per field: the difference of the two above"
    )


if __name__ == "__main__":
    main()
