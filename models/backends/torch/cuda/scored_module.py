"""A module that returns its outputs and the scores that follow from them, for work that stays on a device.

Shapes: B rows, O outputs, K columns of packed scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from forebay.models.artefacts.manifest import Manifest, OutputKind
from forebay.models.artefacts.preparation import prepared_shape
from forebay.models.artefacts.signature import Task
from forebay.models.backends.torch.cuda.packed_scores import pack_scores, packed_width
from forebay.schemas.errors import ModelError


@dataclass(frozen=True, slots=True)
class ModelForm:
    """What a device needs to know of a model besides its module. row_shape: of a prepared row."""

    row_shape: tuple[int, ...]
    output_dim: int
    task: Task
    outputs: OutputKind

    @classmethod
    def of(cls, manifest: Manifest) -> ModelForm:
        """Return the form of the model that a manifest describes."""
        signature = manifest.signature
        return cls(
            prepared_shape(signature, manifest.preprocessing), signature.output_dim, signature.task, manifest.outputs
        )

    @property
    def packed_width(self) -> int:
        """The number of columns of packed scores, K."""
        return packed_width(self.task, self.output_dim)


class ScoredModule(nn.Module):
    """Runs a module and packs its scores."""

    def __init__(self, module: nn.Module, form: ModelForm) -> None:
        super().__init__()
        self.module = module
        self.form = form

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs [B, O] and the packed scores [B, K] of rows [B, *row shape], float32.

        Raises ModelError with kind "output_shape" if the module returns anything else than one tensor [B, O], or [B].
        """
        out: object = self.module(x)
        if not isinstance(out, Tensor):
            raise ModelError(f"returned {type(out).__name__} instead of a tensor", kind="output_shape")
        if out.dim() == 1:
            out = out[:, None]
        expected = (len(x), self.form.output_dim)
        if out.shape != expected:
            raise ModelError(f"returned {list(out.shape)} instead of {list(expected)}", kind="output_shape")
        out_BO = out.to(torch.float32)
        return out_BO, pack_scores(out_BO, self.form.task, self.form.outputs)
