"""Warnings about inconsistent workers of one group: equal instance ids, different models or releases."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from forebay.stream.admin.member_metadata import WorkerMetadata, decode_member_metadata
from forebay.stream.terminal.record_format import printable

log = logging.getLogger("forebay.admin")

_MAX_NAMES = 5


def group_warnings(workers: Sequence[WorkerMetadata]) -> tuple[str, ...]:
    """Return a sentence for each inconsistency. Pure.

    workers: metadata of each member of the group that is a worker.
    """
    warnings = []
    counts: dict[str, int] = defaultdict(int)
    for metadata in workers:
        counts[metadata.worker] += 1
    for worker, count in sorted(counts.items()):
        if count > 1:
            warnings.append(
                f"{count} members have the instance id {worker!r}: they fence each other; give each worker a "
                "delivery.instance_id of its own"
            )
    # Workers that follow rollouts announce the versions at their join, which may differ; what they serve is in their status.
    models_of = _model_names if any(metadata.follows_rollouts for metadata in workers) else _model_versions
    if len(models := _names_by(workers, models_of)) > 1:
        warnings.append(f"the workers serve different models: {_enumerate(models)}")
    if len(modes := _names_by(workers, _rollout_mode)) > 1:
        warnings.append(f"only some of the workers follow rollouts: {_enumerate(modes)}")
    if len(releases := _names_by(workers, lambda metadata: f"Forebay {metadata.release}")) > 1:
        warnings.append(f"the workers run different releases: {_enumerate(releases)}")
    return tuple(warnings)


class GroupWarnings:
    """Logs each warning about a group once, when it first applies."""

    def __init__(self) -> None:
        self._logged: tuple[str, ...] = ()

    def check(self, user_data: Iterable[bytes]) -> None:
        """Check the members of a group that this worker leads. user_data: of each member. Never raises."""
        workers = [metadata for data in user_data if (metadata := decode_member_metadata(data)) is not None]
        warnings = group_warnings(workers)
        for warning in warnings:
            if warning not in self._logged:
                log.warning("in this group %s", printable(warning))
        self._logged = warnings


def _model_versions(metadata: WorkerMetadata) -> str:
    return ", ".join(sorted(map(str, metadata.models)))


def _model_names(metadata: WorkerMetadata) -> str:
    return ", ".join(sorted(model.name for model in metadata.models))


def _rollout_mode(metadata: WorkerMetadata) -> str:
    return f"rollouts.enabled = {str(metadata.follows_rollouts).lower()}"


def _names_by(workers: Sequence[WorkerMetadata], key: Callable[[WorkerMetadata], str]) -> Mapping[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for metadata in workers:
        names[key(metadata)].append(metadata.worker)
    return names


def _enumerate(names_by_key: Mapping[str, list[str]]) -> str:
    parts = []
    for key, names in sorted(names_by_key.items()):
        shown = ", ".join(sorted(names)[:_MAX_NAMES])
        more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
        parts.append(f"{key} ({shown}{more})")
    return "; ".join(parts)
