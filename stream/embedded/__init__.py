"""A Kafka broker for trying out, started and stopped with the program that needs it. Not for production."""

from forebay.stream.embedded.broker import EmbeddedBroker

__all__ = ["EmbeddedBroker"]
