"""The precision on CUDA devices, as far as it can be tested without one."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from forebay.models.backends.protocol import Precision
from forebay.models.backends.torch.cuda.precision import convert_weights, launching


def flags() -> tuple[str, str, str]:
    cudnn = torch.backends.cudnn
    return torch.backends.cuda.matmul.fp32_precision, cudnn.conv.fp32_precision, cudnn.rnn.fp32_precision


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch is older than 2.9")
@pytest.mark.parametrize(("precision", "inside"), [("fp32", "ieee"), ("tf32", "tf32")])
def test_the_settings_of_the_process_apply_only_while_a_model_launches(precision: Precision, inside: str) -> None:
    before = flags()
    with launching(precision):
        assert flags() == (inside, inside, inside)
        with launching("fp32"):  # nested, as when the device is checked after an error
            assert flags() == ("ieee", "ieee", "ieee")
        assert flags() == (inside, inside, inside)
    assert flags() == before


def test_they_are_restored_after_an_error() -> None:
    before = flags()
    with pytest.raises(ValueError), launching("tf32"):
        raise ValueError
    assert flags() == before


def test_weights_of_linear_and_convolutional_layers_are_converted_unless_another_layer_uses_them() -> None:
    embedding, tied, own = nn.Embedding(4, 3), nn.Linear(3, 4), nn.Linear(3, 4)
    tied.weight = embedding.weight
    norm = nn.LayerNorm(3)
    convert_weights(nn.ModuleList([embedding, tied, own, norm, nn.Conv2d(1, 1, 1)]))
    assert own.weight.dtype is torch.bfloat16 and own.bias.dtype is torch.bfloat16
    assert embedding.weight.dtype is torch.float32 and tied.weight.dtype is torch.float32
    assert norm.weight.dtype is torch.float32
