"""Parts of Kafka's binary protocol that the client lacks: requests and record batches."""
