"""Connections to brokers, with errors that name the cause: the client itself reports only that it could not connect."""

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
ADVERTISED_REMEDY: Final = "check advertised.listeners of the brokers: this machine must reach the addresses"
OFFSET_FETCH: Final = 9
TXN_OFFSET_COMMIT: Final = 28
_CONNECTION_ERRORS: Final = (
    OSError,
    kafka_errors.KafkaError,
    AssertionError,
    asyncio.IncompleteReadError,
    ValueError,
)
"""Exceptions of the client for a server that cannot be reached or does not speak Kafka's protocol."""

ClientOptions = Mapping[str, object]
"""The result of `client_options`."""

ATTEMPT_S: Final = 15.0
MIN_ATTEMPT_S: Final = 5.0
"""The shortest timeout of one attempt to reach the cluster, even if less time is left in total."""
_REQUIRED_VERSIONS: Final = {OFFSET_FETCH: 7, TXN_OFFSET_COMMIT: 3}
"""Requests by which Kafka 2.5 is recognised, with the versions that it introduced."""


@dataclass(frozen=True, slots=True)
class Broker:
    """A broker that answered. apis: the lowest and highest supported version of each request, by API key."""

    host: str
    port: int
    connection: AIOKafkaConnection
    apis: Mapping[int, tuple[int, int]]

    @property
    def address(self) -> str:
        """The address, host:port."""
        return f"{self.host}:{self.port}"

    async def close(self) -> None:
        """Close the connection and wait briefly until it is closed."""
        await _close(self.connection)

    @property
    def recent_enough(self) -> bool:
        """Whether the broker is Kafka 2.5 or later, by the requests that it supports."""
        return all(self.apis.get(key, (0, -1))[1] >= version for key, version in _REQUIRED_VERSIONS.items())


@asynccontextmanager
async def bootstrap_connection(kafka: KafkaSection, *, timeout_s: float) -> AsyncIterator[Broker]:
    """Yield an authenticated connection to the first bootstrap server that answers; all are tried at once.

    Raises BrokerError with the cause for each server if none answers within `timeout_s`, and ConfigError as `client_options`
    does.
    """
    async with bootstrap_connection_with(client_options(kafka), timeout_s=timeout_s) as broker:
        yield broker


@asynccontextmanager
async def bootstrap_connection_with(client: ClientOptions, *, timeout_s: float) -> AsyncIterator[Broker]:
    """Do as `bootstrap_connection` does with the result of `client_options`, and so with its cached token."""
    options = _connection_options(client)
    servers = _addresses(str(client["bootstrap_servers"]))
    connections = [asyncio.create_task(_connect(host, port, options, timeout_s)) for host, port in servers]
    try:
        broker = await _first(connections)
        if broker is None:
            errors = [task.exception() or OSError("no answer") for task in connections]
            addresses = [f"{host}:{port}" for host, port in servers]
            raise _unreachable(list(zip(addresses, errors, strict=True)), client, timeout_s)
        yield broker
    finally:
        for task in connections:
            task.cancel()
        for result in await asyncio.gather(*connections, return_exceptions=True):
            if isinstance(result, Broker):
                await result.close()


async def _first(connections: Sequence[asyncio.Task[Broker]]) -> Broker | None:
    """Return the first broker that answers, None if none does. Raises errors that are not about the connection."""
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
    """Wait until a broker answers, for up to `kafka.connect_timeout_ms`. Raises BrokerError after that.

    Permanent causes, such as a rejected login, are raised at once.
    """
    limit_s = kafka.connect_timeout_ms / 1000
    deadline = Deadline(clock, limit_s)
    waited = False

    async def attempt() -> None:
        async with bootstrap_connection(kafka, timeout_s=max(MIN_ATTEMPT_S, min(ATTEMPT_S, deadline.left_s()))):
            pass

    def warn(error: Exception, failures: int) -> None:
        nonlocal waited
        waited = True
        if failures == 1:
            log.warning("%s; trying again for %g s (kafka.connect_timeout_ms)", error, limit_s)

    await retry(
        attempt,
        should_retry=lambda error, _failures: isinstance(error, BrokerError) and error.kind == "unreachable",
        wait_s=backoff.wait_s,
        on_retry=warn,
        deadline=deadline,
    )
    if waited:
        log.info("the cluster answers after %.0f s", deadline.elapsed_s())


