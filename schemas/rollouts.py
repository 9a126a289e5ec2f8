"""What records of rollouts may contain: the actions and the limits of their fields."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

ROLLOUT_FORMAT: Final = 1
SWITCH_FORMAT: Final = 1

SLOTS: Final = 10_000
"""Number of slots into which routing keys are hashed. One slot is 0.01 % of the keys."""

MAX_MODEL_VERSION: Final = 999_999_999
MAX_SEED: Final = (1 << 53) - 1
"""The largest integer that every JSON reader represents exactly."""

MAX_ID_CHARS: Final = 64
MAX_AUTHOR_CHARS: Final = 200
MAX_REASON_CHARS: Final = 2_000
MODEL_NAME: Final = r"^[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}$"


class Action(StrEnum):
    """What a revision does to the one that it is based on."""

    PROMOTE = "promote"
    CANARY = "canary"
    STEP = "step"
    SHADOW = "shadow"
    ROLLBACK = "rollback"
    PAUSE = "pause"
    RESUME = "resume"
    ABORT = "abort"
