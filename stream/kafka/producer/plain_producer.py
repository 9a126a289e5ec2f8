"""An idempotent producer for few and important records: each is confirmed before the next is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from forebay.schemas.errors import BrokerError
from forebay.stream.core.cancellation import within
from forebay.stream.kafka.cluster.advertised_listeners import find_unreachable, require_reachable
from forebay.stream.kafka.cluster.authorization_errors import explain_authorization_error

START_TIMEOUT_S: Final = 30.0
DELIVERY_TIMEOUT_S: Final = 30.0


class PlainProducer:
    """Writes records outside any transaction, confirmed by all in-sync replicas.

    options: for the client (see `kafka.client`).
    """

    def __init__(self, options: Mapping[str, object]) -> None:
        self._options = dict(options)
        self._producer: Any = None

    async def start(self) -> None:
        """Connect. Raises BrokerError. Safe to call again."""
        if self._producer is not None:
            return
        await require_reachable(self._options)
        producer = AIOKafkaProducer(**self._options, acks="all", enable_idempotence=True)
        try:
            await within(START_TIMEOUT_S, producer.start())
        except (KafkaError, TimeoutError) as error:
            await producer.stop()
            raise await self._unreachable(error) from error
        except BaseException:
            await producer.stop()
            raise
        self._producer = producer

    async def _unreachable(self, error: Exception) -> BrokerError:
        if isinstance(error, KafkaError) and (refusal := explain_authorization_error(error, "WRITE")):
            return refusal
        return await find_unreachable(self._options) or BrokerError(
            f"cannot reach Kafka at {self._options.get('bootstrap_servers')}: {str(error) or 'no answer'}",
            kind="unreachable",
            remedy="check that the broker runs there (`forebay check` reports more)",
        )

    async def send(
        self,
        topic: str,
        key: bytes,
        value: bytes | None,
        *,
        partition: int,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> int:
        """Write a record, without a value a tombstone, and return its offset once the brokers have confirmed it.

        Raises BrokerError; unless the user lacks the permission, it is then unknown whether the record was written.
        """
        try:
            delivery = await within(
                DELIVERY_TIMEOUT_S,
                self._producer.send_and_wait(topic, value, key=key, partition=partition, headers=list(headers)),
            )
        except (KafkaError, TimeoutError) as error:
            if isinstance(error, KafkaError) and (refusal := explain_authorization_error(error, "WRITE", topic)):
                raise refusal from error
            raise BrokerError(
                f"writing to {topic} was not confirmed: {str(error) or f'no answer within {DELIVERY_TIMEOUT_S:g} s'}",
                kind="unconfirmed",
                remedy="it may have been written all the same; read the topic before you repeat it",
            ) from error
        return int(delivery.offset)

    async def stop(self) -> None:
        """Close. Safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await producer.stop()
