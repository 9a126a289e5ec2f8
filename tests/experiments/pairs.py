"""Random pairs of a prediction and its label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forebay.stream.experiments.blocks import NUM_BLOCKS
from forebay.stream.quality.keys import Task


class Pairs(NamedTuple):
    blocks_B: npt.NDArray[np.uint16]
    scores_BO: npt.NDArray[np.float32]
    classes_B: npt.NDArray[np.int32]
    actual_B: npt.NDArray[np.float64]

    def rows(self, chosen: npt.NDArray[np.bool_] | slice) -> Pairs:
        return Pairs(*(column[chosen] for column in self))


def random_pairs(task: Task, count: int, *, seed: int = 7) -> Pairs:
    generator = np.random.default_rng(seed)
    blocks_B = generator.integers(0, NUM_BLOCKS, count).astype(np.uint16)
    if task is Task.REGRESSION:
        actual_B = generator.normal(100, 50, count)
        scores_BO = (actual_B + generator.normal(0, 5, count)).astype(np.float32)[:, None]
        return Pairs(blocks_B, scores_BO, np.full(count, -1, np.int32), actual_B)
    if task is Task.BINARY:
        scores_BO = generator.random((count, 1)).astype(np.float32)
        classes_B = (scores_BO[:, 0] > 0.5).astype(np.int32)
        actual_B = (generator.random(count) < scores_BO[:, 0]).astype(np.float64)
        return Pairs(blocks_B, scores_BO, classes_B, actual_B)
    scores_BO = generator.dirichlet([1, 1, 1, 1], count).astype(np.float32)
    actual_B = generator.integers(0, 4, count).astype(np.float64)
    return Pairs(blocks_B, scores_BO, scores_BO.argmax(axis=1).astype(np.int32), actual_B)
