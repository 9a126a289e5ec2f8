"""A simulated device whose calls overlap, with a timeline: it tests scheduling, and the GPU benchmark, where no GPU is.

Copies and the model take a fixed time for each call and each row. Copies to the device, the model and copies back are three
engines: each does one thing at a time, and they work at the same time.

Shapes: R rows of a bucket, O outputs, K columns of packed scores.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
import torch

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.torch.cuda.scored_module import ScoredModule
from forebay.schemas.errors import ModelError


class SettableClock(Protocol):
    """A clock that waiting for the device advances."""

    def monotonic_s(self) -> float: ...
    def advance(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Costs:
    """Times in seconds. call_s, row_s: of the model for each call and row; copy_row_s: of one copy of a row."""

    call_s: float = 0.0
    row_s: float = 0.0
    copy_row_s: float = 0.0


@dataclass(slots=True)
class Faults:
    """What goes wrong. lost: set when the device is lost.

    max_rows: of a workspace; more is out of memory.
    max_eager_rows: of a call without a graph; more is out of memory.
    uncapturable: why the model cannot be captured; None if it can.
    lost_at_call: the number of the call, from 0, at whose end the device is lost.
    """

    max_rows: int = 1 << 30
    max_eager_rows: int = 1 << 30
    uncapturable: str | None = None
    lost_at_call: int | None = None
    lost: bool = False


class Busy(NamedTuple):
    """When the model ran for a call, and when its results were back."""

    slot: int
    num_rows: int
    launched_s: float
    starts_s: float
    ends_s: float
    done_s: float


@dataclass(slots=True, eq=False)
class SimulatedDevice:
    """A device that runs a module on the CPU, at the times that the costs give. Implements `Device`.

    timeline: of all calls, in order.
    """

    program: ScoredModule
    clock: SettableClock
    costs: Costs = field(default_factory=Costs)
    faults: Faults = field(default_factory=Faults)
    name: str = "cuda:0"
    memory_bytes: int = 0
    timeline: list[Busy] = field(default_factory=list)
    copies_until_s: float = 0.0
    busy_until_s: float = 0.0
    results_until_s: float = 0.0
    num_slots: int = 0

    def open_slot(self) -> SimulatedSlot:
        """Return a new slot."""
        self.num_slots += 1
        return SimulatedSlot(self, self.num_slots - 1)

    def is_lost(self) -> bool:
        """Return whether the device was lost."""
        return self.faults.lost

    def enqueue(self, slot: int, num_rows: int) -> float:
        """Put a call on the timeline, and return the time at which its results are complete."""
        now_s, costs = self.clock.monotonic_s(), self.costs
        copied_s = self.copies_until_s = max(now_s, self.copies_until_s) + costs.copy_row_s * num_rows
        starts_s = max(copied_s, self.busy_until_s)
        self.busy_until_s = ends_s = starts_s + costs.call_s + costs.row_s * num_rows
        done_s = self.results_until_s = max(ends_s, self.results_until_s) + costs.copy_row_s * num_rows
        self.timeline.append(Busy(slot, num_rows, launched_s=now_s, starts_s=starts_s, ends_s=ends_s, done_s=done_s))
        return done_s


@dataclass(slots=True, eq=False)
class SimulatedSlot:
    """Implements `Slot`."""

    device: SimulatedDevice
    index: int

    def allocate(self, num_rows: int) -> SimulatedWorkspace:
        """Reserve a workspace."""
        if num_rows > self.device.faults.max_rows:
            raise ModelError(f"not enough memory for {num_rows} rows", kind="out_of_memory")
        return SimulatedWorkspace(self.device, self.index, num_rows)


class SimulatedWorkspace:
    """Memory that raises if it is used while the device uses it. Implements `Workspace`."""

    def __init__(self, device: SimulatedDevice, slot: int, num_rows: int) -> None:
        self._device = device
        self._slot = slot
        self._rows = np.zeros((num_rows, *device.program.form.row_shape), dtype=np.float32)
        self._on_device: Callable[[], FloatArray] | None = None
        self._done_s = 0.0
        self._call = 0
        self.is_graph = False

    @property
    def rows(self) -> FloatArray:
        """The rows. Raises while the device reads them."""
        if self._on_device is not None:
            raise AssertionError(f"slot {self._slot} was used before its results were awaited")
        return self._rows

    def capture(self) -> None:
        """Capture a graph."""
        if self._device.faults.uncapturable is not None:
            try:
                raise RuntimeError(self._device.faults.uncapturable)
            finally:  # as torch does when it ends a capture that has failed
                raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        self.is_graph = True

    def launch(self, num_rows: int, *, raw: bool = False) -> None:
        """Enqueue a call."""
        device = self._device
        if self._on_device is not None:
            raise AssertionError(f"slot {self._slot} was launched before its results were awaited")
        self._check()
        if not self.is_graph and num_rows > device.faults.max_eager_rows:
            raise ModelError(f"not enough memory for {num_rows} rows on {device.name}", kind="out_of_memory")
        rows = self._rows[:num_rows]
        if not self.is_graph:
            self._run(rows, raw)  # a model that raises does so when it is launched
        self._on_device = lambda: self._run(rows, raw)
        self._call = len(device.timeline)
        self._done_s = device.enqueue(self._slot, len(self._rows) if self.is_graph else num_rows)

    def wait(self) -> FloatArray:
        """Advance the clock until the results are complete, and return them. The model sees the rows as they are only now."""
        device, run = self._device, self._on_device
        assert run is not None, "nothing was launched"
        if device.faults.lost_at_call == self._call:
            device.faults.lost = True
        self._on_device = None
        self._check()
        device.clock.advance(max(0.0, self._done_s - device.clock.monotonic_s()))
        return run()

    def _check(self) -> None:
        if self._device.faults.lost:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def _run(self, rows: FloatArray, raw: bool) -> FloatArray:
        with torch.inference_mode():
            outputs, scores = self._device.program(torch.from_numpy(rows))
        results: FloatArray = (outputs if raw else scores).numpy()
        return results
