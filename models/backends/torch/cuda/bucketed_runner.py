"""Overlapping calls on a device: slots, buckets, padding, captured graphs, and what happens when memory runs out.

Each slot has a workspace for each bucket. A call takes a free slot, and the smallest bucket that holds its rows. The other
rows of the bucket keep older values; their results are never copied back.

Shapes: R rows of a bucket, O outputs.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, TypeVar

import numpy as np

from forebay.models.artefacts.arrays import FloatArray
from forebay.models.backends.protocol import Scores, Ticket
from forebay.models.backends.torch.cuda.buckets import BUCKETS, bucket_sizes, smallest_bucket
from forebay.models.backends.torch.cuda.packed_scores import unpack_scores
from forebay.models.backends.torch.cuda.port import Device, Slot, Workspace
from forebay.models.backends.torch.cuda.scored_module import ModelForm
from forebay.schemas.errors import DeviceLostError, ModelError

log = logging.getLogger("forebay.model")

DEPTH: Final = 2
"""The number of slots: the host fills one while the device works on the other."""
_MAX_REASON: Final = 300
_Result = TypeVar("_Result")


@dataclass(slots=True, eq=False)
class _Place:
    """A slot with its workspaces by bucket."""

    slot: Slot
    workspaces: dict[int, Workspace] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class _Begun(Ticket):
    """A call that has begun. place: None once it is finished."""

    workspace: Workspace
    place: _Place | None


class BucketedRunner:
    """Runs a model on a device in overlapping calls. Implements `PipelinedRunner`; belongs to one thread.

    graphs: whether graphs are captured.
    label: the model, for the log.
    """

    def __init__(
        self, device: Device, form: ModelForm, *, graphs: bool = True, depth: int = DEPTH, label: str = "the model"
    ) -> None:
        self.device = device.name
        self.depth = depth
        self.memory_bytes = device.memory_bytes
        self._device = device
        self._form = form
        self._graphs = graphs
        self._label = label
        self._places = [_Place(device.open_slot()) for _ in range(depth)]
        self._free = deque(self._places)
        self._sizes: list[int] = []
        self._warmed_rows = 0

    @property
    def max_rows(self) -> int:
        """The largest number of rows of a call; 0 before the warm-up."""
        return max(self._sizes, default=0)

    # ---- buckets

    def warm_up(self, row: FloatArray, max_rows: int) -> None:
        """Reserve memory and capture graphs for all buckets of calls with up to `max_rows` rows. Raises like `begin`."""
        if max_rows <= self._warmed_rows:
            return
        self._warmed_rows = max_rows
        refused: ModelError | None = None
        # From the largest to the smallest, so that the smaller graphs find room in the memory of the larger.
        for size in reversed(bucket_sizes(max_rows)):
            if size not in self._sizes:
                refused = self._add_bucket(size, row) or refused
        if not self._sizes:
            assert refused is not None
            raise refused

    def _add_bucket(self, size: int, row: FloatArray) -> ModelError | None:
        """Add a bucket and run it once; return the error if the device has not enough memory for it."""
        try:
            for place in self._places:
                place.workspaces[size] = self._guarded(partial(self._workspace, place.slot, size, row))
        except ModelError as error:
            self._drop_bucket(size)
            if error.kind != "out_of_memory":
                raise
            log.warning("%s: calls have fewer than %d rows on %s: %s", self._label, size, self.device, error.message)
            return error
        self._sizes = sorted([*self._sizes, size])
        return None

    def _workspace(self, slot: Slot, size: int, row: FloatArray) -> Workspace:
        workspace = slot.allocate(size)
        workspace.rows[:] = row  # not zeros: they need not be a row that the model can run
        workspace.launch(size)
        workspace.wait()
        if self._graphs:
            self._capture(workspace)
        if workspace.is_graph:
            workspace.launch(size)
            workspace.wait()
        return workspace

    def _capture(self, workspace: Workspace) -> None:
        try:
            workspace.capture()
        except ModelError as error:
            if error.kind == "out_of_memory":
                raise
            self._refuse_graphs(error)
        except Exception as error:
            self._refuse_graphs(error)

    def _refuse_graphs(self, error: Exception) -> None:
        if self._device.is_lost():
            raise error
        self._graphs = False  # a failed capture costs memory, so there is no other attempt
        # torch ends the capture with an error of its own, which says nothing about the first one.
        first = error if isinstance(error, ModelError) else error.__context__ or error
        reason = str(first).strip().partition("\n")[0][:_MAX_REASON] or type(first).__name__
        log.warning(
            "%s cannot be captured as a CUDA graph and runs without one, which is slower for small batches: %s",
            self._label,
            reason,
        )

    def _drop_bucket(self, size: int) -> None:
        self._sizes = [other for other in self._sizes if other != size]
        for place in self._places:
            place.workspaces.pop(size, None)

    # ---- calls

    def run(self, x: FloatArray) -> FloatArray:
        """Return the outputs [B, O] for rows [B, *row shape], in pieces if there are many. Raises like `begin`."""
        if not self._sizes:
            refused = self._add_bucket(smallest_bucket(len(x), BUCKETS), x[:1])
            if refused is not None:
                raise refused
        out_BO = np.empty((len(x), self._form.output_dim), dtype=np.float32)
        start = 0
        while start < len(x):
            stop = min(start + self.max_rows, len(x))
            ticket = self._begin([x[start:stop]], raw=True)
            out_BO[start:stop] = self._results(ticket, np.copy)
            start = stop
        return out_BO

    def begin(self, parts: Sequence[FloatArray]) -> Ticket:
        """Begin a call. Raises ModelError, DeviceLostError, or the error of the model."""
        return self._begin(parts, raw=False)

    def finish(self, ticket: Ticket) -> Scores:
        """Return the scores of a call. Raises ModelError, DeviceLostError, or the error of the model."""
        assert isinstance(ticket, _Begun)
        return self._results(ticket, lambda packed_BK: unpack_scores(packed_BK, self._form.task))

    def _begin(self, parts: Sequence[FloatArray], *, raw: bool) -> _Begun:
        num_rows = sum(map(len, parts))
        if not 0 < num_rows <= self.max_rows:
            raise ValueError(f"a call has {num_rows} rows; allowed are 1 to {self.max_rows}")
        if not self._free:
            raise RuntimeError(f"{self.depth} calls have begun and none of them is finished")
        bucket = smallest_bucket(num_rows, self._sizes)
        place = self._free.popleft()
        workspace = place.workspaces[bucket]
        try:
            _fill(workspace.rows, parts)
            self._guarded(lambda: workspace.launch(num_rows, raw=raw))
        except BaseException as error:
            self._free.append(place)  # idle: `_guarded` has waited for the device
            if isinstance(error, ModelError) and error.kind == "out_of_memory" and len(self._sizes) > 1:
                self._drop_bucket(bucket)
                log.warning("%s: calls have fewer than %d rows from now on: %s", self._label, bucket, error.message)
            raise
        return _Begun(num_rows, bucket, workspace.is_graph, workspace, place)

    def _results(self, ticket: _Begun, convert: Callable[[FloatArray], _Result]) -> _Result:
        """Wait for a call, free its slot and return its results. convert: returns them in other memory."""
        place = ticket.place
        if place is None:
            raise RuntimeError("the call is already finished")
        ticket.place = None
        try:
            return convert(self._guarded(ticket.workspace.wait))
        finally:
            self._free.append(place)

    def _guarded(self, run: Callable[[], _Result]) -> _Result:
        """Run a function; raise DeviceLostError if it fails because the device is lost."""
        try:
            return run()
        except DeviceLostError:
            raise
        except Exception as error:
            if not self._device.is_lost():
                raise
            reason = str(error).strip().partition("\n")[0][:_MAX_REASON]
            raise DeviceLostError(
                f"the device {self.device} is lost for this process: {reason}",
                remedy="start the worker again: what it has not committed is read again. Look for Xid messages in the log of "
                "the kernel; after an illegal memory access or a failed assertion, check the model's own code",
            ) from error


def _fill(rows: FloatArray, parts: Sequence[FloatArray]) -> None:
    start = 0
    for part in parts:
        rows[start : start + len(part)] = part.reshape(len(part), *rows.shape[1:])
        start += len(part)
