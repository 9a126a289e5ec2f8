"""The protocols of a device whose calls overlap. `CudaDevice` implements them; simulated devices test the scheduling.

Shapes: R rows of a bucket, O outputs, K columns of packed scores.
"""

from __future__ import annotations

from typing import Protocol

from forebay.models.artefacts.arrays import FloatArray


class Workspace(Protocol):
    """The memory of a slot for calls of up to R rows: on the host, where the device reads and writes, and on the device.

    rows: float32 [R, *row shape] on the host. The device reads it from `launch` until `wait` has returned.
    is_graph: whether `launch` replays a captured graph.
    """

    @property
    def rows(self) -> FloatArray: ...

    @property
    def is_graph(self) -> bool: ...

    def capture(self) -> None:
        """Capture the work for R rows as a graph, which `launch` replays from then on.

        Raises ModelError with kind "out_of_memory", or the error for which the work cannot be captured.
        """

    def launch(self, num_rows: int, *, raw: bool = False) -> None:
        """Copy the first rows to the device, run the model, and copy the results back. Never waits.

        raw: whether the results are the outputs of the model instead of the packed scores.

        Raises ModelError with kind "out_of_memory", or the error of the model.
        """

    def wait(self) -> FloatArray:
        """Wait for the results of the last `launch` and return them, [num_rows, K or O].

        They are in memory that the next `launch` overwrites.
        """


class Slot(Protocol):
    """A place for one call at a time."""

    def allocate(self, num_rows: int) -> Workspace:
        """Reserve a workspace for calls of up to this many rows. Raises ModelError with kind "out_of_memory"."""


class Device(Protocol):
    """A model on a device.

    name: as torch names it, such as "cuda:0".
    memory_bytes: size of the weights.
    """

    @property
    def name(self) -> str: ...

    @property
    def memory_bytes(self) -> int: ...

    def open_slot(self) -> Slot: ...

    def is_lost(self) -> bool:
        """Wait until the device is idle, and return whether it is lost for this process. Called only after an error."""
