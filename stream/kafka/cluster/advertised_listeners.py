"""The check that the brokers can be reached at their advertised addresses.

A client connects to a bootstrap server first, and then only to the addresses that the cluster advertises. If those are wrong
for this machine, the first connection works and no other does, and the client retries forever without logging it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError, ForebayError
from forebay.stream.kafka.cluster.bootstrap import (
    ADVERTISED_REMEDY,
    Broker,
    ClientOptions,
    bootstrap_connection_with,
    connect_with,
)
from forebay.stream.kafka.protocol.authorized_operations import describe_cluster

log = logging.getLogger("forebay.kafka.cluster")

TIMEOUT_S: Final = 10.0
KIND: Final = "advertised"

Address = tuple[str, int]


async def unreachable_brokers(
    broker: Broker, addresses: Sequence[Address], client: ClientOptions, *, timeout_s: float
) -> list[ForebayError]:
    """Return an error for each address that does not answer, other than that of `broker`, which is connected."""
    answers = await asyncio.gather(
        *(
            connect_with(client, host, port, timeout_s=timeout_s)
            for host, port in addresses
            if (host, port) != (broker.host, broker.port)
        ),
        return_exceptions=True,
    )
    problems = []
    for answer in answers:
        if isinstance(answer, Broker):
            await answer.close()
        elif isinstance(answer, ForebayError):
            problems.append(answer)
        else:
            raise answer
    return problems


async def require_reachable(client: ClientOptions, *, timeout_s: float = TIMEOUT_S) -> None:
    """Raise BrokerError if no bootstrap server answers, or no broker does at its advertised address.

    If only some brokers answer, log a warning: the cluster may be restarting and work without them.

    client: from `client_options`.
    """
    if (failure := await find_unreachable(client, timeout_s=timeout_s)) is None:
        return
    if failure.kind == "some_brokers":
        log.warning("%s", failure.message)
        return
    raise failure


async def find_unreachable(client: ClientOptions, *, timeout_s: float = TIMEOUT_S) -> BrokerError | None:
    """Return the problem with the connection to the cluster; None if all brokers answer.

    The kind of the error is `advertised` if no broker answers at its advertised address, `some_brokers` if only some do.
    """
    try:
        async with bootstrap_connection_with(client, timeout_s=timeout_s) as broker:
            async with asyncio.timeout(timeout_s):
                addresses = (await describe_cluster(broker.connection, [])).brokers
            problems = await unreachable_brokers(broker, addresses, client, timeout_s=timeout_s)
    except BrokerError as error:
        return error
    except (KafkaError, OSError) as error:
        return BrokerError(
            f"{client['bootstrap_servers']} did not name the brokers of the cluster: {str(error) or 'no answer'}",
            kind="unreachable",
            remedy="check that the cluster is healthy; `forebay check` reports more",
        )
    if not problems:
        return None
    every = len(problems) == len(addresses)
    count = "none" if every else f"only {len(addresses) - len(problems)}"
    return BrokerError(
        f"{broker.address} answers, but {count} of the {len(addresses)} brokers that the cluster advertises: "
        + "; ".join(problem.message for problem in problems),
        kind=KIND if every else "some_brokers",
        remedy=problems[0].remedy or ADVERTISED_REMEDY,
    )
