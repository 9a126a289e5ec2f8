"""A worker that also records the objects of Python's garbage collector, for `benchmarks.soak`.

    python -m benchmarks.soak_worker FILE.jsonl -c forebay.toml

The other arguments are those of `forebay run`. A thread appends a line every ten seconds: the objects that the collector
tracks, without those that were frozen after the start, and the objects that it has collected and could not collect.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from pathlib import Path
from typing import Final

from forebay.stream.cli import main

INTERVAL_S: Final = 10.0


def record(file: Path) -> None:
    """Append a line now and every ten seconds."""
    while True:
        generations = gc.get_stats()
        line = {
            "at_s": time.monotonic(),
            "objects": len(gc.get_objects()),
            "collected": sum(generation["collected"] for generation in generations),
            "uncollectable": sum(generation["uncollectable"] for generation in generations),
        }
        with file.open("a") as stream:
            stream.write(json.dumps(line) + "\n")
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    threading.Thread(target=record, args=(Path(sys.argv[1]),), daemon=True).start()
    sys.exit(main(["run", *sys.argv[2:]]))
