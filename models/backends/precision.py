"""Refuse precisions that a backend or a device does not have."""

from __future__ import annotations

from forebay.models.backends.protocol import RunOptions
from forebay.schemas.errors import ModelError


def require_fp32(options: RunOptions, runs: str) -> None:
    """Raise ModelError(kind="precision") unless the precision is fp32. runs: where the model runs, for the message."""
    if options.precision == "fp32":
        return
    raise ModelError(
        f"model.precision is {options.precision!r}, but {runs}; tf32 and bf16 are for torch models on CUDA devices",
        kind="precision",
        remedy='set model.precision to "fp32", or model.device to a CUDA device',
    )
