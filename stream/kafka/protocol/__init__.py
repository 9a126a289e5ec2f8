"""Kafka's binary protocol where the client has none of it: requests and record batches."""
