"""The precision of products of matrices and convolutions on CUDA devices.

torch has one setting for the whole process, which it reads when a kernel is launched or captured. So a model sets it only
while it launches, under a lock; replaying a captured graph needs neither.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch
from torch import nn

from forebay.models.backends.protocol import Precision

# Of a whole process, because torch's setting is, and because torch allows one capture at a time.
_LAUNCHING: Final = threading.RLock()
_CONVERTED: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@contextmanager
def launching(precision: Precision) -> Iterator[None]:
    """Run the block with this precision, alone among the threads that launch or capture."""
    with _LAUNCHING:
        settings = _settings(precision == "tf32")
        before = [getattr(holder, name) for holder, name, _ in settings]
        for holder, name, value in settings:
            setattr(holder, name, value)
        try:
            # Without its cache: the copies of weights in it would be freed when the block ends, but a graph reads them again.
            with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16", cache_enabled=False):
                yield
        finally:
            for (holder, name, _), value in zip(settings, before, strict=True):
                setattr(holder, name, value)


def _settings(is_tf32: bool) -> list[tuple[Any, str, object]]:
    """Return torch's settings of the precision: object, attribute and value."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    if not hasattr(cudnn, "conv"):  # before torch 2.9
        return [(matmul, "allow_tf32", is_tf32), (cudnn, "allow_tf32", is_tf32)]
    value = "tf32" if is_tf32 else "ieee"
    return [(holder, "fp32_precision", value) for holder in (matmul, cudnn.conv, cudnn.rnn)]


def convert_weights(module: nn.Module) -> None:
    """Convert the weights of linear and convolutional layers to bfloat16, in place.

    Otherwise each call would convert them again. Weights that another layer uses as well stay as they are.
    """
    uses = Counter(id(weight) for part in module.modules() for weight in part.parameters(recurse=False))
    for part in module.modules():
        if type(part) in _CONVERTED and all(uses[id(weight)] == 1 for weight in part.parameters(recurse=False)):
            part.to(torch.bfloat16)
