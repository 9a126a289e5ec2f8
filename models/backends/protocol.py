"""The protocols of models: `Model` is what the worker serves; a `Backend` builds the `Runner` that a model is served with.

Shapes: B rows in a batch, F features in a row, G values in a row after preprocessing, O outputs for a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.artefacts.artefact import Artefact
from forebay.models.artefacts.manifest import Manifest
from forebay.models.artefacts.signature import Signature

Precision = Literal["fp32", "tf32", "bf16"]
"""With what a device computes products of matrices, and convolutions: float32, TF32 or bfloat16."""


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """The outputs of a model for a batch, in memory that nothing else refers to.

    values_BO: regression values, class probabilities (multiclass), or the probability of class 1 (binary, O = 1). A row may
        hold NaN or infinity; the caller checks for them before it publishes.
    classes_B: the most probable class, or for binary the class by the version's threshold; None for regression.
    confidences_B: the probability of that class; None for regression.
    """

    values_BO: FloatArray
    classes_B: npt.NDArray[np.int64] | None = None
    confidences_B: FloatArray | None = None


class Model(Protocol):
    """A model that is served. `prepare` may run on any thread, all else runs on the thread that owns the device."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def signature(self) -> Signature: ...

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Run once with each batch size, so that the first real batch has no start-up cost."""

    def prepare(self, x_BF: FloatArray) -> FloatArray:
        """Return the rows after the frozen preprocessing, in new memory. Never modifies `x_BF`.

        Raises RowsRejected if the preparation rejects some of the rows; the others can be prepared without them.
        """

    def forward(self, x_BG: FloatArray) -> Scores:
        """Run the model and return its scores.

        Raises ModelError with kind "out_of_memory" or "output_shape"; any other exception comes from the model
        itself.
        """


@dataclass(slots=True, eq=False)
class Ticket:
    """A call that has begun on a device, for `finish`.

    bucket: the number of rows for which its memory is reserved; at least `num_rows`.
    is_graph: whether it replays a captured graph, which computes all rows of the bucket.
    """

    num_rows: int
    bucket: int
    is_graph: bool


@runtime_checkable
class PipelinedModel(Model, Protocol):
    """A model whose calls overlap: the next one begins while the device runs the one before.

    depth: the number of calls that may have begun and not been finished. `forward` needs a place among them, too.
    max_rows: the largest number of rows of one call; it may shrink when the device runs out of memory.
    prepares_rows: whether `prepare` changes or rejects rows. If not, the rows can begin as they are.
    """

    @property
    def depth(self) -> int: ...

    @property
    def max_rows(self) -> int: ...

    @property
    def prepares_rows(self) -> bool: ...

    def begin(self, parts: Sequence[FloatArray]) -> Ticket:
        """Copy prepared rows, which may be in several parts [b, G], and begin a call with them. Never waits for the device.

        Raises like `forward`, and DeviceLostError.
        """

    def finish(self, ticket: Ticket) -> Scores:
        """Wait for a call and return its scores. Raises like `forward`, and DeviceLostError."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Where and how a model runs.

    device: "auto", "cpu", "cuda", "cuda:N" or "mps"; a backend refuses what it does not have.
    threads: the number of CPU threads that one call may use.
    precision: other than "fp32" only for torch on CUDA devices.
    cuda_graphs: whether torch captures graphs on CUDA devices.
    """

    device: str = "cpu"
    threads: int = 1
    precision: Precision = "fp32"
    cuda_graphs: bool = True


class Runner(Protocol):
    """A model that has been loaded. It belongs to one thread."""

    @property
    def device(self) -> str: ...

    def run(self, x: FloatArray) -> FloatArray:
        """Return the raw outputs, float32 [B, O], for prepared rows [B, *row shape], float32 in C order.

        Raises ModelError with kind "out_of_memory" if the device has not enough memory for this many rows; any other
        exception comes from the model itself. Messages need not name the model.
        """


@runtime_checkable
class PipelinedRunner(Runner, Protocol):
    """A runner on a device with memory and streams of its own, whose calls overlap. It computes scores on the device.

    depth, max_rows: as in `PipelinedModel`. `run` and `warm_up` need a place among the `depth` calls, too.
    """

    @property
    def depth(self) -> int: ...

    @property
    def max_rows(self) -> int: ...

    def warm_up(self, row: FloatArray, max_rows: int) -> None:
        """Reserve the memory for calls of up to `max_rows` rows, and run each size once. Repeated calls cost nothing.

        row: a prepared row, [*row shape], that the model can run.

        Raises ModelError with kind "out_of_memory" only if the device has not enough memory for the smallest size.
        """

    def begin(self, parts: Sequence[FloatArray]) -> Ticket:
        """Copy prepared rows, in parts [b, *row shape] of together 1 to `max_rows` rows, and begin a call.

        Never waits for the device. Requires that fewer than `depth` calls are unfinished. Raises like `run`, and
        DeviceLostError.
        """

    def finish(self, ticket: Ticket) -> Scores:
        """Wait for a call and return its scores, before calibration and threshold. Raises like `begin`."""


class Backend(Protocol):
    """Builds runners from the files of versions."""

    def check(self, manifest: Manifest, place: str) -> None:
        """Raise ModelError unless the manifest describes a model of this backend that fits its signature. Reads no other file.

        place: the start of messages: the manifest's path.
        """

    def build(self, artefact: Artefact, options: RunOptions) -> Runner:
        """Build the runner. Raises ModelError that names the file, what was found, what is allowed and the remedy."""
