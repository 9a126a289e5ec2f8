"""Nets become ONNX graphs that agree with torch, or stay with torch for a stated reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forebay.models.artefacts.artefact import read_version
from forebay.models.artefacts.golden import Tolerance
from forebay.models.artefacts.preparation import shaped_rows
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.models.artefacts.window_input import WindowInput
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.torch.architectures import Net, build_net
from forebay.models.registration import torch_export
from forebay.models.registration.register import Registration, register
from forebay.models.serving.load_gate import load_model
from forebay.models.serving.scoring import score
from forebay.schemas.errors import ModelError
from tests.models.build import CREATED_AT, make_net, make_signature, make_standardise

IDENTITY = Preprocessing.identity()
VECTOR = Signature((), (4,), "multiclass", 3)
ARCHITECTURES: dict[str, tuple[str, dict[str, Any], Signature]] = {
    "linear": ("linear_regression", {"input_dim": 4}, Signature((), (4,), "regression", 1)),
    "logistic": ("logistic_regression", {"input_dim": 4}, Signature((), (4,), "binary", 1)),
    "mlp relu": ("mlp", {"input_dim": 4, "hidden_dims": [8, 5], "output_dim": 3}, VECTOR),
    "mlp tanh": ("mlp", {"input_dim": 4, "hidden_dims": [8], "output_dim": 3, "activation": "tanh"}, VECTOR),
    "mlp dropout": ("mlp", {"input_dim": 4, "hidden_dims": [8], "output_dim": 3, "dropout_rate": 0.5}, VECTOR),
    "cnn": ("cnn", {"in_channels": 2, "image_size": 6, "num_classes": 3}, Signature((), (2, 6, 6), "multiclass", 3)),
    "gru": (
        "gru",
        {"input_dim": 4, "sequence_length": 5, "hidden_dim": 6, "output_dim": 3, "num_layers": 2},
        Signature((), (4,), "multiclass", 3, window=WindowInput(sequence_length=5)),
    ),
}


def random_net(architecture: str, params: dict[str, Any]) -> Net:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_net(architecture, params)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_an_exported_net_gives_the_predictions_of_torch(kind: str, tmp_path: Path) -> None:
    architecture, params, signature = ARCHITECTURES[kind]
    net = random_net(architecture, params)
    published = register(net, name="m", repository=tmp_path, signature=signature)
    assert (published.backend, published.notes, published.compared) == ("onnx", (), True)
    assert read_version(tmp_path, "m").manifest.backend == "onnx"
    served = load_model(tmp_path, "m", options=RunOptions())
    random = np.random.default_rng(1)
    for num_rows in (1, 2, 17, 64):
        x_BF = random.standard_normal((num_rows, signature.row_width)).astype(np.float32)
        if signature.window is not None:  # sequences of every length
            x_BTW = x_BF.reshape(num_rows, 5, 5)
            x_BTW[:, :, -1] = np.arange(5) < random.integers(1, 6, (num_rows, 1))
        with torch.inference_mode():
            expected_BO = net.eval()(torch.from_numpy(shaped_rows(signature, IDENTITY, x_BF))).numpy()
        expected = score(expected_BO, signature.task)
        assert np.allclose(served.forward(served.prepare(x_BF)).values_BO, expected.values_BO, atol=1e-5), num_rows


def publish_small(repository: Path, **options: Any) -> Registration:
    arguments = {"signature": make_signature(), "created_at": CREATED_AT} | options
    return register(make_net(), name="m", repository=repository, **arguments)


def reason(published: Registration) -> str:
    """Return why the net is served by torch."""
    assert published.backend == "torch"
    (note,) = published.notes
    assert note.reason.startswith("served by torch instead of ONNX Runtime: ")
    return note.reason


def test_preprocessing_and_provenance_are_kept(tmp_path: Path) -> None:
    publish_small(tmp_path)
    rows = np.ones((3, 3), dtype=np.float32)
    published = publish_small(
        tmp_path,
        preprocessing=make_standardise(),
        metrics={"accuracy": 0.5},
        note="n",
        licence="Apache-2.0",
        parent=1,
        golden_rows=rows,
        tolerance=Tolerance(0.0, 0.25),
        reference_statistics={"version": 2},
    )
    manifest = read_version(tmp_path, "m").manifest
    assert published.folder == tmp_path / "m" / "2"
    assert manifest.preprocessing == make_standardise()
    assert (manifest.provenance.parent, manifest.provenance.licence) == (1, "Apache-2.0")
    assert (manifest.provenance.metrics, manifest.provenance.note) == ({"accuracy": 0.5}, "n")
    assert manifest.provenance.reference_statistics == {"version": 2}
    assert manifest.tolerance == Tolerance(0.0, 0.25)


def test_the_backend_torch_can_be_chosen(tmp_path: Path) -> None:
    published = publish_small(tmp_path, backend="torch")
    assert (published.backend, published.notes) == ("torch", ())
    assert read_version(tmp_path, "m").manifest.architecture == "mlp"


def test_another_backend_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="backend"):
        publish_small(tmp_path, backend="trees")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_does_not_agree_is_not_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = torch_export.export_net

    def wrong(name: str, net: Net) -> bytes:
        other = make_net()
        with torch.no_grad():
            other.get_parameter("head.bias").add_(0.01)
        return export(name, other.eval())

    monkeypatch.setattr(torch_export, "export_net", wrong)
    published = publish_small(tmp_path)
    assert "exported to ONNX, compared with torch: for golden row 0" in reason(published)
    assert read_version(tmp_path, "m").manifest.backend == "torch"
    assert load_model(tmp_path, "m", options=RunOptions()).num_golden_rows > 0
    with pytest.raises(ModelError, match="exported to ONNX, compared with torch"):
        publish_small(tmp_path, backend="onnx")


def test_a_net_that_cannot_be_exported_stays_with_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise RuntimeError("no such operator\nsecond line")

    monkeypatch.setattr(torch.onnx, "export", fail)
    published = publish_small(tmp_path)
    assert reason(published).endswith("cannot be exported to ONNX: torch.onnx.export: RuntimeError: no such operator")


def test_without_the_extra_the_reason_is_the_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise ModuleNotFoundError("No module named 'onnxscript'", name="onnxscript")

    monkeypatch.setattr(torch.onnx, "export", fail)
    published = publish_small(tmp_path)
    assert reason(published).endswith("the package onnxscript is missing")


def test_mistakes_of_the_caller_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="4 columns, but mlp takes 3"):
        publish_small(tmp_path, signature=make_signature(4))
    assert list(tmp_path.iterdir()) == []
