"""The backend `torch-export`: exported programs, only under a trust policy."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from forebay.models.artefacts.trust import TrustPolicy
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.torch import program
from forebay.models.backends.torch.program import load_program, program_shape
from forebay.models.registration.hints import Hints
from forebay.models.registration.own_torch import read_program
from forebay.models.serving.load_gate import load_model
from forebay.schemas.errors import ModelError
from tests.models.build import make_signature
from tests.models.own_code import publish_own
from tests.models.own_torch import exported, import_net, trained, write_net


class Call(nn.Module):
    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


def publish_program(tmp_path: Path, data: bytes, **hints: Any) -> Path:
    (tmp_path / "program.pt2").write_bytes(data)
    candidate = read_program(tmp_path / "program.pt2", Hints("own", **({"signature": make_signature()} | hints)))
    return publish_own(candidate, tmp_path / "models")


def test_a_program_gives_the_outputs_of_the_module(tmp_path: Path) -> None:
    net = trained(import_net(write_net(tmp_path)).Net(5))
    publish_program(tmp_path, exported(net))
    repository = str(tmp_path / "models")
    model = load_model(repository, "own", options=RunOptions(), trust=TrustPolicy(frozenset({repository})))
    x = np.random.default_rng(1).normal(size=(300, 3)).astype(np.float32)
    with torch.inference_mode():
        expected = torch.softmax(net(torch.from_numpy(x)).double(), dim=1).numpy()
    for rows in (1, 2, 300):
        np.testing.assert_allclose(model.forward(x[:rows].copy()).values_BO, expected[:rows], rtol=1e-5)
    assert model.num_golden_rows == 32


def test_without_trust_the_program_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_program(tmp_path, exported(Call(lambda x: x[:, :2] * 2)))

    def forbidden(data: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr(torch.export, "load", forbidden)
    with pytest.raises(ModelError) as raised:
        load_model(tmp_path / "models", "own", options=RunOptions())
    assert raised.value.kind == "untrusted"


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [
        (lambda x: x * 2, {"dynamic": False}, "takes batches of 4 rows only"),
        (lambda x: x * 2, {"dynamic": torch.export.Dim("batch", max=1000)}, "batches of 0 to 1000 rows; allowed are programs"),
        (lambda x: x * 2, {"dynamic": torch.export.Dim("batch", min=3)}, "batches of 3 to"),
        (lambda x: x * 2, {"x": torch.ones(4, 3, dtype=torch.float64)}, "the input is float64 ["),
        (lambda x: x * 2, {"x": torch.ones(4)}, "the input is float32 ["),
        (lambda x: (x * 2, x * 3), {}, "the program has 2 outputs; allowed is one"),
        (lambda x: x.sum(), {}, "the output of the program is not a tensor with a batch dimension"),
        (lambda x: x.sum(dim=0), {}, "the output is float32 [3] for the input float32 ["),
        (lambda x: torch.cat([x, x]), {}, "the output is float32 [2*"),
        (lambda x: x[:, :, None] * 2, {}, "allowed is [B, O] or [B], with the same B"),
        (lambda x: x[:, :1] > 0, {}, "the output is bool ["),
    ],
)  # fmt: skip
def test_other_inputs_and_outputs_are_refused(function: Any, options: dict[str, Any], message: str) -> None:
    loaded = load_program(exported(Call(function), **options), "m/program.pt2")
    with pytest.raises(ModelError) as raised:
        program_shape(loaded, "m/program.pt2")
    error = raised.value
    assert error.kind == "program" and error.message.startswith("m/program.pt2: ") and message in error.message, error
    assert error.remedy is not None and "torch.export.export(" in error.remedy


def test_a_program_with_two_inputs_is_refused() -> None:
    batch, x = torch.export.Dim("batch"), torch.ones(4, 3)
    two = torch.export.export(Sum(), (x, x), dynamic_shapes=({0: batch}, {0: batch}))
    data = io.BytesIO()
    torch.export.save(two, data)
    with pytest.raises(ModelError, match="the program has 2 inputs; allowed is one"):
        program_shape(load_program(data.getvalue(), "m"), "m")


def test_a_vector_is_one_output(tmp_path: Path) -> None:
    shape = program_shape(load_program(exported(Call(lambda x: x[:, 0] * 2)), "m"), "m")
    assert (shape.input_shape, shape.output_dim) == ((3,), 1)
    publish_program(
        tmp_path, exported(Call(lambda x: x[:, 0] * 2)), signature=make_signature(task="regression", output_dim=1)
    )


def test_a_program_that_does_not_fit_the_signature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as raised:
        publish_program(tmp_path, exported(Call(lambda x: x * 2)))
    assert raised.value.kind == "signature" and "the program gives 3" in raised.value.message


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"not a program" * 100])
def test_a_file_that_is_not_a_program_is_refused(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ModelError) as raised:
        load_program(data, "m/program.pt2")
    assert caplog.records == []
    error = raised.value
    assert (
        error.kind == "program"
        and "m/program.pt2: torch " in error.message
        and "cannot load this program" in error.message
    )


def test_a_program_that_was_exported_in_training_mode_is_refused_when_it_is_registered(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.9))
    training = torch.export.export(net.train(), (torch.ones(4, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(training, tmp_path / "training.pt2")
    with pytest.raises(ModelError, match="converted to torch-export"):
        publish_program(tmp_path, (tmp_path / "training.pt2").read_bytes())


def test_the_largest_batch_is_that_of_the_settings() -> None:
    from forebay.stream.config.sections import BatchSection

    limits = [getattr(limit, "le", None) for limit in BatchSection.model_fields["max_batch_size"].metadata]
    assert program.MAX_BATCH_SIZE in limits
