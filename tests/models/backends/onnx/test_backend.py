"""The backend builds sessions from inspected files, checks the signature, and reports devices and memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from forebay.models.artefacts.manifest import Provenance
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature
from forebay.models.backends.onnx.backend import build_runner
from forebay.models.backends.onnx.session import is_out_of_memory
from forebay.models.backends.protocol import RunOptions
from forebay.models.registration.candidate import Candidate
from forebay.models.registration.publish import publish_candidate
from forebay.models.serving.load_gate import load_model
from forebay.models.serving.served_model import ServedModel
from forebay.schemas.errors import ModelError
from tests.models.backends.onnx.graphs import WEIGHTS, constant, make_model
from tests.models.build import CREATED_AT

OPTIONS = RunOptions()


def publish_model(repository: Path, model: onnx.ModelProto, signature: Signature, **params: object) -> ServedModel:
    candidate = Candidate(
        "onnx", {"model.onnx": model.SerializeToString()}, signature, Preprocessing.identity(), params=params
    )
    publish_candidate(candidate, repository=repository, name="m", provenance=Provenance(CREATED_AT, {}))
    return load_model(repository, "m", options=OPTIONS)


def test_a_published_graph_is_served(tmp_path: Path) -> None:
    model = publish_model(tmp_path, make_model(), Signature((), (3,), "multiclass", 2))
    model.warm_up([1, 64])
    x_BF = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    logits_BO = x_BF.astype(np.float64) @ WEIGHTS
    expected_BO = np.exp(logits_BO) / np.exp(logits_BO).sum(axis=1, keepdims=True)
    scores = model.forward(model.prepare(x_BF))
    assert np.allclose(scores.values_BO, expected_BO, atol=1e-6)
    assert model.device == "cpu"
    assert model.num_golden_rows > 0


def test_a_strided_row_is_run_as_its_values() -> None:
    runner = build_runner(make_model().SerializeToString(), "m", OPTIONS)
    x_BF = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(4, 3))
    assert np.allclose(runner.run(x_BF), x_BF @ WEIGHTS)


@pytest.mark.parametrize(
    ("signature", "problem"),
    [
        (Signature((), (4,), "multiclass", 2), "gives 4 columns, but the ONNX graph takes 3"),
        (Signature((), (3,), "multiclass", 3), "states 3 outputs; the ONNX graph gives 2"),
        (Signature((), (1, 3, 1), "multiclass", 2), "the shape [1, 3, 1] in the signature"),
    ],
)
def test_a_signature_that_does_not_fit_is_refused(tmp_path: Path, signature: Signature, problem: str) -> None:
    with pytest.raises(ModelError, match=r"model\.onnx") as caught:
        publish_model(tmp_path, make_model(), signature)
    assert problem in caught.value.message
    assert caught.value.kind == "signature"


def test_an_unknown_parameter_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="params has 'providers'") as caught:
        publish_model(tmp_path, make_model(), Signature((), (3,), "multiclass", 2), providers="x")
    assert caught.value.kind == "params"


def test_what_onnx_runtime_refuses_is_a_model_error() -> None:
    model = make_model([helper.make_node("MatMul", ["rows", "nothing"], ["scores"])])
    with pytest.raises(ModelError, match=r"m: ONNX Runtime refuses the model: .*nothing") as caught:
        build_runner(model.SerializeToString(), "m", OPTIONS)
    assert caught.value.kind == "onnx"


@pytest.mark.parametrize(
    ("device", "problem"),
    [
        ("mps", "device is 'mps'; the backend onnx has auto, cpu, cuda or cuda:N"),
        ("cuda:1", "device 'cuda:1' is not available: this onnxruntime was built without CUDA"),
        ("cuda;", "device is 'cuda;'"),
    ],
)
def test_a_device_that_is_not_there_is_refused(device: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(ModelError) as caught:
        build_runner(make_model().SerializeToString(), "m", RunOptions(device))
    assert (caught.value.kind, problem in caught.value.message) == ("device", True)


def test_auto_is_the_cpu() -> None:
    assert build_runner(make_model().SerializeToString(), "m", RunOptions("auto")).device == "cpu"


def test_a_graph_that_multiplies_its_size_is_out_of_memory_before_the_process_is() -> None:
    """Nothing in this graph is large: each of eight steps makes the row 32 times longer."""
    nodes, name = [], "rows"
    for step in range(8):
        nodes.append(helper.make_node("Concat", [name] * 32, [f"v{step}"], axis=1))
        name = f"v{step}"
    nodes += [
        helper.make_node("ReduceMax", [name], ["largest"], axes=[1], keepdims=1),
        helper.make_node("Add", ["largest", "zeros"], ["scores"]),
    ]
    model = make_model(nodes, [constant("zeros", [0.0, 0.0])], opsets={"": 13})
    runner = build_runner(model.SerializeToString(), "m", OPTIONS)
    with pytest.raises(ModelError, match="not enough memory for 1 rows on cpu") as caught:
        runner.run(np.zeros((1, 3), dtype=np.float32))
    assert caught.value.kind == "out_of_memory"
    small = build_runner(make_model().SerializeToString(), "m", OPTIONS)
    assert small.run(np.zeros((1, 3), dtype=np.float32)).shape == (1, 2)  # others still run


def test_constants_are_not_computed_outside_the_limited_memory() -> None:
    """Built of constants only, so that ONNX Runtime could compute it while the session is created."""
    nodes, name = [], "start"
    for step in range(8):
        nodes.append(helper.make_node("Concat", [name] * 32, [f"v{step}"], axis=0))
        name = f"v{step}"
    nodes += [
        helper.make_node("ReduceMax", [name], ["largest"], axes=[0], keepdims=1),
        helper.make_node("MatMul", ["rows", "weights"], ["product"]),
        helper.make_node("Add", ["product", "largest"], ["scores"]),
    ]
    model = make_model(nodes, [constant("start", [0.0]), constant("weights", WEIGHTS)], opsets={"": 13})
    with pytest.raises(ModelError) as caught:
        build_runner(model.SerializeToString(), "m", OPTIONS).run(np.zeros((1, 3), dtype=np.float32))
    assert caught.value.kind == "out_of_memory"


@pytest.mark.parametrize(
    "message", ["std::bad_alloc", "Available memory of 10 is smaller", "Failed to allocate memory for"]
)
def test_messages_of_missing_memory_are_known(message: str) -> None:
    assert is_out_of_memory(RuntimeError(f"[ONNXRuntimeError] : 6 : {message}"))
    assert not is_out_of_memory(RuntimeError("Got invalid dimensions"))


def test_an_output_of_another_type_at_run_time_is_refused() -> None:
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)
    runner = build_runner(make_model(outputs=[scores]).SerializeToString(), "m", OPTIONS)
    assert runner.run(np.ones((2, 3), dtype=np.float32)).dtype == np.float32
