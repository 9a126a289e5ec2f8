"""The check of permissions at the start: an authorization error later names less of what is missing."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiokafka.errors import KafkaError, NotCoordinatorForGroupError

from forebay.schemas.errors import BrokerError
from forebay.stream.config.sections import KafkaSection, Settings
from forebay.stream.core.retry import fixed, retry
from forebay.stream.kafka.cluster.acls import Acl, Role, required_acls
from forebay.stream.kafka.cluster.authorization_errors import KIND
from forebay.stream.kafka.cluster.bootstrap import Broker, bootstrap_connection, connect
from forebay.stream.kafka.protocol.authorized_operations import (
    Access,
    Operation,
    describe_cluster,
    find_coordinator,
    group_access,
)

log = logging.getLogger("forebay.kafka.permissions")

TIMEOUT_S: Final = 15.0
RETRY_S: Final = 0.5
_NOT_COORDINATOR: Final = "NotCoordinatorForGroup"
_DENIED: Final = "AuthorizationFailed"


async def require(role: Role, settings: Settings) -> None:
    """Raise BrokerError with every missing access control list of a role.

    What the cluster does not report is taken to be allowed, as are transactional ids, which no request can check.
    """
    missing = await _missing(required_acls(role, settings), settings)
    for acl in missing:
        if acl.operation == "DESCRIBE_CONFIGS":
            log.warning("not allowed: %s; its retention, cleanup policy and sizes were not checked", acl)
    if needed := [str(acl) for acl in missing if acl.operation != "DESCRIBE_CONFIGS"]:
        raise BrokerError(
            f"not allowed: {'; '.join(needed)}",
            kind=KIND,
            remedy=f"`forebay acls {role.value} --commands` prints the commands that allow all that is needed",
        )


async def _missing(acls: tuple[Acl, ...], settings: Settings) -> list[Acl]:
    topics = sorted({acl.name for acl in acls if acl.resource == "topic"})
    groups = sorted({acl.name for acl in acls if acl.resource == "group"})
    try:
        async with bootstrap_connection(settings.kafka, timeout_s=TIMEOUT_S) as broker, asyncio.timeout(TIMEOUT_S):
            topic_access = dict((await describe_cluster(broker.connection, topics)).topics)
        access_of_groups = {
            name: access for name in groups if (access := await _group_access(name, settings)) is not None
        }
    except (BrokerError, KafkaError, OSError, TimeoutError) as error:
        # If the cluster is unreachable, later steps retry and report it; do not fail here.
        log.info("the permissions of this user were not checked: %s", str(error) or type(error).__name__)
        return []
    access_of = {"topic": topic_access, "group": access_of_groups}
    return [
        acl
        for acl in acls
        if (access := access_of.get(acl.resource, {}).get(acl.name)) is not None and not _allows(access, acl)
    ]


def _allows(access: Access, acl: Acl) -> bool:
    if access.error is not None:
        # Missing topics and groups are reported elsewhere.
        return _DENIED not in access.error
    return not access.missing([Operation[acl.operation]])


async def _group_access(name: str, settings: Settings) -> Access | None:
    """Return the access to a group from its coordinator; None if no coordinator answers in time.

    The coordinator may be a broker that has just stopped: another one takes over within seconds.
    """
    failure: Exception | None = None

    def remember(error: Exception, _failures: int) -> None:
        nonlocal failure
        failure = error

    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await retry(
                lambda: _ask_a_broker(name, settings),
                should_retry=lambda error, _failures: isinstance(error, BrokerError | KafkaError | OSError),
                wait_s=fixed(RETRY_S),
                on_retry=remember,
            )
    except TimeoutError:
        log.warning(
            "the permission to join the group %s was not checked: its coordinator did not answer within %g s: %s",
            name,
            TIMEOUT_S,
            failure or "no answer",
        )
        return None


async def _ask_a_broker(name: str, settings: Settings) -> Access:
    """Return the access to a group from the coordinator that any broker names. Raises BrokerError, KafkaError or OSError."""
    async with bootstrap_connection(settings.kafka, timeout_s=TIMEOUT_S) as broker:
        try:
            return await ask_coordinator(broker, settings.kafka, name, timeout_s=TIMEOUT_S)
        except BrokerError as error:
            if error.kind != "group":
                raise
            return Access(error.message, None)  # this user may not even find the coordinator


async def ask_coordinator(broker: Broker, kafka: KafkaSection, group_id: str, *, timeout_s: float) -> Access:
    """Return the access to a group from the coordinator that `broker` names.

    Raises NotCoordinatorForGroupError if the coordinator has moved since or does not know its role yet; BrokerError, KafkaError
    or OSError if it cannot be reached.
    """
    host, port = await find_coordinator(broker.connection, group_id)
    home = await connect(kafka, host, port, timeout_s=timeout_s)
    try:
        access = await group_access(home.connection, group_id)
    finally:
        await home.close()
    if access.error == _NOT_COORDINATOR:
        raise NotCoordinatorForGroupError(group_id)
    return access
