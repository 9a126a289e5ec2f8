"""Learned vectors for codes.

Shapes: B rows, D columns, G columns with the codes replaced by their vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import torch
from torch import Tensor, nn

MAX_EMBEDDINGS: Final = 256
MAX_CODES: Final = 1_000_000
MAX_WIDTH: Final = 1_024
ALLOWED_EMBEDDINGS: Final = (
    f"a list of at most {MAX_EMBEDDINGS} triples [column, number of codes, width from 1 to {MAX_WIDTH}]"
)


def are_embeddings(value: object) -> bool:
    """Return whether a parameter is a list of triples of whole numbers within their limits."""
    return (
        isinstance(value, list | tuple)
        and len(value) <= MAX_EMBEDDINGS
        and all(isinstance(one, list | tuple) and len(one) == 3 for one in value)
        and all(type(number) is int for one in value for number in one)
        and all(0 <= one[0] < MAX_CODES and 1 <= one[1] <= MAX_CODES and 1 <= one[2] <= MAX_WIDTH for one in value)
    )


def embedding_problems(embeddings: Any, input_dim: Any) -> list[str]:
    """Return what is wrong with allowed triples for rows of `input_dim` columns."""
    columns = [column for column, _, _ in embeddings]
    if len(set(columns)) != len(columns) or any(column >= input_dim for column in columns):
        return [f"the columns of embeddings must be different and below input_dim, {input_dim}"]
    return []


class CodeEmbeddings(nn.Module):
    """Replaces columns of codes by vectors: [B, D] -> [B, G], the other columns first, in their order.

    embeddings: triples of a column, its number of codes K, and the width of the vectors. Any value other than a code, such as
        NaN, has the vector K.
    output_dim: G.
    """

    def __init__(self, input_dim: int, embeddings: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self._columns = tuple(column for column, _, _ in embeddings)
        self._sizes = tuple(size for _, size, _ in embeddings)
        self.tables = nn.ModuleList(nn.Embedding(size + 1, width) for _, size, width in embeddings)
        # The other columns as slices: an index would be a tensor, which an outline without memory does not have.
        ends = [-1, *sorted(self._columns), input_dim]
        self._kept = [slice(first + 1, end) for first, end in pairwise(ends) if first + 1 < end]
        self.output_dim = input_dim - len(embeddings) + sum(width for _, _, width in embeddings)

    def forward(self, x_BD: Tensor) -> Tensor:
        parts = [x_BD[:, columns] for columns in self._kept]
        for column, size, table in zip(self._columns, self._sizes, self.tables, strict=True):
            code_B = x_BD[:, column]
            # Comparisons with NaN are false.
            is_code_B = (code_B >= 0) & (code_B < size) & (code_B == code_B.floor())
            parts.append(table(torch.where(is_code_B, code_B, size).long()))
        return torch.cat(parts, dim=1)
