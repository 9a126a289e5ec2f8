"""Deletion of temporary topics."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from forebay.stream.config.sections import KafkaSection
from forebay.stream.kafka.client import client_options

TIMEOUT_S: Final = 10.0


async def delete_topics(kafka: KafkaSection, names: Sequence[str]) -> None:
    """Delete topics if the cluster allows it. Errors are ignored: a cleanup has no way to handle them."""
    admin = AIOKafkaAdminClient(**client_options(kafka))
    with contextlib.suppress(KafkaError, TimeoutError, OSError):
        async with asyncio.timeout(TIMEOUT_S):
            try:
                await admin.start()
                await admin.delete_topics(list(names))
            finally:
                await admin.close()
