"""The names of Forebay's loggers. They do not depend on the module layout."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

ROOT: Final = "forebay"

LOGGERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "forebay.worker": "start, drain and stop of a worker; circuit breakers; how long commits take",
        "forebay.supervisor": "several worker processes: their starts and ends, rolling restarts",
        "forebay.model": "models on CUDA devices that run without a graph, or only in smaller calls, and why",
        "forebay.rollouts": "revisions that are applied; versions that are loaded, removed or refused",
        "forebay.rollouts.judge": "verdicts on canaries, and the revisions that they lead to",
        "forebay.repository": "models that are downloaded from a repository behind a URL",
        "forebay.source": "assigned partitions, with the offsets at which reading starts; the group's offsets",
        "forebay.backfill": "back-fills: while it is unknown how far one is, or how far the group that it waits for",
        "forebay.schema_registry": "schemas that are read from the registry, partitions that wait for one and why",
        "forebay.access": "keys and rules of access: read again, refused, and not reachable",
        "forebay.encryption": "keys of encrypted fields: read again, and not readable",
        "forebay.privacy": "personal data that was found, as counts by place and detector",
        "forebay.decode": "event timestamps that are probably not in milliseconds",
        "forebay.windows": "event-time windows: rebuilt, rejected events, closed by the wall clock or early",
        "forebay.pipeline": "failed commits, after which events are read again; events that a rebalance left uncommitted",
        "forebay.objective": "the objective on latency: when it is no longer met and why, and when it is met again",
        "forebay.shadows": "shadows that start, end, cannot be loaded or are disabled; predictions of shadows that are lost",
        "forebay.drift": "models whose rows or scores are not counted; counts that are lost",
        "forebay.commit": "each commit with its offsets (debug); another worker with the same transactional id",
        "forebay.kafka.cluster": "connecting; brokers and clusters that stop or resume answering",
        "forebay.kafka.oauth": "renewal of OAuth tokens",
        "forebay.kafka.permissions": "permissions that are missing or could not be checked",
        "forebay.kafka.producer": "reconnecting the producer",
        "forebay.kafka.topics": "topics that are missing or have unsuitable settings",
        "forebay.telemetry": "measurements that fail",
        "forebay.data": "the cache of parsed tables: damaged files, and tables that cannot be kept",
        "forebay.train": "training with several processes: the strategy that was chosen, checkpoints",
        "forebay.train.server": "connections that the parameter server refuses",
        "forebay.admin": "the admin API: its address, pause and resume, failed requests, warnings about the group",
        "forebay.aggregate": "the aggregator: start and stop, restored partitions, records that cannot be counted",
        "forebay.aggregate.alerts": "alerts that start and end; webhook requests that fail",
        "forebay.aggregate.faust": "Faust within the aggregator; errors only, unless set to debug",
        "forebay.evaluate": "the evaluator: start and stop, restored partitions, refused records, failed commits",
    }
)
"""Loggers, with what they log. A level for a name applies to all loggers below it too, except that only
`forebay.aggregate.faust=debug` or the level `debug` for all lets more than errors of Faust through."""

OLD_PACKAGE: Final = "stream"
"""The package after whose modules loggers were named in the past."""
OWN_PACKAGES: Final = (OLD_PACKAGE, "models", "schemas")
"""Packages of Forebay; no logger has their name."""

RENAMED: Final[Mapping[str, str]] = MappingProxyType(
    {
        "": "forebay",
        "admin": "forebay.admin",
        "admin.connections": "forebay.admin",
        "admin.group_warnings": "forebay.admin",
        "admin.guard": "forebay.admin",
        "admin.server": "forebay.admin",
        "admin.service": "forebay.admin",
        "aggregate": "forebay.aggregate",
        "aggregate.app": "forebay.aggregate",
        "aggregate.beside": "forebay.aggregate",
        "aggregate.service": "forebay.aggregate",
        "aggregate.table": "forebay.aggregate",
        "aggregate.transport": "forebay.aggregate.faust",
        "aggregate.watch": "forebay.aggregate.alerts",
        "aggregate.webhook": "forebay.aggregate.alerts",
        "cli": "forebay.aggregate",
        "cli.aggregate": "forebay.aggregate",
        "commit": "forebay.commit",
        "eventtime": "forebay.windows",
        "eventtime.stage": "forebay.windows",
        "kafka": "forebay.kafka and forebay.source",
        "kafka.advertised": "forebay.kafka.cluster",
        "kafka.cluster_watch": "forebay.kafka.cluster",
        "kafka.delivery": "forebay.kafka.producer",
        "kafka.layout": "forebay.kafka.topics",
        "kafka.oauth": "forebay.kafka.oauth",
        "kafka.outage": "forebay.kafka.cluster",
        "kafka.permit": "forebay.kafka.permissions",
        "kafka.reach": "forebay.kafka.cluster",
        "kafka.source": "forebay.source",
        "kafka.topic_identity": "forebay.kafka.topics",
        "pipeline": "forebay.pipeline",
        "refusals": "forebay.commit",
        "telemetry": "forebay.telemetry",
        "telemetry.resources": "forebay.telemetry",
        "telemetry.sampling": "forebay.telemetry",
        "telemetry.telemetry": "forebay.telemetry",
        "telemetry.timestamp_warning": "forebay.decode",
        "worker": "forebay.worker",
    }
)
"""Former logger names, without the prefix OLD_PACKAGE, and the loggers that replaced them."""


def successor_of(name: str) -> str | None:
    """Return the logger that replaces a former name; None if `name` is not one."""
    package, _, module = name.partition(".")
    return RENAMED.get(module) if package == OLD_PACKAGE else None
