"""Windows as rows of a model: aggregates and sequences against a slow reference, and a model that takes them."""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forebay.models.artefacts.preprocessing import Impute, Preprocessing, Standardise
from forebay.models.artefacts.signature import Feature, Signature
from forebay.models.artefacts.window_input import FUNCTIONS, Aggregate, WindowInput
from forebay.models.backends.torch.architectures import GRU, build_net
from forebay.models.backends.torch.save import save_artefact
from forebay.schemas.errors import ModelError, TensorError
from tests.models.build import CREATED_AT, load_artefact, serve_artefact

NAN = math.nan
Window = list[tuple[int, list[float]]]

values = st.one_of(st.just(NAN), st.integers(-3, 3).map(float), st.floats(-1e6, 1e6, width=32))
windows = st.lists(
    st.lists(st.tuples(st.integers(0, 5), st.lists(values, min_size=2, max_size=2)), min_size=1, max_size=7),
    min_size=1,
    max_size=5,
)


def rows(window: WindowInput, windows: list[Window], span_ms: int = 4000) -> Any:
    events = [event for window in windows for event in window]
    x_NF = np.array([features for _, features in events], dtype=np.float32).reshape(len(events), 2)
    lengths_B = np.array([len(window) for window in windows])
    return window.rows(x_NF, np.array([t for t, _ in events]), lengths_B, np.full(len(windows), span_ms))


def reference(aggregate: Aggregate, window: Window, span_ms: int = 4000) -> float:
    window = sorted(window, key=lambda event: event[0])
    if aggregate.function == "rate":
        return len(window) / (span_ms / 1000)
    if aggregate.column is None:
        return len(window)
    column = [float(np.float32(features[aggregate.column])) for _, features in window]
    there = [value for value in column if not math.isnan(value)]
    match aggregate.function:
        case "count":
            return len(there)
        case "sum":
            return math.fsum(there)
        case "distinct":
            return len(set(there))
        case "first":
            return column[0]
        case "last":
            return column[-1]
    if not there:
        return NAN
    of_values = {"mean": statistics.fmean, "min": min, "max": max, "std": statistics.pstdev}
    return float(of_values[aggregate.function](there))


@settings(max_examples=150)
@given(windows)
def test_aggregates_agree_with_a_slow_reference(windows: list[Window]) -> None:
    aggregates = [Aggregate(function, 1) for function in FUNCTIONS if function != "rate"]
    aggregates += [Aggregate("rate"), Aggregate("count"), Aggregate("mean", 0)]
    x_BA = rows(WindowInput(aggregates=tuple(aggregates)), windows)
    expected = [[reference(aggregate, window) for aggregate in aggregates] for window in windows]
    np.testing.assert_allclose(x_BA, np.array(expected, dtype=np.float32), rtol=1e-5, atol=1e-2)
    assert x_BA.dtype == np.float32


@settings(max_examples=150)
@given(windows, st.integers(1, 6))
def test_a_sequence_is_the_last_events_by_time_then_padding(windows: list[Window], steps: int) -> None:
    x_BTW = rows(WindowInput(steps), windows).reshape(len(windows), steps, 3)
    for window, x_TW in zip(windows, x_BTW, strict=True):
        kept = [features for _, features in sorted(window, key=lambda event: event[0])][-steps:]
        np.testing.assert_array_equal(x_TW[: len(kept), :2], np.array(kept, dtype=np.float32))
        assert x_TW[:, 2].tolist() == [1.0] * len(kept) + [0.0] * (steps - len(kept))
        assert not x_TW[len(kept) :].any()


def test_the_deviation_of_large_numbers_is_exact() -> None:
    windows: list[Window] = [[(0, [1e6 + window, 0.0]) for window in (1.0, 2.0, 3.0)]]
    assert rows(WindowInput(aggregates=(Aggregate("std", 0),)), windows)[0, 0] == pytest.approx(math.sqrt(2 / 3))


