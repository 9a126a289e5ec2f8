"""A model is served only if it gives its golden outputs on its device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from forebay.models.artefacts.golden import Tolerance
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.window_input import WindowInput
from forebay.models.backends.torch.architectures import build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ModelError
from tests.models.build import CREATED_AT, load_artefact, publish, serve_artefact


def another_net(net: nn.Module) -> None:
    for value in net.state_dict().values():
        value *= 1.5


def without_a_number(net: nn.Module) -> None:
    net.state_dict()["head.bias"][0] = float("nan")


def almost_the_same(net: nn.Module) -> None:
    for value in net.state_dict().values():
        value *= 1.0001


@pytest.mark.parametrize(("change", "found"), [(another_net, ""), (without_a_number, "output 0 is nan, but it was ")])
def test_a_model_that_answers_differently_here_is_refused(tmp_path: Path, change: Any, found: str) -> None:
    publish(tmp_path)
    artefact = load_artefact(tmp_path, "delays")
    change(artefact.net)  # as another version of the library, or another device, may compute other outputs
    with pytest.raises(ModelError) as caught:
        serve_artefact(artefact)
    assert caught.value.kind == "golden"
    file = tmp_path / "delays" / "1" / "golden.safetensors"
    assert caught.value.message.startswith(f"{file} on cpu: for golden row 0 the model's {found}")


def test_a_model_that_answers_within_the_tolerance_is_served(tmp_path: Path) -> None:
    publish(tmp_path)
    artefact = load_artefact(tmp_path, "delays")
    almost_the_same(artefact.net)
    serve_artefact(artefact)
    publish(tmp_path, tolerance=Tolerance(relative=0.0, absolute=0.0))
    artefact = load_artefact(tmp_path, "delays")
    almost_the_same(artefact.net)
    with pytest.raises(ModelError, match="for golden row 0"):
        serve_artefact(artefact)


@pytest.mark.parametrize(
    ("architecture", "params", "signature"),
    [
        ("linear_regression", {"input_dim": 2, "output_dim": 3}, Signature((), (2,), "regression", 3)),
        ("logistic_regression", {"input_dim": 2}, Signature((), (2,), "binary", 1)),
        ("cnn", {"in_channels": 1, "image_size": 8, "num_classes": 3}, Signature((), (1, 8, 8), "multiclass", 3)),
        (
            "gru",
            {"input_dim": 2, "sequence_length": 5, "hidden_dim": 4, "output_dim": 1},
            Signature(features=(), shape=(2,), task="binary", output_dim=1, window=WindowInput(5)),
        ),
    ],
)
def test_models_of_every_architecture_give_their_golden_outputs(
    tmp_path: Path, architecture: str, params: Any, signature: Signature
) -> None:
    save_artefact(tmp_path, "m", build_net(architecture, params), signature=signature, created_at=CREATED_AT)
    artefact = load_artefact(tmp_path, "m")
    assert artefact.golden is not None
    assert artefact.golden.rows_RW.shape == (32, signature.row_width)
    serve_artefact(artefact)
    for value in artefact.net.state_dict().values():
        value += 1
    with pytest.raises(ModelError, match="for golden row"):
        serve_artefact(artefact)
