"""A torch model in service: its preprocessing, the net on its device, and the conversion of outputs to scores.

Shapes: B rows, F features, G columns after preprocessing, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.files import GOLDEN_FILE
from forebay.models.artefacts.golden import GoldenRows
from forebay.models.artefacts.preparation import prepare, prepared_shape, prepared_width
from forebay.models.artefacts.preprocessing import Preprocessing
from forebay.models.artefacts.signature import Signature, Task
from forebay.models.backends.protocol import Scores
from forebay.schemas.errors import ModelError, TensorError

__all__ = ["Scores", "ServedModel", "score"]

# Parts of torch's messages when memory runs out without OutOfMemoryError: from its CPU allocator, Apple's, cuBLAS and
# cuDNN.
_OUT_OF_MEMORY: Final = (
    "not enough memory",
    "can't allocate memory",
    "cannot allocate memory",
    "out of memory",
    "ALLOC_FAILED",
)
# Up to this number numpy reduces over classes faster with one contiguous row for each class: 15 µs instead of 45 for
# [512, 2].
_MAX_TRANSPOSED_CLASSES: Final = 16

_Result = TypeVar("_Result")


class ServedModel:
    """A model on its device. `prepare` may run on any thread, all else runs on the thread that owns the device."""

    def __init__(
        self,
        *,
        name: str,
        version: int,
        signature: Signature,
        preprocessing: Preprocessing,
        module: nn.Module,
        device: torch.device,
    ) -> None:
        """Move `module` to `device`, in evaluation mode; no other component may use it afterwards.

        Raises ModelError if the preprocessing does not take the signature's features or the device has not enough
        memory.
        """
        self.name = name
        self.version = version
        self.signature = signature
        self.device = device
        self._preprocessing = preprocessing
        self._width = prepared_width(signature, preprocessing)
        self._row_shape = prepared_shape(signature, preprocessing)
        reason = None
        try:
            self._module = module.eval().to(device)
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            reason = _first_line(error)
        if reason is not None:
            raise self._out_of_memory(f"its weights do not fit on {device}", reason)

    @classmethod
    def from_artefact(cls, artefact: Artefact, device: torch.device) -> ServedModel:
        """Return the model of a loaded artefact; its net moves to `device`.

        Raises ModelError(kind="golden") if it does not give the golden outputs there, within their tolerance.
        """
        manifest = artefact.manifest
        model = cls(
            name=manifest.name,
            version=manifest.version,
            signature=manifest.signature,
            preprocessing=manifest.preprocessing,
            module=artefact.net,
            device=device,
        )
        if artefact.golden is not None:
            model.check_golden(artefact.golden, f"{artefact.directory / GOLDEN_FILE} on {device}")
        return model

    def check_golden(self, golden: GoldenRows, place: str) -> None:
        """Raise ModelError(kind="golden") unless the outputs for the golden rows are finite and within the tolerance.

        place: the start of the message: the file with the golden rows and the device. Raises like `forward` too.
        """
        x_RG = self.prepare(golden.rows_RW)
        golden.check(self._within_memory(len(x_RG), lambda: self._run(x_RG)), place)

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Prepare and run a batch of zeros of each size. Raises like `forward`."""
        for batch_size in batch_sizes:
            x_BF = np.zeros((batch_size, self.signature.row_width), dtype=np.float32)
            self.forward(self.prepare(x_BF))

    def prepare(self, x_BF: FloatArray) -> FloatArray:
        """Return the rows [B, F] after the frozen preprocessing, [B, G], in new memory.

        If the model takes windows as sequences, each of their events is preprocessed by itself. Raises TensorError for
        another type or shape.
        """
        if x_BF.ndim != 2 or x_BF.shape[1] != self.signature.row_width:
            raise self._wrong_shape(x_BF, self.signature.row_width)
        return prepare(self.signature, self._preprocessing, x_BF)

    def forward(self, x_BG: FloatArray) -> Scores:
        """Run the net on rows [B, G] and return the scores.

        Raises ModelError with kind "out_of_memory" if the device has not enough memory for this many rows, and
        "output_shape" if the net does not return [B, output_dim]; TensorError for an input of another type
        or shape. Any other exception of the module passes through.
        """
        if x_BG.dtype != np.float32 or x_BG.ndim != 2 or x_BG.shape[1] != self._width:
            raise self._wrong_shape(x_BG, self._width)
        return self._within_memory(len(x_BG), lambda: score(self._run(x_BG), self.signature.task))

    def _within_memory(self, num_rows: int, run: Callable[[], _Result]) -> _Result:
        try:
            return run()
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise
            reason = _first_line(error)
        # Raised here and not above: there the torch error would become its context and keep alive the frames, and so the
        # tensors, that filled the memory, while a smaller batch is tried.
        raise self._out_of_memory(f"not enough memory for {num_rows} rows on {self.device}", reason)

    def _run(self, x_BG: FloatArray) -> FloatArray:
        if not (x_BG.flags.c_contiguous and x_BG.flags.writeable):
            x_BG = np.array(x_BG, order="C")  # torch does not take negative strides, and warns about read-only memory
        with torch.inference_mode():
            x = torch.from_numpy(x_BG)
            if len(self._row_shape) > 1:
                x = x.view(-1, *self._row_shape)
            out = self._module(x.to(self.device))
            if not isinstance(out, Tensor) or out.shape != (len(x_BG), self.signature.output_dim):
                actual = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
                raise ModelError(
                    f"model {self.name} version {self.version} returned {actual} instead of "
                    f"[{len(x_BG)}, {self.signature.output_dim}]",
                    kind="output_shape",
                    remedy="correct the model or its signature and publish a new version",
                )
            out_BO: FloatArray = out.to("cpu", torch.float32).numpy()
            return out_BO

    def _wrong_shape(self, x: FloatArray, width: int) -> TensorError:
        return TensorError(
            f"model {self.name} version {self.version} takes float32 [B, {width}] here; "
            f"this is {x.dtype} {list(x.shape)}",
            remedy="give rows with the columns of the model's signature",
        )

    def _out_of_memory(self, problem: str, reason: str) -> ModelError:
        return ModelError(
            f"model {self.name} version {self.version}: {problem}: {reason}",
            kind="out_of_memory",
            remedy="use smaller batches, a smaller model, or a device with more memory",
        )


