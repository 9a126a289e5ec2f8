"""What the pipeline needs to know of a revision of a model's rollout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from forebay.stream.core.model_ref import ModelRef


class KeyAllocation(Protocol):
    """The version that predicts each routing key (see `rollouts.allocation`). versions: those that get any keys."""

    @property
    def versions(self) -> tuple[int, ...]: ...
    def versions_of(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]: ...


@dataclass(frozen=True, slots=True)
class ServedRevision:
    """A revision that a worker serves.

    number: 0 for the configuration.
    stable: the version for events without a routing key.
    route_by: the field of the event that is the routing key. None, or an event without it: the record key, else the field
        `key`, else the id.
    """

    model: str
    number: int
    stable: int
    allocation: KeyAllocation
    route_by: str | None = None

    @property
    def refs(self) -> frozenset[ModelRef]:
        """The versions that may get events."""
        return frozenset(ModelRef(self.model, version) for version in (self.stable, *self.allocation.versions))
