"""The options of data-parallel training, as a recipe has them under [distributed]. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

from forebay.models.distributed.rounds import LOST_RANK, LostRank
from forebay.schemas.errors import ModelError

Strategy = Literal["all_reduce", "ring", "parameter_server", "auto"]
CompressionName = Literal["none", "fp16", "int8", "top_k", "top_k_int8", "power_sgd"]
STRATEGIES: Final[tuple[str, ...]] = get_args(Strategy)
COMPRESSIONS: Final[tuple[str, ...]] = get_args(CompressionName)


@dataclass(frozen=True, slots=True)
class DistributedOptions:
    """Options of training with several ranks.

    density: the fraction of values that top_k and top_k_int8 send. power_sgd_rank: columns of PowerSGD's matrices.
    checkpoint_interval: steps between two checkpoints; 0 writes none. keep_checkpoints: how many of the newest remain.
    timeout_s: how long a rank waits for the others. bucket_mb: size of the buffers that are sent, in MiB.
    lost_rank: whether a lost rank stops the others, or (parameter_server only) they continue without it.
    """

    strategy: Strategy = "all_reduce"
    compression: CompressionName = "none"
    density: float = 0.01
    power_sgd_rank: int = 2
    checkpoint_interval: int = 100
    keep_checkpoints: int = 3
    timeout_s: float = 30.0
    bucket_mb: float = 25.0
    lost_rank: LostRank = "stop"

    def __post_init__(self) -> None:
        problems = [
            f"{name} is {getattr(self, name)!r}; allowed is {allowed}"
            for name, allowed, is_allowed in (
                ("strategy", ", ".join(STRATEGIES), self.strategy in STRATEGIES),
                ("compression", ", ".join(COMPRESSIONS), self.compression in COMPRESSIONS),
                ("density", "above 0 and up to 1", _is_number(self.density) and 0 < self.density <= 1),
                ("power_sgd_rank", "a whole number from 1", _is_whole(self.power_sgd_rank, 1)),
                ("checkpoint_interval", "a whole number from 0", _is_whole(self.checkpoint_interval, 0)),
                ("keep_checkpoints", "a whole number from 1", _is_whole(self.keep_checkpoints, 1)),
                ("timeout_s", "from 1 to 3600", _is_number(self.timeout_s) and 1 <= self.timeout_s <= 3600),
                ("bucket_mb", "above 0", _is_number(self.bucket_mb) and 0 < self.bucket_mb < math.inf),
                ("lost_rank", ", ".join(LOST_RANK), self.lost_rank in LOST_RANK),
            )
            if not is_allowed
        ]
        if self.lost_rank == "continue" and self.strategy != "parameter_server":
            problems.append("lost_rank is 'continue', which needs the strategy 'parameter_server'")
        if problems:
            raise ModelError("distributed: " + "; ".join(problems), kind="params", remedy="correct these options")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least
