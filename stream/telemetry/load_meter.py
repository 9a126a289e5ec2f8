"""What the budget of a model is measured with."""

from __future__ import annotations

import time

from forebay.models.serving.load_budget import Meter
from forebay.stream.telemetry.process_usage import ProcessMeter


def load_meter() -> Meter:
    """Return a meter of this process."""
    process = ProcessMeter()

    def resident_bytes() -> int:
        usage = process.usage()
        return 0 if usage is None else usage.rss_bytes

    return Meter(time.monotonic, resident_bytes)
