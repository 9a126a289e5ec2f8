"""A model on a CUDA device: pinned memory on the host, static tensors, captured graphs, and streams of its own.

The order on a slot's stream is: copy the rows to the device, run the model, copy the results back, record an event. The host
writes and reads a slot's pinned memory only while no call is under way there. All tensors belong to one stream, so that torch's
allocator never gives their memory to another one.

Shapes: R rows of a bucket, O outputs, K columns of packed scores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any

import torch

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.protocol import Precision
from forebay.models.backends.torch.cuda.precision import launching
from forebay.models.backends.torch.cuda.scored_module import ScoredModule
from forebay.models.backends.torch.memory import within_memory


class CudaDevice:
    """A module on a CUDA device. Implements `Device`."""

    def __init__(
        self, program: ScoredModule, device: torch.device, *, precision: Precision, shares_stream: bool = False
    ) -> None:
        """Move the module to `device`; no other component may use it afterwards.

        shares_stream: whether all slots use one stream, so that the module never runs twice at a time. Necessary if it may
            write to memory of its own.

        Raises ModelError(kind="out_of_memory") if the device has not enough memory.
        """
        self.name = str(device)
        self.device = device
        self.precision = precision
        self.program = within_memory(
            f"its weights do not fit on {device}", lambda: program.requires_grad_(False).eval().to(device)
        )
        self.memory_bytes = sum(
            tensor.numel() * tensor.element_size() for tensor in (*program.parameters(), *program.buffers())
        )
        self._stream = self._new_stream() if shares_stream else None

    def open_slot(self) -> CudaSlot:
        """Return a new slot, with a stream of its own unless all share one."""
        return CudaSlot(self, self._new_stream() if self._stream is None else self._stream)

    def is_lost(self) -> bool:
        """Wait until the device is idle, and return whether it is lost for this process.

        After an error such as an illegal memory access, every call to the device fails in the same way.
        """
        try:
            with launching(self.precision):  # while another thread captures, waiting fails
                torch.cuda.synchronize(self.device)
        except RuntimeError:
            return True
        return False

    def _new_stream(self) -> Any:
        stream = torch.cuda.Stream(self.device)
        stream.wait_stream(torch.cuda.current_stream(self.device))  # which has copied the weights
        return stream


class CudaSlot:
    """A stream, and the memory that the graphs of its workspaces share. Implements `Slot`.

    They can share it because they run one after the other, and leave nothing there.
    """

    def __init__(self, device: CudaDevice, stream: Any) -> None:
        self.device = device
        self.stream = stream
        self.pool = torch.cuda.graph_pool_handle()

    def allocate(self, num_rows: int) -> CudaWorkspace:
        """Reserve a workspace. Raises ModelError(kind="out_of_memory")."""
        return within_memory(
            f"not enough memory for {num_rows} rows on {self.device.name}", lambda: CudaWorkspace(self, num_rows)
        )

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this slot's device and stream those of the block."""
        with torch.cuda.stream(self.stream), torch.inference_mode():
            yield


class CudaWorkspace:
    """Pinned and static memory for calls of up to R rows. Implements `Workspace`."""

    def __init__(self, slot: CudaSlot, num_rows: int) -> None:
        self._slot = slot
        self._num_rows = num_rows
        form, device = slot.device.program.form, slot.device.device
        self._output_dim, self._width = form.output_dim, form.packed_width
        with slot.current():
            self._host_rows = torch.zeros((num_rows, *form.row_shape), dtype=torch.float32, pin_memory=True)
            self._host_results = torch.zeros(num_rows * form.packed_width, dtype=torch.float32, pin_memory=True)
            self._rows = torch.zeros((num_rows, *form.row_shape), dtype=torch.float32, device=device)
            self._outputs_RO = torch.zeros((num_rows, form.output_dim), dtype=torch.float32, device=device)
            self._scores_RK = torch.zeros((num_rows, form.packed_width), dtype=torch.float32, device=device)
        self.rows: FloatArray = self._host_rows.numpy()
        self._results: FloatArray = self._host_results.numpy()
        # `wait` sleeps instead of spinning: the processor is needed for decoding.
        self._done = torch.cuda.Event(blocking=True)
        self._graph: Any = None
        self._shape = (0, 0)

    @property
    def is_graph(self) -> bool:
        """Whether `launch` replays a captured graph."""
        return self._graph is not None

    def capture(self) -> None:
        """Run the work once, and capture it. Raises like `Workspace.capture`."""
        slot = self._slot
        within_memory(f"not enough memory for {self._num_rows} rows on {slot.device.name}", self._capture)

    def _capture(self) -> None:
        slot = self._slot
        graph = torch.cuda.CUDAGraph()
        with launching(slot.device.precision), slot.current():
            # Libraries choose kernels and reserve memory at the first call, which a capture does not permit.
            self._compute(self._num_rows)
            slot.stream.synchronize()
            with torch.cuda.graph(graph, pool=slot.pool, stream=slot.stream, capture_error_mode="thread_local"):
                self._compute(self._num_rows)
        self._graph = graph

    def launch(self, num_rows: int, *, raw: bool = False) -> None:
        """Enqueue copy, model and copy back. Never waits. Raises like `Workspace.launch`."""
        within_memory(
            f"not enough memory for {num_rows} rows on {self._slot.device.name}", lambda: self._launch(num_rows, raw)
        )

    def _launch(self, num_rows: int, raw: bool) -> None:
        slot = self._slot
        with slot.current():
            self._rows[:num_rows].copy_(self._host_rows[:num_rows], non_blocking=True)
            if self._graph is not None:
                self._graph.replay()
            else:
                with launching(slot.device.precision):
                    self._compute(num_rows)
            results = self._outputs_RO if raw else self._scores_RK
            self._shape = shape = (num_rows, self._output_dim if raw else self._width)
            self._host_results[: prod(shape)].view(shape).copy_(results[:num_rows], non_blocking=True)
            self._done.record(slot.stream)

    def replay(self) -> None:
        """Enqueue the captured work without copies, for measurements."""
        with self._slot.current():
            self._graph.replay()

    def wait(self) -> FloatArray:
        """Wait for the results and return them, [num_rows, K or O]."""
        self._done.synchronize()
        return self._results[: prod(self._shape)].reshape(self._shape)

    def _compute(self, num_rows: int) -> None:
        outputs_RO, scores_RK = self._slot.device.program(self._rows[:num_rows])
        self._outputs_RO[:num_rows].copy_(outputs_RO)
        self._scores_RK[:num_rows].copy_(scores_RK)
