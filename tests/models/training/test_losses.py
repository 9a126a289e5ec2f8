from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from forebay.models.training.losses import Loss, balanced_weights
from forebay.schemas.errors import ModelError

OUT = torch.tensor([[0.3, -1.0, 2.0], [4.0, 0.0, -2.0], [0.1, 0.2, 0.3], [-3.0, 1.0, 1.5]], dtype=torch.float64)
VALUES = torch.tensor([[0.0, 1.0, 2.5], [1.0, -3.0, -2.0], [0.1, 9.0, 0.0], [-3.5, 1.0, 1.0]], dtype=torch.float64)
CLASSES = torch.tensor([2, 0, 1, 1])
BINARY = torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "y", "expected"),
    [
        (Loss("mse"), VALUES, F.mse_loss(OUT, VALUES)),
        (Loss("mae"), VALUES, F.l1_loss(OUT, VALUES)),
        (Loss("huber", huber_delta=0.7), VALUES, F.huber_loss(OUT, VALUES, delta=0.7)),
        (Loss("cross_entropy"), CLASSES, F.cross_entropy(OUT, CLASSES)),
        (
            Loss("cross_entropy", (1.0, 2.0, 0.5)),
            CLASSES,
            F.cross_entropy(OUT, CLASSES, weight=torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64)),
        ),
        (Loss("binary"), BINARY, F.binary_cross_entropy_with_logits(OUT[:, 0], BINARY)),
    ],
    ids=lambda value: repr(value) if isinstance(value, Loss) else "",
)
def test_losses_are_those_of_torch(loss: Loss, y: Tensor, expected: Tensor) -> None:
    assert float(loss.mean(OUT, y)) == pytest.approx(float(expected), rel=1e-12)


def test_weights_of_two_classes_are_those_of_repeated_rows() -> None:
    repeated = torch.cat([OUT[BINARY == 0], OUT[BINARY == 1], OUT[BINARY == 1], OUT[BINARY == 1]])
    y = torch.tensor([0.0] * 2 + [1.0] * 6, dtype=torch.float64)
    weighted = Loss("binary", (1.0, 3.0)).mean(OUT, BINARY)
    assert float(weighted) == pytest.approx(float(Loss("binary").mean(repeated, y)), rel=1e-12)


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    y = np.array([0] * 7 + [1] * 2 + [2] * 31)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=y)
    np.testing.assert_allclose(balanced_weights((7, 2, 31)), expected)
    with pytest.raises(ModelError, match=r"\[7, 0\] rows"):
        balanced_weights((7, 0))


def test_wrong_options_are_refused_together() -> None:
    with pytest.raises(ModelError) as caught:
        Loss("mse", (1.0, -2.0), huber_delta=0.0)
    assert "class_weights" in caught.value.message
    assert "huber_delta" in caught.value.message
