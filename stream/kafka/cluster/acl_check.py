"""Whether this user may do what its role needs, asked before anything is begun: a refusal later names less."""

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
from forebay.stream.kafka.cluster.bootstrap import Broker, connect, reach
from forebay.stream.kafka.protocol.authorized_operations import Access, Operation, coordinator, group_access, view

log = logging.getLogger("forebay.kafka.permissions")

TIMEOUT_S: Final = 15.0
RETRY_S: Final = 0.5
NOT_COORDINATOR: Final = "NotCoordinatorForGroup"
_DENIED: Final = "AuthorizationFailed"


async def require(role: Role, settings: Settings) -> None:
    """Raises BrokerError that names every access control list that is missing.

    What the cluster does not tell is taken for allowed; so are transactional ids, about which it cannot be asked.
    """
    missing = await _missing(required_acls(role, settings), settings)
    for acl in missing:
        if acl.operation == "DESCRIBE_CONFIGS":
            log.warning("not allowed: %s; its retention, cleanup and sizes are not looked at", acl)
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
        async with reach(settings.kafka, timeout_s=TIMEOUT_S) as broker, asyncio.timeout(TIMEOUT_S):
            seen = dict((await view(broker.connection, topics)).topics)
        of_groups = {name: access for name in groups if (access := await _of_group(name, settings)) is not None}
    except (BrokerError, KafkaError, OSError, TimeoutError) as error:
        # If the cluster is unreachable, later steps retry and report it; do not fail here.
        log.info("what this user may do was not checked: %s", str(error) or type(error).__name__)
        return []
    found = {"topic": seen, "group": of_groups}
    return [
        acl
        for acl in acls
        if (access := found.get(acl.resource, {}).get(acl.name)) is not None and not _allows(access, acl)
    ]


def _allows(access: Access, acl: Acl) -> bool:
    if access.error is not None:
        # What is not there is for others to tell.
        return _DENIED not in access.error
    return not access.missing([Operation[acl.operation]])


async def _of_group(name: str, settings: Settings) -> Access | None:
    """What is allowed on a group, asked of its coordinator; None where none answers in time.

    The coordinator may be a broker that has just gone away: another one takes over within seconds.
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
            "whether the group %s may be joined was not checked, since its coordinator does not answer within %g s: %s",
            name,
            TIMEOUT_S,
            failure or "no answer",
        )
        return None


async def _ask_a_broker(name: str, settings: Settings) -> Access:
    """Raises BrokerError, KafkaError or OSError."""
    async with reach(settings.kafka, timeout_s=TIMEOUT_S) as broker:
        try:
            return await ask_coordinator(broker, settings.kafka, name, timeout_s=TIMEOUT_S)
        except BrokerError as error:
            if error.kind != "group":
                raise
            return Access(error.message, None)  # it may not even be asked for


async def ask_coordinator(broker: Broker, kafka: KafkaSection, group_id: str, *, timeout_s: float) -> Access:
    """Return the access to a group, asked of the coordinator that `broker` names.

    Raises NotCoordinatorForGroupError if it has moved since or does not know its role yet; BrokerError, KafkaError or OSError
    where it cannot be asked.
    """
    host, port = await coordinator(broker.connection, group_id)
    home = await connect(kafka, host, port, timeout_s=timeout_s)
    try:
        access = await group_access(home.connection, group_id)
    finally:
        await home.close()
    if access.error == NOT_COORDINATOR:
        raise NotCoordinatorForGroupError(group_id)
    return access
