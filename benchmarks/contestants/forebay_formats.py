"""Run the Forebay worker with the modules of all formats imported beforehand, since imports are excluded for all contestants.

Otherwise, the first record of a format imports them while the stopwatch runs.
"""

from __future__ import annotations

import importlib
import sys

from benchmarks.contestants.forebay_worker import main

FORMATS = ("arrow", "avro", "msgpack", "protobuf")

if __name__ == "__main__":
    for name in FORMATS:
        importlib.import_module(f"forebay.stream.decode.formats.{name}")
    sys.exit(main())