def test_a_sum_beyond_float32_is_infinite_and_no_window_gives_no_row() -> None:
    big: list[Window] = [[(0, [3e38, 0.0]), (1, [3e38, 0.0])]]
    assert rows(WindowInput(aggregates=(Aggregate("sum", 0),)), big)[0, 0] == math.inf
    assert rows(WindowInput(4), []).shape == (0, 12)


def test_arrays_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(TensorError):
        WindowInput(2).rows(np.zeros((2, 1), np.float32), np.zeros(2, np.int64), np.array([3]), np.array([1]))
    with pytest.raises(TensorError, match="without an event"):
        WindowInput(2).rows(np.zeros((1, 1), np.float32), np.zeros(1, np.int64), np.array([0, 1]), np.array([1, 1]))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: WindowInput(), "either a sequence or aggregates"),
        (lambda: WindowInput(2, (Aggregate("count"),)), "either a sequence or aggregates"),
        (lambda: WindowInput(65_537), "allowed is from 1 to 65536"),
        (lambda: Aggregate("median", 0), "no aggregate 'median'; allowed is count, sum"),  # type: ignore[arg-type]
        (lambda: Aggregate("mean"), "mean needs a column"),
        (lambda: Aggregate("rate", 0), "takes no column"),
        (lambda: signature(WindowInput(aggregates=(Aggregate("mean", 2),))), "column 2; events have 2"),
        (
            lambda: signature(WindowInput(aggregates=(Aggregate("mean", 1),)), category=True),
            "mean does not take 'b', a text",
        ),
        (
            lambda: Signature(
                features=(), shape=(1, 2, 2), task="regression", output_dim=1, labels=(), window=WindowInput(2)
            ),
            "events of a window must be vectors",
        ),
    ],
)
def test_invalid_window_inputs_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as caught:
        make()
    assert caught.value.kind == "signature"


def signature(window: WindowInput, *, category: bool = False) -> Signature:
    second = Feature("b", "category", ("x", "y")) if category else Feature("b")
    return Signature(
        features=(Feature("a", nullable=True), second),
        shape=(2,),
        task="regression",
        output_dim=1,
        labels=(),
        window=window,
    )


def test_a_window_input_survives_json() -> None:
    for window in (WindowInput(7), WindowInput(aggregates=(Aggregate("count"), Aggregate("last", 1)))):
        assert Signature.from_dict(signature(window).to_dict()) == signature(window)
    assert "window" not in Signature((), (2,), "regression", 1).to_dict(), "older versions read these"
    wrong = signature(WindowInput(7)).to_dict() | {"window": {"aggregates": [{"function": "mode", "column": 0}]}}
    with pytest.raises(ModelError, match=r"window.aggregates\[0\].function is 'mode'; allowed is one of count"):
        Signature.from_dict(wrong)


def gru(**more: int) -> GRU:
    params = {"input_dim": 2, "sequence_length": 5, "hidden_dim": 3, "output_dim": 1} | more
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = build_net("gru", params)
    assert isinstance(net, GRU)
    return net.eval()


