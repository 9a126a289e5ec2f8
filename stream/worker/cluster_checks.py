"""What a worker needs of the cluster before it builds its parts: an answer, reachable listeners, permissions and topics."""

from __future__ import annotations

from forebay.stream.config.sections import Settings, TopicsSection
from forebay.stream.core.clock import Clock
from forebay.stream.core.stop_request import StopRequest
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.cluster.acl_check import require
from forebay.stream.kafka.cluster.acls import Role
from forebay.stream.kafka.cluster.advertised_listeners import require_reachable
from forebay.stream.kafka.cluster.bootstrap import wait_for_cluster
from forebay.stream.kafka.cluster.topic_layout import Layout, find_layout
from forebay.stream.worker.commit_assembly import retry_backoff


async def find_usable_layout(
    settings: Settings, stop: StopRequest, *, clock: Clock, outputs: TopicsSection | None = None
) -> Layout:
    """Wait for the cluster, check listeners and permissions, and find the topics.

    outputs: names and numbers of the output topics, if they differ from the configuration, whose permissions are then not
        those that are needed.

    Raises StoppedEarly if a stop is requested meanwhile, and ForebayError if a worker cannot run.
    """
    await stop.unless_requested(wait_for_cluster(settings.kafka, clock=clock, backoff=retry_backoff(settings)))
    await stop.unless_requested(require_reachable(client_options(settings.kafka)))
    if outputs is None:
        await stop.unless_requested(require(Role.WORKER, settings))
    return await stop.unless_requested(find_layout(settings, outputs))
