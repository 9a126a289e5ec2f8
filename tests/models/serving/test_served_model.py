from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from forebay.models.artefacts.preprocessing import OneHot, Preprocessing
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.backends.protocol import Model, Scores
from forebay.models.backends.torch.architectures import CNN, build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.models.serving.scoring import score
from forebay.schemas.errors import ModelError, TensorError
from tests.models.build import (
    CREATED_AT,
    load_artefact,
    make_net,
    make_signature,
    make_standardise,
    serve,
    serve_artefact,
)

LOGITS = st.floats(-200, 200, width=32)


class Call(nn.Module):
    """A module that calls a function."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def softmax64(logits: Any) -> Any:
    powers = np.exp(logits.astype(np.float64) - logits.astype(np.float64).max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


@given(arrays(np.float32, st.tuples(st.integers(0, 6), st.integers(2, 40)), elements=LOGITS))
def test_multiclass_scores_agree_with_a_float64_softmax(logits: Any) -> None:
    scores = score(logits, "multiclass")
    expected = softmax64(logits)
    assert scores.classes_B is not None and scores.confidences_B is not None
    np.testing.assert_allclose(scores.values_BO, expected, rtol=1e-4, atol=1e-37)
    np.testing.assert_array_equal(scores.classes_B, logits.argmax(axis=1))
    np.testing.assert_array_equal(scores.confidences_B, scores.values_BO.max(axis=1))


@given(arrays(np.float32, st.tuples(st.integers(0, 6), st.just(1)), elements=LOGITS))
def test_binary_scores_agree_with_a_float64_sigmoid(logits: Any) -> None:
    scores = score(logits, "binary")
    expected = 1 / (1 + np.exp(-logits.astype(np.float64)))
    assert scores.classes_B is not None and scores.confidences_B is not None
    np.testing.assert_allclose(scores.values_BO, expected, rtol=1e-5, atol=1e-37)
    np.testing.assert_array_equal(scores.classes_B, scores.values_BO[:, 0] >= 0.5)
    np.testing.assert_allclose(scores.confidences_B, np.maximum(expected, 1 - expected)[:, 0], rtol=1e-6)


@pytest.mark.parametrize("filler", [0, 30])
def test_the_maximum_is_subtracted_not_the_largest_magnitude(filler: int) -> None:
    # If -50 were subtracted instead, exp(45 + 50) would be beyond float32.
    logits = np.array([[-50.0, 45.0, *[-300.0] * filler]], dtype=np.float32)
    scores = score(logits, "multiclass")
    assert scores.classes_B is not None and scores.confidences_B is not None
    np.testing.assert_allclose(scores.values_BO, softmax64(logits), rtol=1e-5, atol=1e-44)
    assert scores.values_BO[0, 0] > 0
    assert scores.classes_B[0] == 1
    assert scores.confidences_B[0] == 1.0


def test_extreme_logits_of_two_classes() -> None:
    scores = score(np.array([[-50.0], [45.0], [-1e30], [np.inf], [-np.inf]], dtype=np.float32), "binary")
    np.testing.assert_allclose(scores.values_BO[:, 0], [1.9287498e-22, 1, 0, 1, 0], rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 40])
def test_nan_stays_in_its_row(classes: int) -> None:
    logits = np.random.default_rng(0).normal(size=(4, classes)).astype(np.float32)
    good = score(logits, "multiclass")
    logits[1, 0], logits[3, 1] = np.nan, np.inf
    scores = score(logits, "multiclass")
    assert np.isnan(scores.values_BO[1]).all()
    assert not np.isfinite(scores.values_BO[3]).all()
    assert scores.confidences_B is not None and np.isnan(scores.confidences_B[[1, 3]]).all()
    np.testing.assert_array_equal(scores.values_BO[[0, 2]], good.values_BO[[0, 2]])


def test_nan_in_a_row_is_not_an_error_and_does_not_affect_other_rows() -> None:
    for task, outputs in (("multiclass", 2), ("binary", 1), ("regression", 2)):
        signature = make_signature(task=task, output_dim=outputs)  # type: ignore[arg-type]
        model = serve(make_net(output_dim=outputs), signature)
        x_BF = np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32)
        good = model.forward(x_BF)
        x_BF[1, 0] = np.nan
        scores = model.forward(model.prepare(x_BF))
        assert np.isnan(scores.values_BO[1]).all()
        np.testing.assert_array_equal(scores.values_BO[[0, 2]], good.values_BO[[0, 2]])


def test_regression_gives_values_only() -> None:
    model = serve(make_net(output_dim=2), make_signature(task="regression"))
    x_BF = np.ones((4, 3), dtype=np.float32)
    scores = model.forward(x_BF)
    assert scores.classes_B is None and scores.confidences_B is None
    with torch.no_grad():
        np.testing.assert_array_equal(scores.values_BO, make_net(output_dim=2).eval()(torch.from_numpy(x_BF)))


@pytest.mark.parametrize(("task", "outputs"), [("multiclass", 3), ("binary", 1), ("regression", 2)])
def test_scores_have_the_promised_types_and_their_own_memory(task: Any, outputs: int) -> None:
    kept: Tensor = torch.zeros(8, outputs)
    model = serve(
        Call(lambda x: kept[: len(x)].copy_(x[:, :outputs])), make_signature(4, task=task, output_dim=outputs)
    )
    first_x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    first = model.forward(first_x)
    arrays = [array for array in (first.values_BO, first.classes_B, first.confidences_B) if array is not None]
    before = [array.tobytes() for array in arrays]
    second = model.forward(-first_x)
    kept.fill_(99)
    first_x[:] = 77
    assert [array.tobytes() for array in arrays] == before
    assert not np.shares_memory(first.values_BO, second.values_BO)
    assert first.values_BO.dtype == np.float32
    assert first.values_BO.shape == (5, outputs)
    assert all(array.flags.c_contiguous and array.flags.writeable for array in arrays)
    if task != "regression":
        assert first.classes_B is not None and first.confidences_B is not None
        assert first.classes_B.dtype == np.int64 and first.classes_B.shape == (5,)
        assert first.confidences_B.dtype == np.float32 and first.confidences_B.shape == (5,)


def test_an_identity_module_does_not_return_its_input() -> None:
    model = serve(nn.Identity(), make_signature(2, task="regression", output_dim=2))
    x_BG = np.ones((3, 2), dtype=np.float32)
    assert not np.shares_memory(model.forward(x_BG).values_BO, x_BG)


def test_the_module_runs_in_inference_and_evaluation_mode() -> None:
    seen: list[bool] = []

    class Look(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.extend([torch.is_inference_mode_enabled(), self.training])
            return x

    serve(Look().train(), make_signature(2)).forward(np.zeros((1, 2), dtype=np.float32))
    assert seen == [True, False]


@pytest.mark.parametrize("spoil", ["read only", "fortran", "backwards", "strided"])
def test_any_memory_layout_is_accepted_and_not_modified(spoil: str) -> None:
    model = serve(make_net(), make_signature())
    x = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    expected = model.forward(x).values_BO
    match spoil:
        case "read only":
            view = np.frombuffer(x.tobytes(), dtype=np.float32).reshape(6, 3)
        case "fortran":
            view = np.asfortranarray(x)
        case "backwards":
            view = x[::-1].copy()[::-1]
        case _:
            view = np.repeat(x, 2, axis=0)[::2]
    before = view.tobytes()
    np.testing.assert_array_equal(model.forward(view).values_BO, expected)
    assert view.tobytes() == before


def test_prepare_applies_the_preprocessing_and_images_get_their_shape() -> None:
    model = serve(make_net(), make_signature(), make_standardise())
    x_BF = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    np.testing.assert_array_equal(model.prepare(x_BF), make_standardise().apply(x_BF))

    images = serve(CNN(2, 8, 4), Signature((), (2, 8, 8), "multiclass", 4))
    x_BF = np.random.default_rng(0).normal(size=(5, 128)).astype(np.float32)
    scores = images.forward(images.prepare(x_BF))
    assert scores.values_BO.shape == (5, 4)


def test_a_preprocessing_that_widens_the_rows() -> None:
    signature = Signature((Feature("c", "category", ("a", "b", "c"), nullable=True), Feature("x")), (2,), "binary", 1)
    model = serve(make_net(4, 1), signature, Preprocessing((OneHot(2, (0,), (3,)),)))
    model.warm_up([1, 3])
    with pytest.raises(TensorError, match=r"takes float32 \[B, 4\] here; this is float32 \[5, 2\]"):
        model.forward(np.zeros((5, 2), dtype=np.float32))
    with pytest.raises(TensorError, match=r"takes float32 \[B, 2\] here"):
        model.prepare(np.zeros((5, 4), dtype=np.float32))


def test_another_type_of_input_is_a_tensor_error() -> None:
    model = serve(make_net(), make_signature())
    with pytest.raises(TensorError, match="this is float64"):
        model.forward(np.zeros((5, 3)))  # type: ignore[arg-type]
    with pytest.raises(TensorError, match=r"this is float32 \[3\]"):
        model.prepare(np.zeros(3, dtype=np.float32))
    with pytest.raises(TensorError, match="float64"):
        model.prepare(np.zeros((5, 3)))  # type: ignore[arg-type]


def test_a_batch_of_no_rows() -> None:
    for task, outputs in (("multiclass", 2), ("multiclass", 40), ("binary", 1), ("regression", 2)):
        signature = make_signature(task=task, output_dim=outputs)  # type: ignore[arg-type]
        scores = serve(make_net(output_dim=outputs), signature).forward(np.zeros((0, 3), dtype=np.float32))
        assert scores.values_BO.shape == (0, outputs)


def test_warm_up_runs_every_size_once() -> None:
    sizes: list[int] = []

    def look(x: Tensor) -> Tensor:
        sizes.append(len(x))
        return x[:, :2]

    serve(Call(look), make_signature()).warm_up([1, 64, 512])
    assert sizes == [1, 64, 512]


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda x: x, "[4, 3] instead of [4, 2]"),
        (lambda x: x[1:, :2], "[3, 2] instead of [4, 2]"),
        (lambda x: x[:, 0], "[4] instead of [4, 2]"),
        (lambda x: (x[:, :2], x), "tuple instead of a tensor"),
        (lambda _: None, "NoneType instead of a tensor"),
    ],
)
def test_an_output_of_another_shape_is_an_error(function: Any, found: str) -> None:
    with pytest.raises(ModelError) as caught:
        serve(Call(function), make_signature()).forward(np.zeros((4, 3), dtype=np.float32))
    assert caught.value.message == f"model m version 3: returned {found}"
    assert caught.value.kind == "output_shape"


def raising(error: Exception) -> Any:
    def call(_: Tensor) -> Tensor:
        raise error

    return call


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory: you tried"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 10 bytes"),
        RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"),
        MemoryError(),
    ],
)
def test_out_of_memory_is_recognised(error: Exception) -> None:
    with pytest.raises(ModelError) as caught:
        serve(Call(raising(error)), make_signature()).forward(np.zeros((4, 3), dtype=np.float32))
    assert caught.value.kind == "out_of_memory"
    assert caught.value.message.startswith("model m version 3: not enough memory for 4 rows on cpu: ")
    assert "\n" not in caught.value.message
    assert caught.value.remedy


def test_running_out_of_cpu_memory_is_recognised() -> None:
    def greedy(x: Tensor) -> Tensor:
        return x + torch.empty(len(x), 1 << 50, dtype=torch.uint8)

    with pytest.raises(ModelError) as caught:
        serve(Call(greedy), make_signature()).forward(np.zeros((4, 3), dtype=np.float32))
    assert caught.value.kind == "out_of_memory"


def test_an_out_of_memory_error_keeps_no_tensor_alive() -> None:
    tensors: list[weakref.ref[Tensor]] = []

    def fail(x: Tensor) -> Tensor:
        big = x.repeat(2, 1)
        tensors.append(weakref.ref(big))
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = serve(Call(fail), make_signature())
    gc.disable()  # memory that only the collector would free is still in use when the smaller batch is tried
    try:
        with pytest.raises(ModelError) as caught:
            model.forward(np.zeros((4, 3), dtype=np.float32))
        assert caught.value.kind == "out_of_memory"
        assert tensors[0]() is None
    finally:
        gc.enable()


def test_other_exceptions_of_the_module_pass_through() -> None:
    for error in (RuntimeError("expected scalar type"), ValueError("no"), ZeroDivisionError()):
        with pytest.raises(type(error)) as caught:
            serve(Call(raising(error)), make_signature()).forward(np.zeros((4, 3), dtype=np.float32))
        assert caught.value is error


def test_weights_that_do_not_fit_on_the_device_are_out_of_memory() -> None:
    class Heavy(nn.Module):
        def to(self, *_: Any, **__: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(ModelError, match="its weights do not fit on cpu") as caught:
        serve(Heavy(), make_signature())
    assert caught.value.kind == "out_of_memory"


def test_preprocessing_of_another_width_is_refused_at_once() -> None:
    with pytest.raises(ModelError, match="takes 4 columns, not 3"):
        serve(make_net(), make_signature(), make_standardise(4))


def test_an_artefact_serves_as_it_was_trained(tmp_path: Any) -> None:
    net = build_net("mlp", {"input_dim": 3, "hidden_dims": [4], "output_dim": 2, "dropout_rate": 0.5})
    save_artefact(
        tmp_path,
        "delays",
        net,
        signature=make_signature(labels=("no", "yes")),
        preprocessing=make_standardise(),
        created_at=CREATED_AT,
    )
    model: Model = serve_artefact(load_artefact(tmp_path, "delays"))
    assert (model.name, model.version, model.signature.labels) == ("delays", 1, ("no", "yes"))
    model.warm_up([2])
    x_BF = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    with torch.no_grad():
        logits = net.eval()(torch.from_numpy(make_standardise().apply(x_BF)))
    scores: Scores = model.forward(model.prepare(x_BF))
    np.testing.assert_allclose(scores.values_BO, torch.softmax(logits, 1), rtol=1e-6)
