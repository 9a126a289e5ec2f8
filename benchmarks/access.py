"""Measure what access costs: deciding about a poll, by the number of distinct tokens, and verifying one token.

python -m benchmarks.access [--rows 10000] [--rounds 30]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

from forebay.stream.access.policy import AccessPolicy
from forebay.stream.access.rules import Rules
from forebay.stream.core.model_ref import ModelRef
from tests.access.issuer import JULY_S, sign, verifier


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="Events of a poll.")
    parser.add_argument("--rounds", type=int, default=30, help="Rounds; the best one counts.")
    options = parser.parse_args(arguments)
    rows, model = options.rows, ModelRef("m", 1)
    timestamp_B = np.full(rows, JULY_S * 1000, dtype=np.int64)
    for count in (1, 10, 100, 1000):
        policy = AccessPolicy(verifier(max_cached=4096), Rules({"team-a/*": ["m"]}), revision="")
        tokens = [sign("ES256", sub=f"team-a/{number}") for number in range(count)]
        # Each record has bytes of its own, as in a worker.
        headers = [
            [("trace", b"1"), ("forebay-principal", bytes(bytearray(tokens[row % count])))] for row in range(rows)
        ]

        policy.decide(headers, timestamp_B, topic="features", model=model)
        times = []
        for _ in range(options.rounds):
            # Bytes remember their hash: each round needs new ones.
            fresh = [[(name, bytes(bytearray(value))) for name, value in of_record] for of_record in headers]
            began_s = time.process_time()
            policy.decide(fresh, timestamp_B, topic="features", model=model)
            times.append(time.process_time() - began_s)
        print(f"{count:5,} tokens of {len(tokens[0])} bytes: {min(times) / rows * 1e6:.2f} µs an event")
    for algorithm in ("ES256", "EdDSA", "RS256"):
        token = sign(algorithm)
        times = []
        for new in [verifier() for _ in range(options.rounds)]:
            began_s = time.process_time()
            new.verify(token)
            times.append(time.process_time() - began_s)
        print(f"verify one token, {algorithm}: {min(times) * 1e6:.0f} µs")


if __name__ == "__main__":
    main()
