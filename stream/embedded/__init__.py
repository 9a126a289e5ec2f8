"""An embedded Kafka broker for evaluation and tests, which runs as long as the program that starts it. Not for production."""

from forebay.stream.embedded.broker import EmbeddedBroker

__all__ = ["EmbeddedBroker"]
