"""The report on brokers at the end of a test session."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.brokers.resolve import Source


@dataclass(slots=True)
class BrokerReport:
    """The brokers of a session.

    sources: by what a test can require.
    used: descriptions of the brokers used.
    left_out: the number of skipped tests by reason.
    """

    sources: dict[str, Source] = field(default_factory=dict)
    used: dict[str, None] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def missing_in_ci(self) -> bool:
        return bool(self.left_out) and os.environ.get("CI", "").lower() == "true"

    def as_document(self) -> dict[str, Any]:
        """Return what a test process sends to the main process."""
        return {"used": list(self.used), "left_out": dict(self.left_out)}

    def add(self, document: Mapping[str, Any]) -> None:
        """Add the report of a test process. All processes collect all tests, so they skip the same ones."""
        self.used |= dict.fromkeys(document["used"])
        self.left_out |= Counter(document["left_out"])