def score(out_BO: FloatArray, task: Task) -> Scores:
    """Return the scores for raw outputs, in new memory: unchanged (regression), sigmoid (binary), softmax (multiclass).

    NaN in a row stays NaN; a class with the logit +infinity gives NaN.
    """
    if task == "regression":
        return Scores(out_BO.copy())
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _score_binary(out_BO) if task == "binary" else _score_multiclass(out_BO)


def _score_binary(logit_B1: FloatArray) -> Scores:
    # exp is only applied to values that are not positive, so it cannot overflow.
    small_B1 = np.exp(-np.abs(logit_B1))
    p_B1 = np.where(logit_B1 >= 0, 1 / (1 + small_B1), small_B1 / (1 + small_B1))
    p_B = p_B1[:, 0]
    return Scores(p_B1, (p_B >= 0.5).astype(np.int64), np.maximum(p_B, 1 - p_B))


def _score_multiclass(logit_BO: FloatArray) -> Scores:
    if logit_BO.shape[1] <= _MAX_TRANSPOSED_CLASSES:
        p_OB = np.array(logit_BO.T, order="C")
        classes_B, confidences_B = _softmax(p_OB, axis=0)
        return Scores(np.array(p_OB.T, order="C"), classes_B, confidences_B)
    p_BO = logit_BO.copy()
    classes_B, confidences_B = _softmax(p_BO, axis=1)
    return Scores(p_BO, classes_B, confidences_B)


def _softmax(logits: FloatArray, axis: int) -> tuple[npt.NDArray[np.int64], FloatArray]:
    """Convert logits to probabilities in place; return each row's class and its probability."""
    classes_B = logits.argmax(axis)
    logits -= np.maximum.reduce(logits, axis=axis, keepdims=True)
    np.exp(logits, out=logits)
    total = np.add.reduce(logits, axis=axis, keepdims=True)
    logits /= total
    # The largest logit became exp(0) = 1.
    return classes_B.astype(np.int64, copy=False), np.reciprocal(total).reshape(-1)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(sign in str(error) for sign in _OUT_OF_MEMORY)


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
