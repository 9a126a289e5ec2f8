"""The compression power_sgd: each gradient matrix as a product of two thin ones (Vogels and others, 2019), with error feedback.

torch's own hook is part of DistributedDataParallel. There, its messages can be out of order between buckets on gloo
(pytorch#58467), and its error feedback is not in a checkpoint (pytorch#75666). Here one thread sends three messages a step, and
`state` has everything.

Shapes: N, M of a gradient as a matrix; R rank of the product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from forebay.models.distributed.buckets import Bucket
from forebay.models.distributed.compression.compression import check_finite, check_names
from forebay.models.distributed.state import State
from forebay.models.distributed.transport import Transport


class PowerSGD:
    """Sends P [N, R] and Q [M, R] for each gradient [N, M]; small gradients and vectors are sent as they are.

    One step of power iteration: P = G Q, averaged and made orthonormal; Q = Gᵀ P, averaged; the gradient becomes P Qᵀ. Q is
    kept for the next step. Averages of P and Q are averages of what they stand for, so that the number of bytes does not
    grow with the number of ranks.

    rank: columns of P and Q. seed: of the first Q, the same on all ranks.
    """

    def __init__(self, rank: int, seed: int) -> None:
        self._rank = rank
        self._seed = seed
        self._errors: dict[int, Tensor] = {}
        self._q: dict[int, Tensor] = {}

    def average(self, buckets: Sequence[Bucket], transport: Transport) -> None:
        """Replace the buffers by their mean over all ranks."""
        for bucket in buckets:
            check_finite(bucket.flat)
        gradients = dict(enumerate(gradient for bucket in buckets for gradient in bucket.gradients))
        matrices = {
            number: gradient.flatten(1) for number, gradient in gradients.items() if self._is_compressed(gradient)
        }
        _mean([gradient for number, gradient in gradients.items() if number not in matrices], transport)
        corrected_NM = {
            number: matrix + self._errors[number] if number in self._errors else matrix.clone()
            for number, matrix in matrices.items()
        }
        p_NR = {number: matrix @ self._start(number, matrix) for number, matrix in corrected_NM.items()}
        _mean(list(p_NR.values()), transport)
        p_NR = {number: torch.linalg.qr(p).Q.contiguous() for number, p in p_NR.items()}
        q_MR = {number: matrix.T @ p_NR[number] for number, matrix in corrected_NM.items()}
        _mean(list(q_MR.values()), transport)
        for number, matrix in corrected_NM.items():
            product_NM = p_NR[number] @ q_MR[number].T
            self._errors[number] = matrix - product_NM
            matrices[number].copy_(product_NM)
        self._q = q_MR

    def _is_compressed(self, gradient: Tensor) -> bool:
        if gradient.dim() < 2:
            return False
        rows, columns = gradient.shape[0], gradient[0].numel()
        return self._rank <= min(rows, columns) and self._rank * (rows + columns) < gradient.numel()

    def _start(self, number: int, matrix_NM: Tensor) -> Tensor:
        """Return Q of the last step, or a random one."""
        if number in self._q:
            return self._q[number]
        generator = torch.Generator().manual_seed(self._seed * 100_003 + number)
        q_MR = torch.randn(matrix_NM.shape[1], self._rank, generator=generator, dtype=torch.float64)
        start_MR: Tensor = torch.linalg.qr(q_MR).Q.to(matrix_NM)
        return start_MR

    def state(self) -> State:
        """Return the error feedback and Q."""
        errors = {f"error.{number}": error for number, error in self._errors.items()}
        return State(errors | {f"q.{number}": q for number, q in self._q.items()})

    def restore(self, state: State) -> None:
        """Continue from a state."""
        check_names(state, ("error.", "q."))
        self._errors = _numbered(state.part("error."))
        self._q = _numbered(state.part("q."))


def _numbered(part: State) -> dict[int, Tensor]:
    return {int(number): tensor.clone() for number, tensor in part.tensors.items()}


def _mean(tensors: Sequence[Tensor], transport: Transport) -> None:
    """Replace tensors by their mean over all ranks, with one message for each element type."""
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        chosen = [tensor for tensor in tensors if tensor.dtype == dtype]
        flat = torch.cat([tensor.reshape(-1) for tensor in chosen])
        transport.reduce(flat)
        flat /= len(transport.members)
        for tensor, part in zip(chosen, torch.split(flat, [tensor.numel() for tensor in chosen]), strict=True):
            tensor.copy_(part.view(tensor.shape))
