"""The metric of personal data, which workers export with [privacy]. Part of the catalogue."""

from __future__ import annotations

from typing import Final

from forebay.stream.telemetry.metric_types import Counter

FINDINGS: Final = Counter(
    "forebay.privacy.findings",
    "{finding}",
    "Personal data found in what the worker writes, by place (ids, keys, headers, errors, dead_letters) and detector. "
    "Records that are written again after a failed commit count again",
    ("place", "detector"),
)

PRIVACY_METRICS: Final = (FINDINGS,)