def gru_reference(net: GRU, x_TF: Any) -> Any:
    """Return a GRU's output in float64, by the equations of `torch.nn.GRU`."""
    weights = {name: value.detach().numpy().astype(np.float64) for name, value in net.state_dict().items()}

    def sigmoid(x: Any) -> Any:
        return 1 / (1 + np.exp(-x))

    inputs = x_TF.astype(np.float64)
    for layer in range(net.gru.num_layers):
        w_i, w_h, b_i, b_h = (
            weights[f"gru.{part}_l{layer}"] for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        state, outputs = np.zeros(net.gru.hidden_size), []
        for x in inputs:
            (i_r, i_z, i_n), (h_r, h_z, h_n) = np.split(w_i @ x + b_i, 3), np.split(w_h @ state + b_h, 3)
            reset, update = sigmoid(i_r + h_r), sigmoid(i_z + h_z)
            state = (1 - update) * np.tanh(i_n + reset * h_n) + update * state
            outputs.append(state)
        inputs = np.array(outputs)
    return weights["head.weight"] @ inputs[-1] + weights["head.bias"]


@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_gru_agrees_with_float64_whatever_the_padding(num_layers: int) -> None:
    net = gru(num_layers=num_layers)
    rng = np.random.default_rng(0)
    for length in (1, 3, 5):
        x_TW = rng.normal(size=(5, 3)).astype(np.float32)  # padding is garbage here and must not affect the output
        x_TW[:, -1] = [1.0] * length + [0.0] * (5 - length)
        with torch.inference_mode():
            out = net(torch.from_numpy(x_TW[None])).numpy()[0]
        np.testing.assert_allclose(out, gru_reference(net, x_TW[:length, :2]), rtol=1e-5, atol=1e-6)


def test_a_gru_refuses_other_shapes_and_parameters() -> None:
    with pytest.raises(TensorError, match=r"gru takes a tensor \[B, 5, 3\]"):
        gru()(torch.zeros(2, 5, 2))
    with pytest.raises(ModelError, match="sequence_length is 0; allowed is a whole number from 1"):
        build_net("gru", {"input_dim": 2, "sequence_length": 0, "hidden_dim": 3, "output_dim": 1})


def test_a_loaded_model_of_sequences_prepares_events_but_not_padding(tmp_path: Path) -> None:
    preprocessing = Preprocessing((Impute(2, (0,), (9.0,)), Standardise(2, (0, 1), (1.0, 2.0), (2.0, 4.0))))
    save_artefact(
        tmp_path, "m", gru(), signature=signature(WindowInput(5)), preprocessing=preprocessing, created_at=CREATED_AT
    )
    served = serve_artefact(load_artefact(tmp_path, "m"))
    served.warm_up([1, 4])
    windows: list[Window] = [[(3, [1.0, 2.0]), (1, [NAN, 6.0])], [(0, [3.0, 2.0])]]
    prepared = served.prepare(rows(WindowInput(5), windows)).reshape(2, 5, 3)
    assert prepared[0, :2].tolist() == [[4.0, 1.0, 1.0], [0.0, 0.0, 1.0]]
    assert not prepared[0, 2:].any() and not prepared[1, 1:].any()
    scores = served.forward(prepared.reshape(2, -1))
    np.testing.assert_allclose(scores.values_BO[0], gru_reference(gru(), prepared[0, :2, :2]), rtol=1e-5, atol=1e-6)
    with pytest.raises(TensorError):
        served.prepare(np.zeros((1, 14), np.float32))


def test_a_model_of_aggregates_prepares_its_rows(tmp_path: Path) -> None:
    window = WindowInput(aggregates=(Aggregate("count"), Aggregate("mean", 1), Aggregate("max", 0)))
    net = build_net("linear_regression", {"input_dim": 3})
    preprocessing = Preprocessing((Standardise(3, (1,), (2.0,), (2.0,)),))
    with pytest.raises(ModelError, match="takes 3 columns, not 2"):
        save_artefact(
            tmp_path,
            "m",
            net,
            signature=Signature((), (2,), "regression", 1),
            preprocessing=preprocessing,
            created_at=CREATED_AT,
        )
    save_artefact(tmp_path, "m", net, signature=signature(window), preprocessing=preprocessing, created_at=CREATED_AT)
    served = serve_artefact(load_artefact(tmp_path, "m"))
    served.warm_up([1, 3])
    prepared = served.prepare(rows(window, [[(0, [5.0, 6.0]), (1, [7.0, 8.0])]]))
    assert prepared.tolist() == [[2.0, 2.5, 7.0]]


def test_a_net_for_flat_rows_does_not_fit_sequences(tmp_path: Path) -> None:
    flat = build_net("mlp", {"input_dim": 15, "hidden_dims": [2], "output_dim": 1})
    with pytest.raises(ModelError, match=r"have the shape \[5, 3\] in the signature, but mlp takes \[15\]"):
        save_artefact(tmp_path, "m", flat, signature=signature(WindowInput(5)), created_at=CREATED_AT)
