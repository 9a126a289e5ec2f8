"""Limits of a device on a model. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What a model may use on a device; None for no limit.

    model_bytes: size of the ONNX file.
    memory_bytes: resident memory of the process that predicts.
    p99_ms: 99th percentile of the time of one prediction of one row.
    power_watts: average power at the stated rate of predictions.
    """

    model_bytes: int | None = None
    memory_bytes: int | None = None
    p99_ms: float | None = None
    power_watts: float | None = None

    def to_dict(self) -> dict[str, float | int | None]:
        """Return the limits as JSON values, by the names that `device/verify.py` measures."""
        return {
            "model_bytes": self.model_bytes,
            "peak_memory_bytes": self.memory_bytes,
            "p99_ms": self.p99_ms,
            "power_watts": self.power_watts,
        }
