"""Whether a broker answers, and if not why: the client itself says only that it could not connect."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import errors as kafka_errors
from aiokafka.conn import AIOKafkaConnection, create_conn
from aiokafka.protocol.admin import ApiVersionRequest

from forebay.schemas.errors import BrokerError
from forebay.stream.config.sections import KafkaSection
from forebay.stream.core.backoff import Backoff
from forebay.stream.core.clock import Clock
from forebay.stream.core.retry import Deadline, retry
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.oauth import TokenError

log = logging.getLogger("forebay.kafka.cluster")

DEFAULT_PORT: Final = 9092
CLOSE_TIMEOUT_S: Final = 1.0
ADVERTISED_REMEDY: Final = "see advertised.listeners of the brokers: they must name addresses that this machine reaches"
OFFSET_FETCH: Final = 9
TXN_OFFSET_COMMIT: Final = 28
_CONNECTION_ERRORS: Final = (
    OSError,
    kafka_errors.KafkaError,
    AssertionError,
    asyncio.IncompleteReadError,
    ValueError,
)
"""What the client raises for a server that cannot be reached, or is none."""

ClientOptions = Mapping[str, object]
"""What `client_options` returns."""

ATTEMPT_S: Final = 15.0
MIN_ATTEMPT_S: Final = 5.0
"""How long one attempt to reach the cluster takes at least, however little is left of the whole."""
_NEEDED: Final = {OFFSET_FETCH: 7, TXN_OFFSET_COMMIT: 3}
"""Requests by which Kafka 2.5 is told from what was before it, and the version that it brought."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answered. apis: request key -> the lowest and the highest version that it takes."""

    host: str
    port: int
    connection: AIOKafkaConnection
    apis: Mapping[int, tuple[int, int]]

    @property
    def address(self) -> str:
        """host:port."""
        return f"{self.host}:{self.port}"

    async def close(self) -> None:
        """Close the connection, and wait a moment until it is."""
        await _close(self.connection)

    @property
    def recent_enough(self) -> bool:
        """Whether it is Kafka 2.5 or later, by what it can do."""
        return all(self.apis.get(key, (0, -1))[1] >= version for key, version in _NEEDED.items())


@asynccontextmanager
async def reach(kafka: KafkaSection, *, timeout_s: float) -> AsyncIterator[Broker]:
    """A connection, logged in, to the first of the bootstrap servers that answers within `timeout_s`, all of them together.

    Raises BrokerError that says of each server why it did not, and ConfigError as `client_options` does.
    """
    async with reach_with(client_options(kafka), timeout_s=timeout_s) as broker:
        yield broker


@asynccontextmanager
async def reach_with(client: ClientOptions, *, timeout_s: float) -> AsyncIterator[Broker]:
    """The same with options that `client_options` has made, and so with their token."""
    options = _connection_options(client)
    servers = _addresses(str(client["bootstrap_servers"]))
    connections = [asyncio.create_task(_connect(host, port, options, timeout_s)) for host, port in servers]
    try:
        reached = await _first(connections)
        if reached is None:
            errors = [task.exception() or OSError("no answer") for task in connections]
            addresses = [f"{host}:{port}" for host, port in servers]
            raise _unreachable(list(zip(addresses, errors, strict=True)), client, timeout_s)
        yield reached
    finally:
        for task in connections:
            task.cancel()
        for result in await asyncio.gather(*connections, return_exceptions=True):
            if isinstance(result, Broker):
                await result.close()


async def _first(connections: Sequence[asyncio.Task[Broker]]) -> Broker | None:
    """The first in order among the first that answered; None where none does. Raises what no broker can cause."""
    pending: set[asyncio.Task[Broker]] = set(connections)
    while pending:
        await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in connections:
            if not task.done() or task not in pending:
                continue
            pending.discard(task)
            if (error := task.exception()) is None:
                return task.result()
            if not isinstance(error, _CONNECTION_ERRORS):
                raise error
    return None


async def wait_for_cluster(kafka: KafkaSection, *, clock: Clock, backoff: Backoff) -> None:
    """Return when a broker answers, trying again for `kafka.connect_timeout_ms`. Raises BrokerError after that.

    A cause that does not pass by itself, such as a refused login, is raised at once.
    """
    limit_s = kafka.connect_timeout_ms / 1000
    deadline = Deadline(clock, limit_s)
    waited = False

    async def ask() -> None:
        async with reach(kafka, timeout_s=max(MIN_ATTEMPT_S, min(ATTEMPT_S, deadline.left_s()))):
            pass

    def warn(error: Exception, failures: int) -> None:
        nonlocal waited
        waited = True
        if failures == 1:
            log.warning("%s; trying again for %g s (kafka.connect_timeout_ms)", error, limit_s)

    await retry(
        ask,
        should_retry=lambda error, _failures: isinstance(error, BrokerError) and error.kind == "unreachable",
        wait_s=backoff.wait_s,
        on_retry=warn,
        deadline=deadline,
    )
    if waited:
        log.info("the cluster answers after %.0f s", deadline.elapsed_s())


