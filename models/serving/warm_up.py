"""What of a model is warmed up, and with which batch sizes."""

from __future__ import annotations

from collections.abc import Sequence

from forebay.models.backends.protocol import Model


def instances_of(model: Model) -> Sequence[Model]:
    """Return all instances of a model: itself, and those that were built with it (see `ServedModel.instances`)."""
    instances: Sequence[Model] = getattr(model, "instances", (model,))
    return instances


def warm_up_sizes(max_batch_size: int) -> list[int]:
    """Return the powers of two up to the largest batch size, and that size.

    A micro-batch has any number of rows up to the largest. Libraries choose their kernels and reserve their memory by
    the magnitude of a batch, so each magnitude is run once.
    """
    sizes = [1]
    while sizes[-1] * 2 < max_batch_size:
        sizes.append(sizes[-1] * 2)
    return [*sizes, max_batch_size] if max_batch_size > 1 else sizes
