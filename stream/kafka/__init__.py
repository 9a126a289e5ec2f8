"""The Kafka adapter. Modules import aiokafka only where they use it."""
