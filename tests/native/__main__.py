"""`make test-native`: compare the compiled part with its twin on many mutated events and numbers.

python -m tests.native                                    20,000 polls of 64 events, 20 million numbers, 500,000 batches,
                                                          1 million encrypted events
python -m tests.native --polls 100 --numbers 0 --seed 9   fewer, other ones
"""

from __future__ import annotations

import argparse
import sys
import time

from forebay.stream import native
from tests.kafka.protocol.test_record_reader import check_batches
from tests.native.test_encrypted_fields import check_encrypted_mutations
from tests.native.test_json_rows import check_mutations, check_numbers

POLLS_OF_A_ROUND = 100
NUMBERS_OF_A_ROUND = 200_000
BATCHES_OF_A_ROUND = 1000
ENCRYPTED_OF_A_ROUND = 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.native", description=__doc__)
    parser.add_argument("--polls", type=int, default=20_000, help="polls of 64 mutated events")
    parser.add_argument("--numbers", type=int, default=20_000_000, help="numbers to read")
    parser.add_argument("--batches", type=int, default=500_000, help="record batches to read")
    parser.add_argument("--encrypted", type=int, default=1_000_000, help="encrypted events to read")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if None in (native.encrypted_fields, native.json_rows, native.record_columns):
        print(native.description())
        return 1
    began_s = time.monotonic()
    polls, numbers = arguments.polls // POLLS_OF_A_ROUND, arguments.numbers // NUMBERS_OF_A_ROUND
    for number in range(polls):
        check_mutations(arguments.seed + number, POLLS_OF_A_ROUND)
    for number in range(numbers):
        check_numbers(arguments.seed + number, NUMBERS_OF_A_ROUND)
    batches = arguments.batches // BATCHES_OF_A_ROUND
    for number in range(batches):
        check_batches(arguments.seed + number, BATCHES_OF_A_ROUND)
    encrypted = arguments.encrypted // ENCRYPTED_OF_A_ROUND
    for number in range(encrypted):
        check_encrypted_mutations(arguments.seed + number, ENCRYPTED_OF_A_ROUND)
    events = polls * POLLS_OF_A_ROUND * 64
    counts = (
        f"{events:,} events, {numbers * NUMBERS_OF_A_ROUND:,} numbers, {batches * BATCHES_OF_A_ROUND:,} record batches "
        f"and {encrypted * ENCRYPTED_OF_A_ROUND:,} encrypted events"
    )
    print(f"{counts} alike, {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
