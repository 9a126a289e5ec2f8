"""The metrics of access, which workers export if anything needs a token. Part of the catalogue."""

from __future__ import annotations

from typing import Final

from forebay.stream.telemetry.metric_types import Counter, Gauge

ACCESS_RELOADS: Final = Counter(
    "forebay.access.reloads",
    "{reload}",
    "New keys, rules and roles that were read, by result: replaced (the policies) or refused (they cannot be used)",
    ("result",),
)
ACCESS_STALE: Final = Gauge(
    "forebay.access.stale",
    "{state}",
    "1 if the newest keys, rules or roles cannot be used or read, so that older ones are in force, else 0",
)

ACCESS_METRICS: Final = (ACCESS_RELOADS, ACCESS_STALE)
