"""Whether this user may do what its role needs, asked before anything is begun: a refusal later names less."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from aiokafka.errors import KafkaError

from schemas.errors import BrokerError
from stream.config.sections import Settings
from stream.kafka.access import Access, Operation, coordinator, group_access, view
from stream.kafka.acls import Acl, Role, acls_of
from stream.kafka.denied import KIND
from stream.kafka.reach import Broker, connect, reach

log = logging.getLogger(__name__)

TIMEOUT_S: Final = 15.0
_DENIED: Final = "AuthorizationFailed"


async def require(role: Role, settings: Settings) -> None:
    """Raises BrokerError that names every access control list that is missing.

    What the cluster does not tell is taken for allowed; so are transactional ids, about which it cannot be asked.
    """
    missing = await _missing(acls_of(role, settings), settings)
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
            of_groups = {name: await _of_group(broker, name, settings) for name in groups}
    except (BrokerError, KafkaError, OSError, TimeoutError) as error:
        # A broker that is away just now is waited for by what comes next, and told of there where it stays away.
        log.info("the cluster did not tell what is allowed: %s", str(error) or type(error).__name__)
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


async def _of_group(broker: Broker, name: str, settings: Settings) -> Access:
    try:
        host, port = await coordinator(broker.connection, name)
    except BrokerError as error:
        if error.kind != "group":
            raise
        return Access(error.message, None)  # it may not even be asked for
    home = await connect(settings.kafka, host, port, timeout_s=TIMEOUT_S)
    try:
        return await group_access(home.connection, name)
    finally:
        await home.close()