async def connect(kafka: KafkaSection, host: str, port: int, *, timeout_s: float) -> Broker:
    """Another broker of the cluster, by the address that it advertises. The caller closes it.

    Raises BrokerError where it does not answer.
    """
    return await connect_with(client_options(kafka), host, port, timeout_s=timeout_s)


async def connect_with(client: ClientOptions, host: str, port: int, *, timeout_s: float) -> Broker:
    """The same with options that `client_options` has made, and so with their token."""
    try:
        return await _connect(host, port, _connection_options(client), timeout_s)
    except _CONNECTION_ERRORS as error:
        failure = _unreachable([(f"{host}:{port}", error)], client, timeout_s)
        if failure.kind == "unreachable":
            # The bootstrap servers answered: what cannot be reached is what they said.
            failure.remedy = ADVERTISED_REMEDY
        raise failure from error


async def _connect(host: str, port: int, options: dict[str, Any], timeout_s: float) -> Broker:
    async with asyncio.timeout(timeout_s):
        connection = await create_conn(host, port, **options)
        try:
            answer = await connection.send(ApiVersionRequest())
        except BaseException:
            await _close(connection)
            raise
    return Broker(host, port, connection, {key: (low, high) for key, low, high in answer.api_versions})


async def _close(connection: AIOKafkaConnection) -> None:
    closed = connection.close()
    if closed is not None:
        # A broker that does not answer does not end TLS in order either.
        await asyncio.wait([closed], timeout=CLOSE_TIMEOUT_S)


def _connection_options(options: ClientOptions) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "bootstrap_servers"}


def _addresses(servers: str) -> list[tuple[str, int]]:
    addresses = []
    for server in servers.split(","):
        host, colon, port = server.rpartition(":")
        # Without brackets an IPv6 address cannot be told from a port, so the settings take none.
        if colon and "]" not in port:
            addresses.append((host.strip("[]"), int(port)))
        else:
            addresses.append((server.strip("[]"), DEFAULT_PORT))
    return addresses


def _unreachable(failures: list[tuple[str, BaseException]], client: ClientOptions, timeout_s: float) -> BrokerError:
    told = [_explain(error, str(client.get("security_protocol", "PLAINTEXT")), timeout_s) for _, error in failures]
    message = "; ".join(f"{address}: {what}" for (address, _), (_, what, _) in zip(failures, told, strict=True))
    # What names a cause is told before what is only silent.
    kind, _, remedy = min(told, key=lambda each: each[0] == "unreachable")
    return BrokerError(f"cannot reach Kafka at {message}", kind=kind, remedy=remedy)


def _explain(error: BaseException, protocol: str, timeout_s: float) -> tuple[str, str, str]:
    """(kind, what happened, remedy)."""
    if isinstance(error, kafka_errors.KafkaConnectionError) and isinstance(error.__cause__, ssl.SSLError):
        # In TLS 1.3 a client hears only after the handshake that its certificate was not good enough.
        error = error.__cause__
    if isinstance(error, TokenError):
        return error.kind, error.message, error.remedy or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "tls",
            f"its certificate is not trusted: {error.verify_message}",
            ("give the authority that signed it as kafka.ssl_cafile; the certificate must name the host"),
        )
    if isinstance(error, ssl.SSLError):
        return (
            "tls",
            f"TLS failed: {error.reason or error}",
            ("see that this port speaks TLS, and which client certificate it wants (kafka.ssl_certfile)"),
        )
    if isinstance(error, socket.gaierror):
        return "unreachable", "there is no such host name", "see kafka.bootstrap_servers and the name service"
    if isinstance(error, ConnectionRefusedError):
        return "unreachable", "nothing listens there", "see that the broker runs, and kafka.bootstrap_servers"
    if isinstance(error, TimeoutError):
        return (
            "unreachable",
            f"no answer within {timeout_s:g} s",
            (
                "see that the network lets this host through, and that kafka.security_protocol "
                f"({protocol}) is what the port speaks"
            ),
        )
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError | kafka_errors.IllegalSaslStateError):
        return "authentication", str(error), "see kafka.sasl_mechanism and kafka.security_protocol"
    if isinstance(error, kafka_errors.SaslAuthenticationFailed | kafka_errors.AuthenticationFailedError):
        return "authentication", "the login was refused", "see kafka.sasl_username, sasl_password and sasl_mechanism"
    closed = isinstance(error, kafka_errors.KafkaConnectionError | ConnectionError)
    return (
        "unreachable",
        "it closed the connection without an answer" if closed else f"{type(error).__name__}: {error}",
        f"see that kafka.security_protocol ({protocol}) is what the port speaks",
    )
