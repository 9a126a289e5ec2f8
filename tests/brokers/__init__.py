"""Brokers for tests: a real Apache Kafka if one is available, and the embedded broker."""
