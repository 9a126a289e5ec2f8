"""What does not go together among the workers of one group: instance ids, models, releases."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from forebay.stream.admin.member_metadata import WorkerMetadata, decode_member_metadata
from forebay.stream.terminal.record_format import printable

log = logging.getLogger("forebay.admin")

_MAX_NAMES = 5


def group_warnings(workers: Sequence[WorkerMetadata]) -> tuple[str, ...]:
    """Return a sentence for each thing that should be alike and is not, or should differ and does not. Pure.

    workers: one for each member of the group that announces itself.
    """
    warnings = []
    counts: dict[str, int] = defaultdict(int)
    for one in workers:
        counts[one.worker] += 1
    for worker, count in sorted(counts.items()):
        if count > 1:
            warnings.append(
                f"{count} members have the instance id {worker!r}: they fence each other; give each worker a "
                "delivery.instance_id of its own"
            )
    if len(models := _by(workers, lambda one: f"{one.model} version {one.version}")) > 1:
        warnings.append(f"the workers serve different models: {_listed(models)}")
    if len(releases := _by(workers, lambda one: f"Forebay {one.release}")) > 1:
        warnings.append(f"the workers are of different releases: {_listed(releases)}")
    return tuple(warnings)


class GroupWarnings:
    """Logs the warnings about a group once, when they come up."""

    def __init__(self) -> None:
        self._logged: tuple[str, ...] = ()

    def look(self, user_data: Iterable[bytes]) -> None:
        """user_data: what each member announces, as this worker leads the group. Never raises."""
        metadata = [one for one in map(decode_member_metadata, user_data) if one is not None]
        warnings = group_warnings(metadata)
        for warning in warnings:
            if warning not in self._logged:
                log.warning("in this group %s", printable(warning))
        self._logged = warnings


def _by(workers: Sequence[WorkerMetadata], what: Callable[[WorkerMetadata], str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for one in workers:
        found[what(one)].append(one.worker)
    return found


def _listed(groups: Mapping[str, list[str]]) -> str:
    parts = []
    for what, names in sorted(groups.items()):
        shown = ", ".join(sorted(names)[:_MAX_NAMES])
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        parts.append(f"{what} ({shown}{more})")
    return "; ".join(parts)
