"""Which version predicts an event: its routing key is hashed to one of 10,000 slots, and each slot belongs to a version.

The hash never changes: replays of old events must find the versions that predicted them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import Self

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_intdigest

from forebay.stream.rollouts.revision import SLOTS, Revision


class Allocation:
    """The version of each slot.

    seed: seed of the hash.
    version_of_slot: SLOTS versions.
    """

    def __init__(self, seed: int, version_of_slot: npt.NDArray[np.int64]) -> None:
        self._seed = seed
        self._version_of_slot = version_of_slot
        self._version_of_slot.flags.writeable = False
        self.versions: tuple[int, ...] = tuple(np.unique(version_of_slot).tolist())

    @classmethod
    def of(cls, revision: Revision) -> Self:
        """Return the allocation of a revision."""
        versions = np.full(SLOTS, revision.stable, np.int64)
        for canary in revision.canaries:
            for start, end in canary.slots:
                versions[start:end] = canary.version
        return cls(revision.seed, versions)

    @property
    def is_single(self) -> bool:
        """Whether one version predicts all keys."""
        return len(self.versions) == 1

    def slots(self, keys: Sequence[bytes]) -> npt.NDArray[np.uint16]:
        """Return the slot of each routing key."""
        hashes = np.fromiter(map(xxh3_64_intdigest, keys, repeat(self._seed)), np.uint64, len(keys))
        return (hashes % SLOTS).astype(np.uint16)

    def versions_of(self, keys: Sequence[bytes]) -> npt.NDArray[np.int64]:
        """Return the version that predicts each routing key."""
        if self.is_single:
            return np.full(len(keys), self.versions[0], np.int64)
        return self._version_of_slot[self.slots(keys)]
