"""Build the runner of a torch module on a CUDA device."""

from __future__ import annotations

import torch
from torch import nn

from forebay.models.artefacts.manifest import Manifest
from forebay.models.backends.protocol import RunOptions
from forebay.models.backends.torch.cuda.bucketed_runner import BucketedRunner
from forebay.models.backends.torch.cuda.cuda_device import CudaDevice
from forebay.models.backends.torch.cuda.precision import convert_weights
from forebay.models.backends.torch.cuda.scored_module import ModelForm, ScoredModule


def cuda_runner(
    module: nn.Module, device: torch.device, manifest: Manifest, options: RunOptions, *, is_own_code: bool
) -> BucketedRunner:
    """Return a runner of a module on a CUDA device.

    is_own_code: whether the module may write to memory of its own, or use its weights in ways that we do not know.

    Raises ModelError(kind="out_of_memory") if the device has not enough memory for the weights.
    """
    if options.precision == "bf16" and not is_own_code:
        convert_weights(module)
    form = ModelForm.of(manifest)
    return BucketedRunner(
        CudaDevice(ScoredModule(module, form), device, precision=options.precision, shares_stream=is_own_code),
        form,
        graphs=options.cuda_graphs,
        label=f"model {manifest.name} version {manifest.version}",
    )
