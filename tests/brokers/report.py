"""Where real brokers come from, and what a session has to say about brokers in the end."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.brokers.resolve import Source


@dataclass(slots=True)
class BrokerReport:
    """sources: by what a test can need; used: brokers in words; left_out: how many tests, by the reason why."""

    sources: dict[str, Source] = field(default_factory=dict)
    used: dict[str, None] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    def missing_in_ci(self) -> bool:
        return bool(self.left_out) and os.environ.get("CI", "").lower() == "true"

    def told(self) -> dict[str, Any]:
        """What a process that runs a part of the tests sends to the one that sums up."""
        return {"used": list(self.used), "left_out": dict(self.left_out)}

    def add(self, told: Mapping[str, Any]) -> None:
        """What such a process says. Each of them has looked at all tests, so what they left out is the same."""
        self.used |= dict.fromkeys(told["used"])
        self.left_out |= Counter(told["left_out"])
