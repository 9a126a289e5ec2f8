"""The settings of a back-fill: those of the workers, with a group, a guarantee and output topics of its own. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from forebay.schemas.errors import ConfigError
from forebay.stream.config.sections import Settings, TopicsSection
from forebay.stream.config.window_section import WindowSection
from forebay.stream.core.model_ref import ModelRef

_RUN_ID: Final = re.compile(r"[a-zA-Z0-9._-]{1,100}", re.ASCII)
_PREFIX: Final = re.compile(r"[a-zA-Z0-9._-]{1,200}", re.ASCII)
_MODEL: Final = re.compile(r"([^@]+)@(\d{1,9})", re.ASCII)
_NEVER_MS: Final = 1 << 42
"""A wait of more than a century."""


@dataclass(frozen=True, slots=True)
class RunName:
    """The names of a back-fill. run_id: chosen by the user, or the time of the start."""

    run_id: str
    group_id: str
    outputs: str

    @property
    def instance_id(self) -> str:
        """The instance id of its worker, which takes over from one that was killed."""
        return f"backfill-{self.run_id}"


def name_run(settings: Settings, run_id: str | None, outputs: str | None, *, now_ms: int) -> RunName:
    """Return the names of a back-fill with these settings of the workers.

    outputs: the prefix of its output topics; None for one with the run id.

    Raises ConfigError for names that Kafka does not allow.
    """
    if run_id is None:
        run_id = datetime.fromtimestamp(now_ms / 1000, UTC).strftime("%Y%m%d-%H%M%S")
    elif not _RUN_ID.fullmatch(run_id):
        raise ConfigError(
            f"--run-id {run_id!r} is not a name",
            kind="backfill_run_id",
            remedy="use at most 100 letters, digits, '.', '_' or '-'",
        )
    if outputs is None:
        outputs = f"{settings.topics.prefix}backfill-{run_id}."
    elif not _PREFIX.fullmatch(outputs) or outputs == settings.topics.prefix:
        raise ConfigError(
            f"--output-prefix {outputs!r} cannot begin the names of the output topics",
            kind="backfill_outputs",
            remedy="use at most 200 letters, digits, '.', '_' or '-', and another prefix than topics.prefix, which begins "
            "the names of the live topics",
        )
    return RunName(run_id, f"{settings.kafka.group_id}-backfill-{run_id}", outputs)


def run_settings(settings: Settings, run: RunName, *, close_windows: bool, processes: int = 1) -> Settings:
    """Return the settings of the back-fill's worker. close_windows: whether windows that are open at the end are emitted.

    processes: several get names of their own from their supervisor.
    """

    def window(section: WindowSection) -> WindowSection:
        return section.model_copy(update={"idle_timeout_ms": 100 if close_windows else _NEVER_MS})

    updates: dict[str, dict[str, Any]] = {
        "kafka": {"group_id": run.group_id, "group_instance_id": run.instance_id if processes == 1 else None},
        "worker": {"processes": processes},
        "delivery": {"processing_guarantee": "exactly_once", "instance_id": run.instance_id},
        "input": {"isolation_level": "read_committed", "auto_offset_reset": "none", "from_timestamp": None},
        # A version for all events, no drift of the past, no latency to keep, and the ports of the live workers left alone.
        "rollouts": {"enabled": False},
        "drift": {"enabled": False},
        "objective": {"p99_ms": None},
        "edge": {"reports": False},
        "admin": {"enabled": False},
    }
    sections: dict[str, Any] = {
        name: getattr(settings, name).model_copy(update=update) for name, update in updates.items()
    }
    sections["window"] = window(settings.window)
    sections["models"] = tuple(entry.model_copy(update={"window": window(entry.window)}) for entry in settings.models)
    return settings.model_copy(update=sections)


def output_topics(settings: Settings, run: RunName, *, num_partitions: int, replication_factor: int) -> TopicsSection:
    """Return names and numbers of the output topics: as many partitions as the input, so that the order is kept."""
    return settings.topics.model_copy(
        update={"prefix": run.outputs, "partitions": num_partitions, "replication_factor": replication_factor}
    )


def parse_versions(assignments: Iterable[str], names: Iterable[str]) -> dict[str, int]:
    """Return the versions of `--model NAME@VERSION`. names: of the models that are served. Raises ConfigError."""
    served, versions = set(names), {}
    for assignment in assignments:
        found = _MODEL.fullmatch(assignment)
        if found is None or not int(found[2]):
            raise ConfigError(
                f"--model {assignment!r} is not NAME@VERSION", kind="backfill_model", remedy="write it like fraud@3"
            )
        if found[1] not in served:
            raise ConfigError(
                f"--model {assignment!r} names a model that the configuration does not serve",
                kind="backfill_model",
                remedy=f"the models are: {', '.join(sorted(served))}; for another one, set model.name",
            )
        versions[found[1]] = int(found[2])
    return versions


def with_versions(settings: Settings, versions: Mapping[str, int]) -> Settings:
    """Return settings that serve these versions of the models, by name."""

    def of(section: Any) -> Any:
        return section.model_copy(update={"version": versions[section.name]}) if section.name in versions else section

    if settings.models:
        return settings.model_copy(update={"models": tuple(map(of, settings.models))})
    return settings.model_copy(update={"model": of(settings.model)})


def require_same_versions(run: RunName, recorded: Iterable[ModelRef], asked: Mapping[str, int]) -> dict[str, int]:
    """Return the versions with which a back-fill was begun. Raises ConfigError if others are asked for now."""
    versions = {ref.name: ref.version for ref in recorded}
    for name, version in asked.items():
        if versions.get(name) != version:
            raise ConfigError(
                f"the back-fill {run.run_id} was begun with {name}@{versions.get(name)}, not with {name}@{version}",
                kind="backfill_model",
                remedy="give another --run-id for other versions, or leave --model out to continue",
            )
    return versions
