from __future__ import annotations

import pytest
import torch

from forebay.models.backends.torch.device import resolve_device
from forebay.schemas.errors import ModelError


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda:0"), (1, True, "cuda:0")],
)
def test_auto_chooses_the_best_available_device(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, expected: str
) -> None:
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert resolve_device("auto") == torch.device(expected)


@pytest.mark.parametrize(
    ("text", "expected"), [("cpu", "cpu"), ("mps", "mps"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")]
)
def test_an_available_device_is_returned(monkeypatch: pytest.MonkeyPatch, text: str, expected: str) -> None:
    pretend(monkeypatch, cuda=2, mps=True)
    assert resolve_device(text) == torch.device(expected)


@pytest.mark.parametrize("text", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU", "cpu\n", "cuda:0\n", "meta"])
def test_the_error_for_an_unknown_device_names_the_allowed_ones(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    pretend(monkeypatch, cuda=2, mps=True)
    with pytest.raises(ModelError, match="allowed is auto, cpu, cuda, cuda:N or mps") as caught:
        resolve_device(text)
    assert caught.value.kind == "device"


@pytest.mark.parametrize(
    ("text", "cuda", "says"),
    [("cuda", 0, "CUDA"), ("mps", 0, "no Apple GPU"), ("cuda:2", 2, "there are 2 CUDA devices")],
)
def test_an_unavailable_device_is_an_error(monkeypatch: pytest.MonkeyPatch, text: str, cuda: int, says: str) -> None:
    pretend(monkeypatch, cuda=cuda)
    with pytest.raises(ModelError, match=says) as caught:
        resolve_device(text)
    assert caught.value.kind == "device"
    assert '"auto"' in str(caught.value.remedy)
