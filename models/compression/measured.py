"""What was measured of a model: size, loss, times, memory."""

from __future__ import annotations

from dataclasses import dataclass

from forebay.models.compression.accuracy import AccuracyLoss
from forebay.models.compression.subject import Subject
from forebay.models.measurement.memory import PeakMemory
from forebay.models.measurement.timing import PairedTiming, timing_at


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A model and what was measured of it.

    label: the methods that made it.
    num_bytes: of the backend's files; zip_bytes: of the same files in a zip file.
    timings: against the original, by batch size. version: in the scratch repository. memory: None if it was not measured.
    """

    label: str
    subject: Subject
    num_bytes: int
    zip_bytes: int
    loss: AccuracyLoss
    timings: tuple[PairedTiming, ...]
    version: int
    memory: PeakMemory | None = None

    def at(self, batch_size: int) -> PairedTiming:
        """Return the timing of a batch size that was measured."""
        return timing_at(self.timings, batch_size)

    def to_dict(self) -> dict[str, object]:
        """Return the measurements as JSON values."""
        memory = self.memory
        return {
            "label": self.label,
            "backend": self.subject.draft.backend,
            "bytes": self.num_bytes,
            "zip_bytes": self.zip_bytes,
            "loss": self.loss.to_dict(),
            "timings": [timing.to_dict() for timing in self.timings],
            "memory": None if memory is None else {"model": memory.model, "process": memory.process},
            "notes": list(self.subject.notes),
        }


def dominates(first: Measured, second: Measured, batch_size: int) -> bool:
    """Return whether the first is at least as good in loss, size and time, and better in one of them."""
    pairs = [
        (first.loss.loss.value, second.loss.loss.value),
        (float(first.num_bytes), float(second.num_bytes)),
        (-first.at(batch_size).speed_up.value, -second.at(batch_size).speed_up.value),
    ]
    return all(one <= other for one, other in pairs) and any(one < other for one, other in pairs)


def pareto(found: tuple[Measured, ...], batch_size: int) -> tuple[Measured, ...]:
    """Return the models that no other one dominates."""
    return tuple(one for one in found if not any(dominates(other, one, batch_size) for other in found))
