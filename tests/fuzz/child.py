"""Try a range of mutations in a process of its own, which a crash may end.

    python -m tests.fuzz.child FOLDER SEED FIRST LAST

FOLDER holds the seed's repository as `SEED`. A line of JSON is printed before each case and one after all of them.
"""

from __future__ import annotations

import contextlib
import json
import resource
import shutil
import sys
import tempfile
from collections import Counter as Counts
from pathlib import Path

from tests.fuzz.case import Counter, FuzzError, Watch, outcome
from tests.fuzz.mutation import mutate_version
from tests.fuzz.seeds import NAME, SEEDS

MAX_MEMORY_BYTES = 24 << 30  # of address space; torch reserves a lot


def main(folder: Path, seed: str, first: int, last: int) -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY_BYTES, MAX_MEMORY_BYTES))
    trusted = SEEDS[seed].trusted
    watch, counter, kinds = Watch(), Counter(), Counts[str]()
    with tempfile.TemporaryDirectory() as scratch:
        warm = Path(scratch, "warm")
        shutil.copytree(folder / seed, warm)
        with contextlib.suppress(FuzzError):  # imports that the backend does late
            outcome(warm / NAME / "1", watch, trusted=trusted)
        unchanged, expected = outcome(warm / NAME / "1", watch, trusted=trusted), "served"
        if SEEDS[seed].is_refused:
            expected = "untrusted"
        if unchanged != expected:
            print(json.dumps({"failed": -1, "problem": f"the unchanged artefact: {unchanged}"}), flush=True)
            return 1
        counter.built = 0
        for number in range(first, last):
            print(json.dumps({"case": number}), flush=True)
            repository = Path(scratch, "case")
            shutil.copytree(folder / seed, repository)
            mutate_version(repository / NAME / "1", number, SEEDS[seed].files)
            try:
                kinds[outcome(repository / NAME / "1", watch, trusted=trusted)] += 1
            except Exception as error:  # every exception but ModelError is a fault
                problem = f"{type(error).__name__}: {error}"
                print(json.dumps({"failed": number, "problem": problem[:1000]}), flush=True)
                return 1
            shutil.rmtree(repository)
    print(json.dumps({"kinds": dict(kinds), "built": counter.built}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