async def connect(kafka: KafkaSection, host: str, port: int, *, timeout_s: float) -> Broker:
    """Return a connection to a broker at its advertised address. The caller closes it.

    Raises BrokerError if the broker does not answer.
    """
    return await connect_with(client_options(kafka), host, port, timeout_s=timeout_s)


async def connect_with(client: ClientOptions, host: str, port: int, *, timeout_s: float) -> Broker:
    """Do as `connect` does with the result of `client_options`, and so with its cached token."""
    try:
        return await _connect(host, port, _connection_options(client), timeout_s)
    except _CONNECTION_ERRORS as error:
        failure = _unreachable([(f"{host}:{port}", error)], client, timeout_s)
        if failure.kind == "unreachable":
            # The bootstrap servers answered: the address that they advertise cannot be reached.
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
        # A broker that does not answer does not close TLS cleanly either.
        await asyncio.wait([closed], timeout=CLOSE_TIMEOUT_S)


def _connection_options(options: ClientOptions) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "bootstrap_servers"}


def _addresses(servers: str) -> list[tuple[str, int]]:
    addresses = []
    for server in servers.split(","):
        host, colon, port = server.rpartition(":")
        # Without brackets an IPv6 address is ambiguous, so the settings reject it.
        if colon and "]" not in port:
            addresses.append((host.strip("[]"), int(port)))
        else:
            addresses.append((server.strip("[]"), DEFAULT_PORT))
    return addresses


def _unreachable(failures: list[tuple[str, BaseException]], client: ClientOptions, timeout_s: float) -> BrokerError:
    causes = [_explain(error, str(client.get("security_protocol", "PLAINTEXT")), timeout_s) for _, error in failures]
    message = "; ".join(f"{address}: {what}" for (address, _), (_, what, _) in zip(failures, causes, strict=True))
    # A specific cause takes precedence over an address that is only unreachable.
    kind, _, remedy = min(causes, key=lambda cause: cause[0] == "unreachable")
    return BrokerError(f"cannot reach Kafka at {message}", kind=kind, remedy=remedy)


def _explain(error: BaseException, protocol: str, timeout_s: float) -> tuple[str, str, str]:
    """Return the kind, the cause and the remedy of a connection error."""
    if isinstance(error, kafka_errors.KafkaConnectionError) and isinstance(error.__cause__, ssl.SSLError):
        # In TLS 1.3 a client learns only after the handshake that its certificate was rejected.
        error = error.__cause__
    if isinstance(error, TokenError):
        return error.kind, error.message, error.remedy or ""
    if isinstance(error, ssl.SSLCertVerificationError):
        return (
            "tls",
            f"its certificate is not trusted: {error.verify_message}",
            "set kafka.ssl_cafile to the authority that signed it; the certificate must name the host",
        )
    if isinstance(error, ssl.SSLError):
        return (
            "tls",
            f"TLS failed: {error.reason or error}",
            "check that this port speaks TLS, and which client certificate it requires (kafka.ssl_certfile)",
        )
    if isinstance(error, socket.gaierror):
        return "unreachable", "there is no such host name", "check kafka.bootstrap_servers and the name service"
    if isinstance(error, ConnectionRefusedError):
        return "unreachable", "nothing listens there", "check that the broker runs, and kafka.bootstrap_servers"
    if isinstance(error, TimeoutError):
        return (
            "unreachable",
            f"no answer within {timeout_s:g} s",
            "check that the network lets this host through, and that the port speaks kafka.security_protocol "
            f"({protocol})",
        )
    if isinstance(error, kafka_errors.UnsupportedSaslMechanismError | kafka_errors.IllegalSaslStateError):
        return "authentication", str(error), "check kafka.sasl_mechanism and kafka.security_protocol"
    if isinstance(error, kafka_errors.SaslAuthenticationFailed | kafka_errors.AuthenticationFailedError):
        return "authentication", "the login was refused", "check kafka.sasl_username, sasl_password and sasl_mechanism"
    closed = isinstance(error, kafka_errors.KafkaConnectionError | ConnectionError)
    return (
        "unreachable",
        "it closed the connection without an answer" if closed else f"{type(error).__name__}: {error}",
        f"check that the port speaks kafka.security_protocol ({protocol})",
    )
