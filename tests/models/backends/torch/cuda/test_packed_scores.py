"""Scores that are computed on a device are those that the CPU computes."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch

from forebay.models.artefacts.manifest import OutputKind
from forebay.models.artefacts.signature import Task
from forebay.models.backends.torch.cuda.packed_scores import pack_scores, packed_width, unpack_scores
from forebay.models.serving.scoring import scores_of


@pytest.mark.parametrize(
    ("task", "outputs", "output_dim"),
    [
        ("regression", "values", 3),
        ("binary", "logits", 1),
        ("binary", "probabilities", 1),
        ("multiclass", "logits", 2),
        ("multiclass", "logits", 40),
        ("multiclass", "probabilities", 5),
    ],
)
def test_they_are_the_scores_of_the_cpu(task: str, outputs: str, output_dim: int) -> None:
    as_task, as_outputs = cast("Task", task), cast("OutputKind", outputs)
    out_BO = np.random.default_rng(7).normal(0, 10, (200, output_dim)).astype(np.float32)
    out_BO[0] = 0
    out_BO[1], out_BO[2] = 200, -200
    if outputs == "probabilities":
        out_BO = np.abs(out_BO) / np.abs(out_BO).max()
    packed = pack_scores(torch.from_numpy(out_BO), as_task, as_outputs).numpy()
    assert packed.shape == (200, packed_width(as_task, output_dim))
    found, expected = unpack_scores(packed, as_task), scores_of(out_BO, as_task, as_outputs)
    packed[:] = np.nan  # the memory is used again
    np.testing.assert_allclose(found.values_BO, expected.values_BO, rtol=2e-5, atol=1e-7)
    if expected.classes_B is None:
        assert found.classes_B is None and found.confidences_B is None
        return
    assert found.classes_B is not None and found.classes_B.dtype == np.int64
    np.testing.assert_array_equal(found.classes_B, expected.classes_B)
    assert found.confidences_B is not None and expected.confidences_B is not None
    np.testing.assert_allclose(found.confidences_B, expected.confidences_B, rtol=2e-5)
    assert found.values_BO.flags.c_contiguous and found.values_BO.dtype == np.float32


@pytest.mark.parametrize(("task", "output_dim"), [("binary", 1), ("multiclass", 4)])
def test_nan_stays_nan_in_its_row_alone(task: str, output_dim: int) -> None:
    out_BO = np.ones((3, output_dim), dtype=np.float32)
    out_BO[1, -1] = np.nan
    scores = unpack_scores(
        pack_scores(torch.from_numpy(out_BO), cast("Task", task), "logits").numpy(), cast("Task", task)
    )
    assert np.isnan(scores.values_BO).any(axis=1).tolist() == [False, True, False]
