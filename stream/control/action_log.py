"""Writes the actions of one process to the topic `audit`."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Mapping

from forebay.schemas.errors import BrokerError
from forebay.schemas.topics import AUDIT, topic_name
from forebay.stream.audit.action import Action, ActionChain
from forebay.stream.audit.signing import Signer, load_signer
from forebay.stream.config.sections import Settings
from forebay.stream.core.clock import Clock
from forebay.stream.kafka.client import client_options
from forebay.stream.kafka.producer.plain_producer import PlainProducer


class ActionLog:
    """Writes the actions of one process, each confirmed by the brokers before it is taken. Actions are few.

    options: for the client (see `kafka.client`).
    process: names the process; a suffix makes the chain that of this start.
    signer: None if actions are not signed.
    """

    def __init__(
        self,
        options: Mapping[str, object],
        topic: str,
        *,
        group: str,
        process: str,
        signer: Signer | None,
        clock: Clock,
    ) -> None:
        self._options = options
        self._topic = topic
        self._group = group
        self._process = process
        self._signer = signer
        self._clock = clock
        self._chain = self._new_chain()
        self._one_at_a_time = asyncio.Lock()

    def _new_chain(self) -> ActionChain:
        return ActionChain(self._group, f"{self._process}-{uuid.uuid4().hex[:8]}", signer=self._signer)

    async def record(self, action: Action) -> None:
        """Write an action, and return once it is stored. Raises BrokerError if it is not known to be stored."""
        async with self._one_at_a_time:
            block = self._chain.seal(action, now_ms=self._clock.wall_ms())
            producer = PlainProducer(self._options)
            try:
                await producer.start()
                await producer.send(self._topic, block.key, block.value, partition=0, headers=block.headers)
            except BrokerError:
                # Whether the block is in the topic is unknown, so nothing may follow it.
                self._chain = self._new_chain()
                raise
            finally:
                await producer.stop()


def action_log(settings: Settings, *, process: str, clock: Clock) -> ActionLog | None:
    """Return the log of a process; None if the audit is not enabled. Raises ConfigError if the key cannot be used.

    A key that this user may not read is the workers': actions are then not signed.
    """
    section = settings.audit
    if not section.enabled:
        return None
    has_key = section.signing_key is not None and os.access(section.signing_key, os.R_OK)
    return ActionLog(
        client_options(settings.kafka),
        topic_name(settings.topics.prefix, AUDIT.name),
        group=settings.kafka.group_id,
        process=process,
        signer=load_signer(section.signing_key) if has_key and section.signing_key is not None else None,
        clock=clock,
    )
