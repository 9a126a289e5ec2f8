from __future__ import annotations

import math

import pytest
import torch

from forebay.models.distributed.state import State, from_bytes, merge, to_bytes
from forebay.schemas.errors import ModelError


def test_a_state_is_read_back_bit_by_bit() -> None:
    weights = torch.tensor([[1.5, -0.0], [math.nan, math.inf]], dtype=torch.float64)
    tensors = {"w": weights, "scalar": torch.tensor(3.0), "random": torch.get_rng_state(), "t": torch.ones(2, 3).T}
    values = {"step": 7, "list": [1, None, "ü"], "nested": {"a": 0.1}}
    again = from_bytes(to_bytes(State(tensors, values)), "a")
    assert again.values == values
    for name, tensor in tensors.items():
        assert again.tensors[name].dtype == tensor.dtype and again.tensors[name].shape == tensor.shape
        assert again.tensors[name].numpy().tobytes() == tensor.contiguous().numpy().tobytes()


def test_tensors_that_share_memory_are_stored_separately() -> None:
    base = torch.arange(4.0)
    again = from_bytes(to_bytes(State({"a": base[:2], "b": base})), "a")
    assert again.tensors["a"].tolist() == [0, 1] and again.tensors["b"].tolist() == [0, 1, 2, 3]


def test_parts_are_taken_out_of_a_merged_state() -> None:
    first, second = State({"x": torch.ones(1)}, {"n": 1}), State({"x": torch.zeros(1)}, {"n": 2})
    merged = merge({"a.": first, "b.": second})
    assert merged.part("b.").values == {"n": 2}
    assert merged.part("a.").tensors["x"].tolist() == [1.0]


@pytest.mark.parametrize("data", [b"", b"\x00" * 8, b"\xff" * 100, to_bytes(State())[:-1], b"\x02" + b"\0" * 7 + b"{}"])
def test_other_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(ModelError, match="rank-0001: this is not a state"):
        from_bytes(data, "rank-0001")


def test_values_without_a_json_form_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_bytes(State(values={"loss": math.inf}))
