"""Scores as one matrix, so that one copy brings them from a device: values, then class and confidence of a classification.

They are the same as those of `serving.scoring`, except for the last bits.

Shapes: B rows, O outputs, K columns of packed scores.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.signature import Task
from forebay.models.backends.protocol import Scores


def packed_width(task: Task, output_dim: int) -> int:
    """Return K."""
    return output_dim if task == "regression" else output_dim + 2


def pack_scores(out_BO: Tensor, task: Task, outputs: OutputKind) -> Tensor:
    """Return the packed scores [B, K] for the outputs of a model, float32. NaN in a row stays NaN."""
    if task == "regression":
        return out_BO
    if task == "binary":
        p_BO = out_BO if outputs == "probabilities" else torch.sigmoid(out_BO)
        p_B = p_BO[:, 0]
        classes_B = (p_B >= 0.5).to(torch.float32)
        confidences_B = torch.maximum(p_B, 1 - p_B)
    else:
        p_BO = out_BO if outputs == "probabilities" else torch.softmax(out_BO, dim=1)
        # Of the outputs and not of their softmax, in which the largest may be equal after rounding.
        classes_B = out_BO.argmax(dim=1).to(torch.float32)
        confidences_B = p_BO.amax(dim=1)
    return torch.cat([p_BO, classes_B[:, None], confidences_B[:, None]], dim=1)


def unpack_scores(packed_BK: FloatArray, task: Task) -> Scores:
    """Return the scores, in new memory."""
    if task == "regression":
        return Scores(packed_BK.copy())
    # Classes are whole numbers below 2^24, which float32 holds exactly.
    return Scores(
        np.array(packed_BK[:, :-2], order="C"), packed_BK[:, -2].astype(np.int64), np.array(packed_BK[:, -1], order="C")
    )
