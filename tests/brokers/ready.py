"""Whether a broker answers, for code that is not asynchronous."""

from __future__ import annotations

import asyncio

from forebay.stream.embedded.probe import answers_kafka


def answers(host: str, port: int) -> bool:
    """Whether a Kafka broker answers there within a second."""
    return asyncio.run(answers_kafka(host, port, timeout_s=1.0))
