"""A synchronous probe for a broker."""

from __future__ import annotations

import asyncio

from forebay.stream.embedded.probe import answers_kafka


def answers(host: str, port: int) -> bool:
    """Return whether a Kafka broker answers at this address within a second."""
    return asyncio.run(answers_kafka(host, port, timeout_s=1.0))
