"""Which version must predict an event, from the records of the two topics of rollouts alone.

It does not use Forebay's own code for this, so that an error in it cannot hide itself.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from typing import Any, Final

import orjson
from xxhash import xxh3_64_intdigest

SLOTS: Final = 10_000

Record = tuple[bytes | None, bytes | None]
"""Key and value."""


class Replay:
    """The revisions and switches of one model.

    revisions: by number, as JSON; revision 0 is the configuration.
    refused: how many revisions came too late.
    faults: partitions that went back to an older revision, or to a smaller offset.
    """

    def __init__(self, model: str, configured: int, *, revisions: Iterable[Record], switches: Iterable[Record]) -> None:
        self.revisions: dict[int, dict[str, Any]] = {0: {"stable": configured, "canaries": [], "route_by": None}}
        self.refused = 0
        self.faults: list[str] = []
        self._switches: dict[int, list[tuple[int, int]]] = defaultdict(list)
        self._versions: dict[tuple[int, bytes], int] = {}
        for key, value in revisions:
            if key == model.encode():
                self._add_revision(orjson.loads(value or b""))
        for key, value in switches:
            if key == model.encode():
                self._add_switch(orjson.loads(value or b""))

    def _add_revision(self, revision: dict[str, Any]) -> None:
        following = len(self.revisions)
        if (revision["number"], revision["based_on"]) != (following, following - 1):
            self.refused += 1
            return
        self.revisions[following] = revision

    def _add_switch(self, switch: dict[str, Any]) -> None:
        entry = (switch["first_offset"], switch["revision"])
        before = self._switches[switch["partition"]]
        if before and not (before[-1][0] < entry[0] and before[-1][1] < entry[1]):
            self.faults.append(f"partition {switch['partition']}: from {before[-1]} to {entry} (offset, revision)")
        before.append(entry)

    @property
    def num_switches(self) -> int:
        return sum(map(len, self._switches.values()))

    def revision_at(self, partition: int, offset: int) -> int:
        """Return the number of the revision that routed the event."""
        switches = self._switches[partition]
        index = bisect_right(switches, (offset, len(self.revisions)))
        return switches[index - 1][1] if index else 0

    def version_of(self, number: int, key: bytes | None) -> int:
        """Return the version to which a revision routes a key."""
        revision = self.revisions[number]
        if key is None or not revision["canaries"]:
            return int(revision["stable"])
        known = self._versions.get((number, key))
        if known is None:
            known = self._versions[number, key] = _version_of(revision, key)
        return known


def _version_of(revision: dict[str, Any], key: bytes) -> int:
    slot = xxh3_64_intdigest(key, revision["seed"]) % SLOTS
    for canary in revision["canaries"]:
        if any(start <= slot < end for start, end in canary["slots"]):
            return int(canary["version"])
    return int(revision["stable"])
