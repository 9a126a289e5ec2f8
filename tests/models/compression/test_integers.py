"""The plain quantiser: one scale for a tensor, as the specification states it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from forebay.models.compression.integers import pack_int4, quantise_tensor
from forebay.schemas.errors import ModelError


def test_the_scale_is_the_largest_magnitude_by_127_and_integers_are_clamped() -> None:
    weights = np.array([[-2.54, 0.0], [1.27, 0.011]], dtype=np.float32)
    found = quantise_tensor(weights)
    assert found.scale == np.float32(2.54 / 127)
    assert found.integers.tolist() == [[-127, 0], [64, 1]]
    assert np.abs(found.values() - weights).max() <= 0.5 * float(found.scale) + 1e-7


def test_it_agrees_with_torch_for_the_same_scale() -> None:
    weights = np.random.default_rng(0).normal(0, 3, (40, 30)).astype(np.float32)
    found = quantise_tensor(weights)
    theirs = torch.fake_quantize_per_tensor_affine(
        torch.from_numpy(weights), float(found.scale), 0, quant_min=-128, quant_max=127
    ).numpy()
    # torch multiplies by the inverse of the scale, so that a value in the middle of two integers may differ by one.
    differs = np.abs(found.values() - theirs) > 1e-6
    assert differs.mean() < 0.01 and np.abs(found.values() - theirs).max() <= float(found.scale) * 1.01


@pytest.mark.parametrize(("bits", "low", "high"), [(8, -128, 127), (4, -8, 7), (2, -2, 1)])
def test_integers_stay_in_the_range_of_their_bits(bits: int, low: int, high: int) -> None:
    weights = np.random.default_rng(1).standard_t(2, (64, 8)).astype(np.float32)
    for axis in (None, 0, 1):
        integers = quantise_tensor(weights, bits=bits, axis=axis).integers
        assert integers.min() >= low and integers.max() <= high
        assert np.abs(integers.astype(int)).max() == high


def test_a_scale_for_each_channel_keeps_small_channels() -> None:
    weights = np.array([[1000.0, 0.001], [-500.0, 0.002]], dtype=np.float32)
    one, each = quantise_tensor(weights), quantise_tensor(weights, axis=1)
    assert (one.values()[:, 1] == 0).all()
    assert each.values() == pytest.approx(weights, rel=0.01)


def test_zeros_stay_zeros_and_what_is_not_finite_is_refused() -> None:
    assert (quantise_tensor(np.zeros((3, 2), np.float32)).values() == 0).all()
    with pytest.raises(ModelError, match="not finite"):
        quantise_tensor(np.array([np.nan], np.float32))
    with pytest.raises(ModelError, match="from 2 to 8"):
        quantise_tensor(np.ones(1, np.float32), bits=16)


@pytest.mark.parametrize("count", [1, 4, 7])
def test_four_bits_are_packed_as_onnx_reads_them(count: int) -> None:
    integers = np.random.default_rng(2).integers(-8, 8, count).astype(np.int8)
    tensor = onnx.TensorProto(dims=[count], data_type=onnx.TensorProto.INT4, raw_data=pack_int4(integers).tobytes())
    assert numpy_helper.to_array(tensor).astype(int).tolist() == integers.tolist()
