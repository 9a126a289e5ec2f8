"""Each compression against the exact mean, with ranks as threads. float64 is the reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forebay.models.distributed.compression.compression import NoCompression
from forebay.models.distributed.compression.power_sgd import PowerSGD
from forebay.models.distributed.compression.quantised import dequantise, quantise
from forebay.models.distributed.connect import build_compression
from forebay.models.distributed.exchange import RankExchange
from forebay.models.distributed.options import COMPRESSIONS, DistributedOptions
from forebay.models.distributed.state import State, from_bytes, to_bytes
from forebay.schemas.errors import ModelError
from tests.models.distributed.threads import ThreadTransport, on_ranks

RANKS = 3
SHAPES = ((12, 10), (12,), (4, 3, 3, 3), (1, 5), ())
LOSSY = tuple(name for name in COMPRESSIONS if name != "none")


def gradients(rank: int, step: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1000 * rank + step)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


def parameters(dtype: torch.dtype = torch.float32) -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(shape, dtype=dtype)) for shape in SHAPES]


def build(name: str, **options: Any) -> Any:
    return build_compression(DistributedOptions(compression=name, **({"density": 0.25} | options)), seed=5)


def run(
    name: str,
    steps: int,
    transport: ThreadTransport,
    *,
    fill: Callable[[int, int], list[Tensor]] = gradients,
    resume_at: int | None = None,
    bucket_mb: float = 0.0004,  # several buckets
) -> tuple[list[list[Tensor]], State]:
    """Return the averaged gradients of all steps on one rank, and the last state."""
    own = parameters(fill(0, 0)[0].dtype)
    exchange = RankExchange(transport, build(name), bucket_mb)
    results = []
    for step in range(steps):
        if step == resume_at:
            state = from_bytes(to_bytes(exchange.state()), "test")
            exchange = RankExchange(transport, build(name), bucket_mb)
            exchange.restore(state)
        for parameter, gradient in zip(own, fill(transport.rank, step), strict=True):
            parameter.grad = gradient.clone()
        exchange.exchange(own)
        results.append([parameter.grad.clone() for parameter in own if parameter.grad is not None])
    return results, exchange.state()


def mean(step: int) -> list[Tensor]:
    ranks = [gradients(rank, step, torch.float64) for rank in range(RANKS)]
    return [torch.stack(parts).mean(0) for parts in zip(*ranks, strict=True)]


def bits(results: list[list[Tensor]]) -> bytes:
    return b"".join(tensor.numpy().tobytes() for step in results for tensor in step)


def test_without_compression_the_result_is_the_mean() -> None:
    for results, _ in on_ranks(RANKS, lambda transport: run("none", 2, transport)):
        for step, result in enumerate(results):
            for found, expected in zip(result, mean(step), strict=True):
                torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "atol"), [("fp16", 2e-3), ("int8", 3e-2)])
def test_the_error_of_a_rounded_gradient_is_bounded(name: str, atol: float) -> None:
    for results, _ in on_ranks(RANKS, lambda transport: run(name, 1, transport)):
        for found, expected in zip(results[0], mean(0), strict=True):
            torch.testing.assert_close(found.double(), expected, rtol=0, atol=atol)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_all_ranks_get_the_same_bits(name: str) -> None:
    first, *others = (bits(results) for results, _ in on_ranks(RANKS, lambda transport: run(name, 3, transport)))
    assert all(other == first for other in others)


@pytest.mark.parametrize("name", LOSSY)
def test_a_restored_state_continues_bit_by_bit(name: str) -> None:
    through = on_ranks(RANKS, lambda transport: run(name, 6, transport))
    resumed = on_ranks(RANKS, lambda transport: run(name, 6, transport, resume_at=3))
    assert [bits(results) for results, _ in through] == [bits(results) for results, _ in resumed]


@pytest.mark.parametrize("name", ["int8", "top_k", "top_k_int8", "power_sgd"])
def test_a_lost_state_would_change_the_result(name: str) -> None:
    def forget(transport: ThreadTransport) -> bytes:
        kept, _ = run(name, 3, transport)
        again, _ = run(name, 1, transport, fill=lambda rank, step: gradients(rank, 2))
        return bits(kept[2:]) + b"|" + bits(again)

    kept, _, again = on_ranks(RANKS, forget)[0].partition(b"|")
    assert kept != again


@pytest.mark.parametrize("name", ["int8", "top_k", "top_k_int8", "power_sgd"])
def test_what_is_not_sent_is_sent_later(name: str) -> None:
    """The sum of all results and the mean of all remaining errors is the sum of all exact means."""
    steps = 5
    ranks = on_ranks(RANKS, lambda transport: run(name, steps, transport, fill=_double, bucket_mb=1.0))
    exact = [torch.stack(parts).sum(0) for parts in zip(*(mean(step) for step in range(steps)), strict=True)]
    results = ranks[0][0]
    found = [torch.stack(parts).sum(0) for parts in zip(*results, strict=True)]
    states = [state.part("error.").tensors for _, state in ranks]
    if name == "power_sgd":
        for number in states[0]:
            error = torch.stack([state[number] for state in states]).mean(0)
            found[int(number)] = found[int(number)] + error.view(found[int(number)].shape)
    else:
        sizes = [tensor.numel() for tensor in found]
        flat = torch.cat([tensor.flatten() for tensor in found]) + torch.stack([s["0"] for s in states]).mean(0)
        found = [part.view(other.shape) for part, other in zip(torch.split(flat, sizes), found, strict=True)]
    for one, other in zip(found, exact, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def _double(rank: int, step: int) -> list[Tensor]:
    return gradients(rank, step, torch.float64)


def test_sparse_results_have_the_largest_values() -> None:
    def one_rank(transport: ThreadTransport) -> Tensor:
        own = [nn.Parameter(torch.zeros(8))]
        own[0].grad = torch.tensor([0.1, -5.0, 0.2, 3.0, 0.0, -0.3, 0.4, 0.05])
        RankExchange(transport, build("top_k")).exchange(own)
        assert own[0].grad is not None
        return own[0].grad

    (result,) = on_ranks(1, one_rank)
    assert result.tolist() == [0.0, -5.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0]


def test_power_sgd_finds_matrices_of_low_rank() -> None:
    """Repeated for the same matrix, the power iteration converges to it, as its rank is that of the product."""
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(size, 2, generator=generator, dtype=torch.float64) for size in (20, 30))
    matrix = left @ right.T

    def one_rank(transport: ThreadTransport) -> Tensor:
        compression = PowerSGD(2, seed=0)
        own = [nn.Parameter(torch.zeros(20, 30, dtype=torch.float64))]
        own[0].grad = matrix * (transport.rank + 1)  # the mean is 1.5 times the matrix
        RankExchange(transport, compression).exchange(own)
        assert own[0].grad is not None
        return own[0].grad

    for result in on_ranks(2, one_rank):
        torch.testing.assert_close(result, 1.5 * matrix)


def test_the_bytes_are_those_of_the_method() -> None:
    """100 x 50 values of 4 bytes."""

    def sent(transport: ThreadTransport, name: str) -> int:
        own = [nn.Parameter(torch.zeros(100, 50))]
        own[0].grad = torch.randn(100, 50)
        RankExchange(transport, build(name, density=0.01, power_sgd_rank=2)).exchange(own)
        return transport.sent_bytes

    counts = {name: on_ranks(1, lambda transport, name=name: sent(transport, name))[0] for name in COMPRESSIONS}  # type: ignore[misc]
    assert counts == {
        "none": 20_000,
        "fp16": 10_000,
        "int8": 5_004,
        "top_k": 50 * 8,
        "top_k_int8": 50 * 5 + 4,
        "power_sgd": (100 + 50) * 2 * 4,
    }


def test_int8_rounds_to_half_a_step() -> None:
    values = torch.linspace(-3, 3, 1001, dtype=torch.float64)
    assert (dequantise(quantise(values), torch.float64) - values).abs().max() <= 3 / 127 / 2 + 1e-6
    assert dequantise(quantise(torch.zeros(4)), torch.float32).tolist() == [0.0] * 4


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_refused(name: str, value: float) -> None:
    def fill(rank: int, step: int) -> list[Tensor]:
        tensors = gradients(rank, step)
        tensors[0][3, 3] = value
        return tensors

    with pytest.raises(ModelError, match="diverged"):
        on_ranks(1, lambda transport: run(name, 1, transport, fill=fill))


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_a_zero_gradient_stays_zero(name: str) -> None:
    zeros = lambda rank, step: [torch.zeros(shape) for shape in SHAPES]  # noqa: E731
    for results, _ in on_ranks(2, lambda transport: run(name, 2, transport, fill=zeros)):
        assert all(not tensor.any() for result in results for tensor in result)


def test_large_values_do_not_become_infinite_in_float16() -> None:
    big = lambda rank, step: [torch.full(shape, 60_000.0) for shape in SHAPES]  # noqa: E731
    for results, _ in on_ranks(RANKS, lambda transport: run("fp16", 1, transport, fill=big)):
        assert all(torch.allclose(tensor, torch.full_like(tensor, 60_000.0), rtol=1e-3) for tensor in results[0])


def test_the_state_of_another_compression_is_refused() -> None:
    _, state = on_ranks(1, lambda transport: run("power_sgd", 1, transport))[0]
    for name in ("int8", "top_k", "none"):
        with pytest.raises(ModelError, match="another compression"):
            build(name).restore(state)


def test_a_parameter_without_a_gradient_is_refused() -> None:
    def one_rank(transport: ThreadTransport) -> None:
        own = parameters()
        own[0].grad = torch.zeros(SHAPES[0])
        RankExchange(transport, NoCompression()).exchange(own)

    with pytest.raises(ModelError, match=r"parameter 1 \[12\] of the net has no gradient"):
        on_ranks(1, one_rank)
